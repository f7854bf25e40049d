"""Past analyses in an SQLite file of the user's settings folder. Standard library only.

Kept per analysis: what it was given as the study's name (study UID or volume name), when, impression, findings, model
version, result folder, and where the CT's files lie. No patient names: none is passed in, though a path holds what
files are called. Several Slicers may use the file at once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from .messages import MessageError, message

FILE_NAME = "ICHDiagnosisHistory.sqlite"
_LOCK_SECONDS = 10.0
# One script per schema version: a file of version n gets the scripts from n on. Never change one that was released.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE analysis (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        study TEXT NOT NULL,
        date TEXT NOT NULL,
        findings TEXT NOT NULL,
        model_version TEXT NOT NULL,
        result_folder TEXT NOT NULL
    );
    CREATE INDEX analysis_by_date ON analysis (date);
    """,
    "ALTER TABLE analysis ADD COLUMN impression TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE analysis ADD COLUMN ct_place TEXT NOT NULL DEFAULT ''",
)
_COLUMNS = "id, study, date, impression, findings, model_version, result_folder, ct_place"


class HistoryError(MessageError):
    """The history cannot be used; the analysis itself is not concerned."""


@dataclass(frozen=True)
class PastFinding:
    """One finding as it was written."""

    name: str
    probability: float
    positive: bool


@dataclass(frozen=True)
class PastAnalysis:
    """One analysis of the history.

    Attributes
    ----------
    identifier : int
        Number in the history; never given twice.
    study : str
        Study UID or volume name.
    date : datetime
        When it was recorded, with the time zone (UTC).
    impression : str
        The result in one sentence, as it was written; empty where an earlier version recorded the analysis.
    findings : tuple of PastFinding
        In the order in which they were written.
    model_version : str
        Version of the model.
    result_folder : Path
        Where the results were.
    ct_place : Path or None
        File or folder of the CT; None where it is not known.
    """

    identifier: int
    study: str
    date: datetime
    impression: str
    findings: tuple[PastFinding, ...]
    model_version: str
    result_folder: Path
    ct_place: Path | None = None

    @property
    def can_be_opened(self) -> bool:
        """Whether the result folder still exists."""
        return (self.result_folder / "result.json").is_file()


