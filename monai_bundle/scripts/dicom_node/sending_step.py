"""Making the objects of studies that were read, and sending them until somebody has confirmed each."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from scripts.dicom_node.identity import fault_of, key_of, short
from scripts.dicom_node.notices import notice_of
from scripts.dicom_node.received import ReceivedStudies
from scripts.dicom_node.result_objects import ResultObjects, written_once
from scripts.dicom_node.sending import Destination, RefusedError, UnavailableError
from scripts.dicom_node.settings import NodeSettings
from scripts.dicom_node.step import Step, pause_after
from scripts.dicom_node.study_queue import QueuedStudy, State, StudyQueue
from scripts.dicom_output.request import DicomOutputError

_SECONDS_PER_HOUR = 3600.0

logger = logging.getLogger(__name__)


class SendingStep(Step):
    """Sends what was read, and of studies without a result a notice.

    A peer that is away holds up everything, for growing pauses; an object that it does not take holds up its own study.

    Parameters
    ----------
    queue, received
        What there is to send, and the original images that objects refer to.
    make : ResultObjects
        Makes the objects.
    destination : Destination
        Takes them.
    folders : tuple of Path
        Result folders (``<key>``), and where objects are kept (``<key>-<revision>``).
    settings : NodeSettings
        Pauses, when to give up, what is not sent, and whether notices are.
    """

    def __init__(
        self,
        queue: StudyQueue,
        received: ReceivedStudies,
        make: ResultObjects,
        destination: Destination,
        folders: tuple[Path, Path],
        settings: NodeSettings,
    ) -> None:
        super().__init__(queue, State.READ, State.SENDING)
        self._received = received
        self._make = make
        self._destination = destination
        self._results, self._objects = folders
        self._wait = settings.wait
        self._settings = settings
        self._away = 0

    def work(self, stop: threading.Event) -> None:
        """Send studies until none waits, or nobody takes them; then return after a pause."""
        while not stop.is_set():
            with self.claimed() as study:
                if study is None:
                    return
                away = self._send(study)
            if away:
                stop.wait(pause_after(self._away, self._wait.retry_first, self._wait.retry_most))
                self._away += 1
            else:
                self._away = 0

    def _send(self, study: QueuedStudy) -> bool:
        """Send one study; return whether the other side was away."""
        try:
            files = self._unsent(study)
            if files is None:
                return False
            # A node that was killed after the last confirmation has nothing left to send: no peer is asked for nothing.
            if files:
                self._destination.send(files, lambda file: self._queue.mark_sent(study.key, self._name(file)))
        except UnavailableError as error:
            self._later(study, f"unavailable: {error}", 0.0)
            return True
        except RefusedError as error:
            self._later(study, f"refused: {error}", self._pause(study))
            return False
        except DicomOutputError as error:
            self._end_without_objects(study, error.code)
            return False
        # Whatever the objects are made of: one study's fault must not stop the next.
        except Exception as error:
            self._later(study, f"no objects: {fault_of(error)}", self._pause(study))
            return False
        peer = self._settings.send_to
        if peer is not None and peer.commitment and self._queue.unsent_objects(study.key) is not None:
            ends_as = study.ends_as if study.cause else None
            moved = self._queue.finish(study, State.STORED, study.cause, ends_as=ends_as)
        else:
            moved = self._queue.finish(study, study.ends_as, study.cause)
        if moved:
            logger.info("study %s: %s, %d objects sent", short(study.key), study.ends_as.value, len(files))
        return False

    def _end_without_objects(self, study: QueuedStudy, fault: str) -> None:
        """Have a notice sent in the place of objects that images or result do not allow; they will not change."""
        if study.cause:
            # Nor do they allow a notice: that nobody could be told is in the log and in its reason.
            logger.error("study %s: no notice: %s", short(study.key), fault)
            self._queue.finish(study, study.ends_as, f"{study.cause}, no notice: {fault}")
        else:
            logger.error("study %s: no objects: %s", short(study.key), fault)
            self._queue.finish(study, State.READ, fault, ends_as=State.FAILED)

    def _unsent(self, study: QueuedStudy) -> list[Path] | None:
        """Return the objects that are still to be sent; None where images came meanwhile and none are."""
        if study.cause and not self._settings.notices:
            return []
        # A notice has a folder of its own: read again, the study may have a result, or none for another reason.
        kind = f"-not-evaluated-{short(key_of(study.cause))}" if study.cause else ""
        folder = self._objects / f"{study.key}-{study.revision}{kind}"
        names = self._queue.unsent_objects(study.key)
        if names is None or not folder.is_dir():
            images = self._received.files_of(study.key)
            make = notice_of(study, self._settings) if study.cause else self._make
            files = written_once(make, self._results / study.key, images, folder, self._settings.leave_out)
            names = [self._name(file) for file in files]
            if not self._queue.set_objects(study, names):
                return None
        return [self._objects / name for name in names]

    def _name(self, file: Path) -> str:
        return file.relative_to(self._objects).as_posix()

    def _pause(self, study: QueuedStudy) -> float:
        return pause_after(study.attempts, self._wait.retry_first, self._wait.retry_most)

    def _later(self, study: QueuedStudy, reason: str, seconds: float) -> None:
        logger.warning("study %s: not sent: %s", short(study.key), reason)
        if time.time() - study.since >= self._wait.give_up_hours * _SECONDS_PER_HOUR:
            self._queue.finish(study, State.FAILED, reason)
        else:
            self._queue.postpone(study, State.READ, seconds, reason, counts=seconds > 0)
