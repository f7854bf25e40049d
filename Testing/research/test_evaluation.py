"""Figures of evaluation against hand calculation, scikit-learn and brute force."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from research.metrics.key_slices import top_h_share
from research.metrics.operating_points import TARGET, operating_points
from research.metrics.eval_metrics import FEW, label_metrics

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


def test_the_share_of_the_top_h_slices_is_what_one_counts_by_hand():
    attention = np.array([0.05, 0.3, 0.1, 0.25, 0.2, 0.1])
    positive = np.array([False, True, True, True, False, False])
    # The three with most attention are slices 1, 3 and 4; 1 and 3 are positive.
    assert top_h_share(attention, positive) == pytest.approx(2 / 3)
    assert top_h_share(attention, attention >= 0.2) == 1.0
    assert top_h_share(attention, attention < 0.2) == 0.0


def test_a_random_choice_reaches_the_share_of_positive_slices():
    generator = np.random.default_rng(0)
    positive = np.arange(30) < 9
    shares = [top_h_share(generator.random(30), positive) for _ in range(2000)]
    assert np.mean(shares) == pytest.approx(0.3, abs=0.01)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_the_share_counts_h_slices_also_when_attention_ties(slices: list[tuple[int, bool]]):
    attention, positive = np.array([a for a, _ in slices], dtype=float), np.array([p for _, p in slices])
    if not positive.any():
        with pytest.raises(ValueError, match="without a positive slice"):
            top_h_share(attention, positive)
        return
    share = top_h_share(attention, positive)
    hits = share * positive.sum()
    assert hits == pytest.approx(round(hits))
    # h of n slices cannot avoid more positive ones than there are negative ones.
    assert max(0, 2 * positive.sum() - len(slices)) <= round(hits) <= positive.sum()


def test_attention_of_another_number_of_slices_is_refused():
    with pytest.raises(ValueError, match="attention of 3 slices, labels of 4"):
        top_h_share(np.ones(3) / 3, np.array([True, False, False, False]))


def test_figures_are_scikit_learns_to_three_decimals():
    generator = np.random.default_rng(1)
    labels = (generator.random((60, 2)) < 0.4).astype(int)
    probabilities = np.clip(0.3 * labels + 0.7 * generator.random((60, 2)), 0, 1)
    figures = label_metrics(probabilities, labels, ["any", "subdural"])
    for column, key in enumerate(("any", "subdural")):
        assert figures[key]["auc"] == pytest.approx(
            roc_auc_score(labels[:, column], probabilities[:, column]), abs=5e-4
        )
        precision = average_precision_score(labels[:, column], probabilities[:, column])
        assert figures[key]["average_precision"] == pytest.approx(precision, abs=5e-4)
        assert (figures[key]["positive"], figures[key]["negative"]) == (
            labels[:, column].sum(),
            60 - labels[:, column].sum(),
        )
        assert figures[key]["remark"] is None
    assert figures["any"]["auc"] > 0.6


@pytest.mark.parametrize(
    ("label", "counts"), [(0, "only 0 positive, 12 negative"), (1, "only 12 positive, 0 negative")]
)
def test_a_label_without_one_class_has_no_figure_and_says_why(label: int, counts: str):
    figures = label_metrics(np.linspace(0, 1, 12)[:, None], np.full((12, 1), label), ["epidural"])["epidural"]
    assert figures["auc"] is None
    assert figures["average_precision"] is None
    assert figures["remark"] == counts


def test_a_figure_from_few_scans_comes_with_a_remark():
    labels = (np.arange(40) < FEW - 1).astype(int)[:, None]
    figures = label_metrics(1.0 - np.arange(40)[:, None] / 40, labels, ["epidural"])["epidural"]
    assert figures["auc"] == 1.0
    assert figures["remark"] == "only 9 positive, 31 negative"


def test_figures_can_be_written_as_json():
    labels = np.array([[0, 0], [1, 0], [1, 0]])
    written = json.dumps(label_metrics(np.array([[0.1, 0.2], [0.8, 0.1], [0.3, 0.4]]), labels, ["any", "epidural"]))
    assert "NaN" not in written


@given(scored_scans())
@settings(max_examples=300)
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
    assert sum(sensitivity_and_specificity(scored, points["balanced"])) == pytest.approx(max(map(sum, possible)))


@given(scored_scans())
@settings(max_examples=300)
def test_rounding_never_turns_a_scan_to_the_other_side(scored: Scored):
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


def test_a_label_with_too_few_scans_of_a_class_gets_one_half_everywhere():
    probabilities = np.linspace(0, 0.9, 20)[:, None].repeat(3, axis=1)
    labels = np.stack([np.arange(20) >= 20 - positive for positive in (0, 4, 5)], axis=1).astype(int)
    points = operating_points(probabilities, labels, ["epidural", "subdural", "any"], fewest=5)
    for point in points.values():
        assert (point["epidural"], point["subdural"]) == (0.5, 0.5)
    assert points["balanced"]["any"] == math.floor(probabilities[15, 0] * 1e4) / 1e4


def test_a_probability_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        operating_points(np.array([[0.1], [math.nan]]), np.array([[0], [1]]), ["any"])
