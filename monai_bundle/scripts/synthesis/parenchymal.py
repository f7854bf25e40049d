"""Lumps in the brain: haemorrhage with its rim of oedema, contusions, and tumours of the same shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.phantom.shapes import Waves, smooth_step
from scripts.synthesis.anatomy import HeadAnatomy, Sample
from scripts.synthesis.sites import Points, brain_points, pick
from scripts.synthesis.working_grid import Field, picked

_DEEP = ((25.0, 2.0, 3.0), (11.0, -12.0, 6.0))
_REACH = 3.2
_FAR_MM = 60.0
_PONS = (0.0, -18.0, -32.0)


@dataclass(frozen=True)
class Lump:
    """A union of warped ellipsoids.

    Attributes
    ----------
    pattern : str
        ``"deep"``, ``"lobar"``, ``"cerebellar"``, ``"brainstem"`` or ``"contusion"``.
    parts : tuple of (ndarray, ndarray, float)
        Of each ellipsoid: offset of its centre from the first in units of the size, matrix that turns and scales
        offsets to a unit sphere, and its size relative to the first.
    centre : ndarray, shape (3,)
        Head coordinates in mm.
    coarse, fine : Waves
        How the surface is warped.
    warp : tuple of float
        Strength of both.
    mass_effect : float
        Part of the volume that is displaced rather than destroyed, 0 to 1.
    midline_gap_mm : float
        How close it comes to the midline; negative where it may cross.
    expected_mm : float
        Radius of a sphere of its volume.
    """

    pattern: str
    parts: tuple[tuple[NDArray[np.float64], NDArray[np.float64], float], ...]
    centre: NDArray[np.float64]
    coarse: Waves
    fine: Waves
    warp: tuple[float, float]
    mass_effect: float
    midline_gap_mm: float
    expected_mm: float
    largest_mm: float = 42.0

    def on(self, sample: Sample) -> LumpOnSample:
        """Compute offsets from the centre and the warp of the surface on the points of a sample."""
        offset = sample.head - self.centre.astype(np.float32).reshape(3, 1, 1, 1)
        near = np.nonzero(np.square(offset).sum(axis=0) < np.square(_REACH * self.expected_mm + 8.0))
        flat = picked(offset, near)
        warp = 1.0 + self.warp[0] * self.coarse(flat) + self.warp[1] * self.fine(flat)
        return LumpOnSample(self, sample, offset, near, flat, warp.astype(np.float32))


@dataclass(frozen=True)
class LumpOnSample:
    """A lump on the points of a sample.

    Attributes
    ----------
    lump : Lump
        The lump.
    sample : Sample
        The points.
    offset : ndarray of float32, shape (3, n, rows, columns)
        From its centre, in head mm.
    near : tuple of ndarray
        Indices of the points that it may reach.
    flat, warp : ndarray of float32
        Offset and warp of its radius on these.
    """

    lump: Lump
    sample: Sample
    offset: Field
    near: tuple[NDArray[np.intp], ...]
    flat: Field
    warp: Field

    def distance(self, size: float) -> Field:
        """Signed distance in mm to the surface; never nearer to the inner table than about half a millimetre."""
        lump, sample = self.lump, self.sample
        best = np.full(self.flat.shape[1], np.inf, dtype=np.float32)
        width = np.float32(0.35 * size + 1.0)
        for number, (shift, matrix, relative) in enumerate(lump.parts):
            scaled = matrix.astype(np.float32) @ (self.flat - (shift * size).astype(np.float32)[:, None])
            blob = np.sqrt(np.square(scaled).sum(axis=0)) - np.float32(size * relative) * self.warp
            if number == 0:
                best = blob
                continue
            overlap = np.maximum(width - np.abs(best - blob), 0.0) / width
            best = np.minimum(best, blob) - overlap * overlap * (width * np.float32(0.25))
        distance = np.full(sample.depth.shape, _FAR_MM, dtype=np.float32)
        best = np.maximum(best, 0.6 - sample.depth[self.near])
        if lump.midline_gap_mm >= 0.0:
            sign = 1.0 if lump.centre[0] > 0.0 else -1.0
            across = sample.head[0][self.near] * np.float32(sign)
            best = np.maximum(best, np.float32(lump.midline_gap_mm) - across)
        distance[self.near] = best
        return distance

    def displacement(self, size: float) -> Field | None:
        """Tissue moves away from the centre as much as the displaced volume asks for, and rests at the inner table."""
        if self.lump.mass_effect <= 0.02 or size < 3.0:
            return None
        squared = np.square(self.offset).sum(axis=0)
        cubed = np.power(squared, np.float32(1.5)) + np.float32(1.0)
        fraction = np.cbrt(np.maximum(cubed - np.float32(self.lump.mass_effect * size**3), 0.02 * cubed) / cubed)
        rest = smooth_step(self.sample.depth, 0.0, 14.0) * smooth_step(np.sqrt(squared), 4.5 * size, 2.0 * size)
        return np.asarray(self.offset * ((fraction - 1.0) * rest), dtype=np.float32)


def draw_lump(
    anatomy: HeadAnatomy, volume_ml: float, pattern: str, generator: np.random.Generator
) -> tuple[Lump, float]:
    """Draw a parenchymal haemorrhage and the radius at which it has about this volume."""
    radius = float(np.cbrt(3000.0 * volume_ml / (4.0 * np.pi)))
    points = brain_points(anatomy)
    centre, _, _ = pick(points, _weights(points, pattern, radius, anatomy), generator)
    lobes = 1 + int(generator.poisson(0.5 if radius < 8.0 else 1.1))
    if pattern == "contusion":
        lobes += 2
    parts = []
    for lobe in range(min(lobes, 5)):
        axes = np.exp(generator.normal(0.0, 0.22, size=3))
        axes /= np.cbrt(axes.prod())
        turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        shift = np.zeros(3)
        if lobe:
            shift = generator.normal(size=3)
            shift *= float(generator.uniform(0.6, 1.1)) / np.linalg.norm(shift)
        parts.append((shift, np.diag(1.0 / axes) @ turn, 1.0 if lobe == 0 else float(generator.uniform(0.45, 0.85))))
    lump = Lump(
        pattern=pattern,
        parts=tuple(parts),
        centre=np.asarray(centre, dtype=np.float64) * anatomy.frame.scale,
        coarse=Waves.random(generator, max(14.0, 2.4 * radius), 7),
        fine=Waves.random(generator, max(6.0, 0.9 * radius), 9),
        warp=(float(generator.uniform(0.05, 0.14)), float(generator.uniform(0.03, 0.09))),
        mass_effect=float(generator.uniform(0.1, 0.6)) * (0.4 if pattern == "contusion" else 1.0),
        midline_gap_mm=-1.0 if pattern in ("brainstem", "cerebellar") else 1.0,
        expected_mm=radius,
    )
    return lump, radius


def _weights(points: Points, pattern: str, radius: float, anatomy: HeadAnatomy) -> NDArray[np.float64]:
    x, y, z = (points.atlas[axis].astype(np.float64) for axis in range(3))
    x = np.abs(x)
    fossa = (z < -10.0) & (y < -8.0) & (z < -0.6 * x + 12.0 - 10.0)
    below = (y < -12.0) & (z < -14.0 - 0.25 * x)
    depth = points.depth.astype(np.float64)
    if pattern == "deep":
        spread = [
            np.square((x - c[0]) / 6.0) + np.square((y - c[1]) / 9.0) + np.square((z - c[2]) / 9.0) for c in _DEEP
        ]
        near = np.exp(-spread[0]) + 0.5 * np.exp(-spread[1])
        return np.where(depth > 14.0, near, 0.0) * (near > 0.02)
    if pattern == "brainstem":
        spread = np.square((x - _PONS[0]) / 5.0) + np.square((y - _PONS[1]) / 5.0) + np.square((z - _PONS[2]) / 8.0)
        return np.exp(-spread) * (spread < 3.0)
    if pattern == "cerebellar":
        return np.where(below & (y < -35.0) & (depth > 5.0 + 0.5 * radius) & (x > 4.0), 1.0, 0.0)
    if pattern == "contusion":
        frontal = (y > 25.0) & (z < 14.0)
        temporal = (x > 34.0) & (y > -25.0) & (z < 2.0) & (z > -38.0)
        return np.where((frontal | temporal) & (depth < 9.0 + 0.8 * radius) & (depth > 3.0 + 0.35 * radius), 1.0, 0.0)
    return np.where(
        (depth > min(6.0 + 0.75 * radius, 26.0))
        & (depth < 30.0 + 0.6 * radius)
        & (x > 10.0 + 0.4 * radius)
        & ~(fossa & below)
        & (z > -30.0),
        1.0,
        0.0,
    )
