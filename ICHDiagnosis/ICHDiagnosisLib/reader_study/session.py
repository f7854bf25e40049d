"""A sitting while it is read: each step goes to the journal first, so that it can be taken up again after a crash."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from enum import Enum
from typing import Protocol as TypingProtocol

from .journal import Entry
from .protocol import ANY, LABELS, SUBTYPES
from .record import CONFIDENCE, SittingRecord
from .stopwatch import Stopwatch

RESTART = "restart"
READER, WINDOW, COMPUTER, LEFT = "reader", "window", "computer", "left"
"""Why the time stands still: the reader's button, another window in front, sleep, or the sitting was left."""


class Phase(Enum):
    """What comes next."""

    SHOW = "show"
    """The images of the next study are to be shown."""
    READING = "reading"
    PAUSED = "paused"
    CONFIDENCE = "confidence"
    COMPLETE = "complete"


class StepWriter(TypingProtocol):
    """Where steps are written: a :class:`ICHDiagnosisLib.reader_study.journal.Journal`."""

    def add(self, event: str, **values: object) -> Entry:
        """Write one line and return it."""

    def close(self) -> None:
        """Write no more."""


class SittingSession:
    """Takes a reader through a sitting.

    Parameters
    ----------
    journal : StepWriter
        Of the sitting.
    record : SittingRecord
        What it says so far. A study that was being read goes on, paused, with the time that was written last.
    clock : callable
        Seconds that never run backwards.

    Attributes
    ----------
    record : SittingRecord
        What the journal says by now.
    clock : callable
        Asked by the studies that are yet to begin.
    """

    def __init__(self, journal: StepWriter, record: SittingRecord, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self.record = record
        self.clock = clock
        reading = record.current
        self._watch = Stopwatch(clock, 0.0 if reading is None else reading.seconds)
        if reading is not None and not reading.stopped:
            self._write("paused", seconds=reading.seconds, reason=RESTART)

    @property
    def phase(self) -> Phase:
        """What comes next."""
        reading = self.record.current
        if reading is not None:
            if reading.stopped:
                return Phase.CONFIDENCE
            return Phase.READING if self._watch.running else Phase.PAUSED
        return Phase.COMPLETE if self.record.complete else Phase.SHOW

    @property
    def case(self) -> str:
        """Identifier of the study at hand, or of the next one; empty when all are read."""
        reading = self.record.current
        if reading is not None:
            return reading.case
        return "" if self.record.complete else self.record.order[len(self.record.readings)]

    @property
    def position(self) -> int:
        """Place of that study in the sitting, from 1."""
        reading = self.record.current
        return reading.position if reading is not None else min(len(self.record.readings) + 1, len(self.record.order))

    @property
    def labels(self) -> frozenset[str]:
        """Findings ticked of the study at hand."""
        reading = self.record.current
        return frozenset() if reading is None else reading.labels

    @property
    def seconds(self) -> float:
        """Time spent on the study at hand, s."""
        return self._watch.seconds

    def begin_study(self) -> None:
        """Start the time: the images of the next study are in view."""
        self._require(Phase.SHOW)
        self._write("shown", at=_now())
        self._watch = Stopwatch(self.clock)
        self._watch.start()

    def count(self) -> None:
        """Write the time so far; to be called about once a second, which is what a crash can lose."""
        if self.phase is Phase.READING:
            gap = self._watch.count()
            if gap:
                self._watch.running = False
                self._write("paused", seconds=self._watch.seconds, reason=COMPUTER, gap=round(gap, 3))
            else:
                self._write("time", seconds=self._watch.seconds)

    def pause(self, reason: str) -> None:
        """Let the time stand still; nothing happens where it does already."""
        if self.phase is Phase.READING:
            self._watch.stop()
            self._write("paused", seconds=self._watch.seconds, reason=reason)

    def resume(self) -> None:
        """Let the time go on; nothing happens where it does already."""
        if self.phase is Phase.PAUSED:
            self._write("resumed", seconds=self._watch.seconds)
            self._watch.start()

    def tick(self, label: str, ticked: bool) -> frozenset[str]:
        """Tick a finding, or take the tick away; return all that are ticked.

        A subtype ticks ``any``; without ``any`` there is no subtype.

        Raises
        ------
        ValueError
            If there is no such label, or no study is being read.
        """
        self._require(Phase.READING)
        if label not in LABELS:
            raise ValueError(f"there is no label {label!r}")
        labels = set(self.labels)
        if ticked:
            labels |= {label, ANY}
        else:
            labels -= {label, *SUBTYPES} if label == ANY else {label}
        self._write("ticked", labels=sorted(labels))
        return self.labels

    def note_report(self) -> None:
        """Record that the reader opens the report of the study's result; the time runs on.

        Raises
        ------
        ValueError
            If no study is being read.
        """
        self._require(Phase.READING)
        self._write("report", seconds=self._watch.seconds)

    def stop(self) -> None:
        """Stop the time for good: the reader has finished with the study.

        Raises
        ------
        ValueError
            If no study is being read.
        """
        self._require(Phase.READING)
        self._watch.stop()
        self._write("stopped", seconds=self._watch.seconds)

    def rate(self, confidence: int) -> None:
        """Record the confidence (0 to 3), and with it the study.

        Raises
        ------
        ValueError
            If the time was not stopped before, or there is no such level.
        """
        self._require(Phase.CONFIDENCE)
        if confidence not in CONFIDENCE:
            raise ValueError(f"there is no confidence {confidence}")
        self._write("rated", confidence=confidence, at=_now())

    def leave(self) -> None:
        """Let go of the sitting; it can be taken up again where it is."""
        self.pause(LEFT)
        self._journal.close()

    def _require(self, phase: Phase) -> None:
        if self.phase is not phase:
            raise ValueError(f"the sitting stands at {self.phase.value!r}, not at {phase.value!r}")

    def _write(self, event: str, seconds: float | None = None, **values: object) -> None:
        """Write a step, then take it up: what cannot be written has not happened."""
        if seconds is not None:
            values["seconds"] = round(seconds, 3)
        self.record.apply(self._journal.add(event, **{"case": self.case, **values}))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
