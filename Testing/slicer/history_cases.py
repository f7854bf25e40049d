"""Histories of earlier versions, for the tests of the history and of the panel."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ICHDiagnosisLib.history import FILE_NAME, MIGRATIONS


def begin_as_version_1(folder: Path, study: str) -> None:
    """Leave a file as the first version of the module wrote it."""
    with sqlite3.connect(folder / FILE_NAME) as connection:
        connection.executescript(f"{MIGRATIONS[0]}; PRAGMA user_version = 1;")
        row = (study, "2026-05-01T08:30:00+00:00", '[["subdural haemorrhage", 0.91, true]]', "0.1.0", "/results")
        connection.execute(
            "INSERT INTO analysis (study, date, findings, model_version, result_folder) VALUES (?, ?, ?, ?, ?)", row
        )
    connection.close()
