"""The phantom's geometry: the same anatomy on whatever grid it is sampled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom_cases import SMALL, patient_points
from scipy.ndimage import binary_dilation, binary_erosion

from scripts.phantom import Grid, Haemorrhage, Phantom, make_phantom


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Oblique, flipped, tilted, shifted grids with pixels that are not square."""
    angle = st.floats(-40.0, 40.0)
    return Grid(
        shape=draw(st.tuples(st.integers(5, 9), st.integers(30, 60), st.integers(30, 60))),
        spacing=draw(st.tuples(st.floats(1.5, 3.5), st.floats(1.5, 3.5), st.floats(3.0, 9.0))),
        slice_thickness_mm=0.5,
        tilt_degrees=draw(st.floats(-25.0, 25.0)),
        rotation_degrees=draw(st.tuples(angle, angle, st.floats(-180.0, 180.0))),
        flips=draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
        centre_mm=draw(st.tuples(st.floats(-15.0, 15.0), st.floats(-15.0, 15.0), st.floats(0.0, 30.0))),
    )


@pytest.fixture(scope="module")
def reference() -> Phantom:
    """Blood under the right temple on a fine upright grid."""
    grid = Grid((110, 130, 130), (1.5, 1.5, 1.5), slice_thickness_mm=0.5)
    return make_phantom(grid, [Haemorrhage("epidural", "right", 40.0)], noise_hu=0.0, headrest=False)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(grid=grids())
def test_any_grid_shows_the_same_anatomy_at_the_same_patient_coordinates(reference: Phantom, grid: Grid) -> None:
    phantom = make_phantom(grid, reference.haemorrhages, noise_hu=0.0, headrest=False)
    points = patient_points(phantom, np.ones(grid.shape, dtype=bool))
    index = np.rint(reference.grid.indices(points)).astype(int)
    within = np.all((index >= 0) & (index < reference.grid.shape), axis=1)
    there = tuple(index[within].T)
    here = phantom.masks["epidural"].ravel()[within]
    # Nearest neighbours of a 1.5 mm grid: blood may differ within a voxel of its surface only.
    blood = reference.masks["epidural"]
    inside, near = (change(blood, np.ones((3, 3, 3))) for change in (binary_erosion, binary_dilation))
    assert inside.any()
    assert here[inside[there]].all()
    assert not here[~near[there]].any()
    air = phantom.voxels.ravel()[within] < -500
    assert np.mean(air == (reference.voxels[there] < -500)) > 0.93
    assert phantom.study.spacing_mm == pytest.approx(grid.spacing, rel=1e-6)
    assert phantom.study.tilt_degrees == pytest.approx(abs(grid.tilt_degrees), abs=0.01)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(grid=grids(), place=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)))
def test_index_and_patient_coordinates_are_inverse(grid: Grid, place: tuple[float, float, float]) -> None:
    index = np.array(place) * (np.array(grid.shape) - 1)
    point = grid.affine[:3, :3] @ index[::-1] + grid.affine[:3, 3]
    assert grid.indices(point[None])[0] == pytest.approx(index, abs=1e-6)


def test_an_unrotated_grid_is_an_axial_ct_and_a_flip_is_left_handed() -> None:
    assert make_phantom(SMALL).study.orientation == "LPS"
    flipped = Grid(SMALL.shape, SMALL.spacing, flips=(True, False, False))
    assert np.linalg.det(flipped.affine) * np.linalg.det(SMALL.affine) < 0.0
    assert np.array_equal(
        make_phantom(flipped, noise_hu=0.0).voxels, make_phantom(SMALL, noise_hu=0.0).voxels[:, :, ::-1]
    )


def test_study_carries_voxels_positions_and_provenance() -> None:
    grid = Grid(SMALL.shape, SMALL.spacing, tilt_degrees=17.0)
    study = make_phantom(grid, seed=4).study
    assert study.provenance.source_format == "phantom"
    assert np.diff(study.positions_mm) == pytest.approx(np.full(13, 11.0))
    assert study.voxels.min() >= -1024


def test_impossible_grids_and_shifts_are_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Grid((0, 10, 10))
    with pytest.raises(ValueError, match="gantry tilt"):
        Grid(tilt_degrees=75.0)
    with pytest.raises(ValueError, match="midline shift"):
        make_phantom(SMALL, midline_shift_mm=35.0)
