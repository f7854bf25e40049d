"""Changes of folders that survive a power cut, and a folder that one node alone uses."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.messages import ExpectedError


def sync_folder(folder: Path) -> None:
    """Write a folder's list of files through to the disk: only then is a renamed file there after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_folder(source: Path, target: Path) -> None:
    """Rename a folder, in the place of an earlier one if there is any."""
    shutil.rmtree(target, ignore_errors=True)
    source.rename(target)
    sync_folder(target.parent)


@contextmanager
def used_alone(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the kernel lets go of it when the process ends, however it does.

    Raises
    ------
    ExpectedError
        If another node uses it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ExpectedError("node.in_use", folder=folder.name) from None
        yield
