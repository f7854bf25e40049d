"""Blood between bone and brain: the epidural lens, and the subdural layer on convexity, falx and tentorium."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.phantom.shapes import Waves, smooth_step
from scripts.synthesis.anatomy import HeadAnatomy, Sample, falx_distance, falx_free_edge, tentorium_distance
from scripts.synthesis.sites import RADIUS_MM, Points, directions_from_middle, inner_table_points, pick, plane_axes
from scripts.synthesis.working_grid import Field, picked

_SUTURE_LIMIT_MM = 52.0
_CHORD = 1.25


@dataclass(frozen=True)
class Layer:
    """Blood of varying thickness on a surface.

    Attributes
    ----------
    pattern : str
        ``"lens"``, ``"convexity"``, ``"falx"`` or ``"tentorium"``.
    side : float
        +1 for the patient's right, -1 for the left.
    axes : ndarray, shape (3, 3)
        Direction of its middle as seen from the middle of the head, and the two directions along the surface.
    extent_mm : tuple of float
        Half lengths along the surface.
    rim, edge : float
        Thickness over the distance q from the middle (0 to 1): (1 - q ** rim) ** edge.
    lumps : Waves
        How thickness and rim vary.
    middle : ndarray, shape (3,)
        Head coordinates of its middle.
    plane : tuple of ndarray
        Directions of rows, columns and normal of the slices in the head.
    scale : ndarray, shape (3,)
        Size of the head relative to the atlas.
    pushed : float
        Part of its thickness by which the brain is displaced; the rest takes the place of fluid.
    """

    pattern: str
    side: float
    axes: NDArray[np.float64]
    extent_mm: tuple[float, float]
    rim: float
    edge: float
    lumps: Waves
    middle: NDArray[np.float64]
    plane: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    scale: NDArray[np.float64]
    pushed: float = 0.8
    largest_mm: float = 38.0

    def on(self, sample: Sample) -> LayerOnSample:
        """Compute the profile and the distance from the surface on the points of a sample."""
        if self.pattern == "falx":
            away = falx_distance(sample.atlas)
            depth = np.where(np.abs(away) < 50.0, away * np.float32(self.side * self.scale[0]), np.float32(-60.0))
        elif self.pattern == "tentorium":
            above = tentorium_distance(sample.atlas)
            depth = np.where(above < 50.0, np.float32(0.8 * self.scale[2]) * above, np.float32(-60.0))
        else:
            # Over the base of the skull the nearest bone is the floor, which the slices below show; the blood lies on
            # the wall. Towards the vertex the wall itself leans into the slices above.
            leaning = smooth_step(sample.atlas[2], 14.0, 36.0)
            wall = np.maximum(sample.depth, sample.depth_in_plane)
            depth = wall + leaning * (sample.depth - wall)
        along, across, surface = self._along_surface(sample)
        radius = np.hypot(along / np.float32(self.extent_mm[0]), across / np.float32(self.extent_mm[1]))
        profile = np.zeros_like(sample.depth)
        chosen = np.nonzero((radius < 1.35) & (sample.depth > -3.0) & (depth > -12.0))
        if chosen[0].size:
            lumps = self.lumps(picked(surface, chosen))
            rim = np.maximum(1.0 - np.power(radius[chosen] * (1.0 + 0.07 * lumps), self.rim), 0.0) ** self.edge
            uneven = 0.05 if self.pattern == "lens" else 0.16
            profile[chosen] = rim * (1.0 + uneven * lumps) * self._bounds(picked(sample.atlas, chosen))
        if self.pattern in ("lens", "convexity"):
            profile *= self._against_vault(sample, surface)
        return LayerOnSample(self, sample, profile, np.asarray(depth, dtype=np.float32))

    def _against_vault(self, sample: Sample, surface: Field) -> Field:
        """1 where the nearest bone is the vault, 0 where it is a ridge or a wing that reaches into the cavity."""
        smooth = ndimage.gaussian_filter(sample.depth, (0.0, 1.5, 1.5), truncate=2.0)
        down, right = np.gradient(smooth, axis=(1, 2))
        row, column, _ = (axis.astype(np.float32) for axis in self.plane)
        outward = np.tensordot(row, surface, 1), np.tensordot(column, surface, 1)
        in_plane = np.hypot(*outward)
        cosine = -(down * outward[0] + right * outward[1]) / (np.hypot(down, right) * in_plane + 1e-3)
        # Near the vertex the way outwards hardly lies in the slice.
        return np.where(in_plane > 0.35 * RADIUS_MM, smooth_step(cosine, 0.1, 0.5), np.float32(1.0))

    def _along_surface(self, sample: Sample) -> tuple[Field, Field, Field]:
        """Lengths (mm) along the surface in both directions from the middle, and the place on the surface."""
        axes = self.axes.astype(np.float32)
        if self.pattern in ("falx", "tentorium"):
            offset = sample.head - self.middle.astype(np.float32).reshape(3, 1, 1, 1)
            return np.tensordot(axes[1], offset, 1), np.tensordot(axes[2], offset, 1), sample.head
        surface = directions_from_middle(sample.atlas)
        cosine, along, across = np.tensordot(axes, surface, 1)
        cosine = np.clip(cosine, -1.0, 1.0)
        # Arc length along the surface rather than the chord, which would fold the far side back.
        stretch = np.arccos(cosine) / np.sqrt(np.maximum(1.0 - cosine * cosine, np.float32(1e-4)))
        stretch *= np.float32(RADIUS_MM)
        return along * stretch, across * stretch, surface * np.float32(RADIUS_MM)

    def _bounds(self, atlas: Field) -> Field | float:
        """1 where blood of this kind can spread, 0 where falx or tentorium holds it back; atlas of shape (3, n)."""
        x = atlas[0] * np.float32(self.side)
        if self.pattern == "lens":
            return smooth_step(x, -4.0, 2.0) if abs(self.axes[0][0]) > 0.25 else 1.0
        if self.pattern == "falx":
            # It thins out towards the free edge of the falx.
            return smooth_step(falx_free_edge(atlas), 1.0, 9.0)
        tent = tentorium_distance(atlas)
        if self.pattern == "tentorium":
            return smooth_step(x, 4.0, 10.0) * (tent < 50.0)
        above = np.where(tent < 50.0, smooth_step(tent, 0.0, 7.0), smooth_step(atlas[2], -34.0, -20.0))
        return smooth_step(x, 1.5, 8.0) * above


@dataclass(frozen=True)
class LayerOnSample:
    """A layer on the points of a sample.

    Attributes
    ----------
    layer : Layer
        The layer.
    sample : Sample
        The points.
    profile : ndarray of float32, shape (n, rows, columns)
        Thickness relative to the largest.
    depth : ndarray of float32, same shape
        Distance in mm from the surface on which the blood lies, positive where it can lie.
    """

    layer: Layer
    sample: Sample
    profile: Field
    depth: Field

    def distance(self, size: float) -> Field:
        """Signed distance in mm to the surface of the blood."""
        thickness = self.profile * np.float32(size)
        if self.layer.pattern in ("falx", "tentorium"):
            sheet = np.maximum(self.depth - thickness, -0.6 - self.depth)
            return np.where(thickness > 0.15, sheet, np.maximum(sheet, np.float32(3.0)))
        return np.where(thickness > 0.25, self.depth - thickness, np.float32(3.0))

    def displacement(self, size: float) -> Field | None:
        """Tissue is compressed towards the middle of the head, less and less with depth."""
        layer, depth, sample = self.layer, self.depth, self.sample
        thickness = self.profile * np.float32(size)
        if layer.pattern == "tentorium" or layer.pushed <= 0.0 or float(thickness.max()) < 1.5:
            return None
        reach = np.float32(min(52.0, 16.0 + 3.0 * size))
        eaten = np.float32(1.0 - layer.pushed) * thickness
        room = np.maximum(reach - thickness, np.float32(4.0))
        before = eaten + np.maximum(depth - thickness, 0.0) * (reach - eaten) / room
        moved = np.where((depth > 0.0) & (depth < reach), depth - np.minimum(before, depth), np.float32(0.0))
        moved = np.where(depth <= thickness, thickness - eaten, moved)
        moved = ndimage.gaussian_filter(moved, (0.0, 1.0, 1.0))
        if layer.pattern == "falx":
            field = np.zeros_like(sample.head)
            field[0] = -moved * np.float32(layer.side)
            return field
        smooth = ndimage.gaussian_filter(sample.depth, (0.0, 4.0, 4.0), truncate=2.0)
        pixel = float(np.linalg.norm(sample.head[:, 0, 1, 0] - sample.head[:, 0, 0, 0]))
        down, right = np.gradient(smooth, pixel, axis=(1, 2))
        row, column, _ = (axis.astype(np.float32).reshape(3, 1, 1, 1) for axis in layer.plane)
        return np.asarray(-moved * (row * down + column * right), dtype=np.float32)


def draw_epidural(anatomy: HeadAnatomy, volume_ml: float, generator: np.random.Generator) -> tuple[Layer, float]:
    """Draw a biconvex lens against the inner table, and the thickness at which it has about this volume.

    Its inner border bulges beyond the chord of the inner table, and it keeps to one side and within about 50 mm, as
    sutures hold it.
    """
    points = inner_table_points(anatomy)
    x, y, z = points.atlas
    temporal = np.exp(-np.square((y - 8.0) / 38.0) - np.square((z - 8.0) / 34.0))
    weights = np.where(np.abs(x) > 24.0, 0.25 + temporal, 0.03) * (z > -40.0)
    centre, _, _ = pick(points, weights, generator)
    thickness = 4.3 * volume_ml ** (1.0 / 3.0) * float(generator.uniform(0.8, 1.2))
    needed = np.sqrt(2000.0 * volume_ml * _CHORD / (np.pi * 2.0 * RADIUS_MM))
    thickness = max(thickness, float(needed), 2.0)
    radius = min(float(np.sqrt(2000.0 * volume_ml / (np.pi * thickness))), _SUTURE_LIMIT_MM)
    ratio = float(generator.uniform(0.8, 1.25))
    layer = _layer(
        anatomy, "lens", centre, float(generator.uniform(0.0, np.pi)), (radius * ratio, radius / ratio), generator
    )
    return layer, thickness


def draw_subdural(
    anatomy: HeadAnatomy, volume_ml: float, pattern: str, generator: np.random.Generator, side: float | None = None
) -> tuple[Layer, float]:
    """Draw a subdural layer and the thickness at which it has about this volume.

    Parameters
    ----------
    anatomy : HeadAnatomy
        The host.
    volume_ml : float
        Volume of this layer.
    pattern : str
        ``"convexity"``, ``"falx"`` or ``"tentorium"``.
    generator : Generator
        Source of randomness.
    side : float, optional
        +1 for the patient's right, -1 for the left; drawn if not given.
    """
    side = side if side is not None else float(generator.choice([-1.0, 1.0]))
    if pattern != "convexity":
        return _draw_sheet(anatomy, volume_ml, pattern, generator, side)
    points = inner_table_points(anatomy)
    x, y, z = points.atlas
    weights = (x * side > 24.0) * np.exp(-np.square(y / 55.0)) * (z > -22.0) * np.exp(-np.square((z - 25.0) / 40.0))
    centre, _, _ = pick(points, weights, generator)
    thickness = float(np.clip(1.9 * volume_ml**0.43 * generator.uniform(0.75, 1.3), 2.0, 26.0))
    area = volume_ml * 1000.0 / (0.62 * thickness)
    ratio = float(generator.uniform(1.0, 1.6))
    longest = min(float(np.sqrt(area / np.pi)) * ratio, 105.0)
    shortest = min(area / (np.pi * longest), 80.0)
    layer = _layer(anatomy, "convexity", centre, float(generator.normal(0.0, 0.2)), (longest, shortest), generator)
    return layer, thickness


def _draw_sheet(
    anatomy: HeadAnatomy, volume_ml: float, pattern: str, generator: np.random.Generator, side: float
) -> tuple[Layer, float]:
    sample = anatomy.sample(anatomy.whole)
    away = falx_distance(sample.atlas) if pattern == "falx" else tentorium_distance(sample.atlas)
    usable = (np.abs(away) < 2.0) & (sample.depth > 2.0)
    if pattern == "tentorium":
        usable &= (sample.atlas[0] * side > 8.0) & (sample.atlas[0] * side < 45.0)
    index = np.nonzero(usable)
    points = Points(picked(sample.atlas, index), sample.depth[index], index[0])
    centre, _, _ = pick(points, np.ones(index[0].size), generator)
    thickness = float(np.clip(1.6 * volume_ml**0.36 * generator.uniform(0.8, 1.25), 1.8, 7.5))
    area = volume_ml * 1000.0 / (0.62 * thickness)
    ratio = float(generator.uniform(1.3, 2.6)) if pattern == "falx" else float(generator.uniform(1.0, 1.4))
    longest = min(float(np.sqrt(area / np.pi)) * ratio, 66.0)
    shortest = min(area / (np.pi * longest), 36.0)
    layer = _layer(anatomy, pattern, centre, 0.0, (longest, shortest), generator)
    # Along a sheet: front to back, and upwards (falx) or sideways (tentorium).
    axes = np.eye(3) if pattern == "falx" else np.eye(3)[[2, 1, 0]]
    return replace(layer, axes=axes, side=side), thickness


def _layer(
    anatomy: HeadAnatomy,
    pattern: str,
    centre: Field,
    turn: float,
    extent_mm: tuple[float, float],
    generator: np.random.Generator,
) -> Layer:
    outward = directions_from_middle(centre).astype(np.float64)
    front = np.array([0.0, 1.0, 0.0]) if abs(outward[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    first = front - (front @ outward) * outward
    first /= np.linalg.norm(first)
    second = np.cross(outward, first)
    axes = np.stack(
        [outward, np.cos(turn) * first + np.sin(turn) * second, np.cos(turn) * second - np.sin(turn) * first]
    )
    lens = pattern == "lens"
    return Layer(
        pattern=pattern,
        side=1.0 if centre[0] > 0.0 else -1.0,
        axes=axes,
        extent_mm=extent_mm,
        rim=float(generator.uniform(1.9, 2.6)) if lens else float(generator.uniform(2.2, 4.5)),
        edge=1.0 if lens else float(generator.uniform(0.6, 1.0)),
        lumps=Waves.random(generator, float(generator.uniform(28.0, 60.0)), 7),
        middle=np.asarray(centre, dtype=np.float64) * anatomy.frame.scale,
        plane=plane_axes(anatomy),
        scale=np.asarray(anatomy.frame.scale),
        pushed=float(generator.uniform(0.85, 1.0)) if lens else float(generator.uniform(0.45, 0.9)),
    )
