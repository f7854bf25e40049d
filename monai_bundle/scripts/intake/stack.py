"""One stack of parallel slices: put in order, described, and checked for what keeps it from being a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scripts.intake.slice_geometry import DUPLICATE_MM, mean_orientation, slice_normal
from scripts.intake.slice_header import SliceHeader
from scripts.intake.study import NotEvaluableError
from scripts.messages import Message

_SHIFT_PIXELS = 2
_MANY_AT_ONE_POSITION = 12


@dataclass(frozen=True)
class Stack:
    """Slices of one series that lie parallel, in ascending order along the slice normal.

    Attributes
    ----------
    headers : tuple of SliceHeader
        In order along the normal where there is no fault.
    positions_mm : ndarray of float64, shape (slices,)
        Projection of Image Position (Patient) (0020,0032) on the slice normal; empty where there is a fault.
    fault : NotEvaluableError or None
        Why this stack must not be read.
    copies : tuple of (SliceHeader, SliceHeader)
        A slice of the stack and another at its position that is read only if both have the same pixels.
    repeated : tuple of SliceHeader
        Slices of a repeated rotation, or of an overlapping stretch, that are not read.
    """

    headers: tuple[SliceHeader, ...]
    positions_mm: NDArray[np.float64]
    fault: NotEvaluableError | None = None
    copies: tuple[tuple[SliceHeader, SliceHeader], ...] = ()
    repeated: tuple[SliceHeader, ...] = field(default=())

    @property
    def first(self) -> SliceHeader:
        """Header of the first slice."""
        return self.headers[0]

    @property
    def extent_mm(self) -> float:
        """Length along the slice normal."""
        return float(np.ptp(self.positions_mm)) if self.positions_mm.size else 0.0

    @property
    def step_mm(self) -> float:
        """Median gap between slices; the thickness of a single one, 0 where that is unknown."""
        if self.positions_mm.size > 1:
            return float(np.median(np.diff(self.positions_mm)))
        return self.first.thickness_mm or 0.0

    @property
    def thickness_mm(self) -> float:
        """Slice Thickness, or the median gap where the header holds none."""
        return self.first.thickness_mm or self.step_mm

    @property
    def contrast(self) -> bool:
        """Whether any slice names a contrast medium."""
        return any(header.contrast for header in self.headers)

    @property
    def orientation(self) -> tuple[float, ...]:
        """Direction cosines of row and column (LPS): the slices' own, or their mean where these differ by noise."""
        return mean_orientation([header.orientation or () for header in self.headers])

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector (LPS) perpendicular to the slices."""
        return slice_normal(self.orientation)

    def describe(self) -> Message:
        """Name the stack by number, slices, thickness and kernel; free text of the header is never quoted."""
        number, kernel, count = self.first.series_number, self.first.kernel, len(self.headers)
        series = Message("series.unnumbered") if number is None else Message("series.numbered", number=number)
        measured = {"series": series, "slices": count, "thickness_mm": self.thickness_mm}
        if kernel:
            code = "series.one_slice_and_kernel" if count == 1 else "series.slices_and_kernel"
            return Message(code, kernel=kernel, **measured)
        return Message("series.one_slice" if count == 1 else "series.slices", **measured)


def ordered_stack(group: Sequence[SliceHeader], repeated: Sequence[SliceHeader] = ()) -> Stack:
    """Put slices in order along their normal, or name the fault that keeps them from being a stack.

    Of several slices at one position the first by file name is kept; the others must be its copies.
    """
    headers = tuple(sorted(group, key=lambda header: (header.location.name, header.frame or 0)))
    fault = _fault_of_kind(headers)
    if fault:
        return Stack(headers, np.empty(0), fault)
    try:
        normal = slice_normal(mean_orientation([header.orientation or () for header in headers]))
    except ValueError:
        return Stack(headers, np.empty(0), NotEvaluableError("no_geometry.orientation"))
    positions = np.array([header.position for header in headers], dtype=np.float64)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    kept: list[int] = []
    copies: list[tuple[SliceHeader, SliceHeader]] = []
    for index in order:
        if kept and along[index] - along[kept[-1]] < DUPLICATE_MM:
            copies.append((headers[kept[-1]], headers[index]))
        else:
            kept.append(int(index))
    ordered = tuple(headers[index] for index in kept)
    fault = _fault_of_positions(ordered, positions[kept], along[kept])
    if len(kept) == 1 and len(headers) >= _MANY_AT_ONE_POSITION:
        fault = NotEvaluableError("no_geometry.one_position", slices=len(headers))
    return Stack(ordered, np.empty(0) if fault else along[kept], fault, tuple(copies), tuple(repeated))


def _fault_of_kind(headers: tuple[SliceHeader, ...]) -> NotEvaluableError | None:
    for header in headers:
        if header.samples != 1:
            return NotEvaluableError("colour.image", name=header.location.name)
        if header.orientation is None or header.position is None or header.pixel_spacing is None:
            return NotEvaluableError("no_geometry", name=header.location.name)
        if min(header.pixel_spacing) <= 0:
            return NotEvaluableError("no_geometry.pixel_spacing", name=header.location.name)
    sizes = sorted({f"{header.columns} x {header.rows}" for header in headers})
    spacings = np.array([header.pixel_spacing for header in headers])
    if len(sizes) > 1:
        return NotEvaluableError("mixed_sizes", sizes=tuple(sizes))
    if not np.allclose(spacings, spacings[0], rtol=1e-3):
        return NotEvaluableError("mixed_sizes.pixel_spacing")
    return None


def _fault_of_positions(
    headers: tuple[SliceHeader, ...], positions: NDArray[np.float64], along: NDArray[np.float64]
) -> NotEvaluableError | None:
    shifts = sideways_mm(positions, along)
    if shifts.size and shifts.max() > _SHIFT_PIXELS * max(headers[0].pixel_spacing or (1.0,)):
        name = headers[int(shifts.argmax())].location.name
        return NotEvaluableError("shifted_slices", name=name, shift_mm=float(shifts.max()))
    return None


def sideways_mm(positions: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance (mm) of each slice's corner from the straight line through the first and the last; empty below three."""
    if len(along) < 3:
        return np.empty(0)
    fraction = (along - along[0]) / (along[-1] - along[0])
    straight = positions[0] + fraction[:, None] * (positions[-1] - positions[0])
    return np.asarray(np.linalg.norm(positions - straight, axis=1))
