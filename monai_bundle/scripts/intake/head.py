"""The head in a CT: which voxels belong to it, and which to table, headrest and air."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TISSUE_HU = -300
"""Halfway between fat (-100 HU) and foam or air; air of 8-bit sources (-900 HU) stays well below."""
BONE_HU = 300
"""Cortical bone starts here; neither contrast-enhanced vessels nor fresh blood (at most 100 HU) reach it in bulk."""
MINIMUM_VOLUME_ML = 20.0
MINIMUM_BONE_FRACTION = 0.01

_COARSE_MM = 2.0
_HEADREST_SHELL_MM = 5.0


def head_mask(voxels: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Find the head, scalp and skull included, without table, headrest and air.

    The search runs on a grid of about 2 mm: tissue above -300 HU, opened in plane so that a thin headrest shell
    lets go of the scalp, largest connected component, cavities (sinuses, mastoid cells) filled slice by slice. The
    boundary is then refined on the stored voxels.

    Parameters
    ----------
    voxels : ndarray of int16, shape (slices, rows, columns)
        Hounsfield units.
    spacing_mm : tuple of float
        Distance in mm between neighbouring columns, rows and slices.

    Returns
    -------
    ndarray of bool, shape (slices, rows, columns)
        Empty (all false) where there is no head: no component of at least 20 ml with bone in it.
    """
    column_mm, row_mm, slice_mm = spacing_mm
    row_stride, column_stride = (max(1, round(_COARSE_MM / mm)) for mm in (row_mm, column_mm))
    coarse = voxels[:, ::row_stride, ::column_stride]
    coarse_spacing = (column_mm * column_stride, row_mm * row_stride, slice_mm)
    head = _coarse_head(coarse, coarse_spacing)
    if not head.any():
        return np.zeros(voxels.shape, dtype=np.bool_)
    if row_stride == column_stride == 1:
        return head
    return _refine(voxels, head, (row_stride, column_stride))


def _coarse_head(voxels: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    tissue = voxels > TISSUE_HU
    components, _ = ndimage.label(_open_in_plane(tissue, spacing_mm))
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    if sizes.size < 2:
        return np.zeros_like(tissue)
    head = components == sizes.argmax()
    is_large = sizes.max() * np.prod(spacing_mm) / 1000 >= MINIMUM_VOLUME_ML
    has_bone = np.count_nonzero(voxels[head] > BONE_HU) >= MINIMUM_BONE_FRACTION * sizes.max()
    if not (is_large and has_bone):
        return np.zeros_like(tissue)
    for plane in head:
        ndimage.binary_fill_holes(plane, output=plane)
    return head


def _open_in_plane(tissue: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    radius_rows, radius_columns = (max(1, round(_HEADREST_SHELL_MM / 2 / mm)) for mm in (spacing_mm[1], spacing_mm[0]))
    rows, columns = np.ogrid[-radius_rows : radius_rows + 1, -radius_columns : radius_columns + 1]
    ellipse = (rows / radius_rows) ** 2 + (columns / radius_columns) ** 2 <= 1
    return ndimage.binary_opening(tissue, structure=ellipse[None])


def _refine(voxels: NDArray[np.int16], head: NDArray[np.bool_], strides: tuple[int, int]) -> NDArray[np.bool_]:
    """Carry the coarse head to the stored voxels: its inside as it is, its rim where the stored voxels are tissue."""
    cross = ndimage.generate_binary_structure(2, 1)[None]
    inside = ndimage.binary_erosion(head, structure=cross, border_value=1)
    reach = ndimage.binary_dilation(head, structure=cross)
    rows, columns = voxels.shape[1:]
    fine_inside, fine_reach = (
        mask.repeat(strides[0], axis=1).repeat(strides[1], axis=2)[:, :rows, :columns] for mask in (inside, reach)
    )
    return fine_inside | (fine_reach & (voxels > TISSUE_HU))
