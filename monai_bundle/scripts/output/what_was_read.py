"""What of a study was read, what was passed over, and why: one table for ``result.json`` and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scripts.intake.study import CTStudy
from scripts.messages import Message, Translation
from scripts.output.provenance import Row

_READ = {"series.chosen", "series.chosen_because"}
_REASONS = {"series.repeated": "series.repeated_reason", "series.copies": "series.copies_reason"}


@dataclass(frozen=True)
class Considered:
    """One line of the table.

    Attributes
    ----------
    item : str
        A series, or a range of original slices, counted from 1.
    outcome : str
        ``"read"`` or ``"passed_over"``.
    reason : str
        Why; empty where there is nothing to say.
    """

    item: str
    outcome: str
    reason: str


def considered_of(
    study: CTStudy, input_slices: Sequence[Sequence[int]], translate: Translation
) -> tuple[Considered, ...]:
    """List the series of a study and the original slices that were not read.

    Parameters
    ----------
    study : CTStudy
        With the sentences on the choice of its series.
    input_slices : sequence of sequence of int
        For each input slice the original slices that were averaged into it.
    translate : Translation
        Language.
    """
    choice = study.provenance.series_choice
    lines = considered_series(choice, translate)
    if not choice:
        lines = (Considered(translate("report.whole_volume"), "read", ""),)
    unread = sorted(set(range(len(study.voxels))) - {index for slab in input_slices for index in slab})
    return (*lines, *(_unread(first, last, translate) for first, last in _ranges(unread)))


def considered_series(choice: Sequence[Message], translate: Translation) -> tuple[Considered, ...]:
    """List the series that a choice names, and what was left out of the chosen one."""
    return tuple(_series(sentence, translate) for sentence in choice)


def considered_rows(lines: Sequence[Considered], translate: Translation) -> tuple[Row, ...]:
    """Turn the table into rows of the report."""
    rows = []
    for line in lines:
        outcome = translate("report.read" if line.outcome == "read" else "report.passed_over")
        text = translate("report.outcome_and_reason", outcome=outcome, reason=line.reason) if line.reason else outcome
        rows.append(Row(line.item, text))
    return tuple(rows)


def _series(sentence: Message, translate: Translation) -> Considered:
    values = sentence.values
    item = _text(values.get("series", sentence), translate)
    if sentence.message_code in _READ:
        return Considered(item, "read", _text(values.get("reasons", ""), translate))
    reason = values.get("reason") or Message(_REASONS[sentence.message_code], slices=values["slices"])
    return Considered(item, "passed_over", _text(reason, translate))


def _text(value: object, translate: Translation) -> str:
    if isinstance(value, tuple):
        return ", ".join(_text(part, translate) for part in value)
    return value.text(translate) if isinstance(value, Message) else str(value)


def _ranges(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Group ascending indices to ranges, both ends included."""
    if not indices:
        return []
    starts = [indices[0], *(after for before, after in pairwise(indices) if after > before + 1)]
    ends = [*(before for before, after in pairwise(indices) if after > before + 1), indices[-1]]
    return list(zip(starts, ends, strict=True))


def _unread(first: int, last: int, translate: Translation) -> Considered:
    code = "report.one_unread_slice" if first == last else "report.unread_slices"
    return Considered(translate(code, first=first + 1, last=last + 1), "passed_over", translate("report.no_brain"))
