"""Agreement of saliency maps by hand, against scipy, and of maps that cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy, pearsonr, ttest_rel

from research.metrics.saliency import SaliencyAgreement, saliency_agreement
from research.systems.saliency_quality import agreement, compared, page, paired, per_scan
from research.systems.saliency_slices import SliceMeasure
from scripts.explanation.saliency import RECORDED, STAND_IN


def a_map(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((6, 5)) + 0.01


@given(st.integers(0, 50), st.floats(0.1, 100))
def test_a_map_agrees_with_itself_in_any_unit(seed: int, unit: float):
    found = saliency_agreement(a_map(seed), unit * a_map(seed))
    assert found.divergence == pytest.approx(0.0, abs=1e-9)
    assert found.correlation == pytest.approx(1.0)
    assert found.similarity == pytest.approx(1.0)


def test_the_measures_are_scipys_and_the_sum_of_the_smaller_values():
    first, second = a_map(1), a_map(2)
    found = saliency_agreement(first, second)
    assert found.divergence == pytest.approx(entropy(second.ravel(), first.ravel()))
    assert found.correlation == pytest.approx(pearsonr(first.ravel(), second.ravel()).statistic)
    one, other = first / first.sum(), second / second.sum()
    assert found.similarity == pytest.approx(1 - np.abs(one - other).sum() / 2)


def test_maps_that_do_not_overlap_are_as_far_apart_as_can_be_and_finite():
    found = saliency_agreement([[1.0, 0.0]], [[0.0, 1.0]])
    assert (found.correlation, found.similarity) == (pytest.approx(-1.0), 0.0)
    assert 20 < found.divergence < 100


def test_a_map_that_is_the_same_everywhere_has_no_correlation():
    assert saliency_agreement(np.ones((2, 2)), [[1.0, 0.0], [0.0, 0.0]]).correlation is None


@pytest.mark.parametrize(
    ("predicted", "true", "message"),
    [
        ([[0.0, 0.0]], [[1.0, 0.0]], "predicted map is 0 everywhere"),
        ([[1.0, 0.0]], [[0.0, 0.0]], "true map is 0 everywhere"),
        ([[1.0, -1.0]], [[1.0, 0.0]], "at least 0"),
        ([[1.0, np.nan]], [[1.0, 0.0]], "finite"),
        ([[1.0]], [[1.0, 0.0]], r"\(1, 1\), true map \(1, 2\)"),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(predicted: list[list[float]], true: list[list[float]], message: str):
    with pytest.raises(ValueError, match=message):
        saliency_agreement(predicted, true)


def a_slice(scan: str, agreement: SaliencyAgreement | None, label: float = 1.0, logit: float = 2.0) -> SliceMeasure:
    return SliceMeasure(scan, scan, label, logit, agreement, agreement)


def test_a_table_has_means_over_slices_and_pairs_of_scans():
    near, far = SaliencyAgreement(0.5, 0.6, 0.7), SaliencyAgreement(1.5, None, 0.3)
    slices = [a_slice("a", near), a_slice("a", far), a_slice("b", near), a_slice("c", None)]
    found = agreement(slices)
    assert (found["slices"], found["scans"]) == (3, 2)
    assert found["divergence"]["mean"] == pytest.approx((0.5 + 1.5 + 0.5) / 3)
    assert found["correlation"] == {"mean": pytest.approx(0.6), "standard_deviation": pytest.approx(0.0)}
    assert per_scan(slices, "divergence") == {"a": pytest.approx(1.0), "b": pytest.approx(0.5)}
    assert agreement([])["divergence"] == {"mean": None, "standard_deviation": None}


def test_scans_are_compared_in_pairs_by_scipys_test_where_there_are_enough():
    first, second = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 9.0}, {"a": 0.5, "b": 1.9, "c": 3.0}
    found = paired(first, second)
    assert found["scans"] == 3
    assert found["difference"] == pytest.approx((0.5 + 0.1 + 1.0) / 3)
    assert found["p"] == pytest.approx(ttest_rel([1.0, 2.0, 4.0], [0.5, 1.9, 3.0]).pvalue)
    assert paired({"a": 1.0}, second)["p"] is None
    assert paired({"z": 1.0}, second) == {"scans": 0, "difference": None, "p": None, "remark": "no scan in common"}


def test_the_page_states_what_the_true_maps_are_and_leaves_out_what_was_not_measured():
    measured = {"full": [a_slice("a", SaliencyAgreement(0.5, 0.6, 0.7)), a_slice("b", None, 0.0, -1.0)]}
    for gaze, truth in ((True, RECORDED), (False, STAND_IN)):
        found = compared(measured, gaze)
        assert found["ablations"] == []
        assert truth in page(found)
    assert "0.500 ± – (0.706)" in page(found) or "0.500 ± — (0.706)" in page(found)
    assert {line.count("|") for line in page(found).splitlines() if line.startswith("| full")} == {7, 8}
