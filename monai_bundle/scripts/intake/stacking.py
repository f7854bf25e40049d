"""From loose slice headers to stacks: what belongs together is joined, what does not is kept apart.

Slices of one stack agree in orientation, matrix, pixel spacing and frame of reference. Those that differ in kernel,
contrast medium, tube voltage, time point, thickness or acquisition are one stack only where they adjoin; where they lie
between each other, each is a stack of its own. A rotation that was repeated gives way to the one before it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scripts.intake.slice_geometry import DUPLICATE_MM, slice_normal
from scripts.intake.slice_header import SliceHeader
from scripts.intake.stack import Stack, ordered_stack

FEWEST_SLICES = 12
_SAME_DIRECTION = float(np.cos(np.radians(0.5)))
_SAME_SPACING = 1e-3
_CLEAR_OF = 0.6
"""Distance from the nearest slice, in steps, from which a slice lies in a gap rather than between two neighbours."""
_SMALL_PART = 0.5


@dataclass(eq=False)
class _Part:
    """Slices that agree in everything, and where they lie along the normal (mm)."""

    headers: list[SliceHeader]
    along: NDArray[np.float64]
    key: Hashable
    repeated: list[SliceHeader] = field(default_factory=list)

    @property
    def step(self) -> float:
        gaps = np.diff(np.sort(self.along))
        gaps = gaps[gaps > DUPLICATE_MM]
        return float(np.median(gaps)) if gaps.size else self.headers[0].thickness_mm or 1.0


def stacks_of(headers: Iterable[SliceHeader]) -> list[Stack]:
    """Group slices into stacks by series and by what must agree, and put each in order.

    Identical instances (same SOP Instance UID, frame and position) are one slice; see :func:`without_copies`.
    """
    by_series: dict[str, list[SliceHeader]] = defaultdict(list)
    kept, copies = without_copies(headers)
    for header in kept:
        by_series[header.series_uid].append(header)
    parts = [part for series in by_series.values() for group in _alike(series) for part in _joined(group)]
    stacks = [ordered_stack(part.headers, part.repeated) for part in _rejoined(parts)]
    return [_with_copies(stack, copies) for stack in stacks]


def without_copies(
    headers: Iterable[SliceHeader],
) -> tuple[list[SliceHeader], dict[SliceHeader, list[SliceHeader]]]:
    """Drop further copies of an instance; one is that agrees in SOP Instance UID, frame and everything that places it.

    Returns
    -------
    list of SliceHeader, dict
        The first of each, and its copies.
    """
    first: dict[Hashable, SliceHeader] = {}
    copies: dict[SliceHeader, list[SliceHeader]] = defaultdict(list)
    kept = []
    for header in headers:
        key = (header.series_uid, header.sop_instance_uid, header.frame, header.position, header.orientation)
        if not header.sop_instance_uid or key not in first:
            first[key] = header
            kept.append(header)
        else:
            copies[first[key]].append(header)
    return kept, copies


def _with_copies(stack: Stack, copies: dict[SliceHeader, list[SliceHeader]]) -> Stack:
    further = tuple((header, copy) for header in stack.headers for copy in copies.get(header, ()))
    if not further:
        return stack
    return Stack(stack.headers, stack.positions_mm, stack.fault, stack.copies + further, stack.repeated)


def _alike(series: list[SliceHeader]) -> list[list[SliceHeader]]:
    """Split a series by orientation, frame of reference, matrix and pixel spacing."""
    frames = Counter(header.frame_of_reference for header in series)
    # Some anonymisers give every image a frame of reference of its own: then it distinguishes nothing.
    frames_count = len(frames) <= max(1, len(series) // 2)
    groups = _grouped(
        series, lambda one, other: _parallel(one, other) and (not frames_count or _same_frame(one, other))
    )
    found = []
    for group in groups:
        by_size = _grouped(group, _same_matrix)
        whole = len(group) >= FEWEST_SLICES and max(map(len, by_size)) < FEWEST_SLICES
        found.extend([group] if whole else by_size)
    return found


def _grouped(
    headers: Iterable[SliceHeader], belong_together: Callable[[SliceHeader, SliceHeader], bool]
) -> list[list[SliceHeader]]:
    groups: list[list[SliceHeader]] = []
    for header in headers:
        for group in groups:
            if belong_together(group[0], header):
                group.append(header)
                break
        else:
            groups.append([header])
    return groups


def _parallel(one: SliceHeader, other: SliceHeader) -> bool:
    """Whether rows and columns of two slices lie parallel within half a degree; slices without geometry are alike."""
    if one.orientation is None or other.orientation is None:
        return one.orientation is other.orientation and (one.position is None) == (other.position is None)
    for span in (slice(3), slice(3, 6)):
        a, b = one.orientation[span], other.orientation[span]
        lengths = (sum(x * x for x in a) * sum(x * x for x in b)) ** 0.5
        if sum(x * y for x, y in zip(a, b, strict=True)) < _SAME_DIRECTION * lengths or not lengths:
            return False
    return True


def _same_frame(one: SliceHeader, other: SliceHeader) -> bool:
    frames = one.frame_of_reference, other.frame_of_reference
    return None in frames or frames[0] == frames[1]


def _same_matrix(one: SliceHeader, other: SliceHeader) -> bool:
    if (one.rows, one.columns, one.samples) != (other.rows, other.columns, other.samples):
        return False
    first, second = one.pixel_spacing, other.pixel_spacing
    if first is None or second is None:
        return True
    return all(abs(a - b) <= _SAME_SPACING * abs(a) for a, b in zip(first, second, strict=True))


def _joined(group: list[SliceHeader]) -> list[_Part]:
    """Split a group by what may differ where slices adjoin, and join what does adjoin."""
    along = _along(group)
    if along is None:
        return [_Part(group, np.empty(0), None)]
    parts = [part for part in _agreeing(group, along) for part in _layers(part)]
    largest = max(len(part.headers) for part in parts)
    # From one end to the other, so that each rotation adjoins the one before; small parts, which may be repeats, later.
    parts.sort(
        key=lambda part: (
            len(part.headers) < largest / 2,
            round(float(part.along.min()), 1),
            part.headers[0].acquisition or 0,
        )
    )
    joined, others = parts[:1], []
    for part in parts[1:]:
        if not any(_adjoin(stack, part) for stack in joined):
            others.append(part)
    for part in sorted(others, key=lambda part: -len(part.headers)):
        if not any(_join(stack, part) for stack in joined):
            joined.append(part)
    return joined


def _along(group: Sequence[SliceHeader]) -> NDArray[np.float64] | None:
    """Positions along the normal (mm); None where a slice lacks its geometry."""
    if any(header.position is None or header.orientation is None for header in group):
        return None
    try:
        normal = slice_normal(group[0].orientation or ())
    except ValueError:
        return None
    return np.asarray(np.array([header.position for header in group], dtype=np.float64) @ normal)


def _agreeing(group: Sequence[SliceHeader], along: NDArray[np.float64]) -> list[_Part]:
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, header in enumerate(group):
        members[(_reconstruction(header), header.thickness_mm, header.acquisition)].append(index)
    return [_Part([group[k] for k in places], along[places], key[0]) for key, places in members.items()]  # type: ignore[index]


def _reconstruction(header: SliceHeader) -> Hashable:
    """Return what one stack agrees in, unless its parts adjoin."""
    instance = header.concatenation or header.sop_instance_uid if header.frame is not None else None
    return header.kernel, header.contrast, header.kvp, header.time_point, header.rescale_type, instance


def _layers(part: _Part) -> list[_Part]:
    """Split slices that lie at the same positions several times, as time points do, by time and number."""
    order = np.argsort(part.along, kind="stable")
    runs = np.split(order, np.flatnonzero(np.diff(part.along[order]) >= DUPLICATE_MM) + 1)
    depth = {len(run) for run in runs}
    if len(depth) != 1 or depth == {1} or len(runs) < 2:
        return [part]

    def rank(index: int) -> tuple[str, int, str, int]:
        header = part.headers[index]
        return header.time or "", header.instance or 0, header.location.name, header.frame or 0

    in_time = [sorted((int(index) for index in run), key=rank) for run in runs]
    return [
        _Part([part.headers[run[layer]] for run in in_time], part.along[[run[layer] for run in in_time]], part.key)
        for layer in range(depth.pop())
    ]


def _adjoin(stack: _Part, part: _Part) -> bool:
    """Add a part to a stack where it lies wholly beside it or in its gaps; return whether it did."""
    clear, beside = _clear_of(stack, part)
    if not (beside if stack.key != part.key else clear).all():
        return False
    _add(stack, part, clear)
    return True


def _join(stack: _Part, part: _Part) -> bool:
    """Add to a stack what is not yet covered of a part that belongs to it; return whether nothing of it is left."""
    if _adjoin(stack, part):
        return True
    clear, _ = _clear_of(stack, part)
    covered = np.count_nonzero(~clear)
    is_large = len(part.headers) > _SMALL_PART * len(stack.headers)
    if stack.key != part.key or (is_large and covered >= len(part.headers) / 2):
        return False
    _add(stack, part, clear)
    return True


def _clear_of(stack: _Part, part: _Part) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which slices of a part are at no position of a stack nor between two, and whether it lies beside it."""
    existing = np.sort(stack.along)
    place = np.searchsorted(existing, part.along)
    below, above = existing[np.maximum(place - 1, 0)], existing[np.minimum(place, len(existing) - 1)]
    distance = np.minimum(np.abs(part.along - below), np.abs(part.along - above))
    apart = distance > DUPLICATE_MM
    if (part.along < existing[0]).all() or (part.along > existing[-1]).all():
        # Where two planned spacings meet, the gap can be smaller than either.
        return apart, apart
    return distance >= _CLEAR_OF * min(stack.step, part.step), np.zeros_like(apart)


