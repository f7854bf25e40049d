"""One head: its individual sizes, the cranial cavity, the bone and the skin, all as signed distances.

Head coordinates are patient coordinates divided by the individual scale: x to the right, y to anterior, z to superior,
in mm, with the foramina of Monro near (0, 8, 9), the brain's top at z = 73 and the foramen magnum at z = -66.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.phantom.shapes import (
    Values,
    Waves,
    column,
    ellipsoid,
    rounded_box_radius,
    smooth_minimum,
    smooth_step,
    squared_length,
    tube,
)

_PETROUS = ((14.0, -6.0, -35.0, 3.5), (36.0, -20.0, -34.0, 6.0), (60.0, -34.0, -36.0, 10.0))
_CLIVUS = ((8.5, 1.0, -26.0, 2.0), (0.0, 2.5, -27.5, 2.6), (0.0, -1.0, -44.0, 5.0), (0.0, -14.0, -68.0, 5.0))
_DOME_CENTRE = (0.0, -5.0, 0.0)


@dataclass(frozen=True)
class Anatomy:
    """What differs from head to head.

    Attributes
    ----------
    scale : tuple of float
        Size relative to the mean head along x, y, z.
    petalia_mm : float
        By how much the left half bulges beyond the right one.
    bone_mm : float
        Added to the thickness of the skull.
    ventricle_mm : tuple of float
        Added to the radius of the right and the left lateral ventricle.
    sulcus_mm : float
        Half width of an open sulcus.
    gap_mm : float
        Width of the fluid between the inner table and the brain.
    sulci, depths, bone : Waves
        Where sulci run, how deep they are, and the texture of the spongy bone.
    """

    scale: tuple[float, float, float]
    petalia_mm: float
    bone_mm: float
    ventricle_mm: tuple[float, float]
    sulcus_mm: float
    gap_mm: float
    sulci: Waves
    depths: Waves
    bone: Waves

    @classmethod
    def individual(cls, seed: int, variation: float = 1.0) -> Anatomy:
        """Draw one head; ``variation`` 0 gives the mean sizes, 1 those of a usual adult population."""
        generator = np.random.default_rng([seed, 7])
        # Python floats: one of NumPy's double precision would turn every float32 array that it meets into float64.
        draw = [variation * float(value) for value in np.clip(generator.normal(size=9), -2.0, 2.0)]
        age = variation * float(generator.uniform(-1.0, 1.0))
        return cls(
            scale=(1.0 + 0.02 * draw[0], 1.0 + 0.02 * draw[1], 1.0 + 0.015 * draw[2]),
            petalia_mm=1.2 * draw[3],
            bone_mm=0.5 * draw[4],
            ventricle_mm=(0.9 * age + 0.3 * draw[5], 0.9 * age + 0.3 * draw[5] + 0.3 * draw[6]),
            sulcus_mm=max(0.45, 0.85 + 0.3 * age + 0.08 * draw[7]),
            gap_mm=max(1.2, 2.0 + 0.7 * age + 0.2 * draw[8]),
            sulci=Waves.random(generator, 26.0, 20),
            depths=Waves.random(generator, 34.0, 8),
            bone=Waves.random(generator, 7.0, 8, spread=0.5),
        )

    def to_head(self, points: Values) -> Values:
        """Patient coordinates (RAS, mm) to head coordinates."""
        head = points / column(self.scale)
        head[0] += self.petalia_mm * np.square(head[0] / 68.0)
        return head

    def dome(self, head: Values) -> tuple[Values, Values]:
        """Distance to the vault of the cranial cavity, and each point moved along its ray onto that surface."""
        scaled = head - column(_DOME_CENTRE)
        scaled[0] *= 1.0 + 0.0015 * np.clip(scaled[1] + 20.0, -60.0, 90.0)
        # The floor of the anterior fossa lies higher than the tentorium at the back.
        scaled[2] -= 0.10 * scaled[1] * smooth_step(scaled[2], 10.0, -20.0)
        half_axes = np.broadcast_to(column((67.5, 84.0, 74.0)), scaled.shape).copy()
        half_axes[2] = np.where(scaled[2] < 0.0, 31.0, 74.0)
        scaled /= half_axes
        factor, gradient = rounded_box_radius(scaled, 0.22)
        along = scaled[0] * gradient[0] + scaled[1] * gradient[1] + scaled[2] * gradient[2]
        gradient /= half_axes
        slope = np.sqrt(squared_length(gradient))
        surface = column(_DOME_CENTRE) + (head - column(_DOME_CENTRE)) * factor
        return (1.0 - factor) * along / slope, surface

    def cavity(self, head: Values, dome: Values | None = None) -> Values:
        """Distance to the inner table of the skull: vault, middle and posterior fossae, less the petrous ridges."""
        distance = (self.dome(head)[0] if dome is None else dome).copy()
        low = np.flatnonzero(head[2] < 12.0)
        if low.size:
            points = head[:, low]
            points[0] = np.abs(points[0])
            base = smooth_minimum(
                ellipsoid(points, (33.0, 16.0, -20.0), (25.0, 29.0, 24.0)),
                ellipsoid(points, (0.0, -42.0, -30.0), (54.0, 43.0, 37.0)),
                3.0,
            )
            base = smooth_minimum(base, tube(points, ((0.0, -30.0, -55.0, 17.0), (0.0, -36.0, -130.0, 12.0))), 4.0)
            base = smooth_minimum(base, distance[low], 4.0)
            bone = np.minimum(tube(points, _PETROUS), tube(points, _CLIVUS))
            distance[low] = -smooth_minimum(-base, bone, 3.0)
        return distance

    def bone_thickness(self, head: Values) -> Values:
        """Thickness of the vault in mm: thick at the forehead and the occiput, thin at the temples."""
        x, y, z = np.abs(head[0]), head[1], head[2]
        temple = smooth_step(x, 42.0, 60.0) * smooth_step(np.abs(y - 14.0), 42.0, 18.0) * smooth_step(z, 38.0, 10.0)
        forehead = smooth_step(y, 48.0, 72.0)
        occiput = smooth_step(y, -62.0, -84.0) * smooth_step(x, 34.0, 8.0) * smooth_step(np.abs(z + 18.0), 24.0, 4.0)
        vertex = smooth_step(z, 40.0, 70.0)
        floor = smooth_step(z, -12.0, -30.0) * smooth_step(y, -10.0, 30.0)
        return 6.3 + self.bone_mm + 1.6 * forehead + 5.0 * occiput + 0.8 * vertex - 3.2 * temple - 3.0 * floor

    def skin_distance(self, head: Values, dome: Values) -> Values:
        """Distance to the skin, from the head coordinates and the distance to the vault."""
        distance = dome - (13.0 + self.bone_mm)
        low = np.flatnonzero(head[2] < 20.0)
        if low.size:
            points = head[:, low]
            points[0] = np.abs(points[0])
            face = smooth_minimum(
                ellipsoid(points, (0.0, 38.0, -52.0), (67.0, 55.0, 62.0)),
                ellipsoid(points, (0.0, -24.0, -62.0), (73.0, 68.0, 70.0)),
                14.0,
            )
            nose = tube(points, ((0.0, 84.0, -26.0, 6.0), (0.0, 97.0, -60.0, 10.0), (0.0, 92.0, -76.0, 12.0)))
            face = smooth_minimum(face, nose, 16.0)
            brow = ellipsoid(points, (20.0, 78.0, -16.0), (20.0, 10.0, 8.0))
            face = smooth_minimum(face, smooth_minimum(brow, distance[low], 10.0), 10.0)
            socket = ellipsoid(points, (35.0, 98.0, -36.0), (14.0, 9.0, 10.0))
            distance[low] = -smooth_minimum(-face, socket, 5.0)
        return distance


def petrous_distance(mirrored: Values) -> Values:
    """Distance to the petrous ridge of the temporal bone, in mirrored head coordinates."""
    return tube(mirrored, _PETROUS)


def clivus_distance(mirrored: Values) -> Values:
    """Distance to the dorsum sellae and the clivus."""
    return tube(mirrored, _CLIVUS)
