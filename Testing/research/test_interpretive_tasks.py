"""Interpretive tasks by hand, their random baselines against every possible ranking, attention over the height."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from research.metrics.attention_by_height import attention_by_height, overlap_with_bins
from research.metrics.confidence import proportion_interval
from research.metrics.interpretive_tasks import (
    AttendedScan,
    attended_scans,
    interpretive_tasks,
    slice_detection,
    top_h_proportion,
)
from research.metrics.predictions import Predictions, ScanPrediction
from research.metrics.random_baseline import (
    by_patient,
    mean_metric,
    probability_of_a_true_positive,
    random_average_precision,
)


def a_scan(attention: list[float], positive: list[int], predicted: bool = True, patient: str = "a") -> AttendedScan:
    return AttendedScan("scan", patient, np.array(attention), np.array(positive, dtype=bool), predicted)


def every_ranking(positive: list[int]) -> list[AttendedScan]:
    return [a_scan(list(order), positive) for order in itertools.permutations(np.arange(1.0, len(positive) + 1))]


BY_HAND = [
    # h = 6 of 8, easy: of the first five slices (7, 5, 4, 3, 2) four are positive; of the first six, four.
    a_scan([0.01, 0.02, 0.1, 0.12, 0.15, 0.2, 0.1, 0.3], [1, 1, 1, 0, 1, 1, 0, 1], patient="a"),
    # h = 5 of 7, easy and difficult: all five slices with most attention are positive.
    a_scan([0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05], [1, 1, 1, 1, 1, 0, 0], patient="b"),
    # h = 1 of 6, difficult: the positive slice is the last; of the first one, none.
    a_scan([0.3, 0.2, 0.2, 0.1, 0.1, 0.05], [0, 0, 0, 0, 0, 1], patient="b", predicted=False),
    # h = 1 of 4, difficult: fewer than five slices, all of which are looked at.
    a_scan([0.4, 0.3, 0.2, 0.1], [0, 0, 0, 1], patient="c"),
    # Not positive: not measured.
    a_scan([0.5, 0.5], [0, 0], patient="d"),
]


def test_the_tasks_are_those_of_algorithm_1():
    tasks = interpretive_tasks(BY_HAND)
    assert list(tasks) == ["easy", "difficult", "comprehensive"]
    assert tasks["easy"].value == pytest.approx((4 / 5 + 5 / 5) / 2)
    assert tasks["easy"].random_baseline == pytest.approx((6 / 8 + 5 / 7) / 2)
    assert tasks["difficult"].value == pytest.approx((1 + 0 + 1) / 3)
    assert tasks["difficult"].random_baseline == pytest.approx((1 + 5 / 6 + 1) / 3)
    assert tasks["comprehensive"].value == pytest.approx((4 / 6 + 1 + 0 + 0) / 4)
    assert tasks["comprehensive"].random_baseline == pytest.approx((6 / 8 + 5 / 7 + 1 / 6 + 1 / 4) / 4)


def test_a_scan_with_exactly_five_positive_slices_is_easy_and_difficult():
    tasks = interpretive_tasks(BY_HAND)
    assert [tasks[name].scans for name in ("easy", "difficult", "comprehensive")] == [2, 3, 4]
    assert (tasks["difficult"].patients, tasks["comprehensive"].patients) == (2, 3)
    assert tasks["easy"].scans + tasks["difficult"].scans == tasks["comprehensive"].scans + 1


def test_false_negatives_can_be_left_out():
    tasks = interpretive_tasks(BY_HAND, predicted_positive_only=True)
    assert tasks["difficult"].value == 1.0
    assert tasks["difficult"].scans == 2


def test_a_task_without_scans_has_the_reason():
    tasks = interpretive_tasks(BY_HAND[4:])
    assert all(metric.value is None and metric.reason == "no such scan is positive" for metric in tasks.values())


@pytest.mark.parametrize(
    "positive", [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [1, 0, 1, 1], [1, 1, 1], [1, 1, 1, 1, 1, 0], [1, 0] * 3]
)
def test_the_random_baseline_is_the_mean_over_every_ranking(positive: list[int]):
    rankings = every_ranking(positive)
    for metric in interpretive_tasks(rankings).values():
        assert metric.value == (None if metric.random_baseline is None else pytest.approx(metric.random_baseline))
    if not all(positive):
        for metric in slice_detection(rankings).values():
            assert metric.value == pytest.approx(metric.random_baseline)


@pytest.mark.parametrize("slices", range(1, 7))
def test_the_probability_of_a_true_positive_counts_subsets(slices: int):
    for positive, chosen in itertools.product(range(1, slices + 1), range(slices + 1)):
        subsets = list(itertools.combinations(range(slices), chosen))
        found = sum(any(index < positive for index in subset) for subset in subsets)
        assert probability_of_a_true_positive(slices, positive, chosen) == pytest.approx(found / len(subsets))


@pytest.mark.parametrize("slices", range(1, 7))
def test_the_random_average_precision_counts_placements(slices: int):
    for positive in range(1, slices + 1):
        found = []
        for places in itertools.combinations(range(slices), positive):
            labels = np.isin(np.arange(slices), places)
            found.append(average_precision_score(labels, np.arange(slices, 0, -1)))
        assert random_average_precision(slices, positive) == pytest.approx(np.mean(found))


@pytest.mark.parametrize(("slices", "positive", "chosen"), [(5, 0, 1), (5, 6, 1), (5, 2, 6)])
def test_impossible_counts_are_refused(slices: int, positive: int, chosen: int):
    with pytest.raises(ValueError, match="of 5 slices"):
        probability_of_a_true_positive(slices, positive, chosen)


def test_detection_leaves_out_a_scan_whose_slices_are_all_positive():
    scans = [a_scan([0.2, 0.8], [1, 1]), a_scan([0.2, 0.8], [0, 1])]
    metrics = slice_detection(scans)
    assert (metrics["auc"].value, metrics["auc"].scans) == (1.0, 1)
    assert (metrics["first_slice"].value, metrics["first_slice"].scans) == (1.0, 2)
    assert metrics["first_slice"].random_baseline == pytest.approx(0.75)
    assert metrics["average_precision"].random_baseline == pytest.approx(0.75)


@given(st.lists(st.booleans(), min_size=2, max_size=30).filter(any))
def test_perfect_attention_reaches_one_everywhere(positive: list[bool]):
    attention = np.array(positive, dtype=float) + np.linspace(0, 0.5, len(positive))
    tasks = interpretive_tasks([AttendedScan("s", "p", attention, np.array(positive), True)])
    assert {metric.value for metric in tasks.values()} <= {1.0, None}
    assert tasks["comprehensive"].value == 1.0


def the_predictions() -> Predictions:
    def scan(name: str, attention: list[float], labels: list[list[float]] | None, logit: float) -> ScanPrediction:
        slice_labels = None if labels is None else np.array(labels)
        return ScanPrediction(name, name, 0, np.array([1.0, 0.0]), np.array([logit, logit]), attention, slice_labels)

    return Predictions(
        keys=("any", "subdural"),
        scans=(
            scan("x", [0.7, math.nan, 0.3], [[1, 0], [1, 0], [0, 0]], 2.0),
            scan("y", [0.1, 0.2, 0.7], [[1, 0], [0, 1], [1, 1]], 0.5),
            scan("z", [0.1, 0.2, 0.7], [[1, math.nan], [0, 0], [0, 0]], -0.5),
            scan("w", [0.1, 0.2, 0.7], None, 0.5),
        ),
        model="model",
        protocol="by hand",
    )


def test_each_label_has_its_own_slices():
    predictions = the_predictions()
    assert [scan.name for scan in attended_scans(predictions, "any")] == ["x", "y", "z"]
    assert [scan.predicted_positive for scan in attended_scans(predictions, "any")] == [True, True, False]
    given = attended_scans(predictions, "any", np.array([False, True, False, True]))
    assert [scan.predicted_positive for scan in given] == [False, True, False]
    metrics = {key: interpretive_tasks(attended_scans(predictions, key)) for key in predictions.keys}
    assert metrics["any"]["comprehensive"].scans == 3
    assert metrics["subdural"]["comprehensive"].scans == 1
    assert metrics["subdural"]["comprehensive"].value == 1.0


def test_a_slice_that_is_no_input_slice_ranks_last():
    (scan, *_) = attended_scans(the_predictions(), "any")
    assert scan.slice_attention.tolist() == [0.7, 0.0, 0.3]
    assert interpretive_tasks([scan])["comprehensive"].value == 0.5


def test_attention_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="attention"):
        a_scan([0.5, 0.5], [1])
    with pytest.raises(ValueError, match="finite for every slice"):
        a_scan([0.5, math.nan], [1, 0])


def test_metrics_have_the_interval_that_was_asked_for_and_can_be_written_as_json():
    seen: list[tuple[NDArray[np.float64], NDArray[np.str_]]] = []

    def interval(values: NDArray[np.float64], patients: NDArray[np.str_]) -> tuple[float, float] | None:
        seen.append((values, patients))
        return (0.25, 0.75) if len(values) > 1 else None

    tasks = interpretive_tasks(BY_HAND, interval=interval)
    assert (tasks["easy"].low, tasks["easy"].high) == (0.25, 0.75)
    assert interpretive_tasks(BY_HAND[:1], interval=interval)["easy"].low is None
    assert seen[1][1].tolist() == ["b", "b", "c"]
    written = json.dumps({name: dataclasses.asdict(metric) for name, metric in tasks.items()}, allow_nan=False)
    assert json.loads(written)["easy"]["low"] == 0.25


def test_the_interval_of_a_mean_draws_patients_and_not_scans():
    values, patients = np.array([1.0, 1.0, 1.0, 0.0]), ["a", "a", "a", "b"]
    # Two patients: (a, a), (a, b) and (b, b) give means of 1, 0.75 and 0 with probability 1/4, 1/2 and 1/4.
    wide = mean_metric(values, [0.5] * 4, patients, by_patient(500, level=0.95))
    narrow = mean_metric(values, [0.5] * 4, patients, by_patient(500, level=0.4))
    assert (wide.value, wide.low, wide.high) == (0.75, 0.0, 1.0)
    assert (narrow.low, narrow.high) == (0.75, 0.75)
    assert mean_metric(values[:3], [0.5] * 3, patients[:3], by_patient()).low is None


def test_a_mean_leaves_out_nan_and_counts_it():
    metric = mean_metric([1.0, math.nan], [0.5, math.nan], ["a", "b"])
    assert (metric.value, metric.random_baseline, metric.scans) == (1.0, 0.5, 1)
    assert metric.reason == "1 scans could not be measured"
    assert mean_metric([math.nan], [0.5], ["a"]).reason == "no scan to measure"
    with pytest.raises(ValueError, match="no random baseline"):
        mean_metric([1.0], [math.nan], ["a"])
    with pytest.raises(ValueError, match="2 values, 1 random baselines"):
        mean_metric([1.0, 2.0], [0.5], ["a"])


def test_attention_over_the_height_by_hand():
    positive = a_scan([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1])
    negative = a_scan([3.0, 1.0], [0, 0])
    found = attention_by_height([positive, positive, negative], bins=2)
    assert found.edges == (0.0, 0.5, 1.0)
    assert found.attention_positive == pytest.approx((0.3, 0.7))
    assert found.attention_negative == pytest.approx((0.75, 0.25))
    assert found.positive_slices == pytest.approx((0.0, 1.0))
    assert (found.positive_scans, found.negative_scans) == (2, 1)
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_a_slice_across_two_bins_is_divided_between_them():
    np.testing.assert_allclose(overlap_with_bins(3, 2), [[1, 0.5, 0], [0, 0.5, 1]])
    found = attention_by_height([a_scan([0.0, 1.0, 0.0], [0, 1, 0])], bins=2)
    assert found.attention_positive == pytest.approx((0.5, 0.5))
    assert found.positive_slices == pytest.approx((1 / 3, 1 / 3))
    assert found.attention_negative is None


@given(st.integers(1, 60), st.integers(1, 12))
def test_no_attention_is_lost_between_the_bins(slices: int, bins: int):
    overlap = overlap_with_bins(slices, bins)
    np.testing.assert_allclose(overlap.sum(axis=0), 1)
    np.testing.assert_allclose(overlap.sum(axis=1), slices / bins)
    even = attention_by_height([a_scan([1.0] * slices, [0] * slices)], bins)
    assert even.attention_negative == pytest.approx([1 / bins] * bins)


def test_a_scan_without_attention_or_a_head_without_bins_is_refused():
    with pytest.raises(ValueError, match="no slice has attention"):
        attention_by_height([a_scan([0.0, 0.0], [0, 1])])
    with pytest.raises(ValueError, match="at least 1"):
        attention_by_height([], bins=0)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_four_of_four_is_no_certainty(value: float):
    found = mean_metric([value] * 4, [0.5] * 4, ["a", "b", "c", "d"], by_patient(200))
    exact = proportion_interval(int(4 * value), 4)
    assert (found.low, found.high) == (exact.low, exact.high)
    assert found.high - found.low > 0.4


def test_the_proportion_of_the_top_h_slices_is_what_one_counts_by_hand():
    attention = np.array([0.05, 0.3, 0.1, 0.25, 0.2, 0.1])
    positive = np.array([False, True, True, True, False, False])
    # The three with most attention are slices 1, 3 and 4; 1 and 3 are positive.
    assert top_h_proportion(attention, positive) == pytest.approx(2 / 3)
    assert top_h_proportion(attention, attention >= 0.2) == 1.0
    assert top_h_proportion(attention, attention < 0.2) == 0.0


def test_a_random_choice_reaches_the_proportion_of_positive_slices():
    generator = np.random.default_rng(0)
    positive = np.arange(30) < 9
    proportions = [top_h_proportion(generator.random(30), positive) for _ in range(2000)]
    assert np.mean(proportions) == pytest.approx(0.3, abs=0.01)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_h_slices_count_also_when_attention_ties(slices: list[tuple[int, bool]]):
    attention, positive = np.array([a for a, _ in slices], dtype=float), np.array([p for _, p in slices])
    if not positive.any():
        with pytest.raises(ValueError, match="without a positive slice"):
            top_h_proportion(attention, positive)
        return
    proportion = top_h_proportion(attention, positive)
    found = proportion * positive.sum()
    assert found == pytest.approx(round(found))
    # h of n slices cannot avoid more positive ones than there are negative ones.
    assert max(0, 2 * positive.sum() - len(slices)) <= round(found) <= positive.sum()


def test_attention_of_another_number_of_slices_is_refused():
    with pytest.raises(ValueError, match="attention of 3 slices, labels of 4"):
        top_h_proportion(np.ones(3) / 3, np.array([True, False, False, False]))
