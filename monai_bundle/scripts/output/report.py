"""report.html: the result of one study on one self-contained page, in the layout of DrCT2's Figure 2."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.diagnosis import MAP_KINDS, AttributionMap, Diagnosis, Finding, LesionVolume, Refusal, SliceResult
from scripts.intake.study import CTStudy
from scripts.labels import LESION_GROUPS
from scripts.messages import ENGLISH, Message, Translation
from scripts.output.attention_plot import DARK, LIGHT, Palette, attention_svg, haemorrhage_known
from scripts.output.impression import impression, is_close, label_name, millilitres, percent, short_name
from scripts.output.overlay import colour_bar, data_uri, png_uri
from scripts.output.provenance import model_rows, run_rows, study_rows
from scripts.output.report_images import (
    ReportImages,
    key_slices_of,
    map_of,
    report_images,
    saliency_of,
    shown_finding,
)
from scripts.output.what_was_read import considered_of, considered_rows, considered_series

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class FindingRow:
    """One line of the findings table; ``length`` and ``mark`` are the bar's length and threshold, 0..100."""

    name: str
    colour: str
    probability: str
    threshold: str
    default_threshold: bool
    length: float
    mark: float
    positive: bool
    close: bool


@dataclass(frozen=True)
class MapCaption:
    """Which label's attribution map is shown large, by which method, why, and what its colours mean."""

    label: str
    method: str
    choice: str
    scale: str
    positive: bool


@dataclass(frozen=True)
class VolumeRow:
    """One line of the table of volumes; the total has no colour."""

    name: str
    colour: str
    volume: str
    limits: str


@dataclass(frozen=True)
class LesionTable:
    """What the report states of the lesions besides their images; no rows where no volume is stated."""

    heading: str
    volumes: tuple[VolumeRow, ...]
    limits_heading: str
    caption: str


def render_report(diagnosis: Diagnosis, language: str = ENGLISH) -> str:
    """Write the report of one evaluated study.

    Parameters
    ----------
    diagnosis : Diagnosis
        What was found.
    language : str
        Language of its texts; a file of :mod:`scripts.messages`.

    Returns
    -------
    str
        HTML with every image inside as a data URI; its content security policy forbids scripts and the network.
        Whatever came from files is escaped.
    """
    translate = Translation(language)
    considered = considered_of(diagnosis.study, diagnosis.input_slices, translate)
    images = report_images(diagnosis)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            t=translate,
            title=translate("report.title", study_id=diagnosis.study_id),
            diagnosis=diagnosis,
            study=diagnosis.study,
            impression=impression(diagnosis.findings, translate, diagnosis.lesions),
            lesions=_lesion_table(diagnosis, translate),
            findings=[_finding_row(finding, translate) for finding in diagnosis.findings],
            warnings=[warning.text(translate) for warning in diagnosis.study.warnings],
            images=images,
            label_name=lambda label: label_name(label, translate),
            short_name=lambda label: short_name(label, translate),
            percent=percent,
            attention_light=_attention_uri(diagnosis, LIGHT, translate),
            attention_dark=_attention_uri(diagnosis, DARK, translate),
            attention_in_words=_attention_in_words(images, diagnosis.slices, translate),
            slice_outputs_shown=haemorrhage_known(diagnosis.slices),
            equal=percent(1 / len(diagnosis.slices), 1),
            end=_first_slice(diagnosis.study, translate),
            shown_map=_map_caption(diagnosis, translate),
            saliency=_saliency_caption(diagnosis, translate),
            no_maps=not any(entry.label for entry in diagnosis.maps),
            one_scale=all(entry.fixed_scale for entry in diagnosis.maps if entry.label),
            colour_bar=png_uri(colour_bar()),
            tables=[
                (translate("report.study"), study_rows(diagnosis.study, translate)),
                (translate("report.what_was_read"), considered_rows(considered, translate)),
                (translate("report.model"), model_rows(diagnosis.model, translate)),
                (translate("report.run"), run_rows(diagnosis, translate)),
            ],
        )
    )


