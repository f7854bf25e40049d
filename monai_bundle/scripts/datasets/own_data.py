"""A user's own scans: a folder of studies and one table of labels, checked before training.

    python -m scripts.datasets.own_data <folder> <labels.csv> [--slices slices.csv] [--folds 5]

reads every study, prints what training will see, and ends with 0, or with 1 where something must be corrected.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.cache import Cache
from scripts.datasets.datalist import as_datalist
from scripts.datasets.own_studies import OwnScan, match_studies
from scripts.datasets.own_tables import KINDS, SliceRow, StudyRow, TableError, read_slices, read_studies
from scripts.datasets.reading_record import Reading, leave_out_refused, read_each
from scripts.labels import VOCABULARIES, vocabulary
from scripts.messages import ExpectedError

logger = logging.getLogger(__name__)

SLICES = "slices.csv"
_NAMED = 5


@dataclass(frozen=True)
class OwnData:
    """What was found.

    Attributes
    ----------
    scans : tuple of OwnScan
        Those that can be read.
    refused : tuple of (str, str)
        Name and reason of those that cannot.
    warnings : tuple of str
        What a user should know and may leave as it is.
    """

    scans: tuple[OwnScan, ...]
    refused: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def read_own_data(
    folder: Path, table: Path, keys: Sequence[str], slices: Path | None = None, cache: Cache | None = None
) -> OwnData:
    """Check both tables against the folder and read every study once.

    Parameters
    ----------
    folder : Path
        Studies in any mix that the intake reads.
    table : Path
        Table of studies; see :func:`read_studies`.
    keys : sequence of str
        Keys of the vocabulary.
    slices : Path, optional
        Table of slices; see :func:`read_slices`. ``slices.csv`` beside the table is taken where it is not given.
    cache : Cache, optional
        Keeps which studies can be read; see :func:`scripts.datasets.reading_record.read_each`.

    Raises
    ------
    TableError
        With every fault that the tables show by themselves and against the folder; where there is none, with every
        fault that reading shows (masks on another grid, slice numbers that a study does not have).
    IntakeError
        If the folder is missing or holds no study.
    ValueError
        If no study can be read.
    """
    rows, faults = read_studies(table, keys)
    beside = table.parent / SLICES
    slices = slices or (beside if beside.is_file() else None)
    slice_rows: list[SliceRow] = []
    if slices:
        slice_rows, more = read_slices(slices, keys, [row.study for row in rows])
        faults += more
    matched, more, unnamed = match_studies(folder, rows, table.parent)
    if faults or more:
        raise TableError([*faults, *more])
    readings = read_each([scan for _, scan in matched], cache)
    scans, faults = _with_slice_labels(matched, slice_rows, readings)
    if faults:
        raise TableError(faults)
    kept = leave_out_refused(scans, readings, table.name)
    refused = tuple((name, reading.reason) for name, reading in readings.items() if reading.reason)
    warnings = [f"{row.place}: no label is known" for row, _ in matched if not row.labels]
    if unnamed:
        some = ", ".join(unnamed[:_NAMED]) + (" ..." if len(unnamed) > _NAMED else "")
        warnings.append(f"{len(unnamed)} studies of the folder are not in {table.name}: {some}")
    return OwnData(tuple(kept), refused, tuple(warnings))


def _with_slice_labels(
    matched: Sequence[tuple[StudyRow, OwnScan]], slice_rows: Sequence[SliceRow], readings: Mapping[str, Reading]
) -> tuple[list[OwnScan], list[str]]:
    by_study: dict[str, list[SliceRow]] = defaultdict(list)
    for slice_row in slice_rows:
        by_study[slice_row.study].append(slice_row)
    columns = tuple(slice_rows[0].labels) if slice_rows else ()
    scans, faults = [], []
    for row, scan in matched:
        reading = readings[scan.name]
        if reading.code == "bad_mask":
            faults.append(f"{row.place}: {reading.reason}")
        elif reading.code is None and row.study in by_study:
            shown, more = _slice_labels(row, by_study[row.study], columns, reading)
            faults += more
            scan = replace(scan, slice_labels=shown)  # noqa: PLW2901 (the same scan, knowing more)
        elif reading.code is None and not any(row.labels.get(key) for key in columns):
            negative = [key for key in columns if row.labels.get(key) is False]
            labels = _derived({}, negative, reading.slices) if negative else None
            scan = replace(scan, slice_labels=labels)  # noqa: PLW2901 (the same scan, knowing more)
        scans.append(scan)
    return scans, faults


def _slice_labels(
    row: StudyRow, slice_rows: Sequence[SliceRow], columns: Sequence[str], reading: Reading
) -> tuple[dict[str, NDArray[np.bool_]], list[str]]:
    """Place a study's rows on its original slices, and say where they contradict the study."""
    shown = {key: np.zeros(reading.slices, dtype=bool) for key in columns}
    faults = []
    for slice_row in slice_rows:
        if slice_row.number > reading.slices:
            faults.append(f"{slice_row.place}: slice {slice_row.number}, but '{row.study}' has {reading.slices} slices")
            continue
        index = slice_row.number - 1 if reading.upwards else reading.slices - slice_row.number
        for key, value in slice_row.labels.items():
            shown[key][index] = value
            if value and row.labels.get(key) is False:
                faults.append(f"{slice_row.place}: {key} is 1, but 0 for the whole study in {row.place}")
    labels = _derived(shown, columns, reading.slices)
    for key, each in labels.items():
        if row.labels.get(key) and not each.any():
            faults.append(f"{row.place}: {key} is 1, but no slice of the study shows it in the table of slices")
    return labels, faults


