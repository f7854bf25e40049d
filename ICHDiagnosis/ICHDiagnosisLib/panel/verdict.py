"""The findings in plain words: one line for a person, with the uncertainty that it deserves. No Qt.

The same words as in the bundle's report; a test holds the two to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from slicer.i18n import tr as _

from ..result.content import Finding

CLOSE = 0.05
"""A probability this near to a threshold of 0.5 could as well have fallen on the other side."""

NOT_CHOSEN = _("No threshold chosen, for want of patients with or without this kind; 50 % stands in, and may miss it.")
"""What is said of a finding without a threshold of its own."""

HAEMORRHAGES = ("any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")


class Certainty(Enum):
    """How firmly the findings speak."""

    POSITIVE = "positive"
    BORDERLINE = "borderline"
    NEGATIVE = "negative"


@dataclass(frozen=True)
class Verdict:
    """The result in one sentence, how firm it is, and what a reader must bear in mind about it."""

    line: str
    certainty: Certainty
    caution: str


def percent(probability: float) -> str:
    """Write a probability as a percentage that never claims certainty: ``"87 %"``, ``"> 99 %"``, ``"< 1 %"``."""
    if probability * 100 < 1:
        return "< 1 %"
    if probability * 100 > 99:
        return "> 99 %"
    return f"{probability * 100:.0f} %"


def is_close(finding: Finding) -> bool:
    """Tell whether a probability lies near its threshold: 0.05 at 0.5, in proportion less towards 0 and 1.

    A threshold of 0.0009 would otherwise call every negative scan close.
    """
    room = min(finding.threshold, 1 - finding.threshold)
    return abs(finding.probability - finding.threshold) <= CLOSE * 2 * room


def short_name(finding: Finding) -> str:
    """Return the label's name within a sentence: ``"Subdural haemorrhage"`` becomes ``"subdural"``."""
    name = finding.name.removesuffix(" haemorrhage")
    return name[:1].lower() + name[1:]


def verdict(findings: Sequence[Finding]) -> Verdict:
    """Put the findings into one sentence.

    Parameters
    ----------
    findings : sequence of Finding
        One per label of the vocabulary.

    Returns
    -------
    Verdict
        "likely" is said only of a probability of at least 0.5 that is not close to its threshold, else "possible".
    """
    overall = next((finding for finding in findings if finding.key == "any"), None)
    positive = sorted((finding for finding in findings if finding.positive), key=lambda finding: -finding.probability)
    kinds = [finding for finding in positive if finding.key in HAEMORRHAGES and finding is not overall]
    others = [finding for finding in positive if finding.key not in HAEMORRHAGES]
    if kinds or (overall is not None and overall.positive):
        line, certainty = _haemorrhage(overall, kinds)
    else:
        line, certainty = _no_haemorrhage(findings)
    if others:
        line = _("{line}. Also above the operating point: {findings}").format(line=line, findings=_listed(others))
        certainty = Certainty.POSITIVE
    return Verdict(line, certainty, _caution(certainty))


def _haemorrhage(overall: Finding | None, kinds: list[Finding]) -> tuple[str, Certainty]:
    contradictory = overall is not None and not overall.positive
    leading = [overall, *kinds] if overall is not None and overall.positive else kinds
    sure = [finding for finding in leading if finding.probability >= 0.5 and not is_close(finding)]
    likely = bool(sure) and not contradictory
    certainty = Certainty.POSITIVE if likely else Certainty.BORDERLINE
    if not kinds:
        line = (
            _("Intracranial haemorrhage likely ({percent}), no single type stands out")
            if likely
            else _("Intracranial haemorrhage possible ({percent}), no single type stands out")
        )
        return line.format(percent=percent(leading[0].probability)), certainty
    line = _("Intracranial haemorrhage likely: {kinds}") if likely else _("Intracranial haemorrhage possible: {kinds}")
    line = line.format(kinds=_listed(kinds))
    if overall is not None and contradictory:
        against = _("contradictory, “any haemorrhage” stays below its operating point ({percent})")
        line += f"; {against.format(percent=percent(overall.probability))}"
    return line, certainty


def _no_haemorrhage(findings: Sequence[Finding]) -> tuple[str, Certainty]:
    line = _("No haemorrhage found above the operating point")
    close = [finding for finding in findings if finding.key in HAEMORRHAGES and is_close(finding)]
    if not close:
        return line, Certainty.NEGATIVE
    listed = _listed(sorted(close, key=lambda finding: -finding.probability))
    return _("{line}, but close to it: {findings}").format(line=line, findings=listed), Certainty.BORDERLINE


def _caution(certainty: Certainty) -> str:
    if certainty is Certainty.POSITIVE:
        return _("A model's estimate, not a diagnosis: read the key slices yourself.")
    if certainty is Certainty.BORDERLINE:
        return _("Too close to call, or contradictory: it could as well have gone the other way.")
    return _("This does not exclude haemorrhage: small or thin bleeds can be missed.")


def _listed(findings: Sequence[Finding]) -> str:
    return ", ".join(f"{short_name(finding)} ({percent(finding.probability)})" for finding in findings)