def render_refusal_report(refusal: Refusal, language: str = ENGLISH) -> str:
    """Write the report of a study that is not evaluable: the reason, and what to do instead.

    Parameters
    ----------
    refusal : Refusal
        Why it was not read.
    language : str
        As for :func:`render_report`.

    Returns
    -------
    str
        HTML as of :func:`render_report`, without findings or images.
    """
    translate = Translation(language)
    considered = considered_series(refusal.series_choice, translate)
    return (
        _environment()
        .get_template("refusal.html.j2")
        .render(
            t=translate,
            title=translate("report.title_not_evaluable", study_id=refusal.study_id),
            refusal=refusal,
            reason=refusal.reason.text(translate),
            tables=[
                *([(translate("report.what_was_read"), considered_rows(considered, translate))] if considered else []),
                (translate("report.model"), model_rows(refusal.model, translate)),
            ],
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    return environment


def _unbroken(line: str) -> str:
    """Keep a percentage or a volume with its unit and its name when a heading wraps."""
    # What stands in short brackets, limits or a percentage, is one word to a reader.
    kept = re.sub(r"\([^()]{1,14}\)", lambda bracket: bracket[0].replace(" ", "\u00a0"), line)
    return kept.replace(" %", "\u00a0%").replace(" ml", "\u00a0ml").replace(" (", "\u00a0(")


def _finding_row(finding: Finding, translate: Translation) -> FindingRow:
    return FindingRow(
        name=label_name(finding.label, translate),
        colour=_hexadecimal(finding.label.colour),
        probability=percent(finding.probability, 1),
        threshold=percent(finding.threshold, 1),
        default_threshold=finding.default_threshold,
        length=round(100 * finding.probability, 1),
        mark=round(100 * finding.threshold, 1),
        positive=finding.positive,
        close=is_close(finding),
    )


def _attention_uri(diagnosis: Diagnosis, palette: Palette, translate: Translation) -> str:
    svg = attention_svg(diagnosis.slices, key_slices_of(diagnosis), palette, translate)
    return data_uri("image/svg+xml", svg)


def _attention_in_words(images: ReportImages, slices: tuple[SliceResult, ...], translate: Translation) -> str:
    """Describe the plot for those who cannot see it."""
    keys = tuple(
        Message("report.attention_of_slice", number=key.number, attention=key.attention) for key in images.key_slices
    )
    if keys:
        bars = translate("report.attention_plot", slices=len(slices), key_slices=keys)
    else:
        bars = translate("report.attention_plot_without_keys", slices=len(slices))
    known = {entry.index: entry.haemorrhage for entry in slices if entry.haemorrhage is not None}
    if not known:
        return bars
    strongest = max(known, key=lambda index: known[index])
    below = translate("report.slice_output_plot", number=strongest + 1, probability=percent(known[strongest]))
    return f"{bars} {below}"


def _first_slice(study: CTStudy, translate: Translation) -> str:
    """Name the end of the stack that slice 1 is, because files are stored either way."""
    onwards = study.orientation[2]
    return translate(f"report.end_{onwards}" if onwards in "SIAPRL" else "report.end_unknown")


def _map_caption(diagnosis: Diagnosis, translate: Translation) -> MapCaption | None:
    finding = shown_finding(diagnosis)
    attribution = map_of(diagnosis, finding)
    if attribution is None:
        return None
    if not finding.positive:
        choice = translate("report.map_of_negative")
    elif finding.label.key == "any":
        choice = translate("report.map_of_any")
    else:
        choice = translate("report.map_of_positive")
    return MapCaption(
        label=label_name(finding.label, translate),
        method=translate(MAP_KINDS[attribution.kind].caption),
        choice=choice,
        scale=_scale_of(attribution, translate),
        positive=finding.positive,
    )


def _saliency_caption(diagnosis: Diagnosis, translate: Translation) -> tuple[str, str] | None:
    """Name the map of predicted saliency, and say what it is; None where there is none."""
    saliency = saliency_of(diagnosis)
    if saliency is None:
        return None
    return translate(MAP_KINDS[saliency.kind].caption), translate("report.saliency", largest=f"{saliency.scale:.2g}")


def _scale_of(attribution: AttributionMap, translate: Translation) -> str:
    """State what the brightest colour stands for."""
    if not attribution.fixed_scale:
        return translate("report.map_scale", largest=f"{attribution.scale:.2g}")
    largest = attribution.scale if attribution.largest is None else attribution.largest
    return translate("report.map_fixed_scale", scale=f"{attribution.scale:.2g}", largest=f"{largest:.2g}")


def _lesion_table(diagnosis: Diagnosis, translate: Translation) -> LesionTable | None:
    """Lay out the volumes; None where there is no lesion map, or no finding that it would belong to."""
    lesions = diagnosis.lesions
    if lesions is None or not diagnosis.haemorrhage_found:
        return None
    threshold = percent(lesions.threshold)
    heading = translate("report.lesions" if lesions.measurable else "report.lesions_place")
    if not lesions.found:
        return LesionTable(heading, (), "", translate("report.no_lesion", threshold=threshold))
    colours = {group.key: _hexadecimal(group.colour) for group in LESION_GROUPS}
    rows = tuple(
        VolumeRow(
            name=translate(f"compartment_name.{volume.group}"),
            colour=colours.get(volume.group, ""),
            volume=translate("lesions.millilitres", ml=millilitres(volume.ml)),
            limits=_limits(volume, translate),
        )
        for volume in lesions.volumes
    )
    smallest = millilitres(lesions.smallest_ml)
    if not lesions.measurable:
        place = translate("report.lesion_place_caption", threshold=threshold, smallest=smallest)
        return LesionTable(heading, (), "", f"{place} {translate('lesions.not_measurable')}")
    caption = translate("report.lesion_caption", threshold=threshold, smallest=smallest)
    if lesions.spacing_assumed:
        caption = f"{translate('report.spacing_assumed')} {caption}"
    return LesionTable(heading, rows, translate("report.limits", level=percent(lesions.level)), caption)


def _limits(volume: LesionVolume, translate: Translation) -> str:
    if volume.low_ml is None or volume.high_ml is None:
        return translate("report.limits_not_measured")
    return translate("lesions.limits", low=millilitres(volume.low_ml), high=millilitres(volume.high_ml))


def _hexadecimal(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
