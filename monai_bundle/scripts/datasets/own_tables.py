"""A user's own tables of labels: read, checked, and every fault named by its row before anything else is done."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.labels import RSNA
from scripts.messages import ExpectedError

KINDS = tuple(label.key for label in RSNA if label.key != "any")
"""The kinds of haemorrhage: ``any`` is true where one of them is."""
_VALUES = {"0": False, "1": True, "0.0": False, "1.0": True}
_ABBREVIATIONS = {
    "ich": "any",
    "edh": "epidural",
    "iph": "intraparenchymal",
    "ivh": "intraventricular",
    "sah": "subarachnoid",
    "sdh": "subdural",
}


class TableError(ExpectedError):
    """The tables cannot be used; :attr:`faults` holds one line for each fault.

    Parameters
    ----------
    faults : sequence of str
        Each names the file and the row; row 1 holds the headings, as a spreadsheet counts.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        lines = "\n  ".join(faults)
        if len(faults) == 1:
            super().__init__("datasets.tables.one", faults=lines)
        else:
            super().__init__("datasets.tables", count=len(faults), faults=lines)
        self.faults = tuple(faults)


@dataclass(frozen=True)
class StudyRow:
    """One row of the table of studies: ``labels`` holds what is known, an empty cell is left out."""

    place: str
    study: str
    patient: str
    labels: Mapping[str, bool]
    mask: str = ""


@dataclass(frozen=True)
class SliceRow:
    """One row of the table of slices; ``number`` counts from the feet, 1 is the lowest slice."""

    place: str
    study: str
    number: int
    labels: Mapping[str, bool]


@dataclass(frozen=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, Mapping[str, str]], ...]


def read_studies(path: Path, keys: Sequence[str]) -> tuple[list[StudyRow], list[str]]:
    """Read the table of studies: ``study``, label columns, and optionally ``patient`` and ``mask``.

    ``any`` follows from the kinds where it is not given, and the kinds from an ``any`` of 0.

    Parameters
    ----------
    path : Path
        CSV in UTF-8, separated by commas or semicolons.
    keys : sequence of str
        Label keys that may be columns.

    Returns
    -------
    list of StudyRow, list of str
        The rows (not to be used where there is a fault), and the faults.
    """
    table, faults = _read(path, ("study",), (*keys, "patient", "mask"))
    given = [key for key in keys if key in table.columns]
    if table.columns and not ({"any", *KINDS} & set(given)):
        faults.append(f"{path.name}, row 1: no column 'any' and none of {', '.join(KINDS)}; at least one is needed")
    rows: list[StudyRow] = []
    first: dict[str, str] = {}
    for place, cells in table.rows:
        study = cells["study"]
        if not study or study in first:
            faults.append(
                f"{place}: study '{study}' is in {first[study]} already" if study else f"{place}: no study named"
            )
        labels = _values(cells, given, place, faults)
        faults += [f"{place}: any is 0, but {kind} is 1" for kind in _contradicting(labels)]
        # A row with a wrong value is kept, so that its study and its slices are checked all the same.
        if study and study not in first:
            first[study] = place
            rows.append(StudyRow(place, study, cells.get("patient") or study, complete(labels), cells.get("mask", "")))
    if table.columns and not table.rows:
        faults.append(f"{path.name}: no study is listed")
    return rows, faults


def read_slices(path: Path, keys: Sequence[str], studies: Iterable[str]) -> tuple[list[SliceRow], list[str]]:
    """Read the table of slices: ``study``, ``slice`` and label columns, each 0 or 1.

    Parameters
    ----------
    path : Path
        CSV in UTF-8, separated by commas or semicolons.
    keys : sequence of str
        Label keys that may be columns.
    studies : iterable of str
        Names that the table of studies uses.

    Returns
    -------
    list of SliceRow, list of str
        The rows without a fault, and the faults.
    """
    table, faults = _read(path, ("study", "slice"), keys)
    given = [key for key in keys if key in table.columns]
    if table.columns and not given:
        faults.append(f"{path.name}, row 1: no label column; choose from {', '.join(keys)}")
    known = set(studies)
    first: dict[tuple[str, str], str] = {}
    rows: list[SliceRow] = []
    for place, cells in table.rows:
        found = []
        if cells["study"] not in known:
            found.append(f"{place}: study '{cells['study']}' is not in the table of studies")
        if not cells["slice"].isdecimal() or int(cells["slice"]) < 1:
            found.append(f"{place}: slice '{cells['slice']}' is no number from 1 (the lowest slice) upwards")
        which = (cells["study"], cells["slice"])
        if which in first:
            found.append(f"{place}: slice {which[1]} of study '{which[0]}' is in {first[which]} already")
        first.setdefault(which, place)
        found += [f"{place}: {key} is empty; write 0 or 1" for key in given if not cells[key]]
        labels = _values(cells, given, place, found)
        found += [f"{place}: any is 0, but {kind} is 1" for kind in _contradicting(labels)]
        faults += found
        if not found:
            rows.append(SliceRow(place, cells["study"], int(cells["slice"]), labels))
    return rows, faults


