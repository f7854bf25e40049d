"""report.html: the evidence of one study on one self-contained page, in the layout of DrCT2's Figure 2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.diagnosis import RESEARCH_USE_ONLY, Diagnosis, Finding, Refusal
from scripts.intake.study import CTStudy
from scripts.output.attention_plot import DARK, LIGHT, Palette, attention_svg
from scripts.output.evidence_views import evidence_views, gradcam_of, heat_finding, key_slices_of
from scripts.output.impression import NOT_CHOSEN, impression, is_close, percent
from scripts.output.pictures import data_uri, heat_legend, png_uri
from scripts.output.provenance import model_rows, run_rows, study_rows

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class FindingRow:
    """One line of the findings table; ``share`` and ``tick`` are the bar's length and threshold, 0..100."""

    name: str
    colour: str
    probability: str
    threshold: str
    threshold_chosen: bool
    share: float
    tick: float
    positive: bool
    close: bool


@dataclass(frozen=True)
class HeatCaption:
    """Which label's heat map is shown, and what its colours mean."""

    label: str
    choice: str
    largest: str
    positive: bool


def render_report(diagnosis: Diagnosis) -> str:
    """Write the report of one evaluated study.

    Parameters
    ----------
    diagnosis : Diagnosis
        What was found, with its evidence.

    Returns
    -------
    str
        HTML with every picture inside as a data URI; its content security policy forbids scripts and the network.
        Whatever came from files is escaped.
    """
    views = evidence_views(diagnosis)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=f"Head CT report: {diagnosis.study_id}",
            notice=RESEARCH_USE_ONLY,
            diagnosis=diagnosis,
            study=diagnosis.study,
            impression=impression(diagnosis.findings),
            findings=[_finding_row(finding) for finding in diagnosis.findings],
            not_chosen=NOT_CHOSEN,
            warnings=diagnosis.study.warnings,
            views=views,
            attention_light=_attention_uri(diagnosis, LIGHT),
            attention_dark=_attention_uri(diagnosis, DARK),
            even_share=percent(1 / len(diagnosis.slices), 1),
            first_slice=_first_slice(diagnosis.study),
            heat=_heat_caption(diagnosis),
            heat_bar=png_uri(heat_legend()),
            tables=[
                ("Study", study_rows(diagnosis.study)),
                ("Model", model_rows(diagnosis.model)),
                ("Run", run_rows(diagnosis)),
            ],
        )
    )


def render_refusal_report(refusal: Refusal) -> str:
    """Write the report of a study that is not evaluable: the reason, and what to do instead.

    Parameters
    ----------
    refusal : Refusal
        Why it was not read.

    Returns
    -------
    str
        HTML as of :func:`render_report`, without findings or pictures.
    """
    return (
        _environment()
        .get_template("refusal.html.j2")
        .render(
            title=f"Not evaluable: {refusal.study_id}",
            notice=RESEARCH_USE_ONLY,
            refusal=refusal,
            warnings=refusal.study.warnings if refusal.study else (),
            tables=[
                *([("Study", study_rows(refusal.study))] if refusal.study else []),
                ("Model", model_rows(refusal.model)),
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


def _finding_row(finding: Finding) -> FindingRow:
    return FindingRow(
        name=finding.label.name,
        colour="#{:02x}{:02x}{:02x}".format(*finding.label.colour),
        probability=percent(finding.probability, 1),
        threshold=percent(finding.threshold, 1),
        threshold_chosen=finding.threshold_chosen,
        share=round(100 * finding.probability, 1),
        tick=round(100 * finding.threshold, 1),
        positive=finding.positive,
        close=is_close(finding),
    )


def _attention_uri(diagnosis: Diagnosis, palette: Palette) -> str:
    return data_uri("image/svg+xml", attention_svg(diagnosis.slices, key_slices_of(diagnosis), palette))


def _first_slice(study: CTStudy) -> str:
    """Say which end of the stack slice 1 is, because files are stored either way."""
    ends = {"S": "lowest", "I": "highest", "A": "hindmost", "P": "foremost", "R": "leftmost", "L": "rightmost"}
    return ends.get(study.orientation[2], "first")


def _heat_caption(diagnosis: Diagnosis) -> HeatCaption | None:
    finding = heat_finding(diagnosis.findings)
    evidence = gradcam_of(diagnosis, finding)
    if evidence is None:
        return None
    if not finding.positive:
        choice = "No finding is above its operating point; this label is shown so that the evidence can be inspected."
    elif finding.label.key == "any":
        choice = "No single type is above its operating point."
    else:
        choice = "The likeliest type above its operating point."
    return HeatCaption(
        label=finding.label.name, choice=choice, largest=f"{evidence.scale:.2g}", positive=finding.positive
    )
