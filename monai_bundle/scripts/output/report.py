"""report.html: the result of one study on one self-contained page, in the layout of DrCT2's Figure 2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.diagnosis import MAP_KINDS, Diagnosis, Finding, Refusal
from scripts.intake.study import CTStudy
from scripts.messages import ENGLISH, Message, Translation
from scripts.output.attention_plot import DARK, LIGHT, Palette, attention_svg
from scripts.output.impression import impression, is_close, label_name, percent
from scripts.output.overlay import colour_bar, data_uri, png_uri
from scripts.output.provenance import model_rows, run_rows, study_rows
from scripts.output.report_images import ReportImages, key_slices_of, map_of, report_images, shown_finding
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
    largest: str
    positive: bool


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
            impression=impression(diagnosis.findings, translate),
            findings=[_finding_row(finding, translate) for finding in diagnosis.findings],
            warnings=[warning.text(translate) for warning in diagnosis.study.warnings],
            images=images,
            label_name=lambda label: label_name(label, translate),
            percent=percent,
            attention_light=_attention_uri(diagnosis, LIGHT, translate),
            attention_dark=_attention_uri(diagnosis, DARK, translate),
            attention_in_words=_attention_in_words(images, len(diagnosis.slices), translate),
            equal=percent(1 / len(diagnosis.slices), 1),
            end=_first_slice(diagnosis.study, translate),
            shown_map=_map_caption(diagnosis, translate),
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
    """Keep a percentage with its sign and its name when a heading wraps."""
    return line.replace(" %", "\u00a0%").replace(" (", "\u00a0(")


def _finding_row(finding: Finding, translate: Translation) -> FindingRow:
    return FindingRow(
        name=label_name(finding.label, translate),
        colour="#{:02x}{:02x}{:02x}".format(*finding.label.colour),
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


def _attention_in_words(images: ReportImages, slices: int, translate: Translation) -> str:
    """Describe the plot for those who cannot see it."""
    if not images.key_slices:
        return translate("report.attention_plot_without_keys", slices=slices)
    keys = tuple(
        Message("report.attention_of_slice", number=key.number, attention=key.attention) for key in images.key_slices
    )
    return translate("report.attention_plot", slices=slices, key_slices=keys)


def _first_slice(study: CTStudy, translate: Translation) -> str:
    """Name the end of the stack that slice 1 is, because files are stored either way."""
    onwards = study.orientation[2]
    return translate(f"report.end_{onwards}" if onwards in "SIAPRL" else "report.end_unknown")


def _map_caption(diagnosis: Diagnosis, translate: Translation) -> MapCaption | None:
    finding = shown_finding(diagnosis.findings)
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
        largest=f"{attribution.scale:.2g}",
        positive=finding.positive,
    )
