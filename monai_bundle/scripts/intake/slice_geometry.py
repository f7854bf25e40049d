"""Geometry of a stack of slices: order, gaps, affine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.intake.study import QualityWarning

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
DUPLICATE_MM = 0.02
_WRITTEN_DIGITS = 1e-6
_UNEVEN = 0.1
_NEIGHBOURS = 3
_MULTIPLE_TOLERANCE = 0.2


@dataclass(frozen=True)
class SliceGaps:
    """Distances between neighbouring slices along the slice normal (mm), and how many slices the gaps lack."""

    median_mm: float
    smallest_mm: float
    largest_mm: float
    missing: int


def slice_normal(orientation: Sequence[float]) -> NDArray[np.float64]:
    """Return the unit vector (LPS) perpendicular to the slices: row direction x column direction.

    Raises
    ------
    ValueError
        If the six direction cosines are not two perpendicular unit vectors.
    """
    row, column = np.asarray(orientation[:3], dtype=np.float64), np.asarray(orientation[3:], dtype=np.float64)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1, atol=0.01) or abs(row @ column) > 0.01:
        raise ValueError("direction cosines are not perpendicular unit vectors")
    normal = np.cross(row, column)
    return normal / np.linalg.norm(normal)


def mean_orientation(orientations: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the direction cosines of a stack (LPS): as written where all agree, else their mean made perpendicular."""
    first = tuple(orientations[0])
    values = np.array(orientations, dtype=np.float64)
    if len(first) != 6 or np.abs(values - values[0]).max() < _WRITTEN_DIGITS:
        return first
    row, column = values.mean(axis=0).reshape(2, 3)
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    return (*row.tolist(), *(column / np.linalg.norm(column)).tolist())


def stack_affine(
    orientation: Sequence[float], pixel_spacing: Sequence[float], positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Build the affine of a sorted stack (PS3.3 equation C.7.6.2.1-1, in RAS).

    Parameters
    ----------
    orientation : sequence of float
        Image Orientation (Patient) (0020,0037): direction of increasing column index, then of row index (LPS).
    pixel_spacing : sequence of float
        Pixel Spacing (0028,0030): between rows, between columns (mm).
    positions : ndarray of float64, shape (slices, 3)
        Image Position (Patient) (0020,0032) of each slice in order (LPS, mm).

    Returns
    -------
    ndarray of float64, shape (4, 4)
        Voxel index (column, row, slice, 1) to RAS in mm; the third column is the mean step, sheared or not.
    """
    row_mm, column_mm = pixel_spacing
    affine = np.eye(4)
    affine[:3, 0] = LPS_TO_RAS @ np.asarray(orientation[:3]) * column_mm
    affine[:3, 1] = LPS_TO_RAS @ np.asarray(orientation[3:]) * row_mm
    if len(positions) > 1:
        affine[:3, 2] = LPS_TO_RAS @ (positions[-1] - positions[0]) / (len(positions) - 1)
    else:
        affine[:3, 2] = LPS_TO_RAS @ slice_normal(orientation)
    affine[:3, 3] = LPS_TO_RAS @ positions[0]
    return affine


def measure_gaps(positions_mm: NDArray[np.float64]) -> SliceGaps:
    """Measure the gaps of a stack of at least two slices.

    A slice counts as missing where a gap is a whole multiple of the gaps around it. Compared with its neighbours, not
    with the whole stack, a scan planned with two spacings (thin skull base, thick vault) lacks nothing.
    """
    gaps = np.abs(np.diff(positions_mm))
    missing = 0
    for index, gap in enumerate(gaps):
        around = np.delete(gaps, index)[max(0, index - _NEIGHBOURS) : index + _NEIGHBOURS]
        usual = np.median(around) if around.size else 0.0
        multiple = gap / usual if usual > 0 else 1.0
        if multiple > 1.5 and abs(multiple - round(multiple)) <= _MULTIPLE_TOLERANCE:
            missing += round(multiple) - 1
    return SliceGaps(float(np.median(gaps)), float(gaps.min()), float(gaps.max()), missing)


def gap_warnings(positions_mm: NDArray[np.float64]) -> tuple[QualityWarning, ...]:
    """Name what is irregular about the slice positions: ``"missing_slices"``, ``"uneven_slice_spacing"``."""
    if positions_mm.size < 2:
        return ()
    gaps = measure_gaps(positions_mm)
    warnings = []
    if gaps.missing:
        measured = {"median_mm": gaps.median_mm, "largest_mm": gaps.largest_mm}
        if gaps.missing == 1:
            warnings.append(QualityWarning("missing_slices.one", **measured))
        else:
            warnings.append(QualityWarning("missing_slices", missing=gaps.missing, **measured))
    if gaps.largest_mm - gaps.smallest_mm > _UNEVEN * gaps.median_mm:
        measured = {"smallest_mm": gaps.smallest_mm, "largest_mm": gaps.largest_mm, "median_mm": gaps.median_mm}
        warnings.append(QualityWarning("uneven_slice_spacing", **measured))
    return tuple(warnings)
