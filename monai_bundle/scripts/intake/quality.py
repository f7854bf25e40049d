"""The quality gate: what a study must have before a network may read it.

Motion, and contrast that no header names, are not judged: on single heads neither can be distinguished from anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from scripts.intake.dicom_header import is_bone_kernel
from scripts.intake.head import head_mask
from scripts.intake.slice_geometry import gap_warnings, measure_gaps
from scripts.intake.study import CTStudy, NotEvaluableError, QualityWarning

_COARSE_MM = 2.0
_SOFT_TISSUE_HU = (0, 80)
_DIRECTIONS = 72
_METAL_HU = 2800
_SKULL_HU = 200
"""Lower than cortical bone: an infant's thin skull, blurred by slices of 5 mm, hardly reaches 300 HU."""
_SOFT_SHARE = 0.6


@dataclass(frozen=True)
class QualityLimits:
    """Limits of the gate; each can be set from the bundle's configuration.

    Attributes
    ----------
    minimum_slices : int
        Fewest slices.
    smallest_pixel_mm, largest_pixel_mm : float
        Pixel spacing outside these is refused.
    smallest_gap_mm, largest_gap_mm : float
        Slice spacing outside these is refused.
    thick_slice_mm : float
        Slice spacing above this is warned of.
    largest_missing_share : float
        Fraction of missing slices above which the study is refused.
    largest_tilt_degrees, tilt_warning_degrees : float
        Gantry tilt that is refused, and that is warned of.
    largest_angle_degrees : float
        Angle between slice normal and body axis; beyond it the slices are not axial.
    highest_air_hu : float
        The lowest 1 % of all voxels must lie below this; -900 HU air of 8-bit sources does.
    brain_hu, usual_brain_hu : tuple of float
        Range of the brain's median: outside the first refused, outside the second warned of.
    minimum_brain_mm, whole_brain_mm : float
        Length along the normal over which brain lies inside a skull: less is refused, less than the second warned of.
    minimum_enclosure : float
        Fraction of directions from the middle of a slice in which bone must lie; a craniectomy leaves about 0.8.
    largest_skull_cm2 : float
        Largest area inside the bones of a slice; a chest or pelvis has more.
    metal_ml : float
        Volume above 2800 HU inside the skull that is warned of.
    """

    minimum_slices: int = 12
    smallest_pixel_mm: float = 0.1
    largest_pixel_mm: float = 3.5
    smallest_gap_mm: float = 0.2
    largest_gap_mm: float = 10.5
    thick_slice_mm: float = 6.0
    largest_missing_share: float = 0.25
    largest_tilt_degrees: float = 40.0
    tilt_warning_degrees: float = 1.0
    largest_angle_degrees: float = 50.0
    highest_air_hu: float = -600.0
    brain_hu: tuple[float, float] = (10.0, 60.0)
    usual_brain_hu: tuple[float, float] = (18.0, 50.0)
    minimum_brain_mm: float = 40.0
    whole_brain_mm: float = 80.0
    minimum_enclosure: float = 0.7
    largest_skull_cm2: float = 600.0
    metal_ml: float = 0.5

    def __post_init__(self) -> None:
        """Refuse limits under which no gap between slices could be measured."""
        if self.minimum_slices < 2:
            raise ValueError(f"minimum_slices is {self.minimum_slices}; at least 2 are needed to measure gaps")


@dataclass(frozen=True)
class SkullContent:
    """What lies inside the bones.

    Attributes
    ----------
    slices : ndarray of bool, shape (slices,)
        Slices where a skull encloses brain.
    median_hu : float
        Median of the soft tissue inside (HU); NaN where no slice has any.
    metal_ml : float
        Volume above 2800 HU inside the skull.
    """

    slices: NDArray[np.bool_]
    median_hu: float
    metal_ml: float