class History:
    """The list of past analyses.

    Parameters
    ----------
    folder : Path
        The user's settings folder; the file is made with the first record.
    enabled : bool
        The setting: when off, nothing is recorded (what is there can still be listed and deleted).

    Attributes
    ----------
    notice : str or None
        What the user should know once: a damaged history was set aside.
    """

    def __init__(self, folder: Path, enabled: bool = True) -> None:
        self.file = folder / FILE_NAME
        self.enabled = enabled
        self.notice: str | None = None

    def record(
        self,
        study: str,
        impression: str,
        findings: Sequence[PastFinding],
        model_version: str,
        result_folder: Path,
        date: datetime | None = None,
        ct_place: Path | None = None,
    ) -> int | None:
        """Add one analysis.

        Parameters
        ----------
        study : str
            Study UID or volume name; never a patient's name.
        impression : str
            The result in one sentence.
        findings : sequence of PastFinding
            What was found.
        model_version : str
            Version of the model.
        result_folder : Path
            Where the results are.
        date : datetime, optional
            With a time zone; now otherwise.
        ct_place : Path, optional
            File or folder of the CT, where it has one.

        Returns
        -------
        int or None
            Its number; None where the history is switched off.

        Raises
        ------
        HistoryError
            If the file cannot be written.
        ValueError
            If the date has no time zone.
        """
        if not self.enabled:
            return None
        date = date or datetime.now(timezone.utc)
        if date.tzinfo is None:
            raise ValueError("the date of an analysis needs a time zone")
        kept = [[finding.name, finding.probability, finding.positive] for finding in findings]
        with self._open() as connection:
            row = connection.execute(
                "INSERT INTO analysis (study, date, impression, findings, model_version, result_folder, ct_place)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    study,
                    date.astimezone(timezone.utc).isoformat(timespec="seconds"),
                    impression,
                    json.dumps(kept, ensure_ascii=False),
                    model_version,
                    str(result_folder),
                    "" if ct_place is None else str(ct_place),
                ),
            )
            return row.lastrowid

    def search(self, text: str = "") -> tuple[PastAnalysis, ...]:
        """List past analyses, the latest first.

        Parameters
        ----------
        text : str
            Words that must all occur, in any case, in study, date, impression, model version or the name of a positive
            finding.

        Returns
        -------
        tuple of PastAnalysis
            Empty where nothing was ever recorded.

        Raises
        ------
        HistoryError
            If the file cannot be read.
        """
        if not self.file.exists():
            return ()
        with self._open() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM analysis ORDER BY date DESC, id DESC").fetchall()
        # In Python, for SQLite compares without case in ASCII only.
        words = text.casefold().split()
        analyses = (_analysis(row) for row in rows)
        return tuple(analysis for analysis in analyses if all(word in _searchable(analysis) for word in words))

    def of_result(self, result_folder: Path) -> PastAnalysis | None:
        """Return the latest analysis whose results lie in a folder; None where none is recorded.

        Raises
        ------
        HistoryError
            If the file cannot be read.
        """
        if not self.file.exists():
            return None
        with self._open() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM analysis WHERE result_folder = ? ORDER BY id DESC", (str(result_folder),)
            ).fetchone()
        return None if row is None else _analysis(row)

    def delete(self, identifier: int) -> None:
        """Forget one analysis; its result folder stays. Unknown numbers are ignored.

        Raises
        ------
        HistoryError
            If the file cannot be written.
        """
        if self.file.exists():
            with self._open() as connection:
                connection.execute("DELETE FROM analysis WHERE id = ?", (identifier,))

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction, up to date; set it aside and begin anew where it is damaged."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            connection = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise HistoryError("history.not_opened", error=error) from error
        try:
            with connection:
                yield connection
        except sqlite3.Error as error:
            raise HistoryError("history.not_usable", error=error) from error
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._connect_and_migrate()
        except sqlite3.DatabaseError as error:
            # Its sub-classes are about a lock, a full disk or a program's mistake, not about damage.
            if type(error) is not sqlite3.DatabaseError:
                raise
            self._set_aside()
        return self._connect_and_migrate()

    def _connect_and_migrate(self) -> sqlite3.Connection:
        self.file.touch(mode=0o600, exist_ok=True)
        connection = sqlite3.connect(self.file, timeout=_LOCK_SECONDS, isolation_level=None)
        try:
            # What is deleted is overwritten on disk as well.
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("BEGIN IMMEDIATE")
            self._migrate(connection)
            damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if damage != "ok":
                raise sqlite3.DatabaseError(damage)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Bring the schema up to date inside the transaction that was begun, so that only one process does it."""
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise HistoryError("history.newer")
        for script in MIGRATIONS[version:]:
            for statement in filter(None, (part.strip() for part in script.split(";"))):
                connection.execute(statement)
        if version < len(MIGRATIONS):
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _set_aside(self) -> None:
        now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%f")
        aside = self.file.with_name(f"{self.file.stem}-damaged-{now}{self.file.suffix}")
        self.file.replace(aside)
        self.notice = message("history.damaged", name=aside.name)
        logging.warning("the history was damaged and a new one was begun; the old file is kept as %s", aside.name)


def _analysis(row: tuple[int, str, str, str, str, str, str, str]) -> PastAnalysis:
    identifier, study, date, impression, findings, model_version, result_folder, ct_place = row
    try:
        kept = tuple(PastFinding(str(name), float(value), bool(is_on)) for name, value, is_on in json.loads(findings))
        recorded = datetime.fromisoformat(date)
        place = Path(ct_place) if ct_place else None
        return PastAnalysis(identifier, study, recorded, impression, kept, model_version, Path(result_folder), place)
    except (ValueError, TypeError) as error:
        raise HistoryError("history.entry", number=identifier, error=error) from error


def _searchable(analysis: PastAnalysis) -> str:
    positive = [finding.name for finding in analysis.findings if finding.positive]
    parts = [analysis.study, analysis.date.isoformat(), analysis.impression, analysis.model_version, *positive]
    return "\n".join(parts).casefold()
