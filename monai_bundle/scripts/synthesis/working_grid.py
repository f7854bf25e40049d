"""The grid on which anatomy and shapes are computed: axial, in one orientation, pixels of about 1 mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.intake.study import CTStudy, IntakeError
from scripts.messages import ExpectedError

Field = NDArray[np.floating[Any]]

_PLANE_MM = 1.0
_SLICE_MM = 3.0
_AXIAL_COSINE = 0.75


class SynthesisError(IntakeError):
    """The host cannot hold what was asked for; the message is one line that names the fault.

    Parameters
    ----------
    code : str
        Name in the catalogue's section ``synthesis``, e.g. ``"no_cavity"``; what follows a dot only chooses the text.
    **values
        One per placeholder of its text.
    """

    def __init__(self, code: str, /, **values: Any) -> None:
        ExpectedError.__init__(self, f"synthesis.{code}", **values)
        self.code = code.partition(".")[0]


@dataclass(frozen=True)
class Box:
    """A part of the working grid and the stored voxels under it: half-open ranges of slices, rows and columns.

    Attributes
    ----------
    slices : tuple of int
        Original slices, counted upwards from the lowest.
    rows, columns : tuple of int
        Rows and columns of the working grid.
    """

    slices: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]


@dataclass(frozen=True)
class WorkingGrid:
    """How stored voxels are turned (by axis swaps and flips alone) and averaged into the working grid.

    On the turned grid slices run upwards, rows towards the back of the head, columns to the patient's left.

    Attributes
    ----------
    shape : tuple of int
        Slices, rows, columns of the turned stored voxels.
    transposed : bool
        Whether rows and columns are swapped.
    flips : tuple of bool
        Which of slices, rows, columns are reversed after the swap.
    affine : ndarray of float64, shape (4, 4)
        Turned index (column, row, slice, 1) to RAS in mm.
    factor : int
        Stored pixels per working pixel, along each axis in plane.
    group : int
        Original slices per working slice.
    thickness_mm : float
        Extent over which each original slice averages.
    """

    shape: tuple[int, int, int]
    transposed: bool
    flips: tuple[bool, bool, bool]
    affine: NDArray[np.float64]
    factor: int
    group: int
    thickness_mm: float

    @property
    def stored_spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring original slices (along the normal), rows and columns."""
        column, row = self.affine[:3, 0], self.affine[:3, 1]
        normal = np.cross(column, row)
        normal /= np.linalg.norm(normal)
        step = abs(float(self.affine[:3, 2] @ normal))
        return step, float(np.linalg.norm(row)), float(np.linalg.norm(column))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring slices, rows and columns of the working grid."""
        step, row, column = self.stored_spacing
        return step * self.group, row * self.factor, column * self.factor

    @property
    def voxel_ml(self) -> float:
        """Volume of a stored voxel in ml."""
        return float(np.prod(self.stored_spacing)) / 1000.0

    @property
    def working_shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the working grid."""
        slices, rows, columns = self.shape
        return -(-slices // self.group), -(-rows // self.factor), -(-columns // self.factor)

    def turned(self, stored: NDArray[Any]) -> NDArray[Any]:
        """View of stored voxels, shape (slices, rows, columns), on the turned grid."""
        swapped = stored.transpose(0, 2, 1) if self.transposed else stored
        return swapped[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def restored(self, turned: NDArray[Any]) -> NDArray[Any]:
        """Inverse of :meth:`turned`."""
        back = turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return back.transpose(0, 2, 1) if self.transposed else back

    def averaged(self, turned: NDArray[Any]) -> Field:
        """Mean of the turned voxels in each voxel of the working grid; edges are repeated where they do not fill it."""
        lacking = [
            working * size - have
            for working, size, have in zip(
                self.working_shape, (self.group, self.factor, self.factor), self.shape, strict=True
            )
        ]
        if any(lacking):
            turned = np.pad(turned, [(0, missing) for missing in lacking], mode="edge")
        slices, rows, columns = self.working_shape
        parts = turned.reshape(slices, self.group, rows, self.factor, columns, self.factor)
        # Summing plane by plane is many times faster than a mean over three short axes.
        total = np.zeros((slices, rows, columns), dtype=np.float32)
        for group in range(self.group):
            for row in range(self.factor):
                for column in range(self.factor):
                    total += parts[:, group, :, row, :, column]
        return total / np.float32(self.group * self.factor**2)

    def heights(self, slices: tuple[int, int], samples: int) -> Field:
        """Positions on the working grid's slice axis of ``samples`` planes across each original slice's thickness."""
        offsets = (np.arange(samples) + 0.5) / samples - 0.5
        offsets *= min(1.5, self.thickness_mm / self.stored_spacing[0])
        stored = np.arange(*slices)[:, None] + offsets
        return ((stored + 0.5) / self.group - 0.5).ravel().astype(np.float32)

    def at_heights(self, field: NDArray[Any], box: Box, heights: Field, stride: int = 1) -> Field:
        """Linear interpolation of a working field along slices, cut to (every ``stride``-th pixel of) the box."""
        part = field[:, slice(*box.rows, stride), slice(*box.columns, stride)]
        position = np.clip(heights, 0, len(field) - 1)
        below = np.minimum(position.astype(np.intp), max(len(field) - 2, 0))
        weight = (position - below).astype(np.float32)[:, None, None]
        low = part[below].astype(np.float32)
        if len(field) == 1 or not weight.any():
            return low
        return low + weight * (part[below + 1].astype(np.float32) - low)

    def points(self, box: Box, heights: Field, matrix: NDArray[np.float64], stride: int = 1) -> Field:
        """Coordinates of working pixels at some heights.

        Parameters
        ----------
        box : Box
            Rows and columns.
        heights : ndarray, shape (n,)
            Positions on the working slice axis.
        matrix : ndarray, shape (4, 4)
            From RAS in mm to the coordinates that are wanted.
        stride : int
            Only every so many-th row and column.

        Returns
        -------
        ndarray of float32, shape (3, n, rows, columns)
        """
        to_frame = (matrix @ self.affine).astype(np.float32)
        slices = (heights + 0.5) * self.group - 0.5
        rows = (np.arange(*box.rows, stride, dtype=np.float32) + 0.5) * self.factor - 0.5
        columns = (np.arange(*box.columns, stride, dtype=np.float32) + 0.5) * self.factor - 0.5
        return np.stack(
            [
                (row[3] + row[2] * slices)[:, None, None] + (row[1] * rows)[None, :, None] + row[0] * columns
                for row in to_frame[:3]
            ]
        )

    def stored_range(self, box: Box) -> tuple[slice, slice, slice]:
        """Return the turned stored voxels under a box."""
        rows, columns = (
            slice(low * self.factor, min(high * self.factor, size))
            for (low, high), size in zip((box.rows, box.columns), self.shape[1:], strict=True)
        )
        return slice(*box.slices), rows, columns

    def refined(self, field: Field, box: Box) -> Field:
        """Linear interpolation in plane from working pixels of a box, shape (n, rows, columns), to stored pixels."""
        if self.factor == 1:
            return field
        _, rows, columns = self.stored_range(box)
        for axis, count in ((1, rows.stop - rows.start), (2, columns.stop - columns.start)):
            position = np.clip((np.arange(count) + 0.5) / self.factor - 0.5, 0, field.shape[axis] - 1)
            below = np.minimum(position.astype(np.intp), max(field.shape[axis] - 2, 0))
            weight = (position - below).astype(np.float32)
            weight = weight[:, None] if axis == 1 else weight
            low = field.take(below, axis=axis)
            above = np.minimum(below + 1, field.shape[axis] - 1)
            field = low + weight * (field.take(above, axis=axis) - low)
        return field

    def box_around(self, inside: NDArray[np.bool_], margin_mm: float = 0.0) -> Box:
        """Smallest box that holds the true voxels of a working field, widened by a margin."""
        ranges = []
        margins = [int(np.ceil(margin_mm / mm)) for mm in self.spacing]
        for axis, margin in enumerate(margins):
            used = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
            if not used.size:
                raise ValueError("no voxel to put a box around")
            ranges.append((max(0, int(used[0]) - margin), min(inside.shape[axis], int(used[-1]) + 1 + margin)))
        slices = (ranges[0][0] * self.group, min(ranges[0][1] * self.group, self.shape[0]))
        return Box(slices, ranges[1], ranges[2])


def picked(coordinates: Field, index: tuple[NDArray[np.intp], ...]) -> Field:
    """Coordinates, shape (3, n), of some points of an array of shape (3, ...)."""
    return np.stack([axis[index] for axis in coordinates])


def working_grid(study: CTStudy) -> WorkingGrid:
    """Choose the working grid of a study.

    Raises
    ------
    SynthesisError
        ``"not_axial"`` where slices lie more than about 40 degrees off the axial plane.
    """
    normal = study.slice_normal
    if abs(normal[2]) < _AXIAL_COSINE:
        raise SynthesisError("not_axial", name=study.provenance.source_name)
    affine = study.affine.copy()
    shape = list(study.voxels.shape)
    transposed = abs(affine[0, 0]) < abs(affine[0, 1])
    if transposed:
        affine[:, [0, 1]] = affine[:, [1, 0]]
        shape[1:] = shape[:0:-1]
    flips = (affine[2, 2] < 0, affine[1, 1] > 0, affine[0, 0] > 0)
    for axis, flip in zip((2, 1, 0), flips, strict=True):
        if flip:
            affine[:3, 3] += (shape[2 - axis] - 1) * affine[:3, axis]
            affine[:3, axis] *= -1
    column_mm, row_mm, slice_mm = study.spacing_mm
    thickness = study.provenance.slice_thickness_mm or slice_mm
    return WorkingGrid(
        shape=(shape[0], shape[1], shape[2]),
        transposed=bool(transposed),
        flips=(bool(flips[0]), bool(flips[1]), bool(flips[2])),
        affine=affine,
        factor=max(1, round(_PLANE_MM / max(0.2, 0.5 * (column_mm + row_mm)))),
        group=max(1, int(_SLICE_MM / slice_mm + 0.2)) if len(study.voxels) > 1 else 1,
        thickness_mm=thickness if len(study.voxels) > 1 else slice_mm,
    )
