"""From loose slice headers to one stack: grouping, ordering, and the choice among the series of a study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scripts.intake.dicom_header import SliceHeader
from scripts.intake.kernel import is_bone_kernel
from scripts.intake.slice_geometry import DUPLICATE_MM, measure_gaps, slice_normal
from scripts.intake.study import NotEvaluableError
from scripts.messages import Message

_LOCALIZER_WORDS = {"LOCALIZER", "SCOUT", "SCOUTVIEW", "TOPOGRAM"}
_REFORMAT_WORDS = ("MPR", "REFORMAT", "PROJECTION", "MIP", "MINIP", "VOLREN", "VRT", "SSD", "3D", "SCREEN", "CURVED")
_SAME_ORIENTATION = 1e-3
_FEWEST_SLICES = 12
_SHORTEST_MM = 60.0
_PREFERRED_MM = (2.5, 5.5)


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
    """

    headers: tuple[SliceHeader, ...]
    positions_mm: NDArray[np.float64]
    fault: NotEvaluableError | None = None

    @property
    def first(self) -> SliceHeader:
        """Header of the first slice."""
        return self.headers[0]

    @property
    def extent_mm(self) -> float:
        """Length along the slice normal."""
        return float(np.ptp(self.positions_mm)) if self.positions_mm.size else 0.0

    @property
    def thickness_mm(self) -> float:
        """Slice Thickness, or the median gap where the header holds none."""
        if self.first.thickness_mm:
            return self.first.thickness_mm
        return float(np.median(np.diff(self.positions_mm))) if self.positions_mm.size > 1 else 0.0

    @property
    def contrast(self) -> bool:
        """Whether any slice names a contrast medium."""
        return any(header.contrast for header in self.headers)

    def describe(self) -> Message:
        """Name the stack by number, slices, thickness and kernel; free text of the header is never quoted."""
        number, kernel, count = self.first.series_number, self.first.kernel, len(self.headers)
        series = Message("series.unnumbered") if number is None else Message("series.numbered", number=number)
        measured = {"series": series, "slices": count, "thickness_mm": self.thickness_mm}
        if kernel:
            code = "series.one_slice_and_kernel" if count == 1 else "series.slices_and_kernel"
            return Message(code, kernel=kernel, **measured)
        return Message("series.one_slice" if count == 1 else "series.slices", **measured)


def choose_stack(headers: Sequence[SliceHeader]) -> tuple[Stack, tuple[Message, ...]]:
    """Choose the series to read among all images of one study.

    Preferred, in this order: enough of the head, no contrast medium, no bone kernel, no missing slices, 3 to 5 mm
    thick, originals before derived ones, more slices, lower series number.

    Returns
    -------
    Stack, tuple of Message
        The chosen stack, and one sentence per series: chosen or left out, and why.

    Raises
    ------
    NotEvaluableError
        ``"not_ct"``, ``"localizer_only"``, ``"no_original_series"``, or, where no stack is without a fault, that of the
        largest: ``"no_geometry"``, ``"mixed_sizes"``, ``"duplicate_positions"``, ``"shifted_slices"``, ``"colour"``.
    """
    images, sentences = _images_worth_stacking(headers)
    stacks = stacks_of(images)
    usable = sorted((stack for stack in stacks if stack.fault is None), key=_rank)
    if not usable:
        raise next(fault for stack in sorted(stacks, key=_slices, reverse=True) if (fault := stack.fault))
    chosen = usable[0]
    sentences.append(_chosen(chosen))
    sentences.extend(_left_out(stack, _why_second(stack, chosen)) for stack in usable[1:])
    sentences.extend(_left_out(stack, stack.fault.message) for stack in stacks if stack.fault)
    return chosen, tuple(sentences)


def stacks_of(headers: Iterable[SliceHeader]) -> list[Stack]:
    """Group slices by series and orientation, split repeated acquisitions, and put each group in order."""
    by_series: dict[str, list[list[SliceHeader]]] = defaultdict(list)
    for header in headers:
        groups = by_series[header.series_uid]
        for group in groups:
            if _parallel(group[0], header):
                group.append(header)
                break
        else:
            groups.append([header])
    return [_ordered(part) for groups in by_series.values() for group in groups for part in _acquisitions(group)]


def _images_worth_stacking(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], list[Message]]:
    ct = [header for header in headers if header.modality == "CT"]
    if not ct:
        found = ", ".join(sorted({header.modality or "?" for header in headers}))
        raise NotEvaluableError("not_ct", modalities=found)
    images = [header for header in ct if not is_localizer(header)]
    if not images:
        raise NotEvaluableError("localizer_only")
    originals = [header for header in images if not is_reformat(header)]
    if not originals:
        raise NotEvaluableError("no_original_series")
    kept = {id(header) for header in originals}
    sentences = _sentences(headers, lambda header: header.modality != "CT", Message("series.not_ct"))
    sentences += _sentences(ct, is_localizer, Message("series.localizer"))
    sentences += _sentences(images, lambda header: id(header) not in kept, Message("series.reformat"))
    return originals, sentences


