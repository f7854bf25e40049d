"""Findings as a CSV table: one line per study, to which later studies are added. Standard library only."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ..messages import MessageError
from .content import Result

IMPRESSION = "impression"
LESION_COLUMNS = ("lesion_ml", "lesion_ml_low", "lesion_ml_high")
"""Total volume with its limits; empty where no lesion is stated, or no limits were measured."""
_FIXED = (
    "study",
    "series_uid",
    "analysed",
    "status",
    "reason",
    IMPRESSION,
    "quality_warnings",
    "model",
    "model_version",
    "operating_point",
)
# What a spreadsheet would run as a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_log = logging.getLogger(__name__)


class ExportError(MessageError):
    """The table cannot be written; the message is one line for the user."""


@dataclass(frozen=True)
class ExportedStudy:
    """One line of the table: a result, the name of its study (study UID or volume name), and when it was analysed."""

    result: Result
    study: str
    analysed: datetime


def exported_study(result: Result, name: str, analysed: datetime | None = None) -> ExportedStudy:
    """Prepare the line of a result.

    Parameters
    ----------
    result : Result
        What was found, or why nothing could be.
    name : str
        Name of the volume or file, for a study without a Study Instance UID.
    analysed : datetime, optional
        With a time zone; the time of the result's file, or now, otherwise.
    """
    if analysed is None:
        file = None if result.folder is None else result.folder / "result.json"
        written = file is not None and file.is_file()
        analysed = (
            datetime.fromtimestamp(file.stat().st_mtime, timezone.utc)
            if written and file
            else datetime.now(timezone.utc)
        )
    return ExportedStudy(result, result.study.study_uid or name, analysed)


def columns(labels: Sequence[str]) -> list[str]:
    """Return the header of a table for one vocabulary of labels."""
    of_labels = [f"{label}_{value}" for label in labels for value in ("probability", "threshold", "positive")]
    return [*_FIXED, *of_labels, *LESION_COLUMNS]


def append_findings(path: Path, studies: Sequence[ExportedStudy]) -> None:
    """Add one line per study to a CSV table, which is made where there is none.

    Parameters
    ----------
    path : Path
        The table: UTF-8 with a byte order mark (so that spreadsheets read it), comma-separated. A table that an
        earlier version began keeps its columns, without volumes, and the first ones without the impression.
    studies : sequence of ExportedStudy
        All with the same labels.

    Raises
    ------
    ExportError
        If there is nothing to write, the file is no table of these columns, or it cannot be written; it is unchanged.
    """
    vocabularies = {study.result.model.labels for study in studies}
    if len(vocabularies) != 1:
        raise ExportError("table.other_labels" if studies else "table.nothing")
    header = columns(vocabularies.pop())
    try:
        new = not path.exists() or path.stat().st_size == 0
        if not new:
            header = _header_of_table(path, header)
        with path.open("a", newline="", encoding="utf-8-sig" if new else "utf-8") as file:
            writer = csv.DictWriter(file, header, extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerows(_line(study) for study in studies)
    except OSError as error:
        raise ExportError("table.not_writable", name=path.name, error=error.strerror) from error


def _header_of_table(path: Path, header: list[str]) -> list[str]:
    """Return the columns of an existing table; refuse one that has others or is incomplete."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            found = next(csv.reader(file), [])
        with path.open("rb") as raw:
            raw.seek(-1, 2)
            complete = raw.read(1) == b"\n"
    except (UnicodeDecodeError, csv.Error) as error:
        raise ExportError("table.no_table", name=path.name) from error
    without_volumes = [name for name in header if name not in LESION_COLUMNS]
    without_impression = [name for name in without_volumes if name != IMPRESSION]
    if found not in (header, without_volumes, without_impression):
        raise ExportError("table.other_columns", name=path.name)
    if not complete:
        raise ExportError("table.incomplete", name=path.name)
    if found != header:
        _log.warning("%s was begun by an earlier version: its lines keep the columns of then", path.name)
    return found


def _line(study: ExportedStudy) -> dict[str, str]:
    result = study.result
    line = {
        "study": _text(study.study),
        "series_uid": _text(result.study.series_uid or ""),
        "analysed": study.analysed.astimezone(timezone.utc).isoformat(timespec="seconds"),
        "status": "evaluated" if result.reason is None else "not_evaluable",
        "reason": _text("" if result.reason is None else result.reason.message),
        IMPRESSION: _text("" if result.impression is None else result.impression.text),
        "quality_warnings": _text(" ".join(notice.code for notice in result.study.quality)),
        "model": _text(result.model.name),
        "model_version": _text(result.model.version),
        "operating_point": _text(result.operating_point or ""),
    }
    lesions = result.stated_lesions
    if lesions is not None and lesions.volumes:
        total = lesions.volumes[0]
        values = (total.ml, total.low_ml, total.high_ml)
        line |= {
            name: "" if value is None else f"{value:.2f}" for name, value in zip(LESION_COLUMNS, values, strict=True)
        }
    for finding in result.findings:
        line[f"{finding.key}_probability"] = f"{finding.probability:.4f}"
        line[f"{finding.key}_threshold"] = "" if finding.default_threshold else f"{finding.threshold:.4f}"
        line[f"{finding.key}_positive"] = "1" if finding.positive else "0"
    return line


def _text(text: str) -> str:
    """Return a text that a spreadsheet shows as it is."""
    plain = " ".join(text.split())
    return f"'{plain}" if plain.startswith(_FORMULA) else plain
