"""Single slices, without bone and without neighbours, get lesions and labels of their own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthesis_cases import host

from scripts.synthesis.anatomy import find_anatomy
from scripts.synthesis.lesion import LABEL_VALUES, LesionRequest
from scripts.synthesis.random_synthesis import SynthesisSettings, draw_synthesis
from scripts.synthesis.single_slice import slice_study
from scripts.synthesis.synthesis import synthesise
from scripts.synthesis.working_grid import SynthesisError

SLICE = slice_study(np.clip(host().voxels[13], -5, 75), (1.3, 1.25))
FOUND = find_anatomy(SLICE)


@pytest.mark.parametrize("subtype", list(LABEL_VALUES))
def test_every_subtype_can_lie_in_a_slice(subtype: str):
    made = None
    for seed in range(6):
        try:
            made = synthesise(SLICE, [LesionRequest(subtype, 12.0)], np.random.default_rng(seed), FOUND)
            break
        except SynthesisError:
            continue
    assert made is not None
    assert made.label_map.shape == SLICE.voxels.shape
    assert made.slice_labels[subtype].tolist() == [True]
    assert (FOUND.cavity.depth[0][made.label_map[0] > 0] > -1.3).all()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_values_stay_in_the_window_of_the_source(seed: int):
    made = draw_synthesis(SLICE, np.random.default_rng(seed), SynthesisSettings(mimic=0.5, artefact=0.5), anatomy=FOUND)
    assert made.study.voxels.min() >= SLICE.voxels.min()
    assert made.study.voxels.max() <= SLICE.voxels.max()
    assert made.labels["any"]


def test_a_larger_volume_covers_more_of_the_slice():
    def area(volume_ml: float) -> float:
        areas = []
        for seed in range(8):
            request = LesionRequest("intraparenchymal", volume_ml, "lobar")
            areas.append((synthesise(SLICE, [request], np.random.default_rng(seed), FOUND).label_map > 0).sum())
        return float(np.median(areas))

    assert area(2.0) < area(10.0) < area(40.0)


@pytest.mark.parametrize(
    ("array", "pixel_mm", "code"),
    [
        (np.zeros((4, 64, 64)), 0.5, "not_a_slice"),
        (np.full((64, 64), np.nan), 0.5, "not_a_slice"),
        (np.zeros((64, 64)), 0.0, "bad_spacing"),
    ],
)
def test_what_is_no_slice_is_refused_by_name(array: np.ndarray, pixel_mm: float, code: str):
    with pytest.raises(SynthesisError) as fault:
        slice_study(array, pixel_mm)
    assert fault.value.code == code


def test_an_empty_slice_is_refused_by_name():
    with pytest.raises(SynthesisError) as fault:
        find_anatomy(slice_study(np.full((96, 96), -5.0), 0.65))
    assert fault.value.code == "no_cavity"
