"""Signed distances (mm, negative inside) and soft coverages of simple shapes on point lists.

Points are arrays of shape (3, n): x to the right, y to anterior, z to superior, in mm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating[Any]]
Vector = tuple[float, float, float]


def column(vector: Sequence[float] | NDArray[np.floating]) -> Values:
    """Make a vector broadcast against points of shape (3, n)."""
    return np.asarray(vector, dtype=np.float32)[:, None]


def squared_length(vectors: Values) -> Values:
    """Squared Euclidean length of vectors of shape (3, n)."""
    return vectors[0] * vectors[0] + vectors[1] * vectors[1] + vectors[2] * vectors[2]


def ellipsoid(points: Values, centre: Sequence[float], radii: Sequence[float]) -> Values:
    """Distance to an ellipsoid, first order at the surface and exact for spheres."""
    scaled = (points - column(centre)) / column(radii)
    length = np.sqrt(squared_length(scaled))
    scaled /= column(radii)
    slope = np.sqrt(squared_length(scaled))
    # The two small terms make the value at the centre the smallest radius instead of 0 / 0.
    return (length - 1.0) * (length + 1e-4) / (slope + 1e-4 / min(radii))


def tube(points: Values, nodes: Sequence[tuple[float, float, float, float]]) -> Values:
    """Distance to a chain of capsules through nodes (x, y, z, radius), the radius changing linearly in between."""
    best = np.full(points.shape[1], np.inf, dtype=np.float32)
    for start, end in pairwise(nodes):
        a, b = np.asarray(start, dtype=np.float32), np.asarray(end, dtype=np.float32)
        axis = b[:3] - a[:3]
        offset = points - a[:3, None]
        along = np.clip(axis @ offset / (axis @ axis), 0.0, 1.0)
        offset -= axis[:, None] * along
        distance = np.sqrt(squared_length(offset)) - (a[3] + (b[3] - a[3]) * along)
        np.minimum(best, distance, out=best)
    return best


def rounded_box_radius(scaled: Values, boxiness: float) -> tuple[Values, Values]:
    """Factor that brings a point along its ray onto (1 - q) * sum(s^2) + q * sum(s^4) = 1, and the surface gradient.

    Parameters
    ----------
    scaled : ndarray, shape (3, n)
        Coordinates divided by the half axes.
    boxiness : float
        q, from 0 (ellipsoid) towards 1 (rounded box).

    Returns
    -------
    factor : ndarray, shape (n,)
        Above 1 for points inside.
    gradient : ndarray, shape (3, n)
        Gradient, with respect to ``scaled``, at the point on the surface.
    """
    squared = scaled * scaled
    second = squared[0] + squared[1] + squared[2] + np.float32(1e-6)
    fourth = squared_length(squared)
    linear = (1.0 - boxiness) * second
    factor_squared = 2.0 / (linear + np.sqrt(linear * linear + 4.0 * boxiness * fourth))
    factor = np.sqrt(factor_squared)
    surface = scaled * factor
    return factor, surface * (2.0 * (1.0 - boxiness) + 4.0 * boxiness * (squared * factor_squared))


def smooth_minimum(first: Values, second: Values, width: float) -> Values:
    """Union of two shapes with a fillet of about ``width`` mm."""
    overlap = np.maximum(width - np.abs(first - second), 0.0) / width
    return np.minimum(first, second) - overlap * overlap * (width * 0.25)


def smooth_step(values: Values, low: float, high: float) -> Values:
    """Rise from 0 at ``low`` to 1 at ``high`` with zero slope at both ends; ``low`` may exceed ``high``."""
    ramp = np.clip((values - low) / (high - low), 0.0, 1.0)
    return ramp * ramp * (3.0 - 2.0 * ramp)


def coverage(distance: Values, softness: float) -> Values:
    """Part of a voxel of ``softness`` mm that lies inside a surface at this signed distance."""
    return np.clip(0.5 - distance / softness, 0.0, 1.0)


def sheet_coverage(distance: Values, half_width: Values | float, softness: float) -> Values:
    """Part of a voxel of ``softness`` mm that a sheet fills, from the distance to its middle surface."""
    return np.clip(0.5 + (distance + half_width) / softness, 0.0, 1.0) - np.clip(
        0.5 + (distance - half_width) / softness, 0.0, 1.0
    )


@dataclass(frozen=True)
class Waves:
    """Smooth random field of about one wavelength: a sum of plane waves in random directions, standard deviation 1."""

    vectors: Values
    phases: Values

    @classmethod
    def random(cls, generator: np.random.Generator, wavelength_mm: float, count: int, spread: float = 0.25) -> Waves:
        """Draw ``count`` waves whose lengths differ by up to ``spread`` of ``wavelength_mm``."""
        directions = generator.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = wavelength_mm * (1.0 + spread * generator.uniform(-1.0, 1.0, size=(count, 1)))
        phases = generator.uniform(0.0, 2.0 * np.pi, size=count)
        return cls((directions * 2.0 * np.pi / lengths).astype(np.float32), phases.astype(np.float32))

    def __call__(self, points: Values) -> Values:
        """Values of the field, shape (n,)."""
        angles = self.vectors @ points + self.phases[:, None]
        return np.cos(angles).sum(axis=0) * np.float32(np.sqrt(2.0 / len(self.phases)))

    def sheet_distance(self, points: Values) -> Values:
        """Unsigned distance (mm, first order) to the surfaces on which the field is zero."""
        angles = self.vectors @ points + self.phases[:, None]
        value = np.abs(np.cos(angles).sum(axis=0))
        gradient = self.vectors.T @ np.sin(angles)
        slope = np.sqrt(squared_length(gradient))
        # Where the field is flat a first-order distance would open a lake: hold the slope at a third of its usual size.
        usual = float(np.linalg.norm(self.vectors)) / 6.0**0.5
        return value / np.maximum(slope, 0.6 * usual)


class Canvas:
    """Hounsfield units on a list of points, painted shape by shape, later shapes over earlier ones.

    Parameters
    ----------
    points : ndarray of float32, shape (3, n)
        Where to paint, in mm.
    values : ndarray of float32, shape (n,)
        Hounsfield units so far; changed in place.
    softness : float
        Width in mm over which edges blend.
    """

    def __init__(self, points: Values, values: Values, softness: float) -> None:
        self.points = points
        self.mirrored = np.concatenate([np.abs(points[:1]), points[1:]])
        self.values = values
        self.softness = softness
        empty = points.shape[1] == 0
        self._low = np.full(3, np.inf) if empty else self.mirrored.min(axis=1)
        self._high = np.full(3, -np.inf) if empty else self.mirrored.max(axis=1)

    def blend(self, part: Values, hounsfield: Values | float) -> None:
        """Mix ``hounsfield`` in, on every point, by the part of the voxel that it fills."""
        self.values += part * (hounsfield - self.values)

    def near(self, low: Vector, high: Vector) -> NDArray[np.intp] | None:
        """Find the points whose mirrored coordinates (absolute x, y, z) lie in a box; None if there are none."""
        if np.any(self._low > high) or np.any(self._high < low):
            return None
        inside = np.ones(self.points.shape[1], dtype=bool)
        for axis in range(3):
            if self._low[axis] < low[axis]:
                inside &= self.mirrored[axis] > low[axis]
            if self._high[axis] > high[axis]:
                inside &= self.mirrored[axis] < high[axis]
        chosen = np.flatnonzero(inside)
        return chosen if chosen.size else None

    def paint(
        self, low: Vector, high: Vector, distance: Callable[[Values], Values], hounsfield: float, strength: float = 1.0
    ) -> None:
        """Paint a left-right symmetric shape that lies in a box of mirrored coordinates."""
        chosen = self.near(low, high)
        if chosen is not None:
            part = strength * coverage(distance(self.mirrored[:, chosen]), self.softness)
            self.values[chosen] += part * (hounsfield - self.values[chosen])

    def paint_ellipsoid(self, centre: Vector, radii: Vector, hounsfield: float, strength: float = 1.0) -> None:
        """Paint a pair of ellipsoids (one, if it lies on the midline)."""
        margin = self.softness
        x, y, z = ((c - r - margin, c + r + margin) for c, r in zip(centre, radii, strict=True))
        self.paint(
            (x[0], y[0], z[0]),
            (x[1], y[1], z[1]),
            lambda points: ellipsoid(points, centre, radii),
            hounsfield,
            strength,
        )

    def paint_tube(
        self, nodes: Sequence[tuple[float, float, float, float]], hounsfield: float, strength: float = 1.0
    ) -> None:
        """Paint a pair of tubes (one, if it lies on the midline)."""
        margin = self.softness
        x, y, z = (
            (min(node[axis] - node[3] for node in nodes) - margin, max(node[axis] + node[3] for node in nodes) + margin)
            for axis in range(3)
        )
        self.paint((x[0], y[0], z[0]), (x[1], y[1], z[1]), lambda points: tube(points, nodes), hounsfield, strength)
