"""Operating points against brute force over every threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from research.metrics.operating_points import BALANCED_SPECIFICITY, TARGET, operating_points

Scored = tuple[NDArray[np.float64], NDArray[np.int64]]


@st.composite
def scored_scans(draw: st.DrawFn) -> Scored:
    """Draw scans with a probability and a label each, both classes there; ties and crowds of neighbours included."""
    count = draw(st.integers(2, 40))
    crowded = st.integers(0, 30).map(lambda step: 0.56995 + step * 3e-6)
    tied = st.sampled_from([0.0, 0.00003, 0.1, 0.57, np.nextafter(0.57, 0.0), 0.5, 0.9999])
    anywhere = st.floats(0.0, 1.0, exclude_max=True)
    single = anywhere.map(lambda value: float(np.float32(value))).filter(lambda value: value < 1.0)
    probability = draw(st.sampled_from([crowded, tied, anywhere, single, st.one_of(crowded, tied, anywhere)]))
    probabilities = draw(st.lists(probability, min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, 1), min_size=count - 2, max_size=count - 2))
    order = draw(st.permutations([0, 1, *labels]))
    return np.array(probabilities), np.array(order)


def points_of(scored: Scored) -> dict[str, float]:
    probabilities, labels = scored
    points = operating_points(probabilities[:, None], labels[:, None], ["any"])
    return {name: point["any"] for name, point in points.items()}


def sensitivity_and_specificity(scored: Scored, threshold: float) -> tuple[float, float]:
    probabilities, labels = scored
    positive = probabilities >= threshold
    return float(positive[labels == 1].mean()), float(1 - positive[labels == 0].mean())


def every_threshold(scored: Scored) -> list[tuple[float, float]]:
    """Sensitivity and specificity of every decision that a threshold can make."""
    return [sensitivity_and_specificity(scored, cut) for cut in [*np.unique(scored[0]), 1.0]]


@given(scored_scans())
@settings(max_examples=150, deadline=None)
@example((np.array([0.50001, 0.50005]), np.array([0, 1])))
@example((np.array([0.2, np.nextafter(0.57, 0.0)]), np.array([0, 1])))
@example((np.array([0.00002, 0.00003]), np.array([0, 1])))
def test_operating_points_reach_their_targets_and_no_other_threshold_does_better(scored: Scored):
    points = points_of(scored)
    possible = every_threshold(scored)
    sensitivity, specificity = sensitivity_and_specificity(scored, points["high_sensitivity"])
    assert sensitivity >= TARGET
    assert specificity == max(second for first, second in possible if first >= TARGET)
    sensitivity, specificity = sensitivity_and_specificity(scored, points["high_specificity"])
    assert specificity >= TARGET - 1e-12
    assert sensitivity == max(first for first, second in possible if second >= TARGET - 1e-12)
    # Nothing is positive at a threshold of 1: a specificity of 0.9 can always be had.
    allowed = [(0.0, 1.0), *(pair for pair in possible if pair[1] >= BALANCED_SPECIFICITY - 1e-12)]
    sensitivity, specificity = sensitivity_and_specificity(scored, points["balanced"])
    assert sensitivity + specificity == pytest.approx(max(map(sum, allowed)))
    assert specificity >= BALANCED_SPECIFICITY - 1e-12


@given(scored_scans())
@settings(max_examples=150, deadline=None)
def test_rounding_never_changes_the_prediction_of_a_scan(scored: Scored):
    probabilities = np.unique(scored[0])
    for threshold in points_of(scored).values():
        assert 0.0 <= threshold <= 1.0
        if threshold < 1.0:
            set_by = probabilities[probabilities >= threshold].min()
            below = probabilities[probabilities < set_by]
            assert below.size == 0 or below.max() < threshold


def test_thresholds_are_as_short_as_they_may_be():
    scored = np.array([0.123456789, 0.654321987, 0.9]), np.array([0, 1, 1])
    assert points_of(scored)["balanced"] == 0.6543
    crowded = np.array([0.654321, 0.654329, 0.9]), np.array([0, 1, 1])
    assert points_of(crowded)["balanced"] == 0.654329


def test_operating_points_are_ordered_where_the_classes_overlap():
    generator = np.random.default_rng(2)
    labels = (generator.random(400) < 0.4).astype(int)
    scored = 1 / (1 + np.exp(-generator.normal(1.5 * labels - 0.7))), labels
    points = points_of(scored)
    assert points["high_sensitivity"] < points["balanced"] < points["high_specificity"]


def test_each_label_has_its_own_thresholds():
    probabilities = np.array([[0.1, 0.8], [0.2, 0.9], [0.7, 0.1], [0.6, 0.2]])
    labels = np.array([[0, 1], [0, 1], [1, 0], [1, 0]])
    points = operating_points(probabilities, labels, ["any", "subdural"])
    assert points["balanced"] == {"any": 0.6, "subdural": 0.8}
    assert set(points) == {"high_sensitivity", "balanced", "high_specificity"}


def test_a_label_that_too_few_scans_show_gets_no_threshold_from_them():
    probabilities = np.array([[0.1, 0.8], [0.2, 0.9], [0.7, 0.1], [0.6, 0.2]])
    labels = np.array([[0, 1], [0, 0], [1, 0], [1, 0]])
    points = operating_points(probabilities, labels, ["any", "subdural"], fewest=2)
    assert points["balanced"] == {"any": 0.6, "subdural": 0.5}
    assert points["high_sensitivity"]["subdural"] == points["high_specificity"]["subdural"] == 0.5


@pytest.mark.parametrize("label", [0, 1])
def test_a_label_without_one_class_gets_no_operating_point(label: int):
    with pytest.raises(ValueError, match="epidural: an operating point needs positive and negative scans"):
        operating_points(np.linspace(0, 1, 5)[:, None], np.full((5, 1), label), ["epidural"])


def test_a_label_with_too_few_scans_of_a_class_gets_the_default_threshold_everywhere():
    probabilities = np.linspace(0, 0.9, 20)[:, None].repeat(3, axis=1)
    labels = np.stack([np.arange(20) >= 20 - positive for positive in (0, 4, 5)], axis=1).astype(int)
    points = operating_points(probabilities, labels, ["epidural", "subdural", "any"], fewest=5)
    for point in points.values():
        assert (point["epidural"], point["subdural"]) == (0.5, 0.5)
    assert points["balanced"]["any"] == math.floor(probabilities[15, 0] * 1e4) / 1e4


def test_a_nan_probability_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        operating_points(np.array([[0.1], [math.nan]]), np.array([[0], [1]]), ["any"])
