"""A temporary folder for the study that a run reads, gone after the run and swept if the application crashed.

Each folder holds a marker that its application keeps locked. The operating system drops the lock of a process that
ends, however it ends, so a marker that can be locked belongs to a crashed application; a process identifier alone could
have been given to another program since. Standard library only.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

PREFIX = "ich-diagnosis-"
_MARKER = "in-use-by-pid"
_UNMARKED_MAY_BE_NEW_SECONDS = 3600.0


class TemporaryInputFolder:
    """A folder of this run alone; call :meth:`remove` when the run has ended.

    Parameters
    ----------
    parent : Path, optional
        Folder in which to make it; the system's temporary folder otherwise.

    Attributes
    ----------
    path : Path
        The empty folder to write the study into, readable by this user alone.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._marker = os.open(self._folder / _MARKER, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        _lock(self._marker)
        os.write(self._marker, str(os.getpid()).encode())
        self.path = self._folder / "input"
        self.path.mkdir()

    def remove(self) -> None:
        """Remove the folder and all in it; safe to call twice."""
        if self._marker < 0:
            return
        os.close(self._marker)
        self._marker = -1
        _remove_tree(self._folder)


def sweep_stale_input_folders(parent: Path | None = None) -> int:
    """Remove the folders that crashed applications of this user left behind.

    Parameters
    ----------
    parent : Path, optional
        Folder to search; the system's temporary folder otherwise.

    Returns
    -------
    int
        Number of folders removed. Those in use, and those of other users, are left alone.
    """
    swept = 0
    for folder in Path(parent or tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if not folder.is_symlink() and folder.is_dir() and _is_mine(folder) and _is_stale(folder):
            _remove_tree(folder)
            swept += 1
    return swept


def _is_mine(folder: Path) -> bool:
    return sys.platform == "win32" or folder.lstat().st_uid == os.getuid()


def _is_stale(folder: Path) -> bool:
    try:
        marker = os.open(folder / _MARKER, os.O_RDWR)
    except FileNotFoundError:
        # Another application may be between making the folder and marking it.
        return time.time() - folder.lstat().st_mtime > _UNMARKED_MAY_BE_NEW_SECONDS
    except OSError:
        return False
    try:
        _lock(marker)
    except OSError:
        return False
    finally:
        os.close(marker)
    return True


def _lock(descriptor: int) -> None:
    """Lock the first byte of a file without waiting; raise OSError where somebody else holds the lock."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - exists on Windows only

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl  # noqa: PLC0415 - exists on POSIX only

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_tree(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        # The next start sweeps it: what could not be removed is not worth failing a finished run.
        logging.warning("a temporary folder could not be removed: %s", error.strerror)
