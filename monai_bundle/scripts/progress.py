"""Progress for whoever started the run: one line per step on standard output, ``PROGRESS <done>/<total> <stage>``."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

STEPS_PER_STUDY = 100


@dataclass
class Progress:
    """Where a run over several studies stands, and how long each stage took.

    Attributes
    ----------
    studies : int
        Number of studies in the run.
    finished : int
        Studies that are done.
    seconds : dict
        Wall time per stage of the study at hand.
    """

    studies: int = 1
    finished: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    _stage: str = ""
    _since: float = field(default_factory=time.perf_counter)

    def report(self, stage: str, percent: float) -> None:
        """Say that a stage begins or goes on.

        Parameters
        ----------
        stage : str
            Short name; time is counted under it until another stage begins.
        percent : float
            How much of the study at hand is done, 0..100.
        """
        now = time.perf_counter()
        if stage != self._stage:
            self._close(now)
            self._stage, self._since = stage, now
        done = self.finished * STEPS_PER_STUDY + min(STEPS_PER_STUDY, max(0, round(percent)))
        self._write(done, stage)

    @property
    def stage(self) -> str:
        """The stage under way; empty before the first."""
        return self._stage

    def begin_study(self) -> None:
        """Forget the times of the study before."""
        self.seconds = {}
        self._stage, self._since = "", time.perf_counter()

    def times(self) -> dict[str, float]:
        """Return the seconds of every stage so far, the one under way included."""
        now = time.perf_counter()
        self._close(now)
        self._since = now
        return dict(self.seconds)

    def finish_study(self) -> None:
        """Count the study at hand as done."""
        self.finished += 1
        self._write(self.finished * STEPS_PER_STUDY, "done")

    def _close(self, now: float) -> None:
        if self._stage:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since

    def _write(self, done: int, stage: str) -> None:
        sys.stdout.write(f"PROGRESS {done}/{self.studies * STEPS_PER_STUDY} {stage}\n")
        sys.stdout.flush()
