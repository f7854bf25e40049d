"""Who reads which study when: every worker takes the next one as soon as it is free, and a lost one is replaced.

Nothing here knows the engine behind :class:`Workers`; :mod:`scripts.triage.ray_workers` is one.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from scripts.messages import Message
from scripts.triage.sources import tasks_of_several
from scripts.triage.tasks import Limits, Outcome, Tally, Task, TriageError
from scripts.worklist.failures import write_failure

_WAIT_S = 1.0
_LOST_BEFORE_READY = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """A worker has loaded the network and can be given a study."""

    worker: int


@dataclass(frozen=True)
class Finished:
    """A worker is done with its study."""

    worker: int
    outcome: Outcome


@dataclass(frozen=True)
class Lost:
    """A worker died or cannot be reached; the engine has begun another one in its place, under the same number."""

    worker: int


class Workers(Protocol):
    """The engine: processes on any number of machines, each of which reads one study at a time."""

    def events(self, timeout_s: float) -> list[Ready | Finished | Lost]:
        """Wait for news of workers, for so long at most (s).

        Raises
        ------
        ExpectedError
            If no worker can be prepared.
        """

    def give(self, worker: int, task: Task, partial: Path) -> None:
        """Have a worker that is ready read a study; see :meth:`scripts.triage.study_reader.StudyReader.read`."""

    def replace(self, worker: int) -> None:
        """End a worker at once and begin another one in its place."""


@dataclass
class _Assignment:
    """A study in a worker's hands."""

    task: Task
    partial: Path
    since: float


class Schedule:
    """Works through tasks; see :meth:`run`.

    Parameters
    ----------
    tasks : iterable of Task
        Each with a name of its own.
    workers : Workers
        The engine.
    output : Path
        Folder of the results.
    partials : Path
        Folder for what workers write before it has its place; on the same file system.
    limits : Limits
        When to give up.
    clock : callable
        Seconds; tests have their own.

    Attributes
    ----------
    tally : Tally
        How far it is.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        workers: Workers,
        output: Path,
        partials: Path,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting = deque(tasks)
        self._workers = workers
        self._output = output
        self._partials = partials
        self._limits = limits or Limits()
        self._clock = clock
        self._names = {task.name for task in self._waiting}
        self._attempts: Counter[Task] = Counter()
        self._assigned: dict[int, _Assignment] = {}
        self._free: list[int] = []
        self._lost_before_ready = 0
        self._failures_in_a_row = 0
        self.tally = Tally(len(self._waiting))

    def run(self, report: Callable[[Tally], None] = lambda tally: None) -> Tally:
        """Read every study; no study's own fault stops the others.

        Parameters
        ----------
        report : callable
            Called whenever a study is over, and at least once a second.

        Raises
        ------
        TriageError
            If no worker can be had, or one study after the other fails, so that the fault is not theirs.
        OSError
            If it cannot be noted that a study failed.
        """
        while self._waiting or self._assigned:
            while self._free and self._waiting:
                self._give(self._free.pop(), self._waiting.popleft())
            for event in self._workers.events(_WAIT_S):
                self._take(event)
            self._end_what_hangs()
            report(self.tally)
        return self.tally

    def _give(self, worker: int, task: Task) -> None:
        partial = self._partials / uuid4().hex
        self._assigned[worker] = _Assignment(task, partial, self._clock())
        self._workers.give(worker, task, partial)

    def _take(self, event: Ready | Finished | Lost) -> None:
        if isinstance(event, Ready):
            self._lost_before_ready = 0
            self._free.append(event.worker)
        elif isinstance(event, Finished):
            assignment = self._assigned.pop(event.worker)
            self._free.append(event.worker)
            self._settle(assignment.task, event.outcome)
        else:
            self._lose(event.worker)

    def _lose(self, worker: int) -> None:
        assignment = self._assigned.pop(worker, None)
        if worker in self._free:
            self._free.remove(worker)
        if assignment is None:
            self._lost_before_ready += 1
            if self._lost_before_ready >= _LOST_BEFORE_READY:
                raise TriageError("triage.workers_die", times=self._lost_before_ready)
            return
        shutil.rmtree(assignment.partial, ignore_errors=True)
        logger.warning("%s: its worker was lost", assignment.task.name)
        self._try_again(assignment.task, Message("triage.worker_lost", times=self._limits.attempts))

    def _try_again(self, task: Task, reason: Message | str) -> None:
        """Put a study at the end, so that one that kills its workers costs the others least."""
        self._attempts[task] += 1
        if self._attempts[task] < self._limits.attempts:
            self._waiting.append(task)
        else:
            self._fail(task, reason)

    def _end_what_hangs(self) -> None:
        now = self._clock()
        for worker, assignment in list(self._assigned.items()):
            if now - assignment.since < 60 * self._limits.minutes:
                continue
            del self._assigned[worker]
            self._workers.replace(worker)
            shutil.rmtree(assignment.partial, ignore_errors=True)
            self._fail(assignment.task, Message("triage.time_limit", minutes=self._limits.minutes))

    def _settle(self, task: Task, outcome: Outcome) -> None:
        if outcome.status == "several":
            tasks = tasks_of_several(task, outcome.studies, self._names)
            self._names.update(each.name for each in tasks)
            self._waiting.extendleft(reversed(tasks))
            self.tally.total += len(tasks) - 1
            return
        if outcome.status == "failed":
            if outcome.again:
                self._try_again(task, outcome.reason)
            else:
                self._fail(task, outcome.reason)
            return
        self._failures_in_a_row = 0
        self.tally.before += outcome.before
        if outcome.status == "evaluated":
            self.tally.evaluated += 1
        else:
            self.tally.not_evaluable += 1

    def _fail(self, task: Task, reason: Message | str) -> None:
        logger.error("%s: no result: %s", task.name, reason)
        write_failure(self._output, task.name, str(reason))
        self.tally.failed += 1
        self.tally.failures[task.name] = str(reason)
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._limits.failures_in_a_row:
            raise TriageError("triage.all_fail", times=self._failures_in_a_row, reason=str(reason))
