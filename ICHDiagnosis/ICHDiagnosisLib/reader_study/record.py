"""What a journal says of a sitting: who read, in which order, and of every study the findings, time and confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .journal import Entry, JournalError
from .protocol import LABELS, Sitting

JOURNAL_SCHEMA = "ich-reader-study-journal/1"
CONFIDENCE = range(4)
"""The paper's four levels (section VI.B): 0 completely uncertain, 1 slightly certain, 2 highly probable, 3 certain."""


@dataclass
class Reading:
    """One study as one reader has read it in one sitting.

    Attributes
    ----------
    case : str
        Identifier of the case.
    position : int
        Its place in the order of the sitting, from 1.
    seconds : float
        Time with the images in view and the window in front; rating is not part of it (section VI.B).
    pauses : int
        How often the time stood still: by the reader, the window, or a restart.
    reports : int
        How often the report of the result was opened.
    labels : frozenset of str
        Ticked findings, ``any`` with every subtype.
    running : bool
        Whether the time ran when the journal was written last.
    stopped : bool
        Whether the reader has finished; the time stands then and findings stay.
    confidence : int or None
        0 to 3; None before it was given.
    """

    case: str
    position: int
    seconds: float = 0.0
    pauses: int = 0
    reports: int = 0
    labels: frozenset[str] = frozenset()
    running: bool = True
    stopped: bool = False
    confidence: int | None = None


@dataclass
class SittingRecord:
    """One sitting of one reader.

    Attributes
    ----------
    participant : str
        Pseudonym.
    sitting : Sitting
        Without or with AI.
    protocol_digest : str
        Of the reader study that was read.
    seed : int
        From which the order was drawn.
    order : tuple of str
        Identifiers of the cases.
    begun : datetime
        With a time zone.
    override_reason : str
        Why the second sitting began before the wash-out was over; empty where it did not.
    readings : list of Reading
        Those that were begun, in the order of the sitting; only the last one can lack its confidence.
    ended : datetime or None
        When the last study was rated; None while the sitting is not complete.
    """

    participant: str
    sitting: Sitting
    protocol_digest: str
    seed: int
    order: tuple[str, ...]
    begun: datetime
    override_reason: str = ""
    readings: list[Reading] = field(default_factory=list)
    ended: datetime | None = None

    @property
    def complete(self) -> bool:
        """Whether every study was rated."""
        return len(self.finished) == len(self.order)

    @property
    def finished(self) -> tuple[Reading, ...]:
        """Studies with their confidence."""
        return tuple(reading for reading in self.readings if reading.confidence is not None)

    @property
    def current(self) -> Reading | None:
        """The study that was begun and not rated."""
        return self.readings[-1] if self.readings and self.readings[-1].confidence is None else None

    def apply(self, entry: Entry) -> None:
        """Take up one line of the journal.

        Raises
        ------
        ValueError
            If it does not follow from those before.
        """
        event = entry["event"]
        if event == "shown":
            self._begin_study(entry["case"])
            return
        reading = self.current
        if reading is None or entry["case"] != reading.case:
            raise ValueError(f"{event} of a study that is not read")
        if event == "rated":
            self._rate(reading, entry)
        elif reading.stopped:
            raise ValueError(f"{event} after the time was stopped")
        elif event == "ticked":
            reading.labels = _known(entry["labels"])
        elif event in ("time", "report", "paused", "resumed", "stopped"):
            reading.seconds = _seconds(entry["seconds"], reading.seconds)
            reading.pauses += event == "paused" and reading.running
            reading.reports += event == "report"
            reading.running = event in ("time", "report", "resumed")
            reading.stopped = event == "stopped"
        else:
            raise ValueError(f"unknown event {event}")

    def _begin_study(self, case: str) -> None:
        place = len(self.readings)
        if self.current is not None or place >= len(self.order) or self.order[place] != case:
            raise ValueError("a study was begun out of its order")
        self.readings.append(Reading(case, place + 1))

    def _rate(self, reading: Reading, entry: Entry) -> None:
        if not reading.stopped or entry["confidence"] not in CONFIDENCE:
            raise ValueError("a confidence before the time was stopped, or none of 0 to 3")
        reading.confidence = entry["confidence"]
        if self.complete:
            self.ended = _moment(entry["at"])


def record_of(entries: Sequence[Entry], path: Path) -> SittingRecord:
    """Return what a journal says.

    Raises
    ------
    JournalError
        If it is empty, of another version, or a line contradicts those before it.
    """
    if not entries or entries[0].get("schema") != JOURNAL_SCHEMA:
        raise JournalError("journal.no_sitting", name=path.name)
    try:
        first = entries[0]
        record = SittingRecord(
            participant=str(first["participant"]),
            sitting=Sitting(first["sitting"]),
            protocol_digest=str(first["protocol_sha256"]),
            seed=int(first["seed"]),
            order=tuple(map(str, first["order"])),
            begun=_moment(first["at"]),
            override_reason=str(first["override_reason"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise JournalError("journal.contradiction", name=path.name, line=1, error=error) from error
    for number, entry in enumerate(entries[1:], start=2):
        try:
            record.apply(entry)
        except (KeyError, ValueError, TypeError) as error:
            raise JournalError("journal.contradiction", name=path.name, line=number, error=error) from error
    return record


def _known(labels: Sequence[str]) -> frozenset[str]:
    if not set(labels) <= set(LABELS):
        raise ValueError("an unknown label was ticked")
    return frozenset(labels)


def _seconds(value: float, before: float) -> float:
    if not before - 0.01 <= value < 1e6:
        raise ValueError("the time ran backwards")
    return float(value)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a date without a time zone")
    return moment
