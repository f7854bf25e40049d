"""The quality gate: what a study must have before a network may read it.

Motion, and contrast that no header names, are not judged: on single heads neither can be distinguished from anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scripts.intake.interleaving import is_interleaved
from scripts.intake.kernel import is_bone_kernel
from scripts.intake.skull import METAL_HU, SkullLocation, SkullSearch, locate_skull
from scripts.intake.slice_geometry import gap_warnings, measure_gaps
from scripts.intake.study import CTStudy, NotEvaluableError, QualityWarning
from scripts.intake.tissue import in_plane_strides

_OVERLAP = 0.6
"""Largest gap relative to the thickness at which slices overlap by design, or belong to two scans."""


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
    overlapping_mm : float
        Thickness from which slices that lie closer than 0.6 of it are warned of; thinner ones often overlap.
    highest_air_hu : float
        The lowest 1 % of all voxels must lie below this; -900 HU air of 8-bit sources does.
    brain_hu, usual_brain_hu : tuple of float
        Range of the brain's median: outside the first refused, outside the second warned of.
    minimum_brain_mm, whole_brain_mm : float
        Length along the normal over which brain lies inside a skull: less is refused, less than the second warned of
        (in proportion where the skull is shorter than usual).
    minimum_enclosure : float
        Fraction of directions from the middle of a slice in which bone must lie; a craniectomy leaves about 0.8.
    largest_skull_cm2 : float
        Largest area inside the bones of a slice; a chest or pelvis has more.
    skull_length_mm, usual_skull_length_mm : tuple of float
        Longer axis of the skull: outside the first refused, outside the second warned of.
    height_per_length, usual_height_per_length : tuple of float
        Height of a brain that is wholly shown, relative to the skull's length: as above.
    smallest_width_per_length : float
        Shorter axis of the skull relative to the longer one; less is refused.
    largest_vertex_section, largest_base_section : float
        Section of the brain in the highest and lowest slice, relative to its largest, above which the brain is cut off.
    metal_ml : float
        Volume above 2800 HU inside the skull that is warned of.
    """

    minimum_slices: int = 12
    smallest_pixel_mm: float = 0.1
    largest_pixel_mm: float = 3.5
    smallest_gap_mm: float = 0.2
    largest_gap_mm: float = 10.5
    thick_slice_mm: float = 6.0
    overlapping_mm: float = 2.5
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
    skull_length_mm: tuple[float, float] = (70.0, 260.0)
    usual_skull_length_mm: tuple[float, float] = (130.0, 230.0)
    height_per_length: tuple[float, float] = (0.3, 1.2)
    usual_height_per_length: tuple[float, float] = (0.4, 1.0)
    smallest_width_per_length: float = 0.5
    largest_vertex_section: float = 0.15
    largest_base_section: float = 0.5
    metal_ml: float = 0.5

    def __post_init__(self) -> None:
        """Refuse limits under which no gap between slices could be measured."""
        if self.minimum_slices < 2:
            raise ValueError(f"minimum_slices is {self.minimum_slices}; at least 2 are needed to measure gaps")


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
        The same study with its skull located; added are, where true: ``"missing_slices"``, ``"uneven_slice_spacing"``,
        ``"thick_slices"``, ``"overlapping_slices"``, ``"gantry_tilt"``, ``"bone_kernel"``, ``"unusual_size"``,
        ``"unusual_brain_density"``,
        ``"part_of_the_brain"``, ``"cut_by_field"``, ``"metal"``.

    Raises
    ------
    NotEvaluableError
        ``"too_few_slices"``, ``"pixel_spacing"``, ``"slice_spacing"``, ``"missing_slices"``, ``"gantry_tilt"``,
        ``"not_axial"``, ``"no_hounsfield_units"``, ``"implausible_size"``, ``"no_head"``,
        ``"interleaved"``.
    """
    limits = limits or QualityLimits()
    geometry = _check_geometry(study, limits)
    skull = locate_skull(
        study.voxels, study.spacing_mm, SkullSearch(limits.minimum_enclosure, limits.largest_skull_cm2)
    )
    content = _check_content(study, skull, limits)
    study = replace(study, skull=skull)
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
    return _geometry_warnings(study, limits, gaps.largest_mm, gaps.median_mm)


def _geometry_warnings(
    study: CTStudy, limits: QualityLimits, largest_gap_mm: float, median_gap_mm: float
) -> list[QualityWarning]:
    warnings = list(gap_warnings(study.positions_mm))
    thickness = study.provenance.slice_thickness_mm
    # An overlapping reconstruction, or two scans of one series sorted into each other: headers cannot tell which.
    if thickness is not None and thickness >= limits.overlapping_mm and median_gap_mm <= _OVERLAP * thickness:
        warnings.append(QualityWarning("overlapping_slices", gap_mm=median_gap_mm, thickness_mm=thickness))
    if largest_gap_mm > limits.thick_slice_mm:
        warnings.append(QualityWarning("thick_slices", gap_mm=largest_gap_mm))
    if study.tilt_degrees > limits.tilt_warning_degrees:
        warnings.append(QualityWarning("gantry_tilt", degrees=study.tilt_degrees))
    if is_bone_kernel(study.provenance.kernel):
        warnings.append(QualityWarning("bone_kernel", kernel=study.provenance.kernel))
    return warnings


def _check_content(study: CTStudy, skull: SkullLocation, limits: QualityLimits) -> list[QualityWarning]:
    rows, columns = in_plane_strides(study.spacing_mm)
    coarse = study.voxels[:, ::rows, ::columns]
    lowest = float(np.percentile(coarse, 1))
    if lowest > limits.highest_air_hu:
        raise NotEvaluableError("no_hounsfield_units.air", hounsfield=lowest)
    brain_mm = float(skull.brain.sum()) * study.spacing_mm[2]
    size_warnings = check_skull_size(skull, brain_mm, limits)
    if brain_mm < limits.minimum_brain_mm:
        raise NotEvaluableError("no_head", found_mm=brain_mm, least_mm=limits.minimum_brain_mm)
    if is_interleaved(coarse, skull):
        raise NotEvaluableError("interleaved")
    lowest_brain, highest_brain = limits.brain_hu
    if not lowest_brain <= skull.median_hu <= highest_brain:
        wanted = {"least": lowest_brain, "most": highest_brain}
        raise NotEvaluableError("no_hounsfield_units.brain", hounsfield=skull.median_hu, **wanted)
    if not limits.usual_brain_hu[0] <= skull.median_hu <= limits.usual_brain_hu[1]:
        size_warnings.append(QualityWarning("unusual_brain_density", hounsfield=skull.median_hu))
    superior = 1 if study.affine[2, 2] >= 0 else -1
    return [*size_warnings, *_extent_warnings(skull, brain_mm, superior, limits)]


def _extent_warnings(
    skull: SkullLocation, brain_mm: float, superior: int, limits: QualityLimits
) -> list[QualityWarning]:
    """Name what of the brain may lie outside the volume, and metal inside the skull."""
    warnings = []
    # A whole brain is as much shorter as the skull is smaller than any adult's.
    small = min(1.0, skull.length_mm / limits.usual_skull_length_mm[0])
    if brain_mm < limits.whole_brain_mm * small:
        warnings.append(QualityWarning("part_of_the_brain", brain_mm=brain_mm))
    elif outermost := brain_cut_off(skull, superior, limits):
        warnings.append(outermost)
    if skull.cut_by_field:
        warnings.append(QualityWarning("cut_by_field"))
    if skull.metal_ml > limits.metal_ml:
        warnings.append(QualityWarning("metal", ml=skull.metal_ml, hounsfield=METAL_HU))
    return warnings


def brain_cut_off(skull: SkullLocation, superior: int, limits: QualityLimits) -> QualityWarning | None:
    """Warn where brain is still large in the first or last slice of the volume: what lies beyond it was not read.

    Parameters
    ----------
    skull : SkullLocation
        Where it could not judge which end is the vertex, the geometry does.
    superior : int
        1 where the last slice is the highest by the geometry, -1 where the first is.
    limits : QualityLimits
        At the vertex the brain's section falls so fast that little of it is much; at the base many scans begin in it.
    """
    vertex = skull.vertex or superior
    for end, side in ((0, -1), (-1, 1)):
        most = limits.largest_vertex_section if side == vertex else limits.largest_base_section
        if skull.sections_cm2[end] > most * skull.sections_cm2.max():
            return QualityWarning("part_of_the_brain.outermost", section_cm2=float(skull.sections_cm2[end]))
    return None


def check_skull_size(skull: SkullLocation, brain_mm: float, limits: QualityLimits) -> list[QualityWarning]:
    """Judge the skull's size, which shows a spacing that is not true.

    Judged are the skull's length and width in the slice where the brain is largest, and, where the brain ends within
    the volume at both ends, its height along the slice normal relative to that length. In adults the skull is about
    160 to 210 mm long, 0.7 to 0.95 of that wide, and the brain in it 0.55 to 0.85 of that high; a newborn's is 110 mm.

    Raises
    ------
    NotEvaluableError
        ``"implausible_size"`` where no head has such a size.
    """
    if not skull.brain.any():
        return []
    measured = {"length_mm": skull.length_mm, "width_mm": skull.width_mm, "height_mm": brain_mm}
    ends = np.flatnonzero(skull.brain)[[0, -1]]
    is_whole = skull.sections_cm2[ends].max() <= limits.largest_base_section * skull.sections_cm2.max()
    is_whole &= ends[0] > 0 or skull.sections_cm2[0] < skull.sections_cm2.max() / 4
    height, width = brain_mm / skull.length_mm, skull.width_mm / skull.length_mm
    smallest, largest = limits.skull_length_mm
    flattest, highest = limits.height_per_length
    is_possible = smallest <= skull.length_mm <= largest and width >= limits.smallest_width_per_length
    if not is_possible or height > highest or (is_whole and height < flattest):
        raise NotEvaluableError("implausible_size", **measured)
    smallest, largest = limits.usual_skull_length_mm
    flattest, _ = limits.usual_height_per_length
    if not smallest <= skull.length_mm <= largest or (is_whole and height < flattest):
        return [QualityWarning("unusual_size", **measured)]
    return []
