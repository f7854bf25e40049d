"""The reference standard of a reader study, from a CSV table: one line per study, one column per label."""

from __future__ import annotations

import csv
from pathlib import Path

from .protocol import ANY, LABELS, SUBTYPES, ProtocolError

STUDY_COLUMN, SERIES_COLUMN = "study", "series"
_VALUES = {"0": False, "1": True, "no": False, "yes": True}


def read_truth(path: Path) -> dict[str, frozenset[str]]:
    """Read the labels of every study.

    Parameters
    ----------
    path : Path
        UTF-8, comma-separated. Column ``study`` holds the name of the file or folder, with or without its ending; the
        columns ``epidural``, ``intraparenchymal``, ``intraventricular``, ``subarachnoid`` and ``subdural`` hold 0 or 1
        (``no``, ``yes``), and so does ``any`` where it is there. Other columns are ignored here;
        :func:`read_series_names` reads one of them.

    Returns
    -------
    dict of str to frozenset of str
        Labels that are present.

    Raises
    ------
    ProtocolError
        If the file cannot be read, lacks a column, states a study twice, holds another value, or says that there is a
        subtype and no haemorrhage.
    """
    truth: dict[str, frozenset[str]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = [name for name in LABELS if name in (table.fieldnames or ())]
            missing = [name for name in (STUDY_COLUMN, *SUBTYPES) if name not in (table.fieldnames or ())]
            if missing:
                raise ProtocolError("truth.no_column", name=path.name, columns=", ".join(missing))
            for line in table:
                study = (line[STUDY_COLUMN] or "").strip()
                if not study or study in truth:
                    raise ProtocolError("truth.study_twice", name=path.name, line=table.line_num, study=study)
                truth[study] = _labels(line, columns, path.name, table.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ProtocolError("truth.unreadable", name=path.name, error=error) from error
    return truth


def read_series_names(path: Path) -> dict[str, str]:
    """Return which series of a study is to be read, where the table has a column ``series`` that names one.

    Parameters
    ----------
    path : Path
        A table that :func:`read_truth` reads.

    Returns
    -------
    dict of str to str
        UID, number or description of the series, by the study's name; studies without one are left out.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [(line[STUDY_COLUMN], line.get(SERIES_COLUMN)) for line in csv.DictReader(file)]
    return {study.strip(): name.strip() for study, name in lines if name and name.strip()}


def _labels(line: dict[str, str], columns: list[str], name: str, number: int) -> frozenset[str]:
    found = set()
    for column in columns:
        value = (line[column] or "").strip().lower()
        if value not in _VALUES:
            raise ProtocolError("truth.value", name=name, line=number, column=column, value=value)
        if _VALUES[value]:
            found.add(column)
    if ANY in columns and ANY not in found and found:
        raise ProtocolError("truth.contradiction", name=name, line=number)
    return frozenset(found)
