"""Lesion maps against masks, by hand on a few voxels, against every permutation, and beside the attribution maps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from research.metrics.attribution_quality import map_quality
from research.metrics.lesion_quality import (
    MEASURES,
    VolumePair,
    as_probability,
    dice,
    lesion_quality,
    summarise,
    volume_errors,
)
from research.metrics.random_baseline import by_patient

PROBABILITY = np.array([[[0.8, 0.6], [0.2, 0.0]], [[0.9, 0.1], [0.0, 0.0]]])
MASK = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 0]]], dtype=bool)
HEAD = np.ones(MASK.shape, dtype=bool)

SMALL = (2, 2, 3)
maps = arrays(np.float64, SMALL, elements=st.floats(0.0, 1.0, width=16))
masks = arrays(np.bool_, SMALL).filter(np.any)


def test_a_map_by_hand_slice_by_slice_and_as_a_whole():
    found = lesion_quality(PROBABILITY, MASK, HEAD)
    assert found.slices == 1
    # The annotated slice: inside 0.7 on the mean, outside 0.1; its largest value lies inside; two voxels reach 0.5.
    assert found.per_slice["inside_minus_outside"].value == pytest.approx(0.6)
    assert found.per_slice["pointing_game"].value == 1.0
    assert found.per_slice["dice"].value == 1.0
    # The whole scan: the largest value, on a slice without a mask, lies outside.
    assert found.per_scan["inside_minus_outside"].value == pytest.approx(0.7 - 1.2 / 6)
    assert found.per_scan["pointing_game"].value == 0.0
    assert found.per_scan["dice"].value == pytest.approx(2 * 2 / (3 + 2))
    assert found.per_scan["pointing_game"].random_baseline == 0.25


def test_what_lies_outside_the_head_counts_only_if_it_is_annotated():
    head = HEAD.copy()
    head[1, 0, 0] = False
    head[0, 0, 0] = False
    found = lesion_quality(PROBABILITY, MASK, head)
    assert found.per_scan["pointing_game"].value == 1.0
    assert found.per_scan["inside_minus_outside"].value == pytest.approx(0.7 - 0.3 / 5)


def test_a_map_of_zeros_points_nowhere():
    found = lesion_quality(np.zeros(MASK.shape), MASK, HEAD)
    assert {found.per_scan[name].value for name in MEASURES} == {0.0}


def test_of_several_largest_values_the_proportion_inside_counts():
    probability = np.where(HEAD, 0.5, 0.0)
    assert lesion_quality(probability, MASK, HEAD).per_scan["pointing_game"].value == 0.25


def test_a_stored_map_is_the_probability_it_stands_for():
    stored = np.array([0, 51, 255], dtype=np.uint8)
    assert as_probability(stored).tolist() == pytest.approx([0.0, 0.2, 1.0])
    rounded = np.rint(PROBABILITY * 255).astype(np.uint8)
    one, other = (lesion_quality(each, MASK, HEAD).per_scan for each in (rounded, PROBABILITY))
    assert all(one[name].value == pytest.approx(other[name].value, abs=0.003) for name in MEASURES)


@pytest.mark.parametrize("wrong", [1.2, -0.1, np.nan])
def test_what_is_no_probability_is_refused(wrong: float):
    with pytest.raises(ValueError, match="between 0 and 1"):
        lesion_quality(np.full(MASK.shape, wrong), MASK, HEAD)


def test_a_scan_without_annotation_and_maps_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="nothing is annotated"):
        lesion_quality(PROBABILITY, np.zeros(MASK.shape, bool), HEAD)
    with pytest.raises(ValueError, match="three axes"):
        lesion_quality(PROBABILITY[:1], MASK, HEAD)


@given(maps, masks)
def test_scaled_by_its_largest_value_it_is_the_attribution_maps_measure(values: np.ndarray, mask: np.ndarray):
    values = values.astype(np.float32)
    head = np.ones(SMALL, dtype=bool)
    own, scaled = lesion_quality(values, mask, head).per_scan, map_quality(values, mask, head).per_scan
    largest = float(values.max())
    expected = own["inside_minus_outside"].value / largest if largest > 0 else 0.0
    assert scaled["diff_gradcam"].value == pytest.approx(expected, abs=1e-5)
    assert scaled["pointing_game"].value == pytest.approx(own["pointing_game"].value)


@given(arrays(np.float64, (1, 1, 5), elements=st.sampled_from([0.1, 0.4, 0.7, 0.9])), arrays(np.bool_, (1, 1, 5)))
def test_the_random_baseline_is_the_mean_over_every_permutation(values: np.ndarray, mask: np.ndarray):
    if not mask.any() or mask.all():
        return
    head = np.ones(mask.shape, dtype=bool)
    baseline = lesion_quality(values, mask, head).per_scan
    every = [
        lesion_quality(np.array(order).reshape(mask.shape), mask, head).per_scan
        for order in itertools.permutations(values.ravel())
    ]
    for name in MEASURES:
        mean = np.mean([found[name].value for found in every])
        assert baseline[name].random_baseline == pytest.approx(mean, abs=1e-6), name


@given(masks, masks)
def test_dice_is_symmetric_and_one_for_the_same_mask(first: np.ndarray, second: np.ndarray):
    assert dice(first, second) == dice(second, first)
    assert dice(first, first) == 1.0
    assert 0.0 <= dice(first, second) <= 1.0


def test_scans_are_averaged_with_an_interval_over_patients():
    good, bad = lesion_quality(PROBABILITY, MASK, HEAD), lesion_quality(1.0 - PROBABILITY, MASK, HEAD)
    found = summarise([("a", good), ("b", bad), ("c", good)], by_patient(200))
    metric = found["per_slice"]["inside_minus_outside"]
    assert metric.value == pytest.approx(0.2)
    assert metric.low is not None
    assert metric.high is not None
    assert metric.low < metric.value < metric.high
    assert (metric.scans, metric.patients) == (3, 3)
    assert summarise([])["per_scan"]["dice"].value is None


def test_volumes_are_compared_in_ml_and_as_a_ratio():
    pairs = [VolumePair("1", "a", "total", 10.0, 20.0), VolumePair("2", "b", "total", 10.0, 5.0)]
    found = volume_errors(pairs)
    assert found["error_ml"].value == pytest.approx(2.5)
    assert found["absolute_error_ml"].value == pytest.approx(7.5)
    # Twice and half as much cancel out.
    assert found["ratio"].value == pytest.approx(1.0)
    assert found["true_ml"].value == 10.0
    assert volume_errors([])["ratio"].reason == "no volume to compare"


def test_a_ratio_is_not_taken_of_a_scan_without_blood_nor_of_nothing_found():
    found = volume_errors([VolumePair("1", "a", "total", 0.0, 3.0), VolumePair("2", "b", "total", 4.0, 0.0)])
    assert found["error_ml"].value == pytest.approx(-0.5)
    assert found["ratio"].value == pytest.approx(0.01)
    assert found["ratio"].scans == 1
