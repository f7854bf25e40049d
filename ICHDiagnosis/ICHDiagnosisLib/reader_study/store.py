"""The folder of a reader study: the protocol, and one journal per reader and sitting.

``protocol.json``, ``readers/<pseudonym>/without_ai.jsonl`` and ``readers/<pseudonym>/with_ai.jsonl``. A reader is a
pseudonym of letters and a number (``R01``); who it is stands nowhere in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

from ..messages import MessageError
from .journal import Journal, read_entries
from .protocol import Protocol, Sitting, new_seed, read_protocol, shuffled
from .record import JOURNAL_SCHEMA, SittingRecord, record_of
from .session import SittingSession

READERS_FOLDER = "readers"
# A number in it keeps names out: nobody's name ends in one.
_PSEUDONYM = re.compile(r"[A-Z]{1,8}[0-9]{1,4}")


class SittingError(MessageError):
    """The sitting cannot begin; the message is one line for the user."""


@dataclass(frozen=True)
class Washout:
    """The interval before a second sitting.

    Attributes
    ----------
    earliest : date
        First day, in the computer's time zone, on which it may begin.
    over : bool
        Whether that day has come.
    """

    earliest: date
    over: bool


class StudyStore:
    """A reader study on the disk.

    Parameters
    ----------
    folder : Path
        Of the reader study.

    Raises
    ------
    ProtocolError
        If there is no reader study in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.protocol: Protocol = read_protocol(folder)

    @property
    def participants(self) -> tuple[str, ...]:
        """Pseudonyms of those who have begun, in the order of the alphabet."""
        readers = self.folder / READERS_FOLDER
        names = (path.name for path in readers.iterdir() if path.is_dir()) if readers.is_dir() else ()
        return tuple(sorted(name for name in names if _PSEUDONYM.fullmatch(name)))

    def record(self, participant: str, sitting: Sitting) -> SittingRecord | None:
        """Return what a reader's journal says; None where the sitting was never begun.

        Raises
        ------
        SittingError
            If the participant is no pseudonym, or the journal belongs to another reader study.
        JournalError
            If it is damaged.
        """
        path = self._journal_path(participant, sitting)
        if not path.exists():
            return None
        entries = read_entries(path)
        # A crash between making the file and its first line leaves a sitting that was never begun.
        return self._checked(record_of(entries, path)) if entries else None

    def washout(self, participant: str, today: date | None = None) -> Washout:
        """Return from when on a reader may begin the second sitting.

        It is counted from the end of the first sitting, where the paper counts from its start (section VI.B).

        Raises
        ------
        SittingError
            If the first sitting is not complete.
        """
        first = self.record(participant, Sitting.WITHOUT_AI)
        if first is None or first.ended is None:
            raise SittingError("sitting.first_incomplete", participant=participant)
        earliest = first.ended.astimezone().date() + timedelta(weeks=self.protocol.washout_weeks)
        return Washout(earliest, (today or datetime.now().astimezone().date()) >= earliest)

    def open_sitting(
        self, participant: str, sitting: Sitting, override_reason: str = "", today: date | None = None
    ) -> SittingSession:
        """Begin a sitting, or take it up where it was left.

        Parameters
        ----------
        participant : str
            Pseudonym.
        sitting : Sitting
            Without AI first.
        override_reason : str
            Why a second sitting begins before the wash-out is over; recorded.
        today : date, optional
            The computer's date otherwise.

        Raises
        ------
        SittingError
            If the participant is no pseudonym, the sitting is complete, the first one is not, or it is too early and
            no reason is given.
        JournalError
            If the journal cannot be read or written.
        """
        reason = self.check_sitting(participant, sitting, override_reason, today)
        path = self._journal_path(participant, sitting)
        journal = Journal(path)
        try:
            if not journal.entries:
                self._write_beginning(journal, participant, sitting, reason)
            return SittingSession(journal, self._checked(record_of(journal.entries, path)))
        except BaseException:
            journal.close()
            raise

    def check_sitting(
        self, participant: str, sitting: Sitting, override_reason: str = "", today: date | None = None
    ) -> str:
        """Check whether a sitting may begin or go on; return the reason that is to be recorded with its beginning.

        Raises
        ------
        SittingError, JournalError
            As :meth:`open_sitting`.
        """
        record = self.record(participant, sitting)
        if record is not None and record.complete:
            raise SittingError("sitting.complete", participant=participant, sitting=sitting.label())
        if record is not None or sitting is Sitting.WITHOUT_AI:
            return ""
        washout = self.washout(participant, today)
        if washout.over:
            return ""
        if not override_reason.strip():
            raise SittingError("sitting.too_early", earliest=washout.earliest.isoformat())
        return override_reason.strip()

    def _write_beginning(self, journal: Journal, participant: str, sitting: Sitting, reason: str) -> None:
        seed = new_seed()
        journal.add(
            "sitting",
            schema=JOURNAL_SCHEMA,
            participant=participant,
            sitting=sitting.value,
            protocol_sha256=self.protocol.digest,
            seed=seed,
            order=list(shuffled([case.identifier for case in self.protocol.cases], seed)),
            override_reason=reason,
            at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def _checked(self, record: SittingRecord) -> SittingRecord:
        if record.protocol_digest != self.protocol.digest:
            raise SittingError("sitting.other_protocol", participant=record.participant)
        return record

    def _journal_path(self, participant: str, sitting: Sitting) -> Path:
        if not _PSEUDONYM.fullmatch(participant):
            raise SittingError("sitting.no_pseudonym")
        return self.folder / READERS_FOLDER / participant / f"{sitting.value}.jsonl"