def check_quality(study: CTStudy, limits: QualityLimits | None = None) -> CTStudy:
    """Let a study pass with its warnings, or refuse it by name.

    Parameters
    ----------
    study : CTStudy
        As the reader left it.
    limits : QualityLimits, optional
        The bundle's own where none are given.

    Returns
    -------
    CTStudy
        The same study; added are, where true: ``"missing_slices"``, ``"uneven_slice_spacing"``, ``"thick_slices"``,
        ``"gantry_tilt"``, ``"bone_kernel"``, ``"unusual_brain_density"``, ``"part_of_the_brain"``, ``"metal"``.

    Raises
    ------
    NotEvaluableError
        ``"too_few_slices"``, ``"pixel_spacing"``, ``"slice_spacing"``, ``"missing_slices"``, ``"gantry_tilt"``,
        ``"not_axial"``, ``"no_hounsfield_units"``, ``"no_head"``.
    """
    limits = limits or QualityLimits()
    geometry = _check_geometry(study, limits)
    content = _check_content(study, limits)
    known = {warning.code for warning in study.warnings}
    return study.with_warnings(*(warning for warning in (*geometry, *content) if warning.code not in known))


def _check_geometry(study: CTStudy, limits: QualityLimits) -> list[QualityWarning]:
    slices = len(study.voxels)
    if slices < limits.minimum_slices:
        raise NotEvaluableError("too_few_slices", slices=slices, least=limits.minimum_slices)
    gaps = measure_gaps(study.positions_mm)
    for pixel in study.spacing_mm[:2]:
        if not limits.smallest_pixel_mm <= pixel <= limits.largest_pixel_mm:
            wanted = {"least_mm": limits.smallest_pixel_mm, "most_mm": limits.largest_pixel_mm}
            raise NotEvaluableError("pixel_spacing", pixel_mm=pixel, **wanted)
    if not limits.smallest_gap_mm <= gaps.median_mm <= limits.largest_gap_mm:
        wanted = {"least_mm": limits.smallest_gap_mm, "most_mm": limits.largest_gap_mm}
        raise NotEvaluableError("slice_spacing", gap_mm=gaps.median_mm, **wanted)
    if gaps.missing > limits.largest_missing_share * (slices + gaps.missing):
        raise NotEvaluableError("missing_slices", missing=gaps.missing, slices=slices)
    angle = float(np.degrees(np.arccos(min(1.0, abs(study.slice_normal[2])))))
    if angle > limits.largest_angle_degrees:
        raise NotEvaluableError("not_axial", degrees=angle)
    if study.tilt_degrees > limits.largest_tilt_degrees:
        raise NotEvaluableError("gantry_tilt", degrees=study.tilt_degrees, most=limits.largest_tilt_degrees)
    return _geometry_warnings(study, limits, gaps.largest_mm)


def _geometry_warnings(study: CTStudy, limits: QualityLimits, largest_gap_mm: float) -> list[QualityWarning]:
    warnings = list(gap_warnings(study.positions_mm))
    if largest_gap_mm > limits.thick_slice_mm:
        warnings.append(QualityWarning("thick_slices", gap_mm=largest_gap_mm))
    if study.tilt_degrees > limits.tilt_warning_degrees:
        warnings.append(QualityWarning("gantry_tilt", degrees=study.tilt_degrees))
    if is_bone_kernel(study.provenance.kernel):
        warnings.append(QualityWarning("bone_kernel", kernel=study.provenance.kernel))
    return warnings


