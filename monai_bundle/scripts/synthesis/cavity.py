"""Bone and the cranial cavity in a head CT, also where bone is missing, open or saturated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.synthesis.working_grid import Field, SynthesisError, WorkingGrid

_BONE_HU = 170.0
"""Above acute blood and calcified plexus averaged over a working voxel, below the thin bone of the temple."""
_SATURATED_BELOW_HU = 130.0
_TISSUE_HU = (-14.0, 110.0)
_NECK_MM = 3.2
_ENCLOSED = 0.72
_SMALLEST_MM2 = 250.0
_LARGE_MM2 = 5000.0
_GAP_MM = 4.0
_COMPANION = 0.18


@dataclass(frozen=True)
class Cavity:
    """Cranial cavity on the working grid.

    Attributes
    ----------
    bone, inside : ndarray of bool, shape (slices, rows, columns)
        Bone; everything inside the inner table.
    depth : ndarray of float32, same shape
        Distance to the inner table in mm, positive inside.
    depth_in_plane : ndarray of float32, same shape
        The same within the slice: bone in the slices above and below does not count.
    saturated : bool
        Whether the source ends at a narrow window, so that bone is only its brightest value.
    highest_hu : float
        Largest value of the source.
    """

    bone: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    depth: Field
    depth_in_plane: Field
    saturated: bool
    highest_hu: float


def find_cavity(hounsfield: Field, grid: WorkingGrid) -> Cavity:
    """Find the cranial cavity.

    In each slice, soft tissue that stays connected when necks of about 6 mm are cut is a candidate; the largest one
    that bone encloses starts a chain upwards and downwards, along which candidates must overlap. Orbit, muscles and
    scalp are left out because bone does not surround them.

    Parameters
    ----------
    hounsfield : ndarray of float32, shape (slices, rows, columns)
        Working grid.
    grid : WorkingGrid
        Its geometry.

    Raises
    ------
    SynthesisError
        ``"no_cavity"`` if no region is enclosed by bone.
    """
    highest = float(hounsfield.max())
    lowest = float(hounsfield.min())
    saturated = highest < _SATURATED_BELOW_HU
    bone_hu = highest - 3.0 if saturated else _BONE_HU
    bone = hounsfield > bone_hu
    if saturated:
        bone = np.stack([_thick(plane, grid) for plane in bone])
    low = max(_TISSUE_HU[0], lowest + 1.5)
    smooth = ndimage.gaussian_filter(hounsfield, (0, *(0.8 / mm for mm in grid.spacing[1:])), truncate=2.5)
    soft = (smooth > low) & (smooth < (highest + 1 if saturated else _TISSUE_HU[1])) & ~bone
    inside = np.zeros_like(bone)
    planes = [_candidates(*pair, grid) for pair in zip(soft, bone, strict=True)]
    best = [max((area for area, enclosed, _ in plane if enclosed > _ENCLOSED), default=0.0) for plane in planes]
    start = int(np.argmax(best))
    if best[start] < _SMALLEST_MM2:
        raise SynthesisError("no_cavity")
    if len(planes) == 1:
        # No neighbour can confirm a small region of a single slice.
        planes = [[part for part in planes[0] if part[0] >= _COMPANION * best[0]]]
    _chain(planes, inside, range(start, len(planes)))
    _chain(planes, inside, range(start - 1, -1, -1))
    depth, in_plane = _depth(inside, grid)
    return Cavity(bone, inside, depth, in_plane, saturated, highest)


def _thick(bone: NDArray[np.bool_], grid: WorkingGrid) -> NDArray[np.bool_]:
    """Leave out specks of saturated value that are not bone: noise and calcifications."""
    components, count = ndimage.label(bone)
    if count == 0:
        return bone
    sizes = np.bincount(components.ravel()) * (grid.spacing[1] * grid.spacing[2])
    sizes[0] = 0.0
    return np.asarray(sizes[components] > 60.0)


def _candidates(
    soft: NDArray[np.bool_], bone: NDArray[np.bool_], grid: WorkingGrid
) -> list[tuple[float, float, NDArray[np.bool_]]]:
    """Regions of soft tissue in one slice: area in mm2, how far bone encloses them (0 to 1), the region."""
    _, row_mm, column_mm = grid.spacing
    if not bone.any() or not soft.any():
        return []
    frame = _frame(bone, 14)
    soft_part, bone_part = soft[frame], bone[frame]
    to_bone = ndimage.distance_transform_edt(~bone_part, sampling=(row_mm, column_mm))
    inner = ndimage.distance_transform_edt(soft_part, sampling=(row_mm, column_mm))
    ring = to_bone < _GAP_MM
    hole = ndimage.binary_fill_holes(ring) & ~ring
    components, _ = ndimage.label(inner > _NECK_MM)
    found = []
    for number, place in enumerate(ndimage.find_objects(components), start=1):
        margin = int(np.ceil(2.0 * _NECK_MM / min(row_mm, column_mm))) + 2
        box = tuple(slice(max(0, part.start - margin), part.stop + margin) for part in place)
        region = components[box] == number
        if region.sum() * row_mm * column_mm < 40.0:
            continue
        reach = ndimage.distance_transform_edt(~region, sampling=(row_mm, column_mm)) < 1.7 * _NECK_MM
        grown = reach & ~bone_part[box] & (soft_part[box] | (to_bone[box] > _NECK_MM))
        grown = ndimage.binary_fill_holes(grown | region)
        grown &= ~bone_part[box] | _speck(bone_part[box], row_mm)
        border = ndimage.binary_dilation(region, iterations=2) & ~region
        enclosed = float((to_bone[box][border] < 2.0 * _NECK_MM + 1.5).mean())
        deep = grown & ~ring[box]
        if np.count_nonzero(deep) > 0.1 * np.count_nonzero(grown):
            # Muscle and scalp lie against bone on one side; only what a ring of bone holds is a cavity. Where a bone
            # flap is missing there is no ring, and a large region counts by its border alone.
            in_ring = float(hole[box][deep].mean())
            large = grown.sum() * row_mm * column_mm > _LARGE_MM2
            enclosed = min(enclosed, max(in_ring, 0.75 if large else 0.0))
        elif enclosed < 0.9:
            continue
        whole = np.zeros_like(soft)
        whole[frame][box] = grown
        found.append((float(grown.sum() * row_mm * column_mm), enclosed, whole))
    return found


def _frame(inside: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + 1 + margin),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + 1 + margin),
    )


def _speck(bone: NDArray[np.bool_], row_mm: float) -> NDArray[np.bool_]:
    """Dense spots within the brain (calcified plexus, coils) that are no part of the skull."""
    components, count = ndimage.label(bone)
    if count < 2:
        return np.zeros_like(bone)
    sizes = np.bincount(components.ravel()) * row_mm**2
    sizes[0] = np.inf
    return np.asarray(sizes[components] < 120.0)


def _chain(planes: list[list[tuple[float, float, NDArray[np.bool_]]]], inside: NDArray[np.bool_], order: range) -> None:
    """Add to ``inside`` the candidates of each slice that bone encloses and that overlap the slice before."""
    step = order.step
    for index in order:
        before = index - step
        previous = inside[before] if 0 <= before < len(planes) and inside[before].any() else None
        for area, enclosed, region in planes[index]:
            if enclosed < _ENCLOSED or area < 60.0:
                continue
            if previous is not None and np.count_nonzero(region & previous) < 0.3 * np.count_nonzero(region):
                continue
            inside[index] |= region


def _depth(inside: NDArray[np.bool_], grid: WorkingGrid) -> tuple[Field, Field]:
    """Distance to the inner table in mm, in space and within the slice."""
    rows, columns = _frame(np.asarray(inside.any(axis=0), dtype=np.bool_), 12)
    part: NDArray[np.bool_] = inside[:, rows, columns]
    # What is left out holds some bone already, so that the inner table runs through about its middle.
    pixel = 0.5 * (grid.spacing[1] + grid.spacing[2])
    inner: Field = np.asarray(ndimage.distance_transform_edt(part, sampling=grid.spacing))
    outer = np.stack([ndimage.distance_transform_edt(~plane, sampling=grid.spacing[1:]) for plane in part])
    empty = np.array([not plane.any() for plane in part])
    outer[empty] = 30.0
    flat = np.stack([ndimage.distance_transform_edt(plane, sampling=grid.spacing[1:]) for plane in part])
    depth = np.full(inside.shape, -30.0, dtype=np.float32)
    in_plane = depth.copy()
    depth[:, rows, columns] = np.where(part, inner, pixel - outer)
    in_plane[:, rows, columns] = np.where(part, flat, pixel - outer)
    return depth, in_plane
