"""Grids for phantoms, and the way from their voxels to patient coordinates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scripts.phantom import Grid, Phantom

FINE = Grid((26, 128, 128), (1.75, 1.75, 6.0))
SMALL = Grid((14, 80, 80), (2.8, 2.8, 11.0))
TINY = Grid((5, 40, 44), (5.2, 5.6, 30.0))


def at(phantom: Phantom, *points_ras: tuple[float, float, float]) -> NDArray[np.int16]:
    """Hounsfield units of the voxels nearest to patient coordinates."""
    index = np.rint(phantom.grid.indices(np.array(points_ras))).astype(int)
    return phantom.voxels[tuple(index.T)]


def patient_points(phantom: Phantom, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Patient coordinates (RAS, mm) of a mask's voxels, shape (n, 3)."""
    index = np.argwhere(mask)[:, ::-1]
    return index @ phantom.affine[:3, :3].T + phantom.affine[:3, 3]