def _sentences(
    headers: Sequence[SliceHeader], is_left_out: Callable[[SliceHeader], bool], reason: Message
) -> list[Message]:
    by_series: dict[str, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        if is_left_out(header):
            by_series[header.series_uid].append(header)
    stacks = (Stack(tuple(group), np.empty(0)) for group in by_series.values())
    return [_left_out(stack, reason) for stack in stacks]


def _left_out(stack: Stack, reason: Message) -> Message:
    return Message("series.left_out", series=stack.describe(), reason=reason)


def is_localizer(header: SliceHeader) -> bool:
    """Whether Image Type (0008,0008) names a localizer."""
    return any(word in _LOCALIZER_WORDS for word in header.image_type)


def is_reformat(header: SliceHeader) -> bool:
    """Whether Image Type (0008,0008) names a secondary image or a reformat derived from other images."""
    secondary = "SECONDARY" in header.image_type
    derived = "DERIVED" in header.image_type
    return secondary or (derived and any(word in part for part in header.image_type for word in _REFORMAT_WORDS))


def _parallel(one: SliceHeader, other: SliceHeader) -> bool:
    if one.orientation is None or other.orientation is None:
        return one.orientation is other.orientation
    return bool(np.allclose(one.orientation, other.orientation, atol=_SAME_ORIENTATION))


def _acquisitions(group: list[SliceHeader]) -> list[list[SliceHeader]]:
    """Split acquisitions that cover the same stretch; those that adjoin are one scan done in several steps."""
    by_acquisition: dict[int | None, list[SliceHeader]] = defaultdict(list)
    for header in group:
        by_acquisition[header.acquisition].append(header)
    if len(by_acquisition) == 1 or any(header.position is None or header.orientation is None for header in group):
        return [group]
    try:
        normal = slice_normal(group[0].orientation or ())
    except ValueError:
        return [group]
    ranges = []
    for part in by_acquisition.values():
        along = [float(np.dot(header.position or (), normal)) for header in part]
        ranges.append((min(along), max(along)))
    ranges.sort()
    overlap = any(upper[0] <= lower[1] + DUPLICATE_MM for lower, upper in pairwise(ranges))
    return list(by_acquisition.values()) if overlap else [group]


def _ordered(group: list[SliceHeader]) -> Stack:
    headers = tuple(sorted(group, key=lambda header: (header.location.name, header.frame or 0)))
    fault = _fault_of_kind(headers)
    if fault:
        return Stack(headers, np.empty(0), fault)
    try:
        normal = slice_normal(headers[0].orientation or ())
    except ValueError:
        return Stack(headers, np.empty(0), NotEvaluableError("no_geometry.orientation"))
    positions = np.array([header.position for header in headers], dtype=np.float64)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    ordered = tuple(headers[index] for index in order)
    fault = _fault_of_positions(ordered, positions[order], along[order])
    return Stack(ordered, np.empty(0) if fault else along[order], fault)


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
    same = np.flatnonzero(np.diff(along) < DUPLICATE_MM)
    if same.size:
        one, other = headers[same[0]].location.name, headers[same[0] + 1].location.name
        return NotEvaluableError("duplicate_positions", first=one, second=other)
    if len(along) > 2:
        fraction = (along - along[0]) / (along[-1] - along[0])
        straight = positions[0] + fraction[:, None] * (positions[-1] - positions[0])
        sideways = np.linalg.norm(positions - straight, axis=1)
        limit = 2 * max(headers[0].pixel_spacing or (1.0,))
        if sideways.max() > limit:
            name = headers[int(sideways.argmax())].location.name
            return NotEvaluableError("shifted_slices", name=name, shift_mm=float(sideways.max()))
    return None


def _rank(stack: Stack) -> tuple[float, ...]:
    return tuple(value for value, _ in _criteria(stack))


def _slices(stack: Stack) -> int:
    return len(stack.headers)


def _criteria(stack: Stack) -> list[tuple[float, Message]]:
    """List what decides between stacks: a value (smaller is better) and the reason that a larger one gives."""
    short = len(stack.headers) < _FEWEST_SLICES or stack.extent_mm < _SHORTEST_MM
    thinnest, thickest = _PREFERRED_MM
    thickness = 1.0 if stack.thickness_mm < thinnest else 2.0 if stack.thickness_mm > thickest else 0.0
    missing = measure_gaps(stack.positions_mm).missing if len(stack.headers) > 1 else 0
    number = stack.first.series_number
    return [
        (float(short), Message("series.too_short")),
        (float(stack.contrast), Message("series.contrast")),
        (float(is_bone_kernel(stack.first.kernel)), Message("series.bone_kernel")),
        (float(missing), Message("series.missing_slices")),
        (thickness, Message("series.thickness")),
        (float("DERIVED" in stack.first.image_type), Message("series.derived")),
        (-float(len(stack.headers)), Message("series.fewer_slices")),
        (float("inf") if number is None else float(number), Message("series.equal")),
    ]


def _chosen(stack: Stack) -> Message:
    kernel = stack.first.kernel
    reasons = [] if stack.contrast else [Message("series.because_no_contrast")]
    if kernel and not is_bone_kernel(kernel):
        reasons.append(Message("series.because_soft_kernel"))
    if reasons:
        return Message("series.chosen_because", series=stack.describe(), reasons=tuple(reasons))
    return Message("series.chosen", series=stack.describe())


def _why_second(stack: Stack, chosen: Stack) -> Message:
    for (value, reason), (best, _) in zip(_criteria(stack), _criteria(chosen), strict=True):
        if value > best:
            return reason
    return Message("series.equal")
