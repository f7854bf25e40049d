"""CQ500's table of reads: three radiologists' findings per study, decided by the majority."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

READERS = ("R1", "R2", "R3")
MAJORITY = 2
_COLUMNS = {
    "any": "ICH",
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subdural": "SDH",
    "epidural": "EDH",
    "subarachnoid": "SAH",
    "calvarial_fracture": "CalvarialFracture",
    "mass_effect": "MassEffect",
    "midline_shift": "MidlineShift",
}
_NAME = re.compile(r"CQ500-CT-(\d+)")


def read_votes(path: Path) -> dict[int, dict[str, bool]]:
    """Return the labels of each study, by its number.

    Parameters
    ----------
    path : Path
        The release's ``reads.csv``: ``name`` (``CQ500-CT-<n>``), and per reader R1 to R3 columns such as ``R1:ICH``.

    Returns
    -------
    dict
        Number to label key to whether at least two of the three readers saw it (Chilamkurthy 2018).

    Raises
    ------
    FileNotFoundError
        If there is no table.
    ValueError
        If a column is missing, a name is no study's or comes twice, or a vote is neither 0 nor 1; one line that names
        the file and the row (row 1 holds the headings).
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name}: CQ500's table of reads is needed; download it beside the studies")
    votes: dict[int, dict[str, bool]] = {}
    with path.open(encoding="utf-8-sig", newline="") as table:
        rows = csv.DictReader(table)
        wanted = ["name", *(f"{reader}:{column}" for column in _COLUMNS.values() for reader in READERS)]
        missing = [column for column in wanted if column not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(f"{path.name}: no column {', '.join(missing[:3])}; give the table as it was released")
        for number, row in enumerate(rows, start=2):
            place = f"{path.name}, row {number}"
            name = _NAME.fullmatch((row["name"] or "").strip())
            if name is None:
                raise ValueError(f"{place}: name {row['name']!r}, CQ500-CT-<number> needed")
            if int(name[1]) in votes:
                raise ValueError(f"{place}: {name[0]} comes twice")
            votes[int(name[1])] = {key: _decide(row, column, place) for key, column in _COLUMNS.items()}
    return votes


def _decide(row: Mapping[str, str | None], column: str, place: str) -> bool:
    given = [(row[f"{reader}:{column}"] or "").strip() for reader in READERS]
    if any(vote not in ("0", "1") for vote in given):
        raise ValueError(f"{place}: votes {', '.join(map(repr, given))} for {column}, each must be 0 or 1")
    return given.count("1") >= MAJORITY
