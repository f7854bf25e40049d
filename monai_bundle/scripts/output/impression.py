"""The impression: the findings in one sentence, with the certainty and the caution that they call for.

It is composed here alone; the report, the terminal and ``result.json`` show the same sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scripts.diagnosis import Finding, Lesions, LesionVolume
from scripts.labels import Label
from scripts.messages import Message, Translation

CLOSE = 0.05
"""A probability this near to a threshold of 0.5 could as well have fallen on the other side."""

LIKELY = 0.5
"""Least probability that is called likely."""

Certainty = Literal["positive", "borderline", "negative"]


@dataclass(frozen=True)
class Impression:
    """What a reader of the result sees first.

    Attributes
    ----------
    code : str
        Name of the sentence in the catalogue's section ``impression``, e.g. ``"haemorrhage_likely"``.
    text : str
        The result in one sentence, without a full stop.
    certainty : {"positive", "borderline", "negative"}
        Borderline where a finding is close to its threshold, or two contradict each other.
    caution : str
        What to bear in mind about a result of this certainty.
    """

    code: str
    text: str
    certainty: Certainty
    caution: str


def percent(probability: float, decimals: int = 0) -> str:
    """Write a probability as a percentage that never claims certainty: ``"87 %"``, ``"> 99 %"``, ``"< 1 %"``."""
    smallest = 10.0**-decimals
    if probability * 100 < smallest:
        return f"< {smallest:.{decimals}f} %"
    if probability * 100 > 100 - smallest:
        return f"> {100 - smallest:.{decimals}f} %"
    return f"{probability * 100:.{decimals}f} %"


def is_close(finding: Finding) -> bool:
    """Whether a probability lies near its threshold: within 0.05 at 0.5, in proportion less towards 0 and 1.

    A threshold of 0.0009 would otherwise call every negative scan close.
    """
    nearest_bound = min(finding.threshold, 1 - finding.threshold)
    return abs(finding.probability - finding.threshold) <= CLOSE * 2 * nearest_bound


def label_name(label: Label, translation: Translation) -> str:
    """Return a label's name in a language; the English one where the catalogue has none."""
    return translation.optional(f"label.{label.key}", label.name)


def short_name(label: Label, translation: Translation) -> str:
    """Return a label's name within a sentence: ``"Subdural haemorrhage"`` becomes ``"subdural"``."""
    name = label.name.removesuffix(" haemorrhage")
    return translation.optional(f"label_short.{label.key}", name[:1].lower() + name[1:])


def millilitres(ml: float) -> str:
    """Write a volume without its unit, with no more digits than it is worth: ``"28"``, ``"2.4"``, ``"0.36"``."""
    return f"{ml:.0f}" if ml >= 9.95 else f"{ml:.1f}" if ml >= 0.995 else f"{ml:.2f}"


def about_volume(volume: LesionVolume) -> Message:
    """State a volume with its limits where there are any: "about 28 ml (19 to 41)"."""
    if volume.low_ml is None or volume.high_ml is None:
        return Message("lesions.about", ml=millilitres(volume.ml))
    limits = {"low": millilitres(volume.low_ml), "high": millilitres(volume.high_ml)}
    return Message("lesions.about_within", ml=millilitres(volume.ml), **limits)


def impression(
    findings: Sequence[Finding], translation: Translation | None = None, lesions: Lesions | None = None
) -> Impression:
    """Put the findings into one sentence.

    Parameters
    ----------
    findings : sequence of Finding
        One per label of the vocabulary.
    translation : Translation, optional
        The language; English unless given.
    lesions : Lesions, optional
        Stated with their volume where a haemorrhage is positive; no volume is claimed of a negative scan.

    Returns
    -------
    Impression
        "likely" only for a probability of at least 0.5 that is not close to its threshold, else "possible".
    """
    translation = translation or Translation()
    overall = next((finding for finding in findings if finding.label.key == "any"), None)
    positive = [finding for finding in findings if finding.positive]
    types = [finding for finding in positive if finding.label.is_haemorrhage and finding is not overall]
    others = [finding for finding in positive if not finding.label.is_haemorrhage]
    volume = None
    if types or (overall and overall.positive):
        sentence, certainty = _haemorrhage(overall, types, translation)
        volume = _volume(lesions) if lesions and lesions.volumes else None
    else:
        sentence, certainty = _no_haemorrhage(findings, translation)
    code = sentence.message_code.removeprefix("impression.")
    if volume is not None:
        sentence = Message("impression.with_volume", impression=sentence, volume=volume)
    if others:
        listed = _listed(others, translation)
        sentence = Message("impression.other_findings", impression=sentence, findings=listed)
        code, certainty = ("other_findings" if code == "no_haemorrhage" else code), "positive"
    caution = translation(f"impression.caution_{certainty}")
    return Impression(code, sentence.text(translation), certainty, caution)


def _haemorrhage(overall: Finding | None, types: list[Finding], translation: Translation) -> tuple[Message, Certainty]:
    leading = [overall, *types] if overall and overall.positive else types
    likely = any(finding.probability >= LIKELY and not is_close(finding) for finding in leading)
    listed = _listed(types, translation)
    if overall and not overall.positive:
        return Message("impression.contradictory", types=listed, probability=percent(overall.probability)), "borderline"
    certainty: Certainty = "positive" if likely else "borderline"
    if types:
        code = "impression.haemorrhage_likely" if likely else "impression.haemorrhage_possible"
        return Message(code, types=listed), certainty
    code = "impression.haemorrhage_likely_no_type" if likely else "impression.haemorrhage_possible_no_type"
    return Message(code, probability=percent(leading[0].probability)), certainty


def _volume(lesions: Lesions) -> Message:
    """State the total, and of which compartments it is made."""
    total, *groups = lesions.volumes
    about: Message = about_volume(total)
    if lesions.spacing_assumed:
        about = Message("lesions.spacing_assumed", about=about)
    if not groups:
        return about
    if len(groups) == 1:
        return Message("lesions.of_one", about=about, group=Message(f"compartment.{groups[0].group}"))
    parts = tuple(
        Message("lesions.part", group=Message(f"compartment.{volume.group}"), ml=millilitres(volume.ml))
        for volume in groups
    )
    return Message("lesions.of_several", about=about, groups=parts)


def _no_haemorrhage(findings: Sequence[Finding], translation: Translation) -> tuple[Message, Certainty]:
    close = [finding for finding in findings if finding.label.is_haemorrhage and is_close(finding)]
    if not close:
        return Message("impression.no_haemorrhage"), "negative"
    return Message("impression.close_to_threshold", findings=_listed(close, translation)), "borderline"


def _listed(findings: list[Finding], translation: Translation) -> tuple[Message, ...]:
    """Name findings with their probabilities, the most probable first."""
    return tuple(
        Message(
            "impression.finding",
            name=short_name(finding.label, translation),
            probability=percent(finding.probability),
        )
        for finding in sorted(findings, key=lambda finding: -finding.probability)
    )
