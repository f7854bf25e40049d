"""The panel's verdict says what the bundle's report says, word for word; bars of the plot leave no gap for a click."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts.output.verdict import NOT_CHOSEN as BUNDLE_NOT_CHOSEN
from scripts.output.verdict import verdict as bundle_verdict

from scripts.diagnosis import Finding as BundleFinding
from scripts.labels import CQ500, RSNA, Label

# The library needs the application, which this stands in for.
from slicer_scene_cases import slicer_host  # noqa: F401

# isort: split
from ICHDiagnosisLib.attention_plot import barAt, spans
from ICHDiagnosisLib.result_types import Code, Finding
from ICHDiagnosisLib.verdict import NOT_CHOSEN, Certainty, verdict


def as_in_slicer(finding: BundleFinding) -> Finding:
    label = finding.label
    code = Code(label.finding.scheme, label.finding.value, label.finding.meaning)
    return Finding(
        label.key,
        label.name,
        code,
        code,
        label.colour,
        finding.probability,
        finding.threshold,
        finding.positive,
    )


shares = st.floats(0, 1)


@given(data=st.data(), labels=st.sampled_from([RSNA, CQ500]))
def test_panel_and_report_say_the_same(data: st.DataObject, labels: tuple[Label, ...]):
    near = st.sampled_from([0.3, 0.47, 0.5, 0.52, 0.56, 0.999, 0.0001, 0.00085, 0.0009])
    findings = tuple(BundleFinding(label, data.draw(near | shares), data.draw(near | shares)) for label in labels)
    expected, said = bundle_verdict(findings), verdict([as_in_slicer(finding) for finding in findings])
    assert said.line == expected.line
    assert NOT_CHOSEN == BUNDLE_NOT_CHOSEN
    assert said.certainty.value == expected.level


@pytest.mark.parametrize("certainty", list(Certainty))
def test_every_verdict_carries_a_caution_of_its_own(certainty: Certainty):
    probability = {Certainty.POSITIVE: 0.9, Certainty.BORDERLINE: 0.48, Certainty.NEGATIVE: 0.1}[certainty]
    said = verdict([as_in_slicer(BundleFinding(RSNA[0], probability, 0.5))])
    assert said.certainty is certainty
    assert {
        Certainty.POSITIVE: "not a diagnosis",
        Certainty.BORDERLINE: "Too close to call",
        Certainty.NEGATIVE: "does not exclude",
    }[certainty] in said.caution


@pytest.mark.parametrize("probability", [0.0, 0.0001])
def test_a_negative_scan_under_a_tiny_threshold_is_plainly_negative(probability: float):
    said = verdict([as_in_slicer(BundleFinding(label, probability, 0.0009)) for label in RSNA])
    assert said.certainty is Certainty.NEGATIVE


@given(width=st.integers(20, 2000), count=st.integers(1, 400))
def test_every_slice_has_a_bar_that_a_click_can_find(width: int, count: int):
    bars = spans(width, count)
    assert len(bars) == count
    assert all(before.end == after.begin for before, after in itertools.pairwise(bars))
    assert [barAt(bar.begin, width, count) for bar in bars] == list(range(count))
    assert barAt(bars[0].begin - 1, width, count) is None
    assert barAt(bars[-1].end, width, count) is None
