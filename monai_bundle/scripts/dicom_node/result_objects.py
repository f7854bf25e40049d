"""The seam to the DICOM objects that go back: a function makes them from a result folder and the original images."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from scripts.messages import ExpectedError
from scripts.output.folder import write_file


class ResultObjects(Protocol):
    """Makes the objects of one study: structured report, segmentation, key slices, the report."""

    def __call__(self, result_folder: Path, series_files: Sequence[Path], target_folder: Path) -> Sequence[Path]:
        """Write DICOM files into a folder; return them.

        Parameters
        ----------
        result_folder : Path
            As ``scripts/output`` wrote it.
        series_files : sequence of Path
            All images that the study was received with.
        target_folder : Path
            Exists and is empty.
        """


def named_objects(name: str) -> ResultObjects:
    """Return the function that a configuration names in full, ``package.module.function``.

    Raises
    ------
    ExpectedError
        If there is none of this name.
    """
    module, _, function = name.rpartition(".")
    try:
        found: ResultObjects = getattr(importlib.import_module(module), function)
    except (ImportError, ValueError, AttributeError) as error:
        raise ExpectedError("node.no_objects", name=name, fault=error) from None
    return found


def written_once(
    make: ResultObjects, result: Path, images: Sequence[Path], target: Path, leave_out: Sequence[str] = ()
) -> list[Path]:
    """Return a study's objects, made at most once: a second sending sends the same files.

    Parameters
    ----------
    make : ResultObjects
        What makes them.
    result, images
        Its arguments.
    target : Path
        Folder that holds them from now on; it exists only when they are whole.
    leave_out : sequence of str
        Patterns of the names of files that are not wanted.

    Raises
    ------
    ValueError
        If nothing was made.
    """
    if not target.is_dir():
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for file in make(result, images, partial):
            if any(fnmatch(file.name, pattern) for pattern in leave_out):
                file.unlink()
                continue
            # Through to the disk, whoever wrote it.
            write_file(file, file.read_bytes())
        partial.rename(target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    if not files:
        raise ValueError("no objects were made")
    return files
