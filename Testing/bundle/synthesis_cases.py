"""Hosts of the synthesis tests: phantoms whose anatomy is known, small enough to be drawn in a second."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scripts.intake.study import CTStudy
from scripts.phantom.anatomy import Anatomy
from scripts.phantom.grid import Grid
from scripts.phantom.rendering import make_phantom
from scripts.synthesis.anatomy import HeadAnatomy, find_anatomy
from scripts.synthesis.random_phantom import draw_anatomy

SMALL = Grid((26, 168, 160), (1.3, 1.25, 5.8), 5.0)
AGED_SEED = 5


@lru_cache(maxsize=8)
def head(seed: int = 3) -> Anatomy:
    """Return a head with clear sulci and ventricles."""
    drawn = draw_anatomy(np.random.default_rng(seed))
    return replace(drawn, ventricle_mm=(2.0, 2.0), sulcus_mm=1.2, gap_mm=2.2)


@lru_cache(maxsize=8)
def host(grid: Grid = SMALL, seed: int = 3) -> CTStudy:
    """Return a phantom without haemorrhage."""
    return make_phantom(grid, seed=seed, anatomy=head(seed), noise_hu=3.0).study


@lru_cache(maxsize=8)
def anatomy(grid: Grid = SMALL, seed: int = 3) -> HeadAnatomy:
    """Return the anatomy that is found in that phantom."""
    return find_anatomy(host(grid, seed))


def true_distance(grid: Grid, seed: int = 3) -> NDArray[np.float32]:
    """Distance (mm, negative inside) to the true inner table at every voxel."""
    planes = []
    for index in range(grid.shape[0]):
        points = head(seed).to_head(grid.slice_points(index))
        planes.append(head(seed).cavity(points).reshape(grid.shape[1:]))
    return np.stack(planes)


def on_stored_voxels(found: HeadAnatomy, field: NDArray[np.generic]) -> NDArray[np.generic]:
    """Bring a field of the working grid to the stored voxels, in the order of the study."""
    grid = found.grid
    fine = field.repeat(grid.group, axis=0).repeat(grid.factor, axis=1).repeat(grid.factor, axis=2)
    slices, rows, columns = grid.shape
    return grid.restored(fine[:slices, :rows, :columns])


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Overlap of two masks."""
    return 2.0 * float((first & second).sum()) / max(float(first.sum() + second.sum()), 1.0)
