"""The order of the worklist. The rule is stated on the page in the same words (``worklist.rule`` in the catalogue)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from scripts.worklist.entries import WorklistEntry


class Urgency(Enum):
    """Groups of the worklist, the most urgent first."""

    LIKELY = "likely"
    POSSIBLE = "possible"
    OTHER = "other"
    UNREAD = "unread"
    NEGATIVE = "negative"


_RANKS = {urgency: rank for rank, urgency in enumerate(Urgency)}


def urgency_of(entry: WorklistEntry) -> Urgency:
    """Return the group of a study.

    A study that was not read stands before those without a finding: of it nothing is known.
    """
    if entry.status != "evaluated":
        return Urgency.UNREAD
    if entry.impression.startswith("haemorrhage_likely"):
        return Urgency.LIKELY
    if entry.certainty == "borderline" or entry.impression.startswith("haemorrhage_possible"):
        return Urgency.POSSIBLE
    return Urgency.OTHER if entry.certainty == "positive" else Urgency.NEGATIVE


def by_urgency(entries: Iterable[WorklistEntry]) -> list[WorklistEntry]:
    """Sort: by group, then by stated volume of blood, then by probability, the larger first; then by name."""

    def place(entry: WorklistEntry) -> tuple[int, float, float, str]:
        return _RANKS[urgency_of(entry)], -(entry.volume_ml or 0.0), -(entry.probability or 0.0), entry.study_id

    return sorted(entries, key=place)
