"""Collecting new studies from the archive: each image once, and none half."""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Callable

from scripts.dicom_node.archive import Archive, FoundImage, FoundStudy
from scripts.dicom_node.identity import fault_of, key_of, short
from scripts.dicom_node.received import NotAnImageError, ReceivedStudies
from scripts.dicom_node.sending import RefusedError
from scripts.dicom_node.study_queue import State, StudyQueue

logger = logging.getLogger(__name__)


class Collector:
    """Asks the archive again and again, and fetches what the queue does not know.

    A study is fetched when two searches in a row found the same images, so that one that the archive is still
    receiving is not read in pieces. Its images are noted before the first is fetched: until all are there it is not
    complete, whoever is killed meanwhile.

    Parameters
    ----------
    archive : Archive
        Is asked.
    received : ReceivedStudies
        Keeps the images.
    queue : StudyQueue
        Knows what has arrived.
    quiet : float
        A study settles so many seconds after its last image.
    today : callable, optional
        Returns the date.
    """

    def __init__(
        self,
        archive: Archive,
        received: ReceivedStudies,
        queue: StudyQueue,
        quiet: float,
        today: Callable[[], datetime.date] | None = None,
    ) -> None:
        self._archive = archive
        self._received = received
        self._queue = queue
        self._quiet = quiet
        self._today = today or datetime.date.today
        self._seen: dict[str, frozenset[str]] = {}
        self._done: dict[str, int] = {}
        self._fetching: str | None = None

    def arriving(self) -> set[str]:
        """Return the key of the study that is being fetched, if any."""
        study = self._fetching
        return {study} if study else set()

    def collect(self, stop: threading.Event) -> None:
        """Search once, and fetch what has settled.

        Raises
        ------
        UnavailableError, RefusedError, StorageFullError
            If the archive does not answer or the disk is full: what is missing is fetched another time.
        """
        for found in self._archive.studies(self._today()):
            if stop.is_set():
                return
            key = key_of(found.uid)
            if not self._is_done(key, found):
                self._collect_study(key, found, stop)

    def _is_done(self, key: str, found: FoundStudy) -> bool:
        """Return whether nothing has changed since all was there: spares most searches for images."""
        if found.images is None or self._done.get(key) != found.images:
            return False
        study = self._queue.study(key)
        return study is None or study.state is not State.RECEIVING

    def _collect_study(self, key: str, found: FoundStudy, stop: threading.Event) -> None:
        images = {key_of(image.uid): image for image in self._archive.images(found.uid)}
        missing = self._missing(key, images)
        if not missing:
            if found.images is not None:
                self._done[key] = found.images
            return
        settled = self._seen.get(key) == frozenset(images)
        self._seen[key] = frozenset(images)
        if not settled:
            return
        self._fetching = key
        try:
            self._queue.expect_images(key, images, self._quiet)
            for name in sorted(self._missing(key, images)):
                if stop.is_set():
                    return
                self._fetch(found.uid, key, images[name])
        finally:
            self._fetching = None

    def _missing(self, key: str, images: dict[str, FoundImage]) -> set[str]:
        """Return the images that are to be fetched: unknown ones, and of a study that gained some, absent ones."""
        missing = set(images) - self._queue.known_images(key)
        study = self._queue.study(key)
        if missing or (study is not None and study.state is State.RECEIVING):
            missing |= set(images) & self._queue.absent_images(key)
        return missing

    def _fetch(self, study_uid: str, key: str, image: FoundImage) -> None:
        try:
            self._received.add(self._archive.fetch(study_uid, image))
        except (NotAnImageError, RefusedError) as error:
            # One image must not keep all other studies from being fetched; its own waits for it.
            logger.warning("study %s: an image could not be fetched: %s", short(key), fault_of(error))
