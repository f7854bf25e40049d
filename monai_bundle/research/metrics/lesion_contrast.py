"""Contrast of a haemorrhage: by how many HU it is denser than the brain beside it, as a reader sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.intake.study import CTStudy
from scripts.synthesis.anatomy import HeadAnatomy
from scripts.synthesis.working_grid import Field

BONE_HU = 110.0
"""Above acute blood (up to 80 HU, with its noise), below what bone leaves in a voxel that it fills by a tenth."""
TOUCHING_MM = 1.0
"""About the width of a reconstruction kernel: so far bone brightens blood, and blood brightens brain; at least the
neighbouring pixels, where these are larger."""
NEAR_MM = 10.0
FEWEST_VOXELS = 20
"""Of fewer voxels the noise of a scan (3 to 8 HU) leaves the median uncertain by more than 2 HU."""
MIXED_HU = 20.0
"""Noise and texture of one kind of blood leave an interquartile range of 5 to 16 HU; clot beside serum has more."""

_MARGIN_MM = 5.0


@dataclass(frozen=True)
class LesionContrast:
    """Density of a haemorrhage, seen from the brain beside it.

    Attributes
    ----------
    median_hu : float
        Median HU of the haemorrhage minus that of the brain near it; negative where it is darker.
    spread_hu : float
        Interquartile range of the haemorrhage in HU.
    """

    median_hu: float
    spread_hu: float

    @property
    def mixed(self) -> bool:
        """Whether it has a bright and a dark part, of which the median describes neither."""
        return self.spread_hu > MIXED_HU


def lesion_contrast(study: CTStudy, mask: NDArray[np.bool_], anatomy: HeadAnatomy) -> LesionContrast | None:
    """Compare a haemorrhage with the brain near it, in the same slices.

    Slice by slice, because that is how a reader compares, and because distances across slices of 5 mm would bring in
    brain that partial volume has mixed with blood. Left out of the haemorrhage are voxels within
    :data:`TOUCHING_MM` of a voxel above :data:`BONE_HU` in the slice: bone brightens them (partial volume, kernel), and
    a thin subdural would seem dense by it. Brain is what lies inside the inner table within :data:`NEAR_MM` of the
    haemorrhage, less what touches bone or haemorrhage and less what fluid fills by half or more
    (:meth:`~scripts.synthesis.anatomy.HeadAnatomy.fluid_fraction`). Oedema around a haemorrhage counts as brain: it is
    what the haemorrhage is seen against. Medians, so that a vessel or the falx does not decide.

    Ten millimetres hold cortex and the white matter below it, which differ by 5 to 10 HU on a scan without contrast
    agent: less than this a haemorrhage cannot be told from grey matter by its density alone.

    Parameters
    ----------
    study : CTStudy
        The scan with the haemorrhage; the voxels are those that are read.
    mask : ndarray of bool, shape (slices, rows, columns)
        The haemorrhage, on the study's voxels.
    anatomy : HeadAnatomy
        Of the same head, with the haemorrhage or without.

    Returns
    -------
    LesionContrast or None
        None where fewer than :data:`FEWEST_VOXELS` are left of either: a film along bone, or a haemorrhage that fills
        its slices.
    """
    grid = anatomy.grid
    # With the bone around the cavity.
    box = grid.box_around(anatomy.cavity.inside, _MARGIN_MM)
    ranges = grid.stored_range(box)
    blood = grid.turned(mask)[ranges]
    if not blood.any():
        return None
    depth = grid.refined(grid.at_heights(anatomy.cavity.depth, box, grid.heights(box.slices, 1)), box)
    crop = _crop(blood, grid.stored_spacing)
    blood, depth = blood[crop], depth[crop]
    voxels = grid.turned(study.voxels)[ranges][crop].astype(np.float32)
    bone = voxels > min(BONE_HU, anatomy.cavity.highest_hu - 3.0)
    pixel_mm = grid.stored_spacing[1:]
    touching_mm = max(TOUCHING_MM, 1.01 * float(np.hypot(*pixel_mm)))
    beside_bone = _distance(bone, pixel_mm) <= touching_mm
    from_blood = _distance(blood, pixel_mm)
    brain = (from_blood > touching_mm) & (from_blood <= NEAR_MM) & (depth > 0.0)
    brain &= anatomy.fluid_fraction(voxels) < 0.5
    inside, near = voxels[blood & ~beside_bone], voxels[brain & ~beside_bone]
    if min(inside.size, near.size) < FEWEST_VOXELS:
        return None
    low, median, high = np.quantile(inside, (0.25, 0.5, 0.75))
    return LesionContrast(float(median - np.median(near)), float(high - low))


def _crop(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> tuple[slice, slice, slice]:
    """Slices that show the mask, and the pixels around it that the comparison needs."""
    used = ndimage.find_objects(mask.astype(np.uint8))[0]
    margins = (0, *(int(np.ceil((NEAR_MM + TOUCHING_MM) / mm)) + 1 for mm in spacing_mm[1:]))
    first, rows, columns = (
        slice(max(0, part.start - margin), part.stop + margin) for part, margin in zip(used, margins, strict=True)
    )
    return first, rows, columns


def _distance(mask: NDArray[np.bool_], pixel_mm: tuple[float, ...]) -> Field:
    """Distance (mm) within the slice to the nearest voxel of a mask; infinite in slices without any."""
    distance = np.full(mask.shape, np.inf)
    for plane, found in zip(mask, distance, strict=True):
        if plane.any():
            found[:] = ndimage.distance_transform_edt(~plane, sampling=pixel_mm)
    return distance
