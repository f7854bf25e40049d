"""Received images: on the disk and in the queue before anybody is told that they have arrived."""

from __future__ import annotations

import errno
import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from uuid import uuid4

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from scripts.dicom_node.durable import sync_folder
from scripts.dicom_node.identity import fault_of, key_of, short
from scripts.dicom_node.settings import DiskSettings
from scripts.dicom_node.study_queue import StudyQueue
from scripts.output.folder import write_file

CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
"""SOP classes that are kept. The node's own objects are none of these: an archive may send them back."""

_NAMED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MB = 1e6

logger = logging.getLogger(__name__)


class StorageFullError(Exception):
    """There is no room for an image; nothing of it was kept."""


class NotAnImageError(Exception):
    """What was sent is no CT image that names its study."""


class ReceivedStudies:
    """The images of all studies, one folder per study, ``<study key>/<image key>.dcm``.

    Parameters
    ----------
    folder : Path
        Where the folders lie; files under way are in ``.arriving`` beside them.
    queue : StudyQueue
        Is told of each image.
    quiet : float
        A study settles so many seconds after its last image.
    disk : DiskSettings
        When images are refused.
    free_bytes : callable, optional
        Returns the free space of the disk.
    """

    def __init__(
        self,
        folder: Path,
        queue: StudyQueue,
        quiet: float,
        disk: DiskSettings,
        free_bytes: Callable[[Path], int] | None = None,
    ) -> None:
        self._folder = folder
        self._arriving = folder / ".arriving"
        self._queue = queue
        self._quiet = quiet
        self._disk = disk
        self._free_bytes = free_bytes or _free_bytes
        self._lock = threading.Lock()
        self._arriving.mkdir(parents=True, exist_ok=True)

    def folder_of(self, study: str) -> Path:
        """Return the folder that holds a study's images."""
        return self._folder / study

    def files_of(self, study: str) -> list[Path]:
        """Return a study's images, in the order of their names."""
        return sorted(self.folder_of(study).glob("*.dcm"))

    def has_room(self, size: int = 0) -> bool:
        """Return whether so many bytes may still be written."""
        if self._free_bytes(self._folder) - size < self._disk.least_free_mb * _MB:
            return False
        most = self._disk.most_received_mb
        return most is None or self._queue.stored_bytes() + size <= most * _MB

    def add(self, content: bytes) -> str:
        """Keep one image; when this returns it survives a kill and a power cut.

        An image that is on the disk already is the same image (PS3.3, C.12.1: its UID is its own) and stays as it is.

        Parameters
        ----------
        content : bytes
            A DICOM file (PS3.10).

        Returns
        -------
        str
            Key of its study.

        Raises
        ------
        NotAnImageError
            If it is no CT image or names no study.
        StorageFullError
            If the disk is full, or fuller than the settings allow.
        """
        study, image = _keys(content)
        target = self.folder_of(study) / f"{image}.dcm"
        try:
            # Housekeeping and two senders of one image must not meet here.
            with self._lock:
                fresh = not target.exists()
                if fresh:
                    self._write(target, content)
                try:
                    new = self._queue.add_image(study, image, len(content), self._quiet)
                except BaseException:
                    if fresh:
                        target.unlink(missing_ok=True)
                    raise
        except (OSError, sqlite3.OperationalError) as error:
            if not _is_full(error):
                raise
            raise StorageFullError from error
        if new:
            logger.debug("study %s: image %s kept", short(study), short(image))
        return study

    def _write(self, target: Path, content: bytes) -> None:
        if not self.has_room(len(content)):
            raise StorageFullError
        partial = self._arriving / uuid4().hex
        try:
            write_file(partial, content)
            if not target.parent.exists():
                target.parent.mkdir()
                sync_folder(self._folder)
            partial.replace(target)
            sync_folder(target.parent)
        finally:
            partial.unlink(missing_ok=True)

    def remove(self, study: str) -> None:
        """Remove the images of a study that is at an end; the queue goes on knowing them."""
        with self._lock:
            # An image may have come since the study was found at its end.
            if self._queue.forget_files(study):
                shutil.rmtree(self.folder_of(study), ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a kill left behind: files whose sender was never told that they had arrived."""
        shutil.rmtree(self._arriving, ignore_errors=True)
        self._arriving.mkdir()
        for folder in self._folder.iterdir():
            if folder == self._arriving:
                continue
            stored = self._queue.stored_images(folder.name)
            for file in folder.iterdir():
                if file.stem not in stored:
                    file.unlink()
            if not stored:
                shutil.rmtree(folder, ignore_errors=True)


def _keys(content: bytes) -> tuple[str, str]:
    """Return the keys of study and image that a DICOM file names."""
    try:
        header = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=list(_NAMED))
        sop_class, image, study = (str(header.get(name) or "").strip(" \0") for name in _NAMED)
    # pydicom documents no list of what damaged bytes raise.
    except Exception as error:
        if not isinstance(error, InvalidDicomError):
            logger.warning("an image cannot be read: %s", fault_of(error))
        raise NotAnImageError from error
    if sop_class not in CT_CLASSES or not image or not study:
        raise NotAnImageError
    return key_of(study), key_of(image)


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or "full" in str(error)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
