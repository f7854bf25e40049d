"""The worklist that the bundle writes over many results (``worklist.json``). Standard library only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .content import ResultError

SCHEMA = "ich-diagnosis-worklist/1"
DATA_FILE, PAGE_FILE = "worklist.json", "worklist.html"


@dataclass(frozen=True)
class WorklistRow:
    """One study, in the order of urgency.

    Attributes
    ----------
    study_id : str
        Name of its result folder.
    folder : Path or None
        The result folder; None where the study has none.
    urgency : str
        ``"likely"``, ``"possible"``, ``"other"``, ``"unread"`` or ``"negative"``.
    """

    study_id: str
    folder: Path | None
    urgency: str


def read_worklist(folder: Path) -> tuple[WorklistRow, ...]:
    """Read the worklist of a folder of results, the most urgent study first.

    Raises
    ------
    ResultError
        If there is none, or another version wrote it.
    """
    try:
        content = json.loads((folder / DATA_FILE).read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(content["schema"])
        return tuple(
            WorklistRow(
                study_id=str(row["study_id"]),
                folder=None if row["folder"] is None else folder / str(row["folder"]),
                urgency=str(row["urgency"]),
            )
            for row in content["rows"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultError("result.no_worklist", folder=folder.name) from error
