"""Skull and brain are found by anatomy in every pose, whatever else lies in the field."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.head import head_mask
from scripts.intake.quality import check_quality
from scripts.intake.skull import SkullLocation, locate_skull
from scripts.intake.study import CTStudy, NotEvaluableError, Provenance
from scripts.phantom import Grid, make_phantom
from scripts.reading_geometry import head_centred_crop, slabs_of
from scripts.transforms import ReadingGeometryd

MM = 2.5
SLICE_MM = 6.0
SPACING = (MM, MM, SLICE_MM)
MUSCLE_HU, BONE_HU, FAT_HU = 55, 600, -90


@pytest.fixture(scope="module")
def head() -> NDArray[np.int16]:
    """A phantom of 28 slices from the skull base to above the vertex, without the head holder."""
    return make_phantom(Grid((28, 96, 96), SPACING), seed=4).voxels


@pytest.fixture(scope="module")
def alone(head: NDArray[np.int16]) -> SkullLocation:
    return locate_skull(head, SPACING)


def field(slices: int, size: int = 200) -> NDArray[np.int16]:
    return np.full((slices, size, size), -1000, dtype=np.int16)


def in_the_middle(head: NDArray[np.int16], size: int = 200, below: int = 0) -> NDArray[np.int16]:
    """Put a head into a field of ``size`` pixels, with ``below`` empty slices under it."""
    volume = field(below + len(head), size)
    start = (size - head.shape[1]) // 2
    volume[below:, start : start + head.shape[1], start : start + head.shape[2]] = head
    return volume


def body(size: int, slices: int, width_mm: float, depth_mm: float) -> NDArray[np.int16]:
    """Muscle with fat around it, a vertebra with its canal, and two more bones: neck, shoulders or abdomen."""
    rows, columns = (np.mgrid[:size, :size] - size / 2) * MM
    plane = np.full((size, size), -1000.0)
    for scale, value in ((1.0, FAT_HU), (0.9, MUSCLE_HU)):
        plane[(columns / (scale * width_mm)) ** 2 + (rows / (scale * depth_mm)) ** 2 < 1] = value
    from_spine = np.hypot(columns, rows - 0.4 * depth_mm)
    plane[from_spine < 18] = BONE_HU
    plane[from_spine < 8] = 30
    for side in (-0.7, 0.7):
        plane[np.hypot(columns - side * width_mm, rows) < 0.12 * width_mm] = BONE_HU
    noise = np.random.default_rng(2).normal(0, 6, (slices, size, size))
    return np.rint(plane + noise).astype(np.int16)


def study(voxels: NDArray[np.int16], affine: NDArray[np.float64] | None = None) -> CTStudy:
    affine = np.diag([-MM, -MM, SLICE_MM, 1.0]) if affine is None else affine
    return CTStudy(
        voxels.copy(), affine, SLICE_MM * np.arange(len(voxels), dtype=np.float64), Provenance("head", "phantom")
    )


def box_size(skull: SkullLocation) -> tuple[int, int]:
    return skull.rows[1] - skull.rows[0], skull.columns[1] - skull.columns[0]


def test_the_phantom_has_a_skull_of_human_size(alone: SkullLocation):
    assert 160 < alone.length_mm < 230
    assert 120 < alone.width_mm < 180
    assert 20 <= alone.median_hu <= 45
    assert 90 < alone.brain.sum() * SLICE_MM < 150
    assert alone.vertex == 1


@settings(max_examples=12)
@given(
    degrees=st.floats(-180, 180),
    mirrored=st.booleans(),
    feet_last=st.booleans(),
    shift=st.tuples(st.integers(-25, 25), st.integers(-25, 25)),
)
def test_the_same_brain_is_found_in_every_pose(head, alone, degrees, mirrored, feet_last, shift):
    """Supine, prone, on either side, or turned by any angle; headfirst or feet first; off centre."""
    volume = in_the_middle(head)
    turned = ndimage.rotate(volume, degrees, axes=(1, 2), reshape=False, order=1, cval=-1000)
    turned = np.roll(turned, shift, axis=(1, 2))
    if mirrored:
        turned = turned[:, :, ::-1]
    if feet_last:
        turned = turned[::-1]
    found = locate_skull(np.ascontiguousarray(turned), SPACING)
    brain = found.brain[::-1] if feet_last else found.brain
    assert np.count_nonzero(brain != alone.brain) <= 1
    assert found.length_mm == pytest.approx(alone.length_mm, abs=8)
    assert found.vertex == (-1 if feet_last else 1)
    row, column = (sum(bounds) / 2 - 100 for bounds in (found.rows, found.columns))
    moved = np.array(shift) * (1, -1 if mirrored else 1)
    assert np.hypot(row - moved[0], column - moved[1]) * MM < 30


@pytest.mark.parametrize("tilt", [-20.0, 20.0])
@pytest.mark.parametrize("rotation", [(15.0, 0.0, 0.0), (-15.0, 0.0, 10.0), (0.0, 12.0, 180.0)])
def test_the_brain_is_found_with_chin_up_or_down_and_a_tilted_gantry(tilt, rotation):
    grid = Grid((26, 80, 80), (3.0, 3.0, 7.0), tilt_degrees=tilt, rotation_degrees=rotation)
    found = locate_skull(make_phantom(grid, seed=1).voxels, grid.spacing)
    assert 80 < found.brain.sum() * 7 < 160
    assert 150 < found.length_mm < 235


@settings(max_examples=12)
@given(
    neck=st.integers(2, 12),
    shoulders=st.integers(0, 15),
    width=st.floats(170, 240),
    feet_last=st.booleans(),
)
def test_neck_and_shoulders_are_neither_read_nor_in_the_crop(head, neck, shoulders, width, feet_last):
    volume = in_the_middle(head, below=neck + shoulders)
    volume[:shoulders] = body(200, shoulders, width, 110)
    volume[shoulders : shoulders + neck] = body(200, neck, 65, 65)
    affine = np.diag([-MM, -MM, SLICE_MM, 1.0])
    if feet_last:
        volume, affine = volume[::-1], np.diag([-MM, -MM, -SLICE_MM, 1.0])
    passed = check_quality(study(np.ascontiguousarray(volume), affine))
    alone = check_quality(study(head))
    read = {index for slab in slabs_of(passed, 5.0) for index in slab}
    brain = set(np.flatnonzero(passed.skull.brain).tolist())
    assert brain <= read
    below = {len(volume) - 1 - index for index in range(shoulders)} if feet_last else set(range(shoulders))
    assert not brain & below
    assert len(read) <= 0.95 * passed.skull.length_mm / SLICE_MM + 6
    sides = []
    for each in (passed, alone):
        mask = head_mask(each.voxels, each.spacing_mm, each.skull)
        sides.append(head_centred_crop(each, mask, 1.1).shape[0])
    assert sides[0] == pytest.approx(sides[1], rel=0.12)


def test_slices_without_brain_are_in_no_input_slice(head: NDArray[np.int16]):
    volume = in_the_middle(head, below=20)
    volume[:20] = body(200, 20, 65, 65)
    entry = ReadingGeometryd("study")({"study": check_quality(study(volume))})
    read = {index for slab in entry["geometry"].slabs for index in slab}
    assert 0 not in read
    assert {*range(28, 44)} <= read
    assert entry["geometry"].original_shape == volume.shape


def test_without_the_quality_gate_every_slice_is_read(head: NDArray[np.int16]):
    """Datasets of known quality, whose spacing may be unknown, are read as they always were."""
    assert [index for slab in slabs_of(study(head), 5.0) for index in slab] == list(range(len(head)))


@pytest.mark.parametrize("what", ["hand", "blanket", "holder", "second object"])
def test_what_lies_beside_the_head_is_not_taken_for_it(head: NDArray[np.int16], alone: SkullLocation, what: str):
    volume = in_the_middle(head, 220)
    rows, columns = np.mgrid[:220, :220]
    if what == "hand":
        for finger in range(4):
            at = np.hypot(rows - 60 - 12 * finger, columns - 195)
            volume[:, at < 5] = MUSCLE_HU
            volume[:, at < 2.5] = 900
    elif what == "blanket":
        volume[:, 190:194, 20:200] = -60
    elif what == "holder":
        ring = np.abs(np.hypot(rows - 110, (columns - 110) * 1.1) - 58) < 1.2
        volume[:, ring & (rows > 120)] = 250
    else:
        volume[:, 2:42, 60:160] = 40
        volume[:, 10:14, 70:150] = 800
    found = locate_skull(volume, SPACING)
    assert np.count_nonzero(found.brain != alone.brain) <= 1
    assert box_size(found) == pytest.approx(box_size(alone), abs=4)


@settings(max_examples=10)
@given(
    solid=st.sampled_from([65, 200, 400, 700]),
    width=st.floats(110, 190),
    depth=st.floats(80, 130),
    vertebra=st.floats(18, 30),
)
def test_a_vertebra_is_no_skull(solid, width, depth, vertebra):
    """Whether its spongiosa is as dense as bone or, in osteoporosis, as dense as brain."""
    volume = body(180, 40, width, depth)
    rows, columns = (np.mgrid[:180, :180] - 90) * MM
    from_middle = np.hypot(columns, rows - 0.4 * depth)
    volume[:, from_middle < vertebra] = 600
    volume[:, from_middle < vertebra - 4] = solid
    assert not locate_skull(volume, SPACING).brain.any()
    with pytest.raises(NotEvaluableError) as fault:
        check_quality(study(volume))
    assert fault.value.code == "no_head"


@settings(max_examples=8)
@given(ribs=st.integers(6, 24), width=st.floats(140, 180))
def test_ribs_around_a_liver_are_no_skull(ribs, width):
    volume = body(180, 30, width, 110)
    rows, columns = (np.mgrid[:180, :180] - 90) * MM
    for angle in np.linspace(0, 2 * np.pi, ribs, endpoint=False):
        volume[:, np.hypot(columns - 0.85 * width * np.cos(angle), rows - 0.85 * 110 * np.sin(angle)) < 7] = 800
    with pytest.raises(NotEvaluableError):
        check_quality(study(volume))


def test_a_skull_without_brain_in_it_is_none(head: NDArray[np.int16]):
    assert not locate_skull(np.where((head > -100) & (head < 120), -1000, head).astype(np.int16), SPACING).brain.any()


def test_thin_slices_give_the_same_brain_as_thick_ones():
    thin = make_phantom(Grid((150, 80, 80), (3.0, 3.0, 1.1)), seed=4)
    found = locate_skull(thin.voxels, thin.grid.spacing)
    thick = locate_skull(thin.voxels[::4], (3.0, 3.0, 4.4))
    assert found.brain.sum() * 1.1 == pytest.approx(thick.brain.sum() * 4.4, abs=9)
    assert found.length_mm == pytest.approx(thick.length_mm, abs=4)


def test_a_hemicraniectomy_is_closed_by_the_hull(head: NDArray[np.int16], alone: SkullLocation):
    opened = head.copy()
    flap = opened[12:22, 30:66, 60:]
    flap[flap > 150] = 40
    found = locate_skull(opened, SPACING)
    assert np.count_nonzero(found.brain != alone.brain) <= 1


def test_the_real_heads_keep_every_slice_with_brain(ich_data):

    for name in ("rsna-series-iph-ivh", "ge-gantry-tilt"):
        (source,) = find_studies(ich_data / name)
        passed = check_quality(read_study(source))
        read = {index for slab in slabs_of(passed, 5.0) for index in slab}
        assert set(np.flatnonzero(passed.skull.brain).tolist()) <= read
        assert min(read) == 0
        assert replace(passed, skull=None).slices_to_read.all()