def _derived(
    shown: Mapping[str, NDArray[np.bool_]], columns: Sequence[str], slices: int
) -> dict[str, NDArray[np.bool_]]:
    """Add ``any`` where every kind is known; a column of which nothing is shown is negative throughout."""
    labels = {key: shown.get(key, np.zeros(slices, dtype=bool)) for key in columns}
    if "any" not in labels and all(kind in labels for kind in KINDS):
        labels["any"] = np.logical_or.reduce([labels[kind] for kind in KINDS])
    return labels


def too_few(scans: Sequence[OwnScan], keys: Sequence[str], folds: int) -> list[str]:
    """Name the labels that some folds will hold no positive patient of."""
    found = []
    for key in keys:
        patients = {scan.patient for scan in scans if scan.labels.get(key)}
        if len(patients) < folds:
            found.append(f"{key}: {len(patients)} positive patients for {folds} folds; its metrics will mean little")
    return found


def datalist(
    folder: str | Path,
    table: str | Path,
    labels: Sequence[str],
    folds: int = 5,
    slices: str | Path | None = None,
    cache: Cache | None = None,
) -> list[dict[str, Any]]:
    """List the studies that can be read as MONAI data entries; see :func:`scripts.datasets.datalist.as_datalist`.

    Parameters
    ----------
    folder, table, slices, cache
        As for :func:`read_own_data`.
    labels : sequence of str
        Keys of the vocabulary, in its order.
    folds : int
        Number of folds.

    Raises
    ------
    TableError, IntakeError, ValueError
        As :func:`read_own_data`.
    """
    data = read_own_data(Path(folder), Path(table), labels, Path(slices) if slices else None, cache)
    for warning in (*data.warnings, *too_few(data.scans, labels, folds)):
        logger.warning("%s", warning)
    return as_datalist(data.scans, labels, folds)


def overview(data: OwnData, keys: Sequence[str], folds: int) -> str:
    """Lay out for a terminal what training will see."""
    entries = as_datalist(data.scans, keys, folds)
    patients = len({scan.patient for scan in data.scans})
    masks = sum(scan.mask_file is not None for scan in data.scans)
    labelled = sum(scan.slice_labels is not None for scan in data.scans)
    lines = [f"{len(data.scans)} studies of {patients} patients; slices labelled in {labelled}, masks in {masks}"]
    lines += ["", f"{'label':<20}{'positive':>9}{'negative':>10}{'unknown':>9}"]
    for key in keys:
        counts = Counter(scan.labels.get(key) for scan in data.scans)
        lines.append(f"{key:<20}{counts[True]:>9}{counts[False]:>10}{counts[None]:>9}")
    lines += ["", f"{'fold':<6}{'studies':>8}{'patients':>10}{'positive (' + keys[0] + ')':>18}"]
    for fold in range(folds):
        chosen = [entry for entry in entries if entry["fold"] == fold]
        own, positive = len({entry["patient"] for entry in chosen}), sum(entry["label"][0] == 1 for entry in chosen)
        lines.append(f"{fold:<6}{len(chosen):>8}{own:>10}{positive:>18}")
    for title, sentences in (
        ("not evaluable, left out", [f"{name}: {reason}" for name, reason in data.refused]),
        ("warnings", [*data.warnings, *too_few(data.scans, keys, folds)]),
    ):
        if sentences:
            lines += ["", f"{title} ({len(sentences)}):", *(f"  {sentence}" for sentence in sentences)]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a folder and its tables; 0 where training can start, 1 where something must be corrected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="studies, in any mix that the bundle reads")
    parser.add_argument("table", type=Path, help="CSV: study, label columns, optionally patient and mask")
    parser.add_argument("--slices", type=Path, help="CSV: study, slice, label columns (default: slices.csv beside it)")
    parser.add_argument("--vocabulary", choices=list(VOCABULARIES), default="rsna", help="labels that may be columns")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--cache", type=Path, help="keep in this folder which studies can be read")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
    keys = [label.key for label in vocabulary(given.vocabulary)]
    try:
        data = read_own_data(given.folder, given.table, keys, given.slices, Cache(given.cache) if given.cache else None)
        text = overview(data, keys, given.folds)
    except (ExpectedError, ValueError) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
