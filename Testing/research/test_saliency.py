"""Agreement of saliency maps by hand, against scipy, and of maps that cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy, pearsonr

from research.metrics.saliency import saliency_agreement


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
