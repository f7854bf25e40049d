"""The file of the node's queue: SQLite with full synchronisation, changed by whole transactions."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, revision INTEGER NOT NULL, settles REAL NOT NULL,
    due REAL NOT NULL, attempts INTEGER NOT NULL, interruptions INTEGER NOT NULL, since REAL NOT NULL, reason TEXT,
    ends_as TEXT, cause TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS instances (
    study TEXT NOT NULL, key TEXT NOT NULL, bytes INTEGER NOT NULL, stored INTEGER NOT NULL, PRIMARY KEY (study, key)
) STRICT;
CREATE TABLE IF NOT EXISTS objects (
    study TEXT NOT NULL, name TEXT NOT NULL, sent INTEGER NOT NULL, image TEXT, committed TEXT,
    PRIMARY KEY (study, name)
) STRICT;
CREATE TABLE IF NOT EXISTS commitments (request TEXT PRIMARY KEY, study TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS studies_by_state ON studies (state, due);
"""

_ADDED = {"studies": ("ends_as", "cause"), "objects": ("image", "committed")}
"""Columns of text that a queue of an earlier version lacks."""


class QueueDatabase:
    """An open database; all methods may be called from any thread.

    Parameters
    ----------
    file : Path
        Made if missing.
    clock : callable, optional
        Returns the time in seconds since 1970.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=30)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)
        self._add_columns()

    def _add_columns(self) -> None:
        for table, columns in _ADDED.items():
            with self._change() as database:
                present = {row[1] for row in self._ask(f"PRAGMA table_info({table})")}
                for column in set(columns) - present:
                    database.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """Change several rows whole or not at all."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself where the disk is full.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def _ask(self, question: str, *values: str | float) -> list[tuple[str, ...]]:
        with self._lock:
            return self._database.execute(question, values).fetchall()
