"""Files of a study, wherever they lie: in a folder or inside a zip archive that is never unpacked to disk."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from scripts.intake.study import NotEvaluableError

MAXIMUM_UNPACKED_BYTES = 16 * 2**30
"""A head CT study unpacks to a few hundred MB; a zip that claims more than this is damaged or hostile."""
_MAP_SUFFIX = ".nii.gz"
_OBJECTS_FOLDER = "dicom"
_LONGEST_FIRST_VALUE = 1024
_READABLE_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_METHOD_NAMES = {1: "Shrink", 6: "Implode", 9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd"}


@dataclass(frozen=True)
class FileLocation:
    """One file on disk, or one member of a zip archive on disk."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """Name shown to a person: the file's own name, without folders."""
        return self.path.name if self.member is None else self._inside.name

    @property
    def short_path(self) -> str:
        """Name with the folder that holds it, to tell files of one name from each other."""
        place = self.path if self.member is None else self._inside
        return "/".join(place.parts[-2:])

    @property
    def _inside(self) -> PurePosixPath:
        """Path inside the archive; some packers write backslashes."""
        return PurePosixPath((self.member or "").replace("\\", "/"))

    @property
    def folder(self) -> str:
        """Folder that holds the file, on disk or inside its archive."""
        if self.member is None:
            return str(self.path.parent)
        return f"{self.path}!{self._inside.parent}"


class FileOpener:
    """Opens many locations in turn and keeps each archive open in between.

    Use as a context manager, so that the archives are closed at the end.
    """

    def __init__(self) -> None:
        self._archives: dict[Path, zipfile.ZipFile] = {}
        self._stack = ExitStack()

    def __enter__(self) -> FileOpener:
        """Start with no archive open."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close every archive."""
        self._stack.close()

    def open(self, location: FileLocation) -> IO[bytes]:
        """Open one location for reading bytes.

        Raises
        ------
        OSError, zipfile.BadZipFile, RuntimeError
            If the file cannot be opened; the last for a member that needs a password.
        """
        if location.member is None:
            return location.path.open("rb")
        archive = self._archives.get(location.path)
        if archive is None:
            archive = self._stack.enter_context(zipfile.ZipFile(location.path))
            self._archives[location.path] = archive
        return archive.open(location.member)


def files_in_zip(path: Path) -> list[FileLocation]:
    """List the files inside a zip archive.

    Raises
    ------
    NotEvaluableError
        ``"unsafe_zip"`` for member names that are absolute or climb out with ``..``; ``"unreadable_zip"`` for a
        damaged archive, one that needs a password, one packed by a method that Python does not read, or one that
        unpacks to more than 16 GiB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except PermissionError:
        raise NotEvaluableError("no_permission", name=path.name) from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise NotEvaluableError("unreadable_zip", name=path.name) from None
    if any(climbs_out(member.filename) for member in members):
        raise NotEvaluableError("unsafe_zip", name=path.name)
    if any(member.flag_bits & 0x1 for member in members):
        raise NotEvaluableError("unreadable_zip.password", name=path.name)
    methods = {member.compress_type for member in members} - _READABLE_METHODS
    if methods:
        method = _METHOD_NAMES.get(min(methods), f"method {min(methods)}")
        raise NotEvaluableError("unreadable_zip.method", name=path.name, method=method)
    if sum(member.file_size for member in members) > MAXIMUM_UNPACKED_BYTES:
        raise NotEvaluableError("unreadable_zip.too_large", name=path.name, gigabytes=MAXIMUM_UNPACKED_BYTES / 2**30)
    return [FileLocation(path, member.filename) for member in members if not is_hidden(PurePosixPath(member.filename))]


def files_in_folder(folder: Path) -> tuple[list[FileLocation], list[Path]]:
    """Walk a folder of any nesting in sorted order, each folder once even where links form a circle.

    Maps and DICOM objects of an earlier run are passed over: they are no studies. So are pipes, sockets and devices,
    which never end.

    Returns
    -------
    list of FileLocation, list of Path
        The files, and the folders that may not be listed.
    """
    files: list[FileLocation] = []
    refused: list[OSError] = []
    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=refused.append):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_hidden(PurePosixPath(name)))
        is_result = "result.json" in names
        if is_result:
            # Objects of an earlier run refer to a study and are none.
            folders[:] = [name for name in folders if name != _OBJECTS_FOLDER]
        for name in sorted(names):
            path = Path(root) / name
            of_a_result = is_result and name.endswith(_MAP_SUFFIX)
            if not is_hidden(PurePosixPath(name)) and not of_a_result and may_be_opened(path):
                files.append(FileLocation(path))
    return files, [Path(error.filename) for error in refused]


def may_be_opened(path: Path) -> bool:
    """Whether a path is a file or a link to one; also one that is missing, so that opening it names the fault."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def starts_a_data_set(start: bytes) -> bool:
    """Whether bytes begin with an element of group 2 or 8 of a possible length."""
    if len(start) < 12:
        return False
    for order in ("<", ">"):
        group, element = struct.unpack_from(f"{order}HH", start)
        explicit = start[4:6].isalpha() and start[4:6].isupper()
        length = struct.unpack_from(f"{order}H" if explicit else f"{order}I", start, 6 if explicit else 4)[0]
        if group in (2, 8) and element <= 0x0070 and length <= _LONGEST_FIRST_VALUE:
            return True
    return False


def is_hidden(path: PurePosixPath) -> bool:
    """Whether a file belongs to an operating system rather than to a study (``.DS_Store``, ``__MACOSX``)."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def climbs_out(name: str) -> bool:
    """Whether a name inside an archive is absolute or holds ``..``, by the rules of Unix or of Windows."""
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    return bool(windows.drive or windows.root) or posix.is_absolute() or ".." in (*windows.parts, *posix.parts)
