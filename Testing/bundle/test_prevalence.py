"""A user's prevalence changes what a probability means, and nobody's finding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit

from scripts.calibration import Calibration
from scripts.labels import RSNA
from scripts.operating_points import calibration, prevalence_shift
from scripts.settings import SettingError
from scripts.study_evaluator import Reader
from scripts.weights import ModelIdentity

KEYS = tuple(label.key for label in RSNA)
LINES = Calibration(KEYS, (0.5,) * 6, (0.1,) * 6, {}, (0.44, 0.25, 0.2, 0.06, 0.06, 0.06))
THRESHOLDS = (0.4, 0.3, 0.35, None, 0.2, 0.2)


def reader(prevalence: dict[str, float] | None) -> Reader:
    model = ModelIdentity("DrCT2", "0", "DrCT2", {}, KEYS, "nothing")
    return Reader(model, RSNA, "balanced", THRESHOLDS, LINES, prevalence=prevalence)


def test_without_a_prevalence_probabilities_are_those_of_the_calibration() -> None:
    logits = np.linspace(-3, 3, 6)
    found = [finding.probability for finding in reader(None).findings(logits)]
    assert found == LINES.apply(logits).tolist()
    assert [finding.threshold for finding in reader(None).findings(logits)] == [0.4, 0.3, 0.35, 0.5, 0.2, 0.2]


@given(
    st.lists(st.floats(-8, 8), min_size=6, max_size=6),
    st.floats(0.001, 0.9),
    st.one_of(st.none(), st.floats(0.001, 0.9)),
)
def test_no_finding_changes_with_the_prevalence(logits: list[float], any_part: float, epidural: float | None) -> None:
    stated = {"any": any_part} | ({} if epidural is None else {"epidural": epidural})
    before, after = reader(None).findings(logits), reader(stated).findings(logits)
    for was, now in zip(before, after, strict=True):
        margin = abs(logit(was.probability) - logit(was.threshold))
        assert now.positive == was.positive or margin < 1e-9
        assert now.default_threshold == was.default_threshold


def test_the_odds_change_as_the_prior_odds_do() -> None:
    found = reader({"any": 0.08, "epidural": 0.25}).findings(np.zeros(6))
    odds = np.exp(logit([finding.probability for finding in found]) - 0.1)
    prior = (0.08 / 0.92) / (0.44 / 0.56)
    assert odds == pytest.approx([prior, 1.0, prior, prior, prior, prior])


@pytest.mark.parametrize("stated", [{"any": 0.0}, {"any": 1}, {"bleeding": 0.1}, {"any": "many"}, [0.1]])
def test_an_impossible_prevalence_is_refused_by_name(stated: object) -> None:
    with pytest.raises(SettingError) as caught:
        prevalence_shift(LINES, stated)
    assert caught.value.code == "settings.prevalence"


def test_a_calibration_of_an_older_version_refuses_a_prevalence_and_reads_without(tmp_path: Path) -> None:
    content = {"keys": KEYS, "slope": [1.0] * 6, "offset": [0.0] * 6, "remarks": {}}
    (tmp_path / "calibration.json").write_text(json.dumps(content), "utf-8")
    lines = calibration(tmp_path, KEYS, "calibration.json")
    assert prevalence_shift(lines, None) == (0.0,) * 6
    with pytest.raises(SettingError):
        prevalence_shift(lines, {"any": 0.1})
