"""Comparison of two models against a published example, brute force and their distribution under no difference."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, ttest_rel

from research.metrics.comparison import auc_covariance, delong, paired_bootstrap, paired_t_test

# DeLong, DeLong and Clarke-Pearson's 43 complete patients (albumin, total protein, K-G score, outcome), as printed with
# the results below in the SAS/STAT User's Guide, "Comparing Receiver Operating Characteristic Curves".
PUBLISHED = """
3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1
3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0
4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1
4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1
2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1
"""
ALBUMIN, PROTEIN, KG_SCORE, OUTCOME = np.array(PUBLISHED.split(), dtype=float).reshape(-1, 4).T


def two_models(seed=0, scans=60, better=0.0):
    """Draw labels and the scores of two models that see the same, each with a noise of its own."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(scans) < 0.4).astype(float)
    labels[:4] = 0, 1, 0, 1
    seen = generator.normal(labels)
    first, second = (np.round(seen + generator.normal(scale=0.7, size=scans), 1) for _ in range(2))
    return labels, first + better * labels, second


def names(count):
    return [f"patient {number:03d}" for number in range(count)]


def brute_force_covariance(labels, scores):
    """Write DeLong's structural components out pair by pair."""
    positive, negative = scores[:, labels == 1], scores[:, labels == 0]
    won = (positive[:, :, None] > negative[:, None, :]) + 0.5 * (positive[:, :, None] == negative[:, None, :])
    covariance = np.cov(won.mean(2)) / positive.shape[1] + np.cov(won.mean(1)) / negative.shape[1]
    return won.mean((1, 2)), covariance


def test_auc_and_standard_error_are_the_published_ones():
    aucs, covariance = auc_covariance(OUTCOME, np.stack([ALBUMIN, 10 - KG_SCORE, PROTEIN]))
    assert np.round(aucs, 4).tolist() == [0.7366, 0.7258, 0.6478]
    assert np.round(np.sqrt(np.diag(covariance)), 4).tolist() == [0.0927, 0.1028, 0.1000]


@pytest.mark.parametrize(
    ("score", "difference", "chi_square", "p"), [(ALBUMIN, 0.0108, 0.0127, 0.9102), (PROTEIN, -0.0780, 0.5554, 0.4561)]
)
def test_delongs_test_gives_the_published_result(score, difference, chi_square, p):
    found = delong(OUTCOME, score, 10 - KG_SCORE)
    assert found.difference == pytest.approx(difference, abs=5e-5)
    assert found.statistic**2 == pytest.approx(chi_square, abs=5e-5)
    assert found.p == pytest.approx(p, abs=5e-5)
    assert found.units == 43
    assert found.low < found.difference < found.high


