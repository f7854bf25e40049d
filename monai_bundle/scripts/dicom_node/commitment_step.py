"""Asking for commitment of what was sent, and sending again what the archive does not keep."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.dicom_node.commitment import PeerCommitment, instance_of, new_request
from scripts.dicom_node.identity import short
from scripts.dicom_node.sending import Destination, RefusedError, UnavailableError
from scripts.dicom_node.settings import WaitSettings
from scripts.dicom_node.step import Step, pause_after
from scripts.dicom_node.study_queue import QueuedStudy, State, StudyQueue

_SECONDS_PER_HOUR = 3600.0
_NOT_KEPT = "not_committed"
_ASKED = "waits_for_commitment"

logger = logging.getLogger(__name__)


class CommitmentStep(Step):
    """Brings a study of which all objects were sent to its end, when the archive has committed itself to each.

    Until then the objects stay on the disk. What an archive reports as not kept is sent again after a pause; where no
    report comes in time it is asked again.

    Parameters
    ----------
    queue : StudyQueue
        What there is to ask for.
    destination : Destination
        Takes objects again.
    commitment : PeerCommitment
        Is asked.
    objects : Path
        Folder that names of objects are relative to.
    wait : WaitSettings
        Pauses, and when to give up.
    """

    def __init__(
        self, queue: StudyQueue, destination: Destination, commitment: PeerCommitment, objects: Path, wait: WaitSettings
    ) -> None:
        super().__init__(queue, State.STORED, State.COMMITTING)
        self._destination = destination
        self._commitment = commitment
        self._objects = objects
        self._wait = wait

    def work(self, stop: threading.Event) -> None:
        """Ask for each study that is due."""
        while not stop.is_set():
            with self.claimed() as study:
                if study is None:
                    return
                self._go_on(study)

    def _go_on(self, study: QueuedStudy) -> None:
        names = self._queue.uncommitted_objects(study.key)
        if not names:
            if self._queue.finish(study, study.ends_as, study.cause):
                logger.info("study %s: %s, and the archive keeps it", short(study.key), study.ends_as.value)
            return
        unsent = self._queue.unsent_objects(study.key) or []
        if unsent and study.reason != _NOT_KEPT:
            self._later(study, _NOT_KEPT)
            return
        try:
            self._ask_again(study, names, unsent)
        except (UnavailableError, RefusedError, OSError) as error:
            reason = type(error).__name__ if isinstance(error, OSError) else str(error)
            self._later(study, f"not asked for commitment: {reason}")

    def _ask_again(self, study: QueuedStudy, names: Sequence[str], unsent: Sequence[str]) -> None:
        if unsent:
            paths = [self._objects / name for name in unsent]
            self._destination.send(paths, lambda file: self._queue.mark_sent(study.key, self._name(file)))
        request = new_request()
        self._queue.note_request(study.key, request, {name: instance_of(self._objects / name) for name in names})
        self._commitment.ask(request, [self._objects / name for name in names])
        self._later(study, _ASKED, self._wait.commitment)
        self._queue.hasten_answered(study.key, request)

    def _name(self, file: Path) -> str:
        return file.relative_to(self._objects).as_posix()

    def _later(self, study: QueuedStudy, reason: str, seconds: float | None = None) -> None:
        if time.time() - study.since >= self._wait.give_up_hours * _SECONDS_PER_HOUR:
            self._queue.finish(study, State.FAILED, reason)
            return
        pause = pause_after(study.attempts, self._wait.retry_first, self._wait.retry_most)
        if self._queue.postpone(study, State.STORED, pause if seconds is None else seconds, reason):
            logger.info("study %s: %s", short(study.key), reason)
