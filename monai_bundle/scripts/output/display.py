"""How stored slices are turned, cut and windowed for a person to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scripts.intake.study import CTStudy

BRAIN_CENTRE_HU, BRAIN_WIDTH_HU = 40.0, 80.0

_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))
_MARGIN_MM = 6.0
_SCREEN_AXES = {
    # Plane by its normal: (direction to the screen's right, direction to the screen's bottom), radiological convention.
    "S": ((-1, 0, 0), (0, -1, 0)),
    "A": ((-1, 0, 0), (0, 0, -1)),
    "R": ((0, -1, 0), (0, 0, -1)),
}


@dataclass(frozen=True)
class SideMarkers:
    """Letter of the patient's side at each edge of the screen."""

    left: str
    right: str
    top: str
    bottom: str


@dataclass(frozen=True)
class Display:
    """One way of showing every slice of a study, in radiological convention, cut to the head, with square pixels.

    Attributes
    ----------
    rows, columns : slice
        Part of the stored slice that is shown.
    transpose, flip_rows, flip_columns : bool
        Applied in this order to the stored part.
    height_mm, width_mm : float
        Size of the shown part on the screen's axes.
    markers : SideMarkers
        From the affine.
    """

    rows: slice
    columns: slice
    transpose: bool
    flip_rows: bool
    flip_columns: bool
    height_mm: float
    width_mm: float
    markers: SideMarkers

    def turned(self, stored: NDArray[np.generic]) -> NDArray[np.generic]:
        """Cut and turn one stored slice (rows, columns) for the screen; no value changes."""
        shown = stored[self.rows, self.columns]
        shown = shown.T if self.transpose else shown
        shown = shown[::-1] if self.flip_rows else shown
        return shown[:, ::-1] if self.flip_columns else shown

    def sized(self, stored: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
        """Cut, turn and resample one stored slice (rows, columns) to square pixels, ``longest`` on the longer side."""
        scale = longest / max(self.height_mm, self.width_mm)
        size = (max(1, round(self.width_mm * scale)), max(1, round(self.height_mm * scale)))
        picture = Image.fromarray(np.ascontiguousarray(self.turned(stored)))
        return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))


def display_of(study: CTStudy, head: NDArray[np.bool_]) -> Display:
    """Choose how to show a study: the patient's right on the viewer's left, anterior (or superior) up.

    Parameters
    ----------
    study : CTStudy
        Its affine decides; slices may be stored in any orientation.
    head : ndarray of bool, shape (slices, rows, columns)
        The cut encloses it with a margin of 6 mm; where it is empty the whole slice is shown.

    Returns
    -------
    Display
        The same for every slice, so that slices can be compared.
    """
    to_right, to_bottom = (np.array(axis, dtype=float) for axis in _screen_axes(study.slice_normal))
    column, row = (study.affine[:3, axis] / np.linalg.norm(study.affine[:3, axis]) for axis in (0, 1))
    transpose = abs(float(column @ to_right)) < abs(float(row @ to_right))
    across, down = (row, column) if transpose else (column, row)
    flip_columns, flip_rows = bool(across @ to_right < 0), bool(down @ to_bottom < 0)
    right, bottom = _letter(-across if flip_columns else across), _letter(-down if flip_rows else down)

    column_mm, row_mm, _ = study.spacing_mm
    seen = np.any(head, axis=0)
    rows, columns = _extent(np.any(seen, axis=1), row_mm), _extent(np.any(seen, axis=0), column_mm)
    extent_mm = ((rows.stop - rows.start) * row_mm, (columns.stop - columns.start) * column_mm)
    height_mm, width_mm = extent_mm[::-1] if transpose else extent_mm
    return Display(
        rows=rows,
        columns=columns,
        transpose=transpose,
        flip_rows=flip_rows,
        flip_columns=flip_columns,
        height_mm=height_mm,
        width_mm=width_mm,
        markers=SideMarkers(left=_OPPOSITE[right], right=right, top=_OPPOSITE[bottom], bottom=bottom),
    )


def brain_window(hounsfield: NDArray[np.floating] | NDArray[np.int16]) -> NDArray[np.uint8]:
    """Map HU to grey 0..255: 0 HU is black and 80 HU white (centre 40, width 80)."""
    low = BRAIN_CENTRE_HU - BRAIN_WIDTH_HU / 2
    return np.clip((hounsfield - low) * (255 / BRAIN_WIDTH_HU) + 0.5, 0, 255).astype(np.uint8)


def _screen_axes(normal: NDArray[np.float64]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    letter = _letter(normal)
    return _SCREEN_AXES[letter if letter in _SCREEN_AXES else _OPPOSITE[letter]]


def _letter(direction: NDArray[np.float64]) -> str:
    """Return the patient's side that a direction (RAS) mostly points to."""
    axis = int(np.argmax(np.abs(direction)))
    return ("RAS" if direction[axis] > 0 else "LPI")[axis]


def _extent(occupied: NDArray[np.bool_], spacing_mm: float) -> slice:
    """Return the range of occupied rows or columns with the margin, or all of them where none is occupied."""
    where = np.flatnonzero(occupied)
    if not where.size:
        return slice(0, len(occupied))
    margin = round(_MARGIN_MM / spacing_mm)
    return slice(max(0, int(where[0]) - margin), min(len(occupied), int(where[-1]) + margin + 1))
