"""The node: loops over the queue (settle, read, send, commit, collect), and the port that fills it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from scripts.dicom_node.archive import Archive
from scripts.dicom_node.collecting import Collector
from scripts.dicom_node.commitment import CommitmentReports, PeerCommitment
from scripts.dicom_node.commitment_step import CommitmentStep
from scripts.dicom_node.housekeeping import Housekeeping
from scripts.dicom_node.identity import fault_of, short
from scripts.dicom_node.reading_step import ReadingStep
from scripts.dicom_node.received import ReceivedStudies, StorageFullError
from scripts.dicom_node.reception import Reception
from scripts.dicom_node.result_objects import named_objects
from scripts.dicom_node.sending import ArchiveDestination, Destination, PeerDestination, RefusedError, UnavailableError
from scripts.dicom_node.sending_step import SendingStep
from scripts.dicom_node.settings import NodeSettings
from scripts.dicom_node.study_queue import State, StudyQueue
from scripts.dicom_node.worker_reader import StudyReader, WorkerReader

QUEUE_FILE, RECEIVED, RESULTS, OBJECTS, UNDER_WAY = "queue.sqlite", "received", "results", "objects", "under_way"
"""What the state folder holds."""

_STEP_SECONDS = 0.5
_HOUSEKEEPING_SECONDS = 60.0
_STOP_SECONDS = 10.0
_SECONDS_PER_HOUR = 3600.0

logger = logging.getLogger(__name__)


class Node:
    """One node over its state folder, which nobody else may use meanwhile (:func:`durable.used_alone`).

    Parameters
    ----------
    settings : NodeSettings
        All that an installation decides.
    reader : StudyReader, optional
        Who reads; a worker process unless given.
    destination : Destination, optional
        Where objects go; the settings' peer or archive unless given.
    """

    def __init__(
        self, settings: NodeSettings, reader: StudyReader | None = None, destination: Destination | None = None
    ) -> None:
        self.settings, wait = settings, settings.wait
        folder = settings.state_folder
        results, objects = folder / RESULTS, folder / OBJECTS
        for each in (folder, results, objects):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.queue = StudyQueue(folder / QUEUE_FILE)
        self.received = ReceivedStudies(folder / RECEIVED, self.queue, wait.quiet, settings.disk)
        self.reception = Reception(settings, self.received, self.queue)
        archive = Archive(settings.archive, wait.network) if settings.archive else None
        self._collector = Collector(archive, self.received, self.queue, wait.quiet) if archive else None
        self._reader = reader or WorkerReader(settings.reading, folder / UNDER_WAY)
        self._reading = ReadingStep(self.queue, self.received, self._reader, results, settings)
        destination = destination or _destination(settings, archive)
        make, folders = named_objects(settings.objects), (results, objects)
        self._sending = SendingStep(self.queue, self.received, make, destination, folders, settings)
        self._committing = self._commitment_step(destination, objects)
        self._housekeeping = Housekeeping(self.queue, self.received, results, objects, settings.keep, time.time)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def _commitment_step(self, destination: Destination, objects: Path) -> CommitmentStep | None:
        settings = self.settings
        if settings.send_to is None or not settings.send_to.commitment:
            return None
        peer = PeerDestination(settings.send_to, settings.ae_title, settings.tls, settings.wait.network)
        commitment = PeerCommitment(peer, CommitmentReports(self.queue))
        return CommitmentStep(self.queue, destination, commitment, objects, settings.wait)

    def start(self) -> None:
        """Go on where the last node on this folder ended, however it ended.

        Raises
        ------
        ExpectedError
            If the port cannot be listened at.
        """
        self.queue.recover(self.settings.wait.interrupted)
        self.received.tidy()
        if self._committing is None:
            # What was sent while commitment was still configured is at its end.
            for study in self.queue.studies(State.STORED):
                self.queue.finish(study, study.ends_as, study.cause)
        if self.settings.callers:
            self.reception.start()
            logger.info("listening at %s:%d as %s", self.settings.host, self.reception.port, self.settings.ae_title)
        self._begin("settle", self._settle, _STEP_SECONDS)
        self._begin("read", self._reading.work, _STEP_SECONDS)
        self._begin("send", self._sending.work, _STEP_SECONDS)
        if self._committing:
            self._begin("commit", self._committing.work, _STEP_SECONDS)
        self._begin("housekeeping", self._tidy, _HOUSEKEEPING_SECONDS)
        archive = self.settings.archive
        if self._collector and archive and archive.poll_seconds is not None:
            self._begin("collect", self._collect, archive.poll_seconds)

    def stop(self) -> None:
        """Stop within seconds. What was under way begins anew at the next start; nothing that arrived is lost."""
        self._stop.set()
        self.reception.stop()
        self._reader.stop()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)
        self.queue.close()
        logger.info("stopped")

    def _begin(self, name: str, step: Callable[[threading.Event], None], pause: float) -> None:
        thread = threading.Thread(target=self._repeat, args=(name, step, pause), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _repeat(self, name: str, step: Callable[[threading.Event], None], pause: float) -> None:
        while not self._stop.is_set():
            try:
                step(self._stop)
            # A loop that ended would stop the node's work in silence.
            except Exception as error:
                if not self._stop.is_set():
                    logger.error("%s: %s", name, fault_of(error))
            self._stop.wait(pause)

    def _settle(self, stop: threading.Event) -> None:
        wait = self.settings.wait
        arriving = self.reception.arriving() | (self._collector.arriving() if self._collector else set())
        longest = max(wait.quiet, wait.interrupted)
        for study in self.queue.settle(arriving, longest, wait.incomplete_hours * _SECONDS_PER_HOUR):
            outcome = study.cause or study.state.value
            logger.info("study %s: %s, %d images", short(study.key), outcome, study.revision)
        self._reading.put_back_stray()
        self._sending.put_back_stray()
        if self._committing:
            self._committing.put_back_stray()

    def _tidy(self, stop: threading.Event) -> None:
        self._housekeeping.tidy()

    def _collect(self, stop: threading.Event) -> None:
        if self._collector is None:
            return
        try:
            self._collector.collect(stop)
        except StorageFullError:
            logger.error("nothing is fetched from the archive: the disk is full")
        except (UnavailableError, RefusedError) as error:
            logger.warning("the archive does not answer: %s", error)


def _destination(settings: NodeSettings, archive: Archive | None) -> Destination:
    if settings.send_to is not None:
        return PeerDestination(settings.send_to, settings.ae_title, settings.tls, settings.wait.network)
    if archive is None:
        raise ValueError("settings without a destination pass no check")
    return ArchiveDestination(archive.store)
