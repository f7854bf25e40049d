"""Places labels beside points so that none covers another, a point or the edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, radians, sin
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in points (1/72 inch), x to the right, y upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """Return the area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    @property
    def area(self) -> float:
        """Width times height."""
        return (self.right - self.left) * (self.top - self.bottom)


POINT = 5.0
"""Half the size that a point takes."""

ANGLES = (0, 180, 90, 270, 45, 135, 315, 225, 22, 158, 338, 202)
DISTANCES = (8.0, 15.0, 24.0, 35.0, 48.0, 64.0, 82.0)


def placed(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[tuple[float, float]],
    inside: Box,
) -> list[Box]:
    """Choose a place for each label, in their order: the nearest that is free, else the one that covers least.

    Parameters
    ----------
    points : sequence of (x, y)
        What each label belongs to.
    sizes : sequence of (width, height)
        Of each label.
    obstacles : sequence of (x, y)
        Points that no label may cover, the labelled ones among them.
    inside : Box
        Where labels may lie.

    Returns
    -------
    list of Box
        One per label.
    """
    taken = [Box(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in obstacles]
    chosen: list[Box] = []
    for point, size in zip(points, sizes, strict=True):
        best, least = None, float("inf")
        for box in candidates(point, size):
            covered = sum(box.overlap(other) for other in taken) + box.area - box.overlap(inside)
            if covered < least - 1e-9:
                best, least = box, covered
            if covered < 1e-9:
                break
        assert best is not None
        chosen.append(best)
        taken.append(best)
    return chosen


def candidates(point: tuple[float, float], size: tuple[float, float]) -> Iterator[Box]:
    """Yield places around a point, the nearest first: boxes whose nearest edge lies in some direction."""
    width, height = size
    for distance in DISTANCES:
        for angle in ANGLES:
            across, up = cos(radians(angle)), sin(radians(angle))
            # The box's centre is moved out by as much of the box as lies towards the point.
            x = point[0] + across * (distance + width / 2)
            y = point[1] + up * (distance + height / 2)
            yield Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
