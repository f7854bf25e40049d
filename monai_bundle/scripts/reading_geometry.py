"""Which original voxels the network reads, and the way back from its maps to those voxels.

Original slices are averaged to input slices (slabs of about 5 mm), a square around the head is cropped, reoriented to
radiological convention (anterior up, the patient's right on the left) and resampled to the image size, and input slices
are assigned to sub-stacks of m. Every step here is undone exactly by its counterpart, whatever the orientation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scripts.intake.study import AIR_HU, CTStudy

_EVEN = 1.1
"""Largest gap between slices, relative to the smallest, of a stack that counts as evenly spaced."""
_BEYOND_THE_BRAIN_MM = 10.0
"""How much farther than in the slices with brain the head may reach in the others (nose, chin) and widen the crop."""


@dataclass(frozen=True)
class CropPlane:
    """A rectangle of original rows and columns, square in mm and centred on the head, and how it is reoriented.

    Bounds may lie outside the original matrix; what lies outside is air.

    Attributes
    ----------
    first_row, last_row, first_column, last_column : int
        Half-open bounds in original rows and columns.
    flip_rows, flip_columns : bool
        Whether original rows, original columns run against the image's direction (posterior, or the patient's left).
    transpose : bool
        Whether original rows become the image's columns: some files run rows from side to side.
    """

    first_row: int
    last_row: int
    first_column: int
    last_column: int
    flip_rows: bool
    flip_columns: bool
    transpose: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Original rows and columns of the rectangle."""
        return self.last_row - self.first_row, self.last_column - self.first_column

    def reorient(self, slices: Tensor) -> Tensor:
        """Reorient original slices of shape (..., rows, columns); no value changes."""
        flipped = self._flip(slices)
        return flipped.transpose(-2, -1) if self.transpose else flipped

    def reorient_back(self, images: Tensor) -> Tensor:
        """Undo :meth:`reorient`."""
        return self._flip(images.transpose(-2, -1) if self.transpose else images)

    def crop(self, slices: Tensor) -> Tensor:
        """Crop and reorient original slices of shape (..., rows, columns); voxels outside the matrix become air."""
        rows, columns = slices.shape[-2:]
        padding = (-self.first_column, self.last_column - columns, -self.first_row, self.last_row - rows)
        return self.reorient(functional.pad(slices, padding, value=float(AIR_HU)))

    def resample(self, original: Tensor, size: int) -> Tensor:
        """Crop, reorient and resample one original slice (rows, columns) to an image (size, size)."""
        cropped = self.crop(original)[None, None]
        return functional.interpolate(cropped, size=(size, size), mode="bilinear", antialias=True)[0, 0]

    def resample_back(self, maps: Tensor, original_shape: tuple[int, int]) -> Tensor:
        """Resample maps of any resolution that cover the crop, shape (slices, h, w), to the original rows and columns.

        Values between the cells are interpolated bilinearly; voxels outside the crop are 0.
        """
        of_slice, of_crop = self.overlap(original_shape)
        original = maps.new_zeros((len(maps), *original_shape))
        original[(slice(None), *of_slice)] = self.enlarge(maps)[(slice(None), *of_crop)]
        return original

    def enlarge(self, maps: Tensor) -> Tensor:
        """Resample maps of any resolution that cover the crop, shape (slices, h, w), to the crop's rows and columns."""
        enlarged = functional.interpolate(
            self.reorient_back(maps)[:, None], size=self.shape, mode="bilinear", align_corners=False
        )
        return enlarged[:, 0]

    def overlap(self, original_shape: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return rows and columns that crop and original slice share, as indices of the slice and of the crop."""
        firsts, lasts = (self.first_row, self.first_column), (self.last_row, self.last_column)
        shared = [(max(0, a), min(b, size)) for a, b, size in zip(firsts, lasts, original_shape, strict=True)]
        rows, columns = (slice(a, max(a, b)) for a, b in shared)
        of_rows, of_columns = (
            slice(a - first, max(a, b) - first) for (a, b), first in zip(shared, firsts, strict=True)
        )
        return (rows, columns), (of_rows, of_columns)

    def _flip(self, slices: Tensor) -> Tensor:
        axes = [axis for axis, flip in ((-2, self.flip_rows), (-1, self.flip_columns)) if flip]
        return slices.flip(axes) if axes else slices


@dataclass(frozen=True)
class ReadingGeometry:
    """How one study is read.

    Attributes
    ----------
    plane : CropPlane
        In-plane field of view.
    slabs : tuple of tuple of int
        For each input slice, from the patient's feet to the head, the original slices averaged into it.
    original_shape : tuple of int
        (slices, rows, columns) of the study.
    positions_mm : tuple of float
        Where each input slice lies along the slice normal, its slab's mean; empty where nobody asked for it.
    """

    plane: CropPlane
    slabs: tuple[tuple[int, ...], ...]
    original_shape: tuple[int, int, int]
    positions_mm: tuple[float, ...] = ()

    def resample(self, voxels: NDArray[np.int16] | NDArray[np.float32], size: int) -> Tensor:
        """Average slabs, crop, reorient and resample them.

        Parameters
        ----------
        voxels : ndarray of int16 or float32, shape (slices, rows, columns)
            Hounsfield units; outside the matrix they are air's.
        size : int
            Rows and columns of the result.

        Returns
        -------
        Tensor of float32, shape (input slices, size, size)
            Hounsfield units.
        """
        means = (torch.from_numpy(voxels[list(slab)].mean(axis=0, dtype=np.float32)) for slab in self.slabs)
        return torch.stack([self.plane.resample(mean, size) for mean in means])

    def resample_back(self, *layers: Tensor) -> Tensor:
        """Resample maps to the original voxels; several layers are added there, each from its own resolution.

        Parameters
        ----------
        *layers : Tensor, shape (input slices, h, w)
            One map per input slice.

        Returns
        -------
        Tensor, shape (slices, rows, columns)
        """
        in_crop = self.plane.enlarge(layers[0])
        for layer in layers[1:]:
            in_crop += self.plane.enlarge(layer)
        # Written once, straight into place: a volume of thin slices is large.
        of_slice, of_crop = self.plane.overlap(self.original_shape[1:])
        original = in_crop.new_zeros(self.original_shape)
        for input_slice, slab in enumerate(self.slabs):
            for slice_index in slab:
                original[(slice_index, *of_slice)] = in_crop[(input_slice, *of_crop)]
        return original

    def divide_among_original(self, weights: Tensor) -> Tensor:
        """Divide one weight per input slice evenly among its original slices; the sum is kept."""
        original = weights.new_zeros(self.original_shape[0])
        for input_slice, slab in enumerate(self.slabs):
            original[list(slab)] = weights[input_slice] / len(slab)
        return original

    def repeat_on_original(self, values: Tensor) -> list[Tensor | None]:
        """Return for each original slice the values (input slices, ...) of its input slice; None where it has none."""
        original: list[Tensor | None] = [None] * self.original_shape[0]
        for input_slice, slab in enumerate(self.slabs):
            for index in slab:
                original[index] = values[input_slice]
        return original


def head_centred_crop(
    study: CTStudy, head: NDArray[np.bool_], margin: float, field_mm: float | None = None
) -> CropPlane:
    """Return the square (in mm) around the head, reoriented to radiological convention.

    Parameters
    ----------
    study : CTStudy
        Gives spacing and orientation; where the skull is known, shoulders and neck do not widen the square.
    head : ndarray of bool, shape (slices, rows, columns)
        Voxels of the head; if empty, the whole matrix is taken.
    margin : float
        Side of the square relative to the longer side of the head, e.g. 1.1.
    field_mm : float, optional
        Side of the square in mm, in the place of ``margin``. A head that does not fit into it, as where the size of
        pixels is not known but assumed, is given its margin after all: nothing of it is cut off.
    """
    column_mm, row_mm, _ = study.spacing_mm
    (first_row, last_row), (first_column, last_column) = _head_in_plane(study, head)
    longest_mm = max((last_row - first_row) * row_mm, (last_column - first_column) * column_mm)
    side_mm = margin * longest_mm if field_mm is None or longest_mm > field_mm else field_mm
    rows, columns = max(1, round(side_mm / row_mm)), max(1, round(side_mm / column_mm))
    top = (first_row + last_row - rows) // 2
    left = (first_column + last_column - columns) // 2
    # Patient coordinates (RAS): 0 to the right, 1 to the front. The image's columns run from right to left, its rows
    # from front to back.
    transpose = abs(study.affine[0, 0]) / column_mm < abs(study.affine[0, 1]) / row_mm
    across, down = (1, 0) if transpose else (0, 1)
    flip = {across: bool(study.affine[0, across] > 0), down: bool(study.affine[1, down] > 0)}
    return CropPlane(
        first_row=top,
        last_row=top + rows,
        first_column=left,
        last_column=left + columns,
        flip_rows=flip[1],
        flip_columns=flip[0],
        transpose=bool(transpose),
    )


head_centred_plane = head_centred_crop
"""Its name up to version 0.3: scripts written for it go on."""


def _head_in_plane(study: CTStudy, head: NDArray[np.bool_]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns that the head takes up in the slices that are read, held near those of the slices with brain."""
    read = head if study.skull is None else head[study.slices_to_read]
    column_mm, row_mm, _ = study.spacing_mm
    spans = []
    for other_axis, mm in ((2, row_mm), (1, column_mm)):
        first, last = _extent(np.asarray(read.any(axis=(0, other_axis))))
        if study.skull is not None and head[study.skull.brain].any():
            first_brain, last_brain = _extent(np.asarray(head[study.skull.brain].any(axis=(0, other_axis))))
            reach = round(_BEYOND_THE_BRAIN_MM / mm)
            first, last = max(first, first_brain - reach), min(last, last_brain + reach)
        spans.append((first, last))
    return spans[0], spans[1]


def _extent(present: NDArray[np.bool_]) -> tuple[int, int]:
    """First and one past the last true position; everything where none is true."""
    positions = np.flatnonzero(present)
    return (int(positions[0]), int(positions[-1]) + 1) if positions.size else (0, present.size)


def slabs_of(study: CTStudy, slab_mm: float) -> tuple[tuple[int, ...], ...]:
    """Group neighbouring original slices into slabs no thicker than ``slab_mm``, ordered from the feet to the head.

    A slice that is more than half as thick stays alone: averaging it with a neighbour would give a slab thicker than
    asked for. Slabs of an even stack differ by one slice at most, so that none is left over at the end whose few
    slices would divide a whole slab's attention. Uneven stacks are grouped by position. Slices without brain, where the
    quality gate found some, are in no slab.
    """
    read = np.flatnonzero(study.slices_to_read)
    positions = study.positions_mm[read]
    gaps = np.abs(np.diff(positions))
    # A slab's thickness counts from edge to edge: the centres' distance plus one slice; 10 % over is still "about".
    limit = slab_mm * 1.1
    if gaps.size and gaps.max() <= _EVEN * gaps.min():
        in_slab = max(1, math.floor(limit / gaps.max() + 1e-6))
        parts = np.array_split(np.arange(gaps.size + 1), math.ceil((gaps.size + 1) / in_slab))
        slabs = [part.tolist() for part in parts]
    else:
        slabs = _grouped_by_position(positions, limit)
    if float(study.affine[2, 2]) < 0:
        slabs.reverse()
    return tuple(tuple(int(read[index]) for index in slab) for slab in slabs)


def _grouped_by_position(positions: NDArray[np.float64], limit: float) -> list[list[int]]:
    slabs: list[list[int]] = [[0]]
    for index in range(1, len(positions)):
        gap = abs(positions[index] - positions[index - 1])
        if abs(positions[index] - positions[slabs[-1][0]]) + gap <= limit:
            slabs[-1].append(index)
        else:
            slabs.append([index])
    return slabs


def sub_stacks(input_slices: int, sub_stack_size: int) -> NDArray[np.int64]:
    """Assign input slices to sub-stacks of m so that each is read at least once.

    The scan's length is divided into k x m equal steps, k being the smallest number of sub-stacks that leaves no input
    slice between two steps; sub-stack p takes the steps p, p + k, p + 2k ... A sub-stack thus spans the whole head, and
    a position in it always means the same height. A scan shorter than m repeats slices.

    Parameters
    ----------
    input_slices : int
        Number of input slices, at least 1.
    sub_stack_size : int
        m of the network.

    Returns
    -------
    ndarray of int64, shape (sub-stacks, m)
        Indices of input slices, ascending in each row.
    """
    count = -(-input_slices // sub_stack_size)
    steps = np.arange(count * sub_stack_size, dtype=np.int64)
    indices = (2 * steps + 1) * input_slices // (2 * count * sub_stack_size)
    return indices.reshape(sub_stack_size, count).T
