"""Quality of maps by hand on a few voxels, random baselines against every permutation of the values."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from research.metrics.attribution_quality import (
    MEASURES,
    STEPS,
    map_quality,
    mask_of_label,
    summarise,
    summarise_labels,
)
from research.metrics.random_baseline import by_patient


def a_map(*slices: list[list[float]]) -> NDArray[np.float64]:
    return np.array(slices, dtype=np.float64)


def everywhere(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.ones(values.shape, dtype=bool)


VALUES = a_map([[4.0, 2.0], [0.0, -6.0]], [[8.0, 0.0], [0.0, 0.0]])
MASK = a_map([[1, 1], [0, 0]], [[0, 0], [0, 0]]).astype(bool)


def test_each_slice_on_its_own_scale_by_hand():
    quality = map_quality(VALUES, MASK, everywhere(VALUES))
    # The first slice alone, scaled by 4: inside 1 and 0.5, outside nothing.
    assert quality.per_slice["diff_gradcam"].value == pytest.approx(0.75)
    assert quality.per_slice["effective_heat_ratio_auc"].value == pytest.approx(1.0)
    assert quality.per_slice["pointing_game"].value == 1.0
    assert quality.per_slice["energy_inside"].value == 1.0
    assert [quality.per_slice[name].random_baseline for name in MEASURES] == [0.0, 0.5, 0.5, 0.5]
    assert (quality.slices, quality.zero_slices) == (1, 0)


def test_the_whole_scan_on_one_scale_by_hand():
    quality = map_quality(VALUES, MASK, everywhere(VALUES))
    # Scaled by 8: inside 0.5 and 0.25, outside 1 and five times 0.
    assert quality.per_scan["diff_gradcam"].value == pytest.approx(0.375 - 1 / 6)
    assert quality.per_scan["pointing_game"].value == 0.0
    assert quality.per_scan["energy_inside"].value == pytest.approx(6 / 14)
    # Proportion inside: 0.75 / 1.75 up to 0.25, 0.5 / 1.5 up to 0.5, then 0; the steps at both ends are slanted.
    step = 1 / STEPS
    curve = 0.25 * 3 / 7 + step * (3 / 7 + 1 / 3) / 2 + (0.25 - step) / 3 + step / 6
    assert quality.per_scan["effective_heat_ratio_auc"].value == pytest.approx(curve)
    assert [quality.per_scan[name].random_baseline for name in MEASURES] == [0.0, 0.25, 0.25, 0.25]


def test_a_map_of_evidence_against_the_label_scores_nothing():
    quality = map_quality(-np.abs(VALUES), MASK, everywhere(VALUES))
    assert all(found[name].value == 0 for found in (quality.per_slice, quality.per_scan) for name in MEASURES)
    assert quality.zero_slices == 1


def test_only_the_head_and_the_mask_count():
    head = everywhere(VALUES)
    head[1, 0, 0] = False
    quality = map_quality(VALUES, MASK, head)
    assert quality.per_scan["energy_inside"].value == 1.0
    assert quality.per_scan["energy_inside"].random_baseline == pytest.approx(2 / 7)
    beyond = map_quality(VALUES, MASK, ~everywhere(VALUES))
    assert beyond.per_scan["energy_inside"].random_baseline == 1.0


def test_values_outside_the_head_may_be_anything():
    values, head = VALUES.copy(), everywhere(VALUES)
    values[1, 1, 1], head[1, 1, 1] = math.nan, False
    assert map_quality(values, MASK, head).reason is None


def test_several_largest_values_count_by_their_proportion():
    values = a_map([[1.0, 1.0, 1.0, 0.5]])
    quality = map_quality(values, a_map([[1, 0, 0, 0]]).astype(bool), everywhere(values))
    assert quality.per_slice["pointing_game"].value == pytest.approx(1 / 3)


def test_a_mask_that_fills_the_head_is_no_success():
    quality = map_quality(VALUES, everywhere(VALUES), everywhere(VALUES))
    assert quality.per_scan["diff_gradcam"].value == 0.0
    assert (
        quality.per_scan["effective_heat_ratio_auc"].value
        == quality.per_scan["effective_heat_ratio_auc"].random_baseline
    )


def test_the_random_baseline_is_the_mean_over_every_permutation_of_the_values():
    mask = a_map([[1, 0, 1], [0, 0, 0]]).astype(bool)
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for permuted in itertools.permutations([0.0, 0.3, 0.3, 0.55, 0.9, 1.0]):
        quality = map_quality(np.array(permuted).reshape(1, 2, 3), mask, np.ones((1, 2, 3), dtype=bool))
        for name in MEASURES:
            found[name].append(quality.per_scan[name].value)
    for name in MEASURES:
        assert np.mean(found[name]) == pytest.approx(quality.per_scan[name].random_baseline, abs=1e-12)


@given(
    arrays(np.float32, (3, 4, 5), elements=st.floats(-5, 5, width=32)),
    arrays(np.bool_, (3, 4, 5)),
    arrays(np.bool_, (3, 4, 5)),
    st.floats(0.1, 10),
)
@settings(deadline=None)
def test_measures_stay_in_their_range_and_do_not_depend_on_the_unit(
    values: NDArray[np.float32], mask: NDArray[np.bool_], head: NDArray[np.bool_], unit: float
):
    quality = map_quality(values, mask, head)
    if not mask.any():
        assert quality.reason == "no annotation"
        return
    for scale in (quality.per_slice, quality.per_scan):
        assert -1 <= scale["diff_gradcam"].value <= 1
        for name in MEASURES[1:]:
            assert 0 <= scale[name].value <= 1 + 1e-9
            assert 0 < scale[name].random_baseline <= 1
    # A power of two: other factors move values across thresholds by rounding.
    factor = 2.0 ** round(unit)
    other = map_quality(values * factor, mask, head)
    assert other == quality


@given(arrays(np.bool_, (2, 4, 4)).filter(lambda mask: mask.any()))
def test_a_map_that_is_the_mask_is_perfect(mask: NDArray[np.bool_]):
    head = np.ones_like(mask)
    quality = map_quality(mask.astype(np.uint8) * 255, mask, head)
    for name in MEASURES[1:]:
        assert quality.per_scan[name].value == quality.per_slice[name].value == 1.0
    assert quality.per_scan["diff_gradcam"].value == (0.0 if mask.all() else 1.0)


def test_what_cannot_be_measured_has_a_reason_and_no_value():
    broken = VALUES.copy()
    broken[0, 0, 0] = math.nan
    qualities = [map_quality(broken, MASK, everywhere(VALUES)), map_quality(VALUES, ~everywhere(VALUES), MASK)]
    assert all(quality.per_slice == quality.per_scan == {} for quality in qualities)
    metrics = summarise(qualities, ["a", "b"])
    assert metrics["per_scan"]["energy_inside"].value is None
    assert metrics["per_slice"]["energy_inside"].reason == "no annotation; the map holds NaN"
    assert summarise([], [])["per_scan"]["energy_inside"].reason == "no map"
    with pytest.raises(ValueError, match="must be equal"):
        map_quality(VALUES, MASK[:1], MASK)
    with pytest.raises(ValueError, match="2 maps, 1 patients"):
        summarise(qualities, ["a"])


def test_labels_are_averaged_separately_and_overall():
    good = map_quality(MASK.astype(np.float64), MASK, everywhere(VALUES))
    zero = map_quality(np.zeros(MASK.shape), MASK, everywhere(VALUES))
    found = summarise_labels({"any": [("a", good), ("b", zero)], "subdural": [("a", good)], "epidural": []})
    assert found["any"]["per_slice"]["pointing_game"].value == 0.5
    assert found["subdural"]["per_slice"]["pointing_game"].value == 1.0
    assert found["epidural"]["per_slice"]["pointing_game"].value is None
    overall = found["overall"]["per_scan"]["pointing_game"]
    assert (overall.value, overall.random_baseline, overall.scans, overall.patients) == (
        pytest.approx(2 / 3),
        0.25,
        3,
        2,
    )
    json.dumps({"quality": dataclasses.asdict(good), "overall": dataclasses.asdict(overall)}, allow_nan=False)


def test_a_labels_mask_is_that_of_the_slices_that_show_it():
    mask = np.ones((3, 2, 2), dtype=bool)
    assert mask_of_label(mask, np.array([True, False, True])).any(axis=(1, 2)).tolist() == [True, False, True]


def test_only_hits_have_an_interval_where_every_map_is_empty():
    mask = np.zeros((1, 8, 8), bool)
    mask[0, 2:4, 2:4] = True
    empty = map_quality(np.zeros((1, 8, 8), np.uint8), mask, np.ones((1, 8, 8), bool))
    found = summarise([empty] * 4, ["a", "b", "c", "d"], by_patient(200))["per_slice"]
    assert found["pointing_game"].low == 0.0
    assert found["pointing_game"].high is not None
    assert found["pointing_game"].high > 0.3, "four patients without a hit exclude little"
    for measure in ("diff_gradcam", "effective_heat_ratio_auc", "energy_inside"):
        assert (found[measure].value, found[measure].low, found[measure].high) == (0.0, None, None)
