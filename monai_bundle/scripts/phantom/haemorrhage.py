"""Haemorrhages of the five kinds: where they lie, how they push the brain aside, and how large they must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from scripts.phantom.anatomy import Anatomy
from scripts.phantom.brain import Interior
from scripts.phantom.shapes import Values, Waves, column, smooth_step, squared_length

Kind = Literal["epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"]
Side = Literal["left", "right", "both"]

_PUSH_REACH_MM = 48.0
_EPIDURAL_RADIUS_OF_THICKNESS = 1.9
_DEEP, _LOBAR = (27.0, 0.0, 4.0), (36.0, -42.0, 27.0)


@dataclass(frozen=True)
class Haemorrhage:
    """One bleed to be put into the phantom.

    Attributes
    ----------
    kind : str
        ``"epidural"``, ``"intraparenchymal"``, ``"intraventricular"``, ``"subarachnoid"`` or ``"subdural"``.
    side : str
        The patient's ``"left"`` or ``"right"``; ``"both"`` for ventricular and subarachnoid blood only.
    volume_ml : float
        Volume of the blood.
    hounsfield : float
        Its density in HU, 55 to 75 for fresh blood.
    site : str
        Of an intraparenchymal haemorrhage: ``"deep"`` (basal ganglia) or ``"lobar"`` (parietal white matter).
    """

    kind: Kind
    side: Side = "left"
    volume_ml: float = 20.0
    hounsfield: float = 66.0
    site: Literal["deep", "lobar"] = "deep"

    def __post_init__(self) -> None:
        """Refuse what cannot exist."""
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown haemorrhage {self.kind!r}; choose one of {', '.join(get_args(Kind))}")
        if self.side not in get_args(Side):
            raise ValueError(f"unknown side {self.side!r}; choose left, right or both")
        if self.side == "both" and self.kind not in ("intraventricular", "subarachnoid"):
            raise ValueError(f"one {self.kind} haemorrhage lies on one side; add a second for the other side")
        if not 0.1 <= self.volume_ml <= 200.0:
            raise ValueError(f"{self.volume_ml} ml of blood; from 0.1 to 200 ml")

    @property
    def sign(self) -> float:
        """Sign of x on this side: the patient's right is +1; 0 for both."""
        return {"right": 1.0, "left": -1.0, "both": 0.0}[self.side]


@dataclass(frozen=True)
class Bleed:
    """A haemorrhage with its size (mm) settled and its individual shape drawn.

    ``size_mm`` is the largest thickness of an extra-axial bleed, the mean radius of a parenchymal one, the level
    of ventricular blood above the back of the head, and the reach of subarachnoid blood from its source.
    """

    haemorrhage: Haemorrhage
    centre: tuple[float, float, float]
    lumps: Waves
    size_mm: float

    @property
    def extra_axial(self) -> bool:
        """Whether the blood lies between bone and brain."""
        return self.haemorrhage.kind in ("epidural", "subdural")

    @property
    def pushes(self) -> bool:
        """Whether the bleed displaces the brain rather than filling spaces that are there."""
        return self.extra_axial or self.haemorrhage.kind == "intraparenchymal"

    def thickness(self, head: Values, surface: Values) -> Values:
        """Local thickness (mm) of an extra-axial bleed under each point.

        Parameters
        ----------
        head, surface : ndarray, shape (3, n)
            Head coordinates, and the same points moved along their rays onto the vault.
        """
        if self.haemorrhage.kind == "epidural":
            offset = (surface - column(self.centre)) / (_EPIDURAL_RADIUS_OF_THICKNESS * self.size_mm)
            return self.size_mm * np.maximum(1.0 - squared_length(offset), 0.0)
        x, y, z = head[0] * self.haemorrhage.sign, surface[1], surface[2]
        along = smooth_step(y, -82.0, -15.0) * smooth_step(y, 74.0, 15.0)
        return self.size_mm * smooth_step(x, 3.0, 42.0) * along * smooth_step(z, -16.0, 14.0)

    def push(self, head: Values, surface: Values, depth: Values) -> Values:
        """Where the tissue now found at ``head`` lay before the bleed pushed it, in head coordinates."""
        if self.extra_axial:
            thickness = self.thickness(head, surface)
            before = np.where(
                depth < _PUSH_REACH_MM,
                np.maximum(depth - thickness, 0.0) * _PUSH_REACH_MM / (_PUSH_REACH_MM - thickness),
                depth,
            )
            outward = surface / np.linalg.norm(surface, axis=0)
            return head + outward * (depth - before)
        if self.haemorrhage.kind == "intraparenchymal":
            offset = head - column(self.centre)
            cubed = np.power(squared_length(offset), 1.5) + 1.0
            fraction = np.cbrt(np.maximum(cubed - 0.55 * self.size_mm**3, 0.02 * cubed) / cubed)
            return column(self.centre) + offset * fraction
        return head

    def distance(self, head: Values, surface: Values, depth: Values, interior: Interior) -> Values:
        """Signed distance (mm, negative inside) to the surface of the blood."""
        kind, sign = self.haemorrhage.kind, self.haemorrhage.sign
        if self.extra_axial:
            return np.maximum(depth - self.thickness(head, surface), 0.3 - depth)
        if kind == "intraparenchymal":
            offset = (head - column(self.centre)) / column((0.82, 1.25, 1.0))
            blob = np.linalg.norm(offset, axis=0) - self.size_mm * (1.0 + 0.11 * self.lumps(head))
            return np.maximum(np.maximum(blob, interior.cerebrum), -interior.ventricle)
        if kind == "intraventricular":
            level = head[1] - (self.size_mm - 72.0)
            return np.maximum(np.maximum(interior.ventricle, level), _other_side(interior.brain_points, sign, 0.0))
        source = interior.brain_points - column(self.centre)
        # Blood follows the Sylvian fissures outwards and upwards before it fills the cisterns behind.
        source *= column((0.5, 0.9, 0.55))
        reach = np.linalg.norm(source, axis=0) - self.size_mm * (1.0 + 0.15 * self.lumps(interior.brain_points))
        away = np.maximum(reach, -interior.ventricle)
        return np.maximum(np.maximum(interior.subarachnoid, away), _other_side(interior.brain_points, sign, 2.0))


