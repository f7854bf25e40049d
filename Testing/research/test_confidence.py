"""Intervals by patient: no patient is split, no class is lost, and they cover what they should."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from research.metrics.confidence import (
    auc_interval,
    interval,
    proportion_interval,
    resample_patients,
    resampled_auc,
    weighted_auc,
)


def scored(seed=0, patients=60, most_rows=1, shift=1.0):
    """Draw patients with one or more rows each: labels, scores (rounded, so that some tie), patient of each row."""
    generator = np.random.default_rng(seed)
    rows = generator.integers(1, most_rows + 1, patients)
    names = np.repeat([f"patient {number:03d}" for number in range(patients)], rows)
    labels = (generator.random(len(names)) < 0.4).astype(float)
    labels[[0, -1]] = 1, 0
    return labels, np.round(generator.normal(shift * labels), 1), names


@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
@settings(max_examples=60, deadline=None)
def test_the_weighted_auc_is_scikit_learns(seed, patients):
    labels, scores, _ = scored(seed, patients, most_rows=3)
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(labels)))
    weights[:, [0, -1]] = 1
    expected = [roc_auc_score(labels, scores, sample_weight=weight) for weight in weights]
    assert weighted_auc(labels, scores, weights) == pytest.approx(expected)


def test_an_auc_without_one_class_is_nan():
    assert np.isnan(weighted_auc([1, 0], [0.2, 0.3], [[1, 0], [0, 1]])).all()


def test_a_patient_is_drawn_with_all_its_rows_or_not_at_all():
    labels, _, names = scored(patients=20, most_rows=5)
    resamples = resample_patients(names, labels, 50)
    for number in range(50):
        rows = np.repeat(np.arange(len(labels)), resamples.weights(number, number + 1)[0])
        for name in np.unique(names):
            times = [int((rows == row).sum()) for row in np.flatnonzero(names == name)]
            assert len(set(times)) == 1
    assert (resamples.draws.sum(axis=1) == 20).all()


def test_no_resample_lacks_a_class_even_of_two_patients():
    labels = np.array([1.0, 1] + [0] * 40)
    resamples = resample_patients([str(number) for number in range(42)], labels, 500)
    assert (resamples.weights(0, 500)[:, labels == 1].sum(axis=1) == 2).all()


def test_resamples_are_the_same_for_the_same_seed_alone():
    labels, _, names = scored()
    first, again, other = (resample_patients(names, labels, 30, seed).draws for seed in (4, 4, 5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_auc_of_a_resample_is_scikit_learns_over_its_rows():
    labels, scores, names = scored(patients=25, most_rows=4)
    resamples = resample_patients(names, labels, 20)
    values = resampled_auc(labels, scores, resamples)
    for number in range(20):
        rows = np.repeat(np.arange(len(labels)), resamples.weights(number, number + 1)[0])
        assert values[number] == pytest.approx(roc_auc_score(labels[rows], scores[rows]))


@given(st.integers(0, 2**32 - 1), st.integers(4, 60), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_the_interval_contains_the_estimate(seed, patients, most_rows):
    labels, scores, names = scored(seed, patients, most_rows)
    found = auc_interval(labels, scores, names, 400)
    if found.low is not None:
        assert 0 <= found.low <= found.estimate <= found.high <= 1


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_neither_the_order_of_rows_nor_a_monotone_map_changes_an_interval(seed):
    labels, scores, names = scored(seed, 30, 3)
    order = np.random.default_rng(seed).permutation(len(labels))
    found = auc_interval(labels, scores, names, 100)
    shuffled = auc_interval(labels[order], scores[order], names[order], 100)
    assert dataclasses.astuple(shuffled) == pytest.approx(dataclasses.astuple(found))
    assert auc_interval(labels, np.exp(scores), names, 100) == found


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    # Scores normal with means 1 apart: the AUC of all patients there could be is Phi(1 / sqrt 2).
    truth, covered = 0.7602, 0
    for seed in range(200):
        labels, _, names = scored(seed, 80)
        scores = np.random.default_rng(10_000 + seed).normal(labels)
        found = auc_interval(labels, scores, names, 300)
        covered += found.low <= truth <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_slices_of_few_patients_say_less_than_as_many_of_different_ones():
    generator = np.random.default_rng(1)
    patient = np.repeat(np.arange(20), 30)
    labels = np.tile([1.0] * 10 + [0.0] * 20, 20)
    # The appearance of positive slices differs from patient to patient, hardly from slice to slice.
    scores = labels * (0.5 + generator.normal(size=20)[patient]) + 0.3 * generator.normal(size=600)
    clustered = auc_interval(labels, scores, patient.astype(str), 400)
    apart = auc_interval(labels, scores, np.arange(600).astype(str), 400)
    assert clustered.high - clustered.low > 2 * (apart.high - apart.low)


@pytest.mark.parametrize(("label", "reason"), [(0, "0 positives, 5 negatives"), (1, "5 positives, 0 negatives")])
def test_an_absent_class_gives_no_metric_but_the_reason(label, reason):
    found = auc_interval(np.full(5, label), np.arange(5), list("abcde"))
    assert (found.estimate, found.low, found.high, found.remark) == (None, None, None, reason)
    assert "NaN" not in json.dumps(dataclasses.asdict(found))


def test_one_positive_patient_gives_a_metric_but_no_interval():
    found = auc_interval([1, 0, 0, 0], [0.9, 0.1, 0.2, 0.95], list("abcd"))
    assert found.estimate == pytest.approx(2 / 3)
    assert (found.low, found.high) == (None, None)
    assert found.remark == "a single patient with a positive has no variance"


def test_unknown_labels_are_left_out():
    labels, scores, names = scored(patients=30)
    more = auc_interval(
        np.append(labels, np.nan), np.append(scores, np.nan), np.append(names, "patient without a label"), 100
    )
    assert more == auc_interval(labels, scores, names, 100)


def test_resamples_without_the_metric_are_counted():
    labels = np.array([1, 0, 1, 1, 1])
    patients = ["a", "a", "b", "c", "d"]
    found = auc_interval(labels, [0.5, 0.4, 0.6, 0.7, 0.3], patients, 400)
    missing = 400 - found.resamples
    # Every negative belongs to patient a, and (3/4) ** 4 of the resamples are without that patient.
    assert missing / 400 == pytest.approx((3 / 4) ** 4, abs=0.08)
    assert found.remark == f"{missing} of 400 resamples lack a class"


def test_a_metric_that_does_not_exist_has_no_interval():
    found = interval(0.5, np.full(10, np.nan))
    assert (found.low, found.remark) == (None, "the metric exists in no resample")


def test_a_full_proportion_has_an_interval_too():
    found = proportion_interval(36, 36)
    # Wilson's lower bound of n of n is n / (n + z squared).
    assert (found.estimate, found.low, found.high) == pytest.approx((1, 36 / (36 + 1.959964**2), 1))
    assert proportion_interval(0, 0).remark == "no scan to count"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="resamples of 2 rows with 1 labels"):
        resample_patients(["a", "b"], [1])
    with pytest.raises(ValueError, match="0 resamples"):
        resample_patients(["a"], [1], 0)
