"""What tissue, bone and air are in Hounsfield units, and the coarse grid on which a head is searched for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TISSUE_HU = -300
"""Halfway between fat (-100 HU) and foam or air; air of 8-bit sources (-900 HU) stays well below."""
BONE_HU = 300
"""Cortical bone starts here; neither contrast-enhanced vessels nor fresh blood (at most 100 HU) reach it in bulk."""
BONE_RING_HU = 200
"""Lower than cortical bone: an infant's thin skull, blurred by slices of 5 mm, hardly reaches 300 HU."""

_COARSE_MM = 2.0
_HEADREST_SHELL_MM = 5.0


def in_plane_strides(spacing_mm: tuple[float, float, float]) -> tuple[int, int]:
    """Return every how many rows, columns a grid of about 2 mm takes; ``spacing_mm`` is column, row, slice."""
    column_mm, row_mm, _ = spacing_mm
    return max(1, round(_COARSE_MM / row_mm)), max(1, round(_COARSE_MM / column_mm))


def open_in_plane(tissue: NDArray[np.bool_], plane_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """Open slices (slices, rows, columns) by half a headrest's shell, so that it lets go of the scalp."""
    return ndimage.binary_opening(tissue, structure=ellipse(_HEADREST_SHELL_MM / 2, plane_mm)[None])


def ellipse(radius_mm: float, plane_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """Return a disc in mm on a grid of column and row spacing ``plane_mm``; at least 3 x 3."""
    radius_rows, radius_columns = (max(1, round(radius_mm / mm)) for mm in (plane_mm[1], plane_mm[0]))
    rows, columns = np.ogrid[-radius_rows : radius_rows + 1, -radius_columns : radius_columns + 1]
    return (rows / radius_rows) ** 2 + (columns / radius_columns) ** 2 <= 1
