"""The working grid turns, averages and interpolates without moving anything."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from test_synthesis_anatomy import reordered

from scripts.intake.study import CTStudy, Provenance
from scripts.synthesis.working_grid import Box, working_grid

SHAPES = st.tuples(st.integers(1, 9), st.integers(5, 23), st.integers(5, 23))
SPACINGS = st.tuples(st.floats(0.3, 1.4), st.floats(0.3, 1.4), st.floats(0.6, 7.0))
FLIPS = st.tuples(st.booleans(), st.booleans(), st.booleans())


def study(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> CTStudy:
    voxels = np.arange(np.prod(shape), dtype=np.int64).reshape(shape) % 3000
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    return CTStudy(voxels.astype(np.int16), affine, np.arange(shape[0]) * spacing[2], Provenance("x", "nifti"))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shape=SHAPES, spacing=SPACINGS, flips=FLIPS, transposed=st.booleans())
def test_turning_and_restoring_is_exact_and_orients_the_grid(shape, spacing, flips, transposed):
    stored = reordered(study(shape, spacing), flips, transposed)
    grid = working_grid(stored)
    assert np.array_equal(grid.restored(grid.turned(stored.voxels)), stored.voxels)
    assert grid.turned(stored.voxels).shape == grid.shape
    assert np.allclose(np.diag(grid.affine)[:3] / np.abs(np.diag(grid.affine)[:3]), (-1.0, -1.0, 1.0))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shape=SHAPES, spacing=SPACINGS, flips=FLIPS, transposed=st.booleans(), data=st.data())
def test_every_voxel_keeps_its_place_in_the_patient(shape, spacing, flips, transposed, data):
    stored = reordered(study(shape, spacing), flips, transposed)
    grid = working_grid(stored)
    places = np.arange(stored.voxels.size).reshape(stored.voxels.shape)
    turned = grid.turned(places)
    slice_, row, column = (data.draw(st.integers(0, size - 1)) for size in grid.shape)
    k, r, c = np.unravel_index(int(turned[slice_, row, column]), stored.voxels.shape)
    assert np.allclose(grid.affine @ (column, row, slice_, 1.0), stored.affine @ (c, r, k, 1.0), atol=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(shape=SHAPES, spacing=SPACINGS)
def test_a_constant_stays_constant(shape, spacing):
    stored = study(shape, spacing)
    grid = working_grid(stored)
    field = grid.averaged(np.full(shape, 37, dtype=np.int16))
    assert field.shape == grid.working_shape
    assert np.allclose(field, 37.0)
    box = Box((0, shape[0]), (0, field.shape[1]), (0, field.shape[2]))
    at_slices = grid.at_heights(field, box, grid.heights(box.slices, 3))
    assert at_slices.shape[0] == 3 * shape[0]
    assert np.allclose(grid.refined(at_slices, box), 37.0)
    assert grid.refined(at_slices, box).shape[1:] == shape[1:]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(size=st.integers(8, 40), spacing=st.floats(0.3, 0.7))
def test_a_ramp_is_interpolated_to_itself_away_from_the_edges(size, spacing):
    stored = study((1, size, size), (spacing, spacing, 5.0))
    grid = working_grid(stored)
    ramp = np.broadcast_to(np.arange(size, dtype=np.float32), (1, size, size))
    box = Box((0, 1), (0, grid.working_shape[1]), (0, grid.working_shape[2]))
    inner = slice(grid.factor, (size // grid.factor - 1) * grid.factor)
    assert np.allclose(grid.refined(grid.averaged(ramp), box)[..., inner], ramp[..., inner], atol=1e-3)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(shape=SHAPES, spacing=SPACINGS)
def test_points_of_working_pixels_are_the_mean_of_their_voxels(shape, spacing):
    grid = working_grid(study(shape, spacing))
    box = Box((0, shape[0]), (0, grid.working_shape[1]), (0, grid.working_shape[2]))
    points = grid.points(box, grid.heights(box.slices, 1), np.eye(4))
    middle = (grid.factor - 1) / 2.0
    expected = grid.affine @ (middle, middle, 0.0, 1.0)
    assert np.allclose(points[:, 0, 0, 0], expected[:3], atol=1e-3)
