"""The head in a CT: which voxels belong to it, and which to table, headrest and air."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.intake.skull import SkullLocation
from scripts.intake.tissue import BONE_HU, TISSUE_HU, in_plane_strides, open_in_plane

MINIMUM_VOLUME_ML = 20.0
MINIMUM_BONE_FRACTION = 0.01
_AROUND_THE_SKULL_MM = 30.0
"""Scalp, ears and nose, and a swelling of the scalp, reach no farther from the skull."""


def head_mask(
    voxels: NDArray[np.int16], spacing_mm: tuple[float, float, float], skull: SkullLocation | None = None
) -> NDArray[np.bool_]:
    """Find the head, scalp and skull included, without table, headrest and air.

    The search runs on a grid of about 2 mm: tissue above -300 HU, opened in plane so that a thin headrest shell
    lets go of the scalp, largest connected component, cavities (sinuses, mastoid cells) filled slice by slice. The
    boundary is then refined on the stored voxels. Where the skull's place is known, nothing is searched in plane
    farther from it than 30 mm: no shoulder, hand or second object.

    Parameters
    ----------
    voxels : ndarray of int16, shape (slices, rows, columns)
        Hounsfield units.
    spacing_mm : tuple of float
        Distance in mm between neighbouring columns, rows and slices.
    skull : SkullLocation, optional
        From :func:`scripts.intake.skull.locate_skull`.

    Returns
    -------
    ndarray of bool, shape (slices, rows, columns)
        Empty (all false) where there is no head: no component of at least 20 ml with bone in it.
    """
    column_mm, row_mm, slice_mm = spacing_mm
    row_stride, column_stride = in_plane_strides(spacing_mm)
    coarse = voxels[:, ::row_stride, ::column_stride]
    coarse_spacing = (column_mm * column_stride, row_mm * row_stride, slice_mm)
    near = around_the_skull(skull, spacing_mm)
    near_coarse = tuple(
        slice(span.start // stride, -(-span.stop // stride) if span.stop is not None else None)
        for span, stride in zip(near, (row_stride, column_stride), strict=True)
    )
    head = np.zeros(coarse.shape, dtype=np.bool_)
    head[:, near_coarse[0], near_coarse[1]] = _coarse_head(coarse[:, near_coarse[0], near_coarse[1]], coarse_spacing)
    if not head.any():
        return np.zeros(voxels.shape, dtype=np.bool_)
    if row_stride == column_stride == 1:
        return head
    return _refine(voxels, head, (row_stride, column_stride))


def around_the_skull(skull: SkullLocation | None, spacing_mm: tuple[float, float, float]) -> tuple[slice, slice]:
    """Return the original rows and columns no farther than 30 mm from a skull; all of them without one."""
    if skull is None or not skull.brain.any():
        return slice(0, None), slice(0, None)
    column_mm, row_mm, _ = spacing_mm
    spans = []
    for (first, last), mm in ((skull.rows, row_mm), (skull.columns, column_mm)):
        reach = round(_AROUND_THE_SKULL_MM / mm)
        spans.append(slice(max(0, first - reach), last + reach))
    return spans[0], spans[1]


def _coarse_head(voxels: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    tissue = voxels > TISSUE_HU
    components, _ = ndimage.label(open_in_plane(tissue, spacing_mm[:2]))
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
