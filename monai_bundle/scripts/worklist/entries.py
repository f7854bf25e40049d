"""Lines of the worklist, from result folders and from the notes about studies that have none."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scripts.labels import VOCABULARIES
from scripts.output.earlier_version import brought_up_to_date
from scripts.output.folder import EARLIER_SCHEMAS, RESULT_FILE, RESULT_SCHEMA
from scripts.worklist.failures import read_failures

THUMBNAIL_FILE = "thumbnail.jpg"
"""As :mod:`scripts.output.thumbnail` names it; that file draws, and imports torch."""

Status = Literal["evaluated", "not_evaluable", "failed"]

_HAEMORRHAGES = {label.key for labels in VOCABULARIES.values() for label in labels if label.is_haemorrhage}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorklistEntry:
    """One study of the worklist.

    Attributes
    ----------
    study_id : str
        Name of the result folder; of a study without one, the name that it would have.
    folder : str or None
        Path of the result folder below that of the worklist, with ``/``; None where there is none.
    status : {"evaluated", "not_evaluable", "failed"}
        Whether the network has read it.
    impression : str
        Code of the impression's sentence; empty where the study was not read.
    certainty : str
        ``"positive"``, ``"borderline"`` or ``"negative"``; empty where the study was not read.
    text : str
        The impression, or the reason why the study was not read.
    probability : float or None
        Of any haemorrhage, 0..1.
    volume_ml : float or None
        Volume of blood that the report states (ml).
    thumbnail : bool
        Whether the folder holds one.
    """

    study_id: str
    folder: str | None
    status: Status
    impression: str
    certainty: str
    text: str
    probability: float | None = None
    volume_ml: float | None = None
    thumbnail: bool = False


def entry_of(document: dict[str, Any], folder: Path, root: Path) -> WorklistEntry:
    """Return the line of one result.

    Parameters
    ----------
    document : dict
        Content of ``result.json``, of version 1 or 2.
    folder : Path
        The result folder.
    root : Path
        Folder of the worklist, above it.
    """
    result = brought_up_to_date(document)
    place = folder.relative_to(root).as_posix()
    if result["status"] != "evaluated":
        return WorklistEntry(folder.name, place, "not_evaluable", "", "", result["reason"]["message"])
    impression = result["impression"]
    return WorklistEntry(
        study_id=folder.name,
        folder=place,
        status="evaluated",
        impression=impression["code"],
        certainty=impression["certainty"],
        text=impression["text"],
        probability=_probability(result["findings"]),
        volume_ml=_volume_ml(result.get("lesions")),
        thumbnail=(folder / THUMBNAIL_FILE).is_file(),
    )


def collect(root: Path) -> Iterator[WorklistEntry]:
    """Yield the line of every study whose result lies in a folder, or in a folder of it, and of those that failed.

    A folder with a leading dot is not finished and is passed over; so is, with a warning, one whose ``result.json`` is
    none.

    Parameters
    ----------
    root : Path
        Folder of results.
    """
    read: set[str] = set()
    for file in sorted([*root.glob(f"*/{RESULT_FILE}"), *root.glob(f"*/*/{RESULT_FILE}")]):
        if any(part.startswith(".") for part in file.relative_to(root).parts):
            continue
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            if document["schema"] not in (RESULT_SCHEMA, *EARLIER_SCHEMAS):
                raise ValueError(document["schema"])
            entry = entry_of(document, file.parent, root)
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning("%s holds no result of this program and is not listed", file.parent.name)
            continue
        read.add(entry.study_id)
        yield entry
    for name, reason in read_failures(root).items():
        if name not in read:
            yield WorklistEntry(name, None, "failed", "", "", reason)


def _probability(findings: list[dict[str, Any]]) -> float | None:
    """Return the probability of any haemorrhage; of a vocabulary without it, that of the most probable type."""
    by_key = {finding["key"]: float(finding["probability"]) for finding in findings}
    if "any" in by_key:
        return round(by_key["any"], 4)
    return round(max(value for key, value in by_key.items() if key in _HAEMORRHAGES), 4) if by_key else None


def _volume_ml(lesions: dict[str, Any] | None) -> float | None:
    if not lesions or not lesions["stated"] or not lesions["volumes"]:
        return None
    return round(float(lesions["volumes"][0]["ml"]), 2)