def _other_side(points: Values, sign: float, allowance_mm: float) -> Values:
    """Distance to the half space of one side, reaching a little past the midline; everywhere inside for both sides."""
    return -sign * points[0] - allowance_mm if sign else np.full(points.shape[1], -30.0, dtype=np.float32)


def draw_bleed(haemorrhage: Haemorrhage, anatomy: Anatomy, seed: int, size_mm: float) -> Bleed:
    """Draw place and shape of one bleed of a given size."""
    generator = np.random.default_rng([seed, 11, get_args(Kind).index(haemorrhage.kind)])
    jitter = generator.uniform(-1.0, 1.0, size=3)
    sign = haemorrhage.sign
    if haemorrhage.kind == "epidural":
        towards = np.array([60.0 * sign, 10.0 + 12.0 * jitter[1], 12.0 + 8.0 * jitter[2]], dtype=np.float32)
        centre = anatomy.dome(towards[:, None])[1][:, 0]
    elif haemorrhage.kind == "intraparenchymal":
        middle = np.array(_DEEP if haemorrhage.site == "deep" else _LOBAR) + 2.0 * jitter
        centre = middle * (sign, 1.0, 1.0)
    else:
        centre = np.array([22.0 * sign, 12.0, -12.0]) + 2.0 * jitter
    place = (float(centre[0]), float(centre[1]), float(centre[2]))
    return Bleed(haemorrhage, place, Waves.random(generator, 24.0, 12), size_mm)


LARGEST_MM: dict[str, float] = {
    "epidural": 34.0,
    "subdural": 34.0,
    "intraparenchymal": 38.0,
    "intraventricular": 115.0,
    "subarachnoid": 140.0,
}


def settle_size(haemorrhage: Haemorrhage, volume_ml: Callable[[float], float], steps: int = 12) -> float:
    """Find the size (mm) at which a bleed has its volume, by bisection.

    Parameters
    ----------
    haemorrhage : Haemorrhage
        What is wanted.
    volume_ml : callable
        Volume as a function of the size, not decreasing.
    steps : int
        Halvings of the interval.

    Raises
    ------
    ValueError
        If even the largest size does not hold the volume.
    """
    low, high = 0.0, LARGEST_MM[haemorrhage.kind]
    largest = volume_ml(high)
    if largest < haemorrhage.volume_ml:
        raise ValueError(
            f"{haemorrhage.volume_ml:g} ml of {haemorrhage.kind} blood does not fit into this head; "
            f"at most {largest:.1f} ml"
        )
    for _ in range(steps):
        middle = 0.5 * (low + high)
        if volume_ml(middle) < haemorrhage.volume_ml:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
