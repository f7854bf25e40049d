"""Where in a head lesions can lie: points of the inner table and of the brain, and directions in the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.synthesis.anatomy import HeadAnatomy, Sample
from scripts.synthesis.working_grid import Field, SynthesisError, picked

MIDDLE = (0.0, -5.0, 0.0)
"""Middle of the vault in atlas coordinates; the inner table is described by directions from it."""
RADIUS_MM = 70.0
"""Mean radius of the vault, which turns angles between directions into lengths along the inner table."""

_FACING = 0.75


@dataclass(frozen=True)
class Points:
    """Some voxels of a host.

    Attributes
    ----------
    atlas : ndarray of float32, shape (3, n)
        Atlas coordinates in mm.
    depth : ndarray of float32, shape (n,)
        Distance to the inner table in mm.
    stored_slice : ndarray of int, shape (n,)
        Turned original slice of each.
    """

    atlas: Field
    depth: Field
    stored_slice: NDArray[np.intp]

    def where(self, kept: NDArray[np.bool_]) -> Points:
        """Keep some of the points."""
        return Points(self.atlas[:, kept], self.depth[kept], self.stored_slice[kept])


def directions_from_middle(atlas: Field) -> Field:
    """Return unit vectors from the middle of the vault, any shape (3, ...)."""
    offset = atlas - np.asarray(MIDDLE, dtype=np.float32).reshape(3, *(1,) * (atlas.ndim - 1))
    return offset / (np.sqrt(np.square(offset).sum(axis=0)) + np.float32(1e-3))


def plane_axes(anatomy: HeadAnatomy) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return unit vectors along the index of rows and of columns, and the slices' normal, in head coordinates."""
    matrix = (anatomy.frame.to_head @ anatomy.grid.affine)[:3, :3]
    row = matrix[:, 1] / np.linalg.norm(matrix[:, 1])
    column = matrix[:, 0] / np.linalg.norm(matrix[:, 0])
    return row, column, np.cross(row, column)


def inner_table_points(anatomy: HeadAnatomy) -> Points:
    """Voxels at the inner table that bone backs and whose outward normal points away from the middle of the head.

    Raises
    ------
    SynthesisError
        ``"no_inner_table"`` if there are none.
    """
    sample = anatomy.sample(anatomy.whole)
    near = (sample.depth > 0.0) & (sample.depth < 1.5 * anatomy.grid.spacing[1])
    index = np.nonzero(near)
    points = _points(anatomy, sample, index)
    directions = directions_from_middle(points.atlas)
    row, column, normal = plane_axes(anatomy)
    smooth = ndimage.gaussian_filter(sample.depth, (0, 1.5, 1.5))
    down, right = (np.asarray(slope)[index] for slope in np.gradient(smooth, axis=(1, 2)))
    outward = -(row[:, None] * down + column[:, None] * right)
    outward /= np.linalg.norm(outward, axis=0) + 1e-6
    in_plane = directions - normal[:, None] * (normal @ directions)
    in_plane /= np.linalg.norm(in_plane, axis=0) + 1e-6
    facing = (outward * in_plane).sum(axis=0) > _FACING
    box = sample.box
    backed = ndimage.binary_dilation(anatomy.cavity.bone, np.ones((1, 3, 3), dtype=bool), iterations=3)
    slices = points.stored_slice // anatomy.grid.group
    kept = facing & backed[slices, index[1] + box.rows[0], index[2] + box.columns[0]]
    if not kept.any():
        raise SynthesisError("no_inner_table")
    return points.where(kept)


def brain_points(anatomy: HeadAnatomy, stride: int = 3) -> Points:
    """Every third voxel (in plane) of brain tissue: no fluid, at least 3 mm below the inner table.

    Raises
    ------
    SynthesisError
        ``"no_brain"`` if there are none.
    """
    sample = anatomy.sample(anatomy.whole)
    box = sample.box
    hounsfield = anatomy.grid.at_heights(anatomy.hounsfield, box, anatomy.grid.heights(box.slices, 1))
    tissue = (sample.depth > 3.0) & (hounsfield > anatomy.brain_hu - 14.0) & (hounsfield < anatomy.brain_hu + 14.0)
    chosen = np.zeros_like(tissue)
    chosen[:, ::stride, ::stride] = tissue[:, ::stride, ::stride]
    index = np.nonzero(chosen)
    if not index[0].size:
        raise SynthesisError("no_brain")
    return _points(anatomy, sample, index)


def _points(anatomy: HeadAnatomy, sample: Sample, index: tuple[NDArray[np.intp], ...]) -> Points:
    return Points(picked(sample.atlas, index), sample.depth[index], index[0] + sample.box.slices[0])


def pick(points: Points, weights: NDArray[np.floating], generator: np.random.Generator) -> tuple[Field, float, int]:
    """Draw one point by weight: its atlas coordinates, depth and original slice.

    Raises
    ------
    SynthesisError
        ``"no_site"`` if no point has a weight.
    """
    total = float(weights.sum())
    if total <= 0.0:
        raise SynthesisError("no_site")
    chosen = int(generator.choice(len(weights), p=weights / total))
    return points.atlas[:, chosen], float(points.depth[chosen]), int(points.stored_slice[chosen])
