"""The worklist that the bundle writes over many results (``worklist.json``). Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .content import ResultError

SCHEMA = "ich-diagnosis-worklist/1"
DATA_FILE, PAGE_FILE = "worklist.json", "worklist.html"
_PLACES = ".triage/places"
_ARCHIVE_SCHEMES = ("http://", "https://")


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
    text : str
        The impression, or the reason why the study was not read.
    """

    study_id: str
    folder: Path | None
    urgency: str
    text: str = ""


@dataclass(frozen=True)
class StudyPlace:
    """Where a triage found the files of a study.

    Attributes
    ----------
    path : Path or None
        File or folder; None for a study that came from an archive.
    """

    path: Path | None


def read_worklist(folder: Path) -> tuple[WorklistRow, ...]:
    """Read the worklist of a folder of results, the most urgent study first.

    Raises
    ------
    ResultError
        If there is none, another version wrote it, or it names a folder that is not below its own.
    """
    try:
        content = json.loads((folder / DATA_FILE).read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(content["schema"])
        return tuple(_row(row, folder) for row in content["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultError("result.no_worklist", folder=folder.name) from error


def study_place(folder: Path, study_id: str) -> StudyPlace | None:
    """Return where a triage into this folder found a study; None where no triage tells.

    Parameters
    ----------
    folder : Path
        Of the worklist.
    study_id : str
        Name of the result folder.
    """
    name = hashlib.sha256(study_id.encode(errors="surrogateescape")).hexdigest()[:32]
    try:
        note = json.loads((folder / _PLACES / f"{name}.json").read_text(encoding="utf-8"))
        place = str(note["place"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return StudyPlace(None if place.startswith(_ARCHIVE_SCHEMES) else Path(place))


def _row(row: Mapping[str, Any], folder: Path) -> WorklistRow:
    place = None if row["folder"] is None else folder / str(row["folder"])
    if place is not None and not place.resolve().is_relative_to(folder.resolve()):
        raise ValueError(row["folder"])
    return WorklistRow(
        study_id=str(row["study_id"]), folder=place, urgency=str(row["urgency"]), text=str(row.get("text", ""))
    )
