"""The phantom's head: tissue densities, its size, its noise, its midline, and one head for each seed."""

from __future__ import annotations

import numpy as np
import pytest
from phantom_cases import TINY, at, patient_points

from scripts.phantom import Grid, Haemorrhage, Phantom, make_phantom
from scripts.phantom.anatomy import Anatomy


@pytest.fixture(scope="module")
def healthy() -> Phantom:
    grid = Grid((75, 128, 128), (1.8, 1.8, 2.0), slice_thickness_mm=1.0)
    return make_phantom(grid, noise_hu=0.0, beam_hardening=0.0, variation=0.0)


@pytest.mark.parametrize(
    ("tissue", "point", "low", "high"),
    [
        ("air", (0.0, 110.0, 60.0), -1000, -990),
        ("white matter", (28.0, -20.0, 32.0), 27, 32),
        ("thalamus", (10.0, -12.0, 5.0), 34, 41),
        ("lateral ventricle", (10.0, -10.0, 19.0), 4, 12),
        ("cerebellum", (28.0, -64.0, -38.0), 31, 41),
        ("frontal bone", (0.0, 83.5, 14.0), 400, 1600),
        ("scalp fat", (0.0, -100.5, 10.0), -110, 45),
        ("orbital fat", (29.0, 62.0, -30.0), -120, -50),
        ("vitreous body", (32.0, 75.0, -36.0), 0, 30),
        ("sphenoid sinus", (9.0, 29.0, -40.0), -1000, -800),
        ("petrous bone", (34.0, -18.0, -35.0), 1000, 2000),
        ("pineal calcification", (0.0, -34.0, 1.0), 80, 220),
    ],
)
def test_each_tissue_has_its_density(
    healthy: Phantom, tissue: str, point: tuple[float, float, float], low: int, high: int
) -> None:
    value = int(at(healthy, point)[0])
    assert low <= value <= high, f"{tissue}: {value} HU"


def test_grey_matter_is_denser_than_white_matter(healthy: Phantom) -> None:
    points = patient_points(healthy, np.ones_like(healthy.voxels, dtype=bool))
    anatomy = Anatomy.individual(0, 0.0)
    above = (points[:, 2] > 40.0) & (np.abs(points[:, 0]) > 12.0)
    depth = -anatomy.cavity(anatomy.to_head(points[above].T.astype(np.float32)))
    values = healthy.voxels.ravel()[above]
    cortex, core = np.median(values[(depth > 3.5) & (depth < 5.0)]), np.median(values[depth > 22.0])
    assert cortex - core > 4.0


def test_head_is_an_adults_and_tapers_to_the_vertex(healthy: Phantom) -> None:
    inside = patient_points(healthy, healthy.voxels > -300)
    head = inside[np.hypot(inside[:, 0], inside[:, 1] - 12.0) < 112.0]
    level = head[np.abs(head[:, 2] - 20.0) < 2.0]
    width, length = np.ptp(level[:, 0]), np.ptp(level[:, 1])
    assert 140.0 < width < 175.0
    assert 175.0 < length < 215.0
    top = head[np.abs(head[:, 2] - 78.0) < 1.5]
    assert 0 < len(top) < len(level) / 3


def test_noise_has_the_standard_deviation_asked_for() -> None:
    grid = Grid((2, 128, 128), (0.5, 0.5, 5.0), centre_mm=(0.0, 0.0, 38.0))
    quiet, noisy = (make_phantom(grid, noise_hu=noise).voxels.astype(float) for noise in (0.0, 4.0))
    assert np.std(noisy - quiet) == pytest.approx(4.0, rel=0.1)


def third_ventricle_position(phantom: Phantom, expected_mm: float) -> float:
    """Position x in mm of the third ventricle's middle, searched within 14 mm of where it should be."""
    x = np.arange(expected_mm - 14.0, expected_mm + 14.0, 0.25)
    row = np.column_stack([x, np.full_like(x, -4.0), np.zeros_like(x)])
    values = at(phantom, *map(tuple, row)).astype(float)
    return float(np.average(x, weights=np.clip(25.0 - values, 0.0, None)))


@pytest.mark.parametrize("shift", [-8.0, 5.0, 12.0])
def test_midline_shift_moves_the_midline_by_what_was_asked_and_leaves_the_skull(shift: float) -> None:
    grid = Grid((3, 300, 300), (0.7, 0.7, 2.0), slice_thickness_mm=1.0, centre_mm=(0.0, 0.0, 0.0))
    still, moved = (
        make_phantom(grid, noise_hu=0.0, variation=0.0, midline_shift_mm=value, beam_hardening=0.0)
        for value in (0.0, shift)
    )
    assert third_ventricle_position(still, 0.0) == pytest.approx(0.0, abs=0.4)
    assert third_ventricle_position(moved, shift + 2.0) == pytest.approx(shift, abs=0.6)
    bone = still.voxels > 400
    # The innermost bone voxels share their volume with the brain beneath.
    assert np.abs(moved.voxels[bone] - still.voxels[bone]).max() <= 60


def test_one_seed_gives_one_head_and_another_seed_another() -> None:
    bleed = [Haemorrhage("subdural", "right", 25.0)]
    first, again, other = (make_phantom(TINY, bleed, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.voxels, again.voxels)
    assert np.array_equal(first.masks["subdural"], again.masks["subdural"])
    bone_of_first, bone_of_other = (make_phantom(TINY, noise_hu=0.0, seed=seed).voxels > 300 for seed in (5, 6))
    assert not np.array_equal(bone_of_first, bone_of_other)
    assert not np.array_equal(first.voxels, other.voxels)