def _add(stack: _Part, part: _Part, clear: NDArray[np.bool_]) -> None:
    stack.headers += [header for header, free in zip(part.headers, clear, strict=True) if free]
    stack.repeated += [header for header, free in zip(part.headers, clear, strict=True) if not free]
    stack.along = np.append(stack.along, part.along[clear])


def _rejoined(parts: list[_Part]) -> list[_Part]:
    """Join fragments of one series whose Series Instance UID was made anew for every image or rotation."""
    fragments = [part for part in parts if len(part.headers) < FEWEST_SLICES and part.along.size]
    whole = [part for part in parts if part not in fragments]
    joined: list[_Part] = []
    for part in sorted(fragments, key=lambda part: -len(part.headers)):
        if not any(_one_series(stack.headers[0], part.headers[0]) and _join(stack, part) for stack in joined):
            joined.append(part)
    return whole + joined


def _one_series(one: SliceHeader, other: SliceHeader) -> bool:
    return (
        one.series_number is not None
        and one.frame_of_reference is not None
        and (one.series_number, one.frame_of_reference, one.thickness_mm, one.image_type)
        == (other.series_number, other.frame_of_reference, other.thickness_mm, other.image_type)
        and one.series_uid != other.series_uid
        and _parallel(one, other)
        and _same_matrix(one, other)
    )