def _check_content(study: CTStudy, limits: QualityLimits) -> list[QualityWarning]:
    coarse, spacing = coarse_voxels(study)
    lowest = float(np.percentile(coarse, 1))
    if lowest > limits.highest_air_hu:
        raise NotEvaluableError("no_hounsfield_units.air", hounsfield=lowest)
    content = skull_content(coarse, spacing, limits)
    brain_mm = float(content.slices.sum()) * study.spacing_mm[2]
    if brain_mm < limits.minimum_brain_mm:
        raise NotEvaluableError("no_head", found_mm=brain_mm, least_mm=limits.minimum_brain_mm)
    lowest_brain, highest_brain = limits.brain_hu
    if not lowest_brain <= content.median_hu <= highest_brain:
        wanted = {"least": lowest_brain, "most": highest_brain}
        raise NotEvaluableError("no_hounsfield_units.brain", hounsfield=content.median_hu, **wanted)
    warnings = []
    if not limits.usual_brain_hu[0] <= content.median_hu <= limits.usual_brain_hu[1]:
        warnings.append(QualityWarning("unusual_brain_density", hounsfield=content.median_hu))
    if brain_mm < limits.whole_brain_mm:
        warnings.append(QualityWarning("part_of_the_brain", brain_mm=brain_mm))
    if content.metal_ml > limits.metal_ml:
        warnings.append(QualityWarning("metal", ml=content.metal_ml, hounsfield=_METAL_HU))
    return warnings


def coarse_voxels(study: CTStudy) -> tuple[NDArray[np.int16], tuple[float, float, float]]:
    """Sample a study in plane at about 2 mm: voxels (slices, rows, columns) and spacing (column, row, slice) in mm."""
    column_mm, row_mm, slice_mm = study.spacing_mm
    rows, columns = (max(1, round(_COARSE_MM / mm)) for mm in (row_mm, column_mm))
    return study.voxels[:, ::rows, ::columns], (column_mm * columns, row_mm * rows, slice_mm)


def skull_content(
    voxels: NDArray[np.int16], spacing_mm: tuple[float, float, float], limits: QualityLimits
) -> SkullContent:
    """Measure what the bones of each slice enclose.

    A slice counts as brain where bone (> 200 HU) lies in most directions around its middle and most of what the bones'
    convex hull holds is soft tissue of 0 to 80 HU. The hull, unlike filling, also closes a craniectomy.

    Parameters
    ----------
    voxels : ndarray of int16, shape (slices, rows, columns)
        HU, sampled at about 2 mm.
    spacing_mm : tuple of float
        Distance in mm between neighbouring columns, rows and slices.
    limits : QualityLimits
        Gives the smallest enclosure and the largest area of a skull.
    """
    head = head_mask(voxels, spacing_mm)
    pixel_cm2 = spacing_mm[0] * spacing_mm[1] / 100
    smoothed = ndimage.median_filter(voxels, size=(1, 3, 3))
    slices = np.zeros(len(voxels), dtype=np.bool_)
    brain: list[NDArray[np.int16]] = []
    metal_voxels = 0
    for index, (plane, mask) in enumerate(zip(smoothed, head, strict=True)):
        bone = mask & (voxels[index] > _SKULL_HU)
        if np.count_nonzero(bone) < _DIRECTIONS // 2 or enclosure(bone, spacing_mm) < limits.minimum_enclosure:
            continue
        hull = convex_hull_image(bone)
        soft = hull & (plane >= _SOFT_TISSUE_HU[0]) & (plane <= _SOFT_TISSUE_HU[1])
        fits_a_skull = np.count_nonzero(hull) * pixel_cm2 <= limits.largest_skull_cm2
        if fits_a_skull and np.count_nonzero(soft) >= max(1, _SOFT_SHARE * np.count_nonzero(hull & ~bone)):
            slices[index] = True
            brain.append(plane[soft])
            metal_voxels += int(np.count_nonzero(voxels[index][hull] > _METAL_HU))
    median = float(np.median(np.concatenate(brain))) if brain else float("nan")
    return SkullContent(slices, median, metal_voxels * pixel_cm2 * spacing_mm[2] / 10)


def enclosure(bone: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> float:
    """Fraction of directions (0..1) from the middle of the bones in which bone lies, seen in mm."""
    rows, columns = np.nonzero(bone)
    middle_row, middle_column = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    angles = np.arctan2((rows - middle_row) * spacing_mm[1], (columns - middle_column) * spacing_mm[0])
    bins = ((angles + np.pi) / (2 * np.pi) * _DIRECTIONS).astype(int) % _DIRECTIONS
    return np.unique(bins).size / _DIRECTIONS
