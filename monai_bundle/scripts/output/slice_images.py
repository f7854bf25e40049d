"""Original slices as images for the screen: cropped, in radiological convention, in a window."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scripts.intake.study import CTStudy
from scripts.reading_geometry import CropPlane, head_centred_crop

BRAIN_CENTRE_HU, BRAIN_WIDTH_HU = 40.0, 80.0

_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))
_MARGIN_MM = 6.0


@dataclass(frozen=True)
class SideMarkers:
    """Letter of the patient's side at each edge of the screen."""

    left: str
    right: str
    top: str
    bottom: str


@dataclass(frozen=True)
class Display:
    """One way of showing every slice of a study, in radiological convention, cropped to the head, with square pixels.

    Attributes
    ----------
    plane : CropPlane
        Part of the original slice that is shown, and how it is oriented.
    height_mm, width_mm : float
        Size of the shown part on the screen's axes.
    markers : SideMarkers
        From the affine.
    """

    plane: CropPlane
    height_mm: float
    width_mm: float
    markers: SideMarkers

    def oriented(self, stored: NDArray[np.generic]) -> NDArray[np.generic]:
        """Crop and orient one original slice (rows, columns) for the screen; no value changes."""
        shown: NDArray[np.generic] = self.plane.crop(torch.from_numpy(np.array(stored))).numpy()
        return shown

    def sized(self, stored: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
        """Crop, orient and resample one original slice (rows, columns) to square pixels.

        Parameters
        ----------
        stored : ndarray of uint8, shape (rows, columns)
            The original slice in a window, or a map of it.
        longest : int
            Pixels on the longer side.

        Returns
        -------
        ndarray of uint8, shape (height, width)
        """
        scale = longest / max(self.height_mm, self.width_mm)
        size = (max(1, round(self.width_mm * scale)), max(1, round(self.height_mm * scale)))
        image = Image.fromarray(np.ascontiguousarray(self.oriented(stored)))
        return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def display_of(study: CTStudy, head: NDArray[np.bool_]) -> Display:
    """Choose how to show a study: the patient's right on the viewer's left, anterior up, as the network reads it.

    Parameters
    ----------
    study : CTStudy
        Its affine decides; slices may be stored in any orientation.
    head : ndarray of bool, shape (slices, rows, columns)
        The crop encloses it with a margin of 6 mm; where it is empty the whole slice is shown.

    Returns
    -------
    Display
        The same for every slice, so that slices can be compared.
    """
    column_mm, row_mm, _ = study.spacing_mm
    first_row, last_row = _extent(np.asarray(head.any(axis=(0, 2))), row_mm)
    first_column, last_column = _extent(np.asarray(head.any(axis=(0, 1))), column_mm)
    plane = replace(
        head_centred_crop(study, head, margin=1.0),
        first_row=first_row,
        last_row=last_row,
        first_column=first_column,
        last_column=last_column,
    )
    column, row = (
        study.affine[:3, axis] * (-1 if flip else 1) for axis, flip in enumerate((plane.flip_columns, plane.flip_rows))
    )
    height_mm, width_mm = plane.shape[0] * row_mm, plane.shape[1] * column_mm
    if plane.transpose:
        column, row, height_mm, width_mm = row, column, width_mm, height_mm
    right, bottom = _letter(column), _letter(row)
    markers = SideMarkers(left=_OPPOSITE[right], right=right, top=_OPPOSITE[bottom], bottom=bottom)
    return Display(plane, height_mm, width_mm, markers)


def brain_window(hounsfield: NDArray[np.floating] | NDArray[np.int16]) -> NDArray[np.uint8]:
    """Map HU to grey 0..255: 0 HU is black and 80 HU white (centre 40, width 80)."""
    low = BRAIN_CENTRE_HU - BRAIN_WIDTH_HU / 2
    return np.clip((hounsfield - low) * (255 / BRAIN_WIDTH_HU) + 0.5, 0, 255).astype(np.uint8)


def grey_slab(study: CTStudy, slab: tuple[int, ...], display: Display, longest: int) -> NDArray[np.uint8]:
    """Return the mean of some original slices in the brain window, sized for the screen; see :meth:`Display.sized`."""
    stored = study.voxels[list(slab)]
    return display.sized(brain_window(stored[0] if len(slab) == 1 else stored.mean(axis=0, dtype=np.float32)), longest)


def millimetres(value: float, decimals: int = 1) -> str:
    """Write a length or position with a true minus sign: ``"−12.5 mm"``."""
    return f"{value:.{decimals}f} mm".replace("-", "−")


def _letter(direction: NDArray[np.float64]) -> str:
    """Return the patient's side that a direction (RAS) mostly points to."""
    axis = int(np.argmax(np.abs(direction)))
    return ("RAS" if direction[axis] > 0 else "LPI")[axis]


def _extent(occupied: NDArray[np.bool_], spacing_mm: float) -> tuple[int, int]:
    """Return first and one past the last occupied row or column with the margin, or all where none is occupied."""
    where = np.flatnonzero(occupied)
    if not where.size:
        return 0, len(occupied)
    margin = round(_MARGIN_MM / spacing_mm)
    return max(0, int(where[0]) - margin), min(len(occupied), int(where[-1]) + margin + 1)
