"""Write a folder whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from scripts.messages import ExpectedError, Message

RESULT_SCHEMA = "ich-diagnosis-result/2"
EARLIER_SCHEMAS = ("ich-diagnosis-result/1",)
RESULT_FILE = "result.json"

_REMEDIES = {
    errno.ENOSPC: "output.disk_full",
    errno.EDQUOT: "output.disk_quota",
    errno.EACCES: "output.no_permission",
    errno.EPERM: "output.no_permission",
    errno.EROFS: "output.read_only",
    errno.ENOTDIR: "output.file_in_the_way",
    errno.EEXIST: "output.file_in_the_way",
    errno.ENAMETOOLONG: "output.name_too_long",
}


class OutputError(ExpectedError):
    """The result cannot be written; the message is one line that names the fault and the remedy.

    Parameters
    ----------
    code : str
        Name in the catalogue's section ``output``, e.g. ``"disk_full"``.
    **values
        One per placeholder of its text.
    """

    def __init__(self, code: str, /, **values: Any) -> None:
        super().__init__(f"output.{code}", **values)


class OutputFolderError(OutputError):
    """The whole output folder cannot be written, so that every further study would fail as well."""


def write_file(path: Path, content: bytes) -> None:
    """Write a file through to the disk, so that the rename of its folder never overtakes its content."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def is_result(folder: Path) -> bool:
    """Whether a folder holds the result of an earlier run, of any version."""
    try:
        document = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(document, dict) and document.get("schema") in (RESULT_SCHEMA, *EARLIER_SCHEMAS)


def write_whole_file(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside it and rename it; its folder is made where it is missing.

    Raises
    ------
    OSError
        If the disk refuses; the temporary file is gone then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid4().hex}.partial")
    try:
        write_file(partial, content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(parent: Path, name: str, replaces: Callable[[Path], bool] = is_result) -> Iterator[Path]:
    """Yield a temporary sibling to write into; it becomes ``parent / name`` when the block ends well.

    On any exception, ``KeyboardInterrupt`` included, the temporary folder is removed and the folder of an earlier run
    stays as it was.

    Parameters
    ----------
    parent : Path
        The output folder; made when missing.
    name : str
        Name of the result folder.
    replaces : callable
        Whether what stands there may be replaced: unless told otherwise an earlier result.

    Yields
    ------
    Path
        The temporary folder, on the same file system.

    Raises
    ------
    OutputError
        If the name is no plain name or too long, or if something other than an earlier result stands there.
    OutputFolderError
        If the disk refuses.
    """
    if name in {"", ".", ".."} or any(character in name for character in "/\\\0"):
        raise OutputError("study_id", study_id=name)
    target, partial = parent / name, parent / f".{uuid4().hex}.partial"
    try:
        _refuse_foreign(target, replaces)
        parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        _rename(partial, target)
    except OSError as error:
        known = _REMEDIES.get(error.errno or 0)
        remedy = Message(known) if known else Message("output.choose_another", fault=error.strerror or str(error))
        fault = OutputError if error.errno == errno.ENAMETOOLONG else OutputFolderError
        raise fault("cannot_write", folder=name, remedy=remedy) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refuse_foreign(target: Path, replaces: Callable[[Path], bool]) -> None:
    """Refuse to replace anything but a result: an output folder set to the input's parent would cost the CT itself."""
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir() or not (replaces(target) or not any(target.iterdir())):
        raise OutputError("not_a_result", folder=target.name)


def put_in_place(folder: Path, target: Path) -> None:
    """Give a whole result folder its place on the same file system; an earlier result there is replaced.

    Raises
    ------
    OutputError
        If something other than an earlier result stands there.
    OSError
        If the disk refuses.
    """
    _refuse_foreign(target, is_result)
    target.parent.mkdir(parents=True, exist_ok=True)
    _rename(folder, target)


def _rename(partial: Path, target: Path) -> None:
    """Rename; an earlier folder steps aside first, because no rename replaces a folder that holds files."""
    if not target.exists():
        partial.rename(target)
        return
    earlier = target.with_name(f".{uuid4().hex}.replaced")
    try:
        target.rename(earlier)
        partial.rename(target)
    finally:
        if earlier.exists() and not target.exists():
            earlier.rename(target)
        shutil.rmtree(earlier, ignore_errors=True)
