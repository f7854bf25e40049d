"""The findings in plain words: one line for a person, with the uncertainty that it deserves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scripts.diagnosis import RESEARCH_USE_ONLY, Diagnosis, Finding
from scripts.labels import RSNA

CLOSE = 0.05
"""A probability this near to a threshold of 0.5 could as well have fallen on the other side."""

NOT_CHOSEN = "No threshold chosen, for want of patients with or without this kind; 50 % stands in, and may miss it."
"""What is said of a finding without a threshold of its own."""

_HAEMORRHAGES = {label.key for label in RSNA}


@dataclass(frozen=True)
class Impression:
    """What the report says first.

    Attributes
    ----------
    line : str
        The result in one sentence.
    level : str
        ``"positive"``, ``"borderline"`` (something is close to its operating point) or ``"negative"``.
    """

    line: str
    level: Literal["positive", "borderline", "negative"]


def percent(probability: float, decimals: int = 0) -> str:
    """Write a probability as a percentage that never claims certainty: ``"87 %"``, ``"> 99 %"``, ``"< 1 %"``."""
    smallest = 10.0**-decimals
    if probability * 100 < smallest:
        return f"< {smallest:.{decimals}f} %"
    if probability * 100 > 100 - smallest:
        return f"> {100 - smallest:.{decimals}f} %"
    return f"{probability * 100:.{decimals}f} %"


def is_close(finding: Finding) -> bool:
    """Whether a probability lies near its threshold: 0.05 at 0.5, in proportion less towards 0 and 1.

    A threshold of 0.0009 would otherwise call every negative scan close.
    """
    room = min(finding.threshold, 1 - finding.threshold)
    return abs(finding.probability - finding.threshold) <= CLOSE * 2 * room


def short_name(finding: Finding) -> str:
    """Return the label's name within a sentence: ``"Subdural haemorrhage"`` becomes ``"subdural"``."""
    name = finding.label.name.removesuffix(" haemorrhage")
    return name[:1].lower() + name[1:]


def impression(findings: tuple[Finding, ...]) -> Impression:
    """Put the findings into one sentence.

    Parameters
    ----------
    findings : tuple of Finding
        One per label of the vocabulary.

    Returns
    -------
    Impression
        "likely" is said only of a probability of at least 0.5 that is not close to its threshold, else "possible".
    """
    overall = next((finding for finding in findings if finding.label.key == "any"), None)
    positive = sorted((finding for finding in findings if finding.positive), key=lambda finding: -finding.probability)
    kinds = [finding for finding in positive if finding.label.key in _HAEMORRHAGES and finding is not overall]
    others = [finding for finding in positive if finding.label.key not in _HAEMORRHAGES]
    if kinds or (overall and overall.positive):
        line, level = _haemorrhage(overall, kinds)
    else:
        line, level = _no_haemorrhage(findings)
    if others:
        return Impression(f"{line}. Also above the operating point: {_listed(others)}", "positive")
    return Impression(line, level)


def _haemorrhage(
    overall: Finding | None, kinds: list[Finding]
) -> tuple[str, Literal["positive", "borderline", "negative"]]:
    contradictory = overall is not None and not overall.positive
    leading = [overall, *kinds] if overall and overall.positive else kinds
    sure = [finding for finding in leading if finding.probability >= 0.5 and not is_close(finding)]
    level: Literal["positive", "borderline"] = "positive" if sure and not contradictory else "borderline"
    word = "likely" if level == "positive" else "possible"
    if not kinds:
        return f"Intracranial haemorrhage {word} ({percent(leading[0].probability)}), no single type stands out", level
    line = f"Intracranial haemorrhage {word}: {_listed(kinds)}"
    if overall and contradictory:
        line += f"; contradictory, “any haemorrhage” stays below its operating point ({percent(overall.probability)})"
    return line, level


def _no_haemorrhage(findings: tuple[Finding, ...]) -> tuple[str, Literal["positive", "borderline", "negative"]]:
    line = "No haemorrhage found above the operating point"
    close = [finding for finding in findings if finding.label.key in _HAEMORRHAGES and is_close(finding)]
    if not close:
        return line, "negative"
    return f"{line}, but close to it: {_listed(sorted(close, key=lambda finding: -finding.probability))}", "borderline"


def _listed(findings: list[Finding]) -> str:
    return ", ".join(f"{short_name(finding)} ({percent(finding.probability)})" for finding in findings)


def summary_table(diagnosis: Diagnosis) -> str:
    """Write the findings as plain text for a terminal, no line longer than the names need.

    Parameters
    ----------
    diagnosis : Diagnosis
        What was found.

    Returns
    -------
    str
        The impression, one line per label, the key slices (1-based) and the notice, without a closing line break.
    """
    width = max(len(finding.label.name) for finding in diagnosis.findings)
    rows = [_row(finding, width) for finding in diagnosis.findings]
    ranked = sorted((evidence.key_rank, evidence.index) for evidence in diagnosis.slices if evidence.key_rank)
    return "\n".join(
        [
            f"{diagnosis.study_id}: {impression(diagnosis.findings).line}",
            f"  {'Finding':<{width}}  {'Probab.':>8}  {'Threshold':>9}  Result",
            *rows,
            *([] if all(finding.threshold_chosen for finding in diagnosis.findings) else [f"  * {NOT_CHOSEN}"]),
            f"  Key slices: {', '.join(str(index + 1) for _, index in ranked) or 'none'}",
            *(f"  Warning: {warning.message}" for warning in diagnosis.study.warnings),
            f"  {RESEARCH_USE_ONLY}",
        ]
    )


def _row(finding: Finding, width: int) -> str:
    probability, threshold = percent(finding.probability, 1), percent(finding.threshold, 1)
    mark = " " if finding.threshold_chosen else "*"
    answer = f"{'POSITIVE' if finding.positive else 'negative'}{' (close)' if is_close(finding) else ''}"
    return f"  {finding.label.name:<{width}}  {probability:>8}  {threshold:>9}{mark} {answer}"
