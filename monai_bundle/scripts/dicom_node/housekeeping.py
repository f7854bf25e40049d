"""Housekeeping: what a study left on the disk is removed some time after its last step."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from scripts.dicom_node.identity import short
from scripts.dicom_node.received import ReceivedStudies
from scripts.dicom_node.settings import KeepSettings
from scripts.dicom_node.study_queue import ENDS, QueuedStudy, State, StudyQueue

_SECONDS_PER_HOUR = 3600.0

logger = logging.getLogger(__name__)


class Housekeeping:
    """Removes images, results and objects; the queue goes on knowing what was there, without a name.

    Parameters
    ----------
    queue, received
        What is there.
    results, objects : Path
        Folders of result folders (``<key>``) and of objects (``<key>-<revision>``).
    keep : KeepSettings
        For how long.
    clock : callable
        Returns the time in seconds since 1970.
    """

    def __init__(
        self,
        queue: StudyQueue,
        received: ReceivedStudies,
        results: Path,
        objects: Path,
        keep: KeepSettings,
        clock: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._received = received
        self._results = results
        self._objects = objects
        self._keep = keep
        self._clock = clock

    def tidy(self) -> None:
        """Remove what has been kept for long enough."""
        for study in self._queue.studies(*ENDS):
            failed = study.state is State.FAILED
            images = self._keep.failed_hours if failed else self._keep.received_hours
            results = self._keep.failed_hours if failed else self._keep.results_hours
            if self._is_over(study, images) and self._received.folder_of(study.key).is_dir():
                self._received.remove(study.key)
                logger.info("study %s: its images were removed", short(study.key))
            if self._is_over(study, results):
                shutil.rmtree(self._results / study.key, ignore_errors=True)
                for folder in self._objects.glob(f"{study.key}-*"):
                    shutil.rmtree(folder, ignore_errors=True)

    def _is_over(self, study: QueuedStudy, hours: float | None) -> bool:
        return hours is not None and self._clock() - study.since >= hours * _SECONDS_PER_HOUR