@given(st.integers(0, 2**32 - 1), st.integers(5, 60))
@settings(max_examples=60, deadline=None)
def test_the_fast_covariance_is_that_of_all_pairs(seed, scans):
    labels, *scores = two_models(seed, scans)
    aucs, covariance = auc_covariance(labels, np.stack(scores))
    expected_aucs, expected_covariance = brute_force_covariance(labels, np.stack(scores))
    np.testing.assert_allclose(aucs, expected_aucs, atol=1e-12)
    np.testing.assert_allclose(covariance, expected_covariance, atol=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_delong_does_not_depend_on_order_scale_or_which_model_comes_first(seed):
    labels, first, second = two_models(seed, 30)
    found = delong(labels, first, second)
    order = np.random.default_rng(seed).permutation(30)
    for other, sign in (
        (delong(labels[order], first[order], second[order]), 1),
        (delong(labels, np.exp(first), 3 * second - 1), 1),
        (delong(labels, second, first), -1),
    ):
        assert sign * other.difference == pytest.approx(found.difference)
        assert other.p == pytest.approx(found.p)


def test_p_values_of_equal_models_are_uniform():
    values = [delong(*two_models(seed, 100)).p for seed in range(200)]
    assert kstest(values, "uniform").pvalue > 0.001
    assert np.mean([delong(*two_models(seed, 100, better=1.5)).p < 0.05 for seed in range(50)]) > 0.9


def test_models_that_rank_alike_do_not_differ():
    labels, first, _ = two_models()
    found = delong(labels, first, np.exp(first))
    assert (found.difference, found.statistic, found.p) == (0, None, 1.0)
    assert found.remark == "the models rank the scans alike"


def test_two_certain_models_have_no_variance_to_test_with():
    labels = np.array([0, 0, 1, 1])
    found = delong(labels, labels, 1 - labels)
    assert (found.difference, found.p, found.remark) == (1.0, None, "both models' AUCs have no variance")


def test_a_class_of_fewer_than_two_scans_gives_a_reason():
    found = delong([1, 0, 0, np.nan], [0.1, 0.2, 0.3, np.nan], [0.2, 0.1, 0.3, np.nan])
    assert (found.first, found.p) == (None, None)
    assert found.remark == "1 positive, 2 negatives, 1 unknown: two of each are needed"
    found = paired_bootstrap([0, 0, 0], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3], list("abc"))
    assert (found.p, found.remark) == (None, "0 positives, 3 negatives")


def test_the_paired_bootstrap_agrees_with_delong_where_scans_are_patients():
    labels, first, second = two_models(3, 120, better=0.4)
    by_formula, by_drawing = delong(labels, first, second), paired_bootstrap(labels, first, second, names(120))
    assert by_drawing.difference == pytest.approx(by_formula.difference)
    assert by_drawing.low == pytest.approx(by_formula.low, abs=0.02)
    assert by_drawing.high == pytest.approx(by_formula.high, abs=0.02)
    assert by_drawing.p == pytest.approx(by_formula.p, abs=0.03)


def test_a_model_does_not_differ_from_itself():
    labels, first, _ = two_models()
    found = paired_bootstrap(labels, first, first, names(60), count=100)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1.0)


def test_repeating_every_scan_of_a_patient_does_not_make_a_difference_more_certain():
    labels, first, second = two_models(5, 40, better=0.5)
    once = paired_bootstrap(labels, first, second, names(40), count=500)
    repeated = [np.repeat(part, 10) for part in (labels, first, second, names(40))]
    tenfold = paired_bootstrap(repeated[0], repeated[1], repeated[2], repeated[3], count=500)
    assert tenfold.units == 40
    assert (tenfold.low, tenfold.high, tenfold.p) == pytest.approx((once.low, once.high, once.p))


def test_the_t_test_is_scipys_over_the_pairs_that_both_models_have():
    generator = np.random.default_rng(0)
    first, second = generator.random(30), generator.random(30) + 0.2
    second[3] = np.nan
    kept = np.arange(30) != 3
    found = paired_t_test(first, second)
    expected = ttest_rel(first[kept], second[kept])
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.units == 29
    assert found.low < found.difference < found.high < 0.2


def test_the_t_test_counts_patients_not_scans():
    generator = np.random.default_rng(0)
    first, second = generator.random(12), generator.random(12)
    repeated = paired_t_test(np.repeat(first, 5), np.repeat(second, 5), np.repeat(names(12), 5))
    assert dataclasses.astuple(repeated) == pytest.approx(dataclasses.astuple(paired_t_test(first, second)))


def test_a_t_test_without_variance_or_pairs_has_the_reason():
    assert paired_t_test([1, 2, 3], [2, 3, 4]).remark == "every pair differs by the same: no variance"
    assert paired_t_test([1, np.nan], [2, 3]).remark == "1 pairs: two are needed"


def test_comparisons_are_json():
    labels, first, second = two_models()
    for found in (delong(labels, first, second), delong([1, 0], [0, 1], [0, 1]), paired_t_test(first, second)):
        assert json.loads(json.dumps(dataclasses.asdict(found), allow_nan=False))["test"]
