"""The impression line and the terminal's table say what the findings say, with the doubt they deserve."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sample_diagnosis import NEGATIVE, a_diagnosis, a_study

from scripts.diagnosis import RESEARCH_USE_ONLY, Finding
from scripts.intake.study import QualityWarning
from scripts.labels import CQ500, RSNA
from scripts.output.impression import NOT_CHOSEN, impression, is_close, percent, summary_table


def findings(probabilities: dict[str, float], labels=RSNA, threshold: float = 0.5) -> tuple[Finding, ...]:
    return tuple(Finding(label, probabilities.get(label.key, 0.02), threshold) for label in labels)


@pytest.mark.parametrize(
    ("probabilities", "line", "level"),
    [
        (
            {"any": 0.93, "subdural": 0.87, "epidural": 0.61},
            "Intracranial haemorrhage likely: subdural (87 %), epidural (61 %)",
            "positive",
        ),
        ({"any": 0.8}, "Intracranial haemorrhage likely (80 %), no single type stands out", "positive"),
        ({"any": 0.52}, "Intracranial haemorrhage possible (52 %), no single type stands out", "borderline"),
        (
            {"any": 0.3, "subdural": 0.7},
            "Intracranial haemorrhage possible: subdural (70 %); contradictory, “any haemorrhage” stays below its "
            "operating point (30 %)",
            "borderline",
        ),
        ({"any": 0.12}, "No haemorrhage found above the operating point", "negative"),
        (
            {"any": 0.47},
            "No haemorrhage found above the operating point, but close to it: any intracranial (47 %)",
            "borderline",
        ),
    ],
)
def test_the_line_follows_the_findings(probabilities, line, level):
    said = impression(findings(probabilities))
    assert (said.line, said.level) == (line, level)


def test_a_low_probability_above_a_low_threshold_is_possible_not_likely():
    assert impression(findings({"any": 0.3}, threshold=0.1)).line.startswith("Intracranial haemorrhage possible")


@pytest.mark.parametrize("probability", [0.0, 0.0001])
def test_a_negative_scan_under_a_tiny_threshold_is_plainly_negative(probability):
    said = impression(findings(dict.fromkeys((label.key for label in RSNA), probability), threshold=0.0009))
    assert (said.line, said.level) == ("No haemorrhage found above the operating point", "negative")


@pytest.mark.parametrize(
    ("probability", "threshold", "close"),
    [
        (0.46, 0.5, True),
        (0.44, 0.5, False),
        (0.54, 0.5, True),
        (0.56, 0.5, False),
        (0.00085, 0.0009, True),
        (0.0012, 0.0009, False),
        (0.9995, 0.9995, True),
        (0.99, 0.9995, False),
    ],
)
def test_close_is_measured_by_the_room_that_the_threshold_leaves(probability, threshold, close):
    assert is_close(Finding(RSNA[0], probability, threshold)) is close


def test_a_fracture_without_haemorrhage_is_said_and_is_no_haemorrhage():
    said = impression(findings({"calvarial_fracture": 0.9}, CQ500))
    assert said.line == (
        "No haemorrhage found above the operating point. Also above the operating point: calvarial fracture (90 %)"
    )
    assert said.level == "positive"


@pytest.mark.parametrize(
    ("probability", "text"), [(1.0, "> 99 %"), (0.0, "< 1 %"), (0.999, "> 99 %"), (0.874, "87 %"), (0.01, "1 %")]
)
def test_a_percentage_never_claims_certainty(probability, text):
    assert percent(probability) == text


def test_the_table_of_the_terminal_has_one_line_per_label_and_the_notice():
    study = a_study(warnings=(QualityWarning("gantry_tilt", "Tilted by 18 degrees."),))
    lines = summary_table(a_diagnosis(study)).splitlines()
    assert lines[0] == "study-1: Intracranial haemorrhage likely: subdural (87 %), intraparenchymal (56 %)"
    for label in RSNA:
        assert sum(line.startswith(f"  {label.name} ") for line in lines) == 1
    assert "  Warning: Tilted by 18 degrees." in lines
    assert lines[-1].strip() == RESEARCH_USE_ONLY
    assert sum("POSITIVE" in line for line in lines) == 3


def test_a_threshold_that_nobody_chose_is_marked_and_explained():
    diagnosis = a_diagnosis()
    assert NOT_CHOSEN not in summary_table(diagnosis)
    findings = tuple(
        replace(finding, threshold_chosen=finding.label.key != "epidural") for finding in diagnosis.findings
    )
    lines = summary_table(replace(diagnosis, findings=findings)).splitlines()
    (marked,) = (line for line in lines if "50.0 %*" in line)
    assert marked.startswith("  Epidural haemorrhage ")
    assert f"  * {NOT_CHOSEN}" in lines


def test_the_table_of_a_negative_study_has_no_positive_line():
    assert "POSITIVE" not in summary_table(a_diagnosis(probabilities=NEGATIVE))
