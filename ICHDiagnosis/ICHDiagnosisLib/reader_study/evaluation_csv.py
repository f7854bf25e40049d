"""The evaluation as tables for a statistician: every reading, and every measure. UTF-8 with a byte order mark."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from .evaluation import Evaluation, correct
from .protocol import LABELS, Protocol, Sitting
from .record import SittingRecord


def write_readings(path: Path, protocol: Protocol, records: Sequence[SittingRecord]) -> None:
    """Write one line per reader, sitting and study, those without a partner in the other sitting included.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    header = ["reader", "sitting", "position", "case", "seconds", "pauses", "confidence"]
    header += [*LABELS, *(f"truth_{label}" for label in LABELS), "any_correct", "all_correct"]
    lines = []
    for record in records:
        for reading in record.finished:
            truth = protocol.case(reading.case).truth
            reference = [""] * len(LABELS) if truth is None else [int(label in truth) for label in LABELS]
            right = ["", ""] if truth is None else [int(value) for value in correct(protocol, reading)]
            line: list[object] = [record.participant, record.sitting.value, reading.position, reading.case]
            line += [f"{reading.seconds:.3f}", reading.pauses, reading.confidence]
            lines.append([*line, *(int(label in reading.labels) for label in LABELS), *reference, *right])
    _write(path, header, lines)


def write_measures(path: Path, evaluation: Evaluation) -> None:
    """Write one line per reader and measure: both sittings, difference with limits, test.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    header = ["reader", "measure", *(sitting.value for sitting in Sitting), "difference", "low_95", "high_95"]
    header += ["p", "p_holm", "pairs", "differing"]
    lines = []
    for change in evaluation.changes:
        test, difference = change.test, change.difference
        values = [change.without_ai, change.with_ai, difference.value, difference.low, difference.high]
        values += [None if test is None else test.p, change.adjusted_p]
        counts = ["", ""] if test is None else [test.pairs, test.differing]
        lines.append([change.participant or "all", change.measure, *(_number(value) for value in values), *counts])
    _write(path, header, lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _write(path: Path, header: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """Write a whole table under another name, then rename it."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(lines)
    temporary.replace(path)