def complete(labels: Mapping[str, bool]) -> dict[str, bool]:
    """Add what follows from known labels: ``any`` from the kinds of haemorrhage, or every kind from an ``any`` of 0."""
    completed = dict(labels)
    if "any" not in labels:
        if any(labels.get(kind) for kind in KINDS):
            completed["any"] = True
        elif all(kind in labels for kind in KINDS):
            completed["any"] = False
    elif not labels["any"]:
        completed.update(dict.fromkeys(KINDS, False))
    return completed


def suggest(word: str, names: Iterable[str], prefix: str = "; did you mean ") -> str:
    """Return the end of a sentence that offers the nearest of some names, or nothing where none is near."""
    by_lower: dict[str, str] = {}
    for name in names:
        by_lower.setdefault(name.lower(), name)
    wanted = word.lower()
    near = difflib.get_close_matches(_ABBREVIATIONS.get(wanted, wanted), list(by_lower), n=1, cutoff=0.6)
    return f"{prefix}'{by_lower[near[0]]}'?" if near else ""


def _read(path: Path, needed: Sequence[str], admitted: Sequence[str]) -> tuple[_Table, list[str]]:
    empty = _Table(path.name, (), ())
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        return empty, [f"{path.name}: cannot be read ({error.strerror})"]
    except UnicodeDecodeError:
        return empty, [f"{path.name}: is not UTF-8; save it as 'CSV UTF-8'"]
    if "\0" in text or not text.strip():
        return empty, [f"{path.name}: is empty or no text; save the table as 'CSV UTF-8'"]
    separator = ";" if text.splitlines()[0].count(";") > text.splitlines()[0].count(",") else ","
    header, *lines = csv.reader(text.splitlines(keepends=True), delimiter=separator)
    columns = tuple(name.strip().lower().replace(" ", "_") for name in header)
    faults = _faults_of_columns(path.name, columns, needed, admitted)
    if faults:
        return empty, faults
    rows = []
    for number, line in enumerate(lines, start=2):
        cells = [cell.strip() for cell in line]
        place = f"{path.name}, row {number}"
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            faults.append(f"{place}: {len(cells)} cells, but {len(columns)} columns")
        elif any(cells):
            padded = [*cells, *([""] * len(columns))]
            rows.append((place, dict(zip(columns, padded, strict=False))))
    return _Table(path.name, columns, tuple(rows)), faults


def _faults_of_columns(name: str, columns: Sequence[str], needed: Sequence[str], admitted: Sequence[str]) -> list[str]:
    place = f"{name}, row 1"
    faults = [f"{place}: no column '{column}'" for column in needed if column not in columns]
    for column in dict.fromkeys(columns):
        if columns.count(column) > 1:
            faults.append(f"{place}: column '{column}' comes twice")
        if column not in (*needed, *admitted):
            remedy = suggest(column, [*needed, *admitted]) or f"; remove it (known: {', '.join((*needed, *admitted))})"
            faults.append(f"{place}: unknown column '{column}'{remedy}")
    return faults


def _values(cells: Mapping[str, str], keys: Sequence[str], place: str, faults: list[str]) -> dict[str, bool]:
    """Return the known labels of a row and add its faults."""
    known = {key: cells[key] for key in keys if cells[key]}
    faults += [
        f"{place}: {key} is '{value}', not 0, 1 or empty" for key, value in known.items() if value not in _VALUES
    ]
    return {key: _VALUES[value] for key, value in known.items() if value in _VALUES}


def _contradicting(labels: Mapping[str, bool]) -> list[str]:
    return [kind for kind in KINDS if labels.get(kind)] if labels.get("any") is False else []
