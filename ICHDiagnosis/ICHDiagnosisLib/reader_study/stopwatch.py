"""The time that a reader has spent on a study, without what interrupted it. The computer's clock is not asked."""

from __future__ import annotations

from collections.abc import Callable

LONGEST_GAP = 30.0
"""Seconds. A clock that was not asked for longer stood still: the computer slept, or the application hung."""


class Stopwatch:
    """Adds up seconds while it runs, in short steps.

    Parameters
    ----------
    clock : callable
        Returns seconds that never run backwards (``time.monotonic``).
    seconds : float
        What was counted before.

    Attributes
    ----------
    seconds : float
        Counted so far, as of the last call of :meth:`count`.
    running : bool
        Whether it counts.
    """

    def __init__(self, clock: Callable[[], float], seconds: float = 0.0) -> None:
        self._clock = clock
        self._last = 0.0
        self.seconds = seconds
        self.running = False

    def start(self) -> None:
        """Count from now on."""
        self._last, self.running = self._clock(), True

    def count(self) -> float:
        """Add the time since the last call; return the length (s) of a gap that was left out, else 0."""
        if not self.running:
            return 0.0
        now = self._clock()
        step, self._last = now - self._last, now
        if step > LONGEST_GAP:
            return step
        self.seconds += step
        return 0.0

    def stop(self) -> float:
        """Count no more; return the length (s) of a gap that was left out, else 0."""
        gap = self.count()
        self.running = False
        return gap
