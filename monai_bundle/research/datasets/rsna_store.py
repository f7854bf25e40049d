"""The index of RSNA's files on disk: an SQLite database with one row per file."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from research.datasets.rsna_headers import FileState, IndexedFile
from scripts.intake.study import IntakeError

VERSION = 1

_SCHEMA = f"""
CREATE TABLE file (
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    patient TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    header TEXT NOT NULL,
    fault TEXT
);
CREATE TABLE state (complete INTEGER NOT NULL);
INSERT INTO state VALUES (0);
PRAGMA user_version = {VERSION};
"""
# File names are random: a table or an index sorted by them would be rewritten all over with every commit. Rows are
# appended instead, and whatever is sorted is sorted once.
_SEARCH = """
PRAGMA temp_store = FILE;
DROP TABLE IF EXISTS temp.present;
DROP TABLE IF EXISTS temp.unchanged;
CREATE TEMP TABLE present (number INTEGER PRIMARY KEY, name TEXT, size INTEGER, modified_ns INTEGER);
CREATE TEMP TABLE unchanged (number INTEGER PRIMARY KEY, row INTEGER);
"""
_FIND_UNCHANGED = """
INSERT OR IGNORE INTO unchanged
SELECT present.number, file.rowid FROM file CROSS JOIN present
WHERE present.name = file.name AND present.size = file.size AND present.modified_ns = file.modified_ns
"""
_WAITING = """
SELECT number, name, size, modified_ns FROM present
WHERE number > ? AND number NOT IN (SELECT number FROM unchanged) ORDER BY number LIMIT ?
"""
_COLUMNS = "name, size, modified_ns, patient, series_uid, header, fault"


class HeaderStore:
    """The rows of one index; made by :func:`open_store`.

    Nothing is held in memory: which files are there and which wait to be read is kept in temporary tables on disk.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def compare(self, states: Iterable[FileState]) -> tuple[int, int, int]:
        """Note which files are there now, forget those that have gone, and list those that are new or have changed.

        Returns
        -------
        tuple of int
            Number of files there, of files forgotten, and of files to be read.
        """
        run = self._connection.execute
        self._connection.executescript(_SEARCH)
        rows = ((state.name, state.size, state.modified_ns) for state in states)
        self._connection.executemany("INSERT INTO present (name, size, modified_ns) VALUES (?, ?, ?)", rows)
        there = self._count("SELECT count(*) FROM present")
        if there == 0:
            return 0, 0, 0
        run("CREATE INDEX temp.by_name ON present (name)")
        run(_FIND_UNCHANGED)
        waiting = there - self._count("SELECT count(*) FROM unchanged")
        gone = self._count("SELECT count(*) FROM file WHERE name NOT IN (SELECT name FROM present)")
        if waiting or gone:
            run("UPDATE state SET complete = 0")
            run("DROP INDEX IF EXISTS series")
            run("CREATE TEMP TABLE kept AS SELECT row FROM unchanged ORDER BY row")
            run("DELETE FROM file WHERE rowid NOT IN (SELECT row FROM kept)")
            run("DROP TABLE kept")
        self._connection.commit()
        return there, gone, waiting

    def waiting(self, at_once: int) -> Iterator[list[FileState]]:
        """List the files that are to be read, in the order of the folder, so many at a time."""
        last = 0
        while rows := self._connection.execute(_WAITING, (last, at_once)).fetchall():
            last = rows[-1][0]
            yield [FileState(*row[1:]) for row in rows]

    def add(self, rows: Sequence[IndexedFile]) -> None:
        """Write the rows of files that were waiting, so that they outlast this process."""
        values = [
            (
                *(row.state.name, row.state.size, row.state.modified_ns),
                row.patient,
                row.series_uid,
                row.header,
                row.fault,
            )
            for row in rows
        ]
        with self._connection:
            self._connection.executemany(f"INSERT INTO file ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def finish(self) -> None:
        """Say that every file is in the index."""
        with self._connection:
            self._connection.execute("CREATE INDEX IF NOT EXISTS series ON file (series_uid, name)")
            self._connection.execute("UPDATE state SET complete = 1")

    @property
    def is_complete(self) -> bool:
        """Whether the last run of the index came to its end."""
        return bool(self._count("SELECT complete FROM state"))

    @property
    def files(self) -> int:
        """Number of files, those with a fault included."""
        return self._count("SELECT count(*) FROM file")

    def series(self) -> Iterator[list[IndexedFile]]:
        """Go through the files without a fault, series by series."""
        query = f"SELECT {_COLUMNS} FROM file WHERE fault IS NULL ORDER BY series_uid, name"
        rows = (_row(values) for values in self._connection.execute(query))
        for _, group in itertools.groupby(rows, key=lambda row: row.series_uid):
            yield list(group)

    def faults(self) -> Iterator[IndexedFile]:
        """Go through the files that cannot be read."""
        query = f"SELECT {_COLUMNS} FROM file WHERE fault IS NOT NULL ORDER BY name"
        yield from map(_row, self._connection.execute(query))

    def _count(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])


@contextmanager
def open_store(path: str | Path, create: bool = False) -> Iterator[HeaderStore]:
    """Open an index.

    Parameters
    ----------
    path : path
        The database.
    create : bool
        Whether to make it, and its folder, where there is none, and to keep others from writing to it meanwhile.

    Raises
    ------
    IntakeError
        If there is no index, another process is writing to it, or it is none of this version.
    """
    file = Path(path)
    if not file.is_file() and not create:
        command = "python -m research.datasets.rsna_index"
        raise IntakeError("index.missing", name=file.name, command=command)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(file)) as connection:
            if create:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            _prepare(connection, file.name)
            yield HeaderStore(connection)
    except sqlite3.Error as error:
        raise IntakeError("index.unusable", name=file.name, fault=str(error)) from error


def _prepare(connection: sqlite3.Connection, name: str) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if empty:
        connection.executescript(_SCHEMA)
    elif version != VERSION:
        raise IntakeError("index.version", name=name, version=VERSION)


def _row(values: Sequence[str | int | None]) -> IndexedFile:
    name, size, modified_ns, patient, series_uid, header, fault = values
    state = FileState(str(name), int(size or 0), int(modified_ns or 0))
    return IndexedFile(state, str(patient), str(series_uid), str(header), None if fault is None else str(fault))
