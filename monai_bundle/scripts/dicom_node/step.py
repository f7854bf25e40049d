"""One step of a study's way: claimed, worked on, and given back where the work ended early."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.dicom_node.study_queue import QueuedStudy, State, StudyQueue


class Step:
    """Claims studies that wait for a step, one at a time.

    Parameters
    ----------
    queue : StudyQueue
        Where they wait.
    waiting, working : State
        Before the step and during it.
    """

    def __init__(self, queue: StudyQueue, waiting: State, working: State) -> None:
        self._queue = queue
        self._waiting = waiting
        self._working = working
        self._lock = threading.Lock()
        self._claimed: str | None = None

    @contextmanager
    def claimed(self) -> Iterator[QueuedStudy | None]:
        """Yield the study that is next, None where none waits."""
        with self._lock:
            study = self._queue.claim(self._waiting, self._working)
            self._claimed = study.key if study else None
        try:
            yield study
        finally:
            self._claimed = None

    def put_back_stray(self) -> None:
        """Put back studies whose step ended without a state, e.g. because the disk was too full to write it."""
        with self._lock:
            for study in self._queue.studies(self._working):
                if study.key != self._claimed:
                    self._queue.postpone(study, self._waiting, 0.0, "step_not_finished", counts=False)


def pause_after(attempts: int, first: float, most: float) -> float:
    """Return the pause before the next attempt (s): the first, doubled with each failed attempt, at most the second."""
    return min(most, first * 2.0 ** min(attempts, 30))
