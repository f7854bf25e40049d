"""Reading studies one after the other; whatever one study does, the next is read."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

from scripts.dicom_node.durable import put_folder
from scripts.dicom_node.identity import short
from scripts.dicom_node.received import ReceivedStudies
from scripts.dicom_node.settings import NodeSettings
from scripts.dicom_node.step import Step, pause_after
from scripts.dicom_node.study_queue import QueuedStudy, State, StudyQueue
from scripts.dicom_node.worker_reader import Reading, StudyReader

_MB = 1e6

logger = logging.getLogger(__name__)


class ReadingStep(Step):
    """Reads what is complete.

    Parameters
    ----------
    queue, received
        What there is to read.
    reader : StudyReader
        Who reads.
    results : Path
        Result folders, named by the study's key.
    settings : NodeSettings
        Attempts and pauses.
    """

    def __init__(
        self, queue: StudyQueue, received: ReceivedStudies, reader: StudyReader, results: Path, settings: NodeSettings
    ) -> None:
        super().__init__(queue, State.COMPLETE, State.READING)
        self._received = received
        self._reader = reader
        self._results = results
        self._settings = settings
        self._waits_for_room = False

    def work(self, stop: threading.Event) -> None:
        """Read studies until none waits."""
        while not stop.is_set() and self._has_room() and self._read_next(stop):
            pass

    def _has_room(self) -> bool:
        """Return whether a result fits: the reserve that senders are refused for is there to be read into."""
        full = shutil.disk_usage(self._results).free < self._settings.disk.least_free_mb * _MB / 2
        if full and not self._waits_for_room:
            logger.error("nothing is read: the disk is full")
        self._waits_for_room = full
        return not full

    def _read_next(self, stop: threading.Event) -> bool:
        with self.claimed() as study:
            if study is None:
                return False
            with self._reader.read(self._received.folder_of(study.key)) as reading:
                # Stopped in the middle, it failed through no fault of its own: the next start puts it back.
                if not stop.is_set():
                    self._finish(study, reading)
        return True

    def _finish(self, study: QueuedStudy, reading: Reading) -> None:
        if reading.fault is not None:
            self._try_again(study, reading.fault)
            return
        if reading.folder is not None:
            put_folder(reading.folder, self._results / study.key)
        ends_as = State.NOT_EVALUABLE if reading.refusal else None
        if self._queue.finish(study, State.READ, reading.refusal, ends_as=ends_as):
            outcome = f"{State.NOT_EVALUABLE.value} ({reading.refusal})" if reading.refusal else State.READ.value
            logger.info("study %s: %s", short(study.key), outcome)
        else:
            logger.info("study %s: more images came while it was read", short(study.key))

    def _try_again(self, study: QueuedStudy, fault: str) -> None:
        attempts = study.attempts + 1
        logger.error("study %s: not read, attempt %d: %s", short(study.key), attempts, fault)
        if attempts >= self._settings.reading.attempts:
            self._queue.finish(study, State.READ, fault, ends_as=State.FAILED)
            return
        wait = self._settings.wait
        self._queue.postpone(
            study, State.COMPLETE, pause_after(study.attempts, wait.retry_first, wait.retry_most), fault
        )
