"""Phantoms of known truth: every subtype in several volumes, and heads without blood, each of another anatomy.

Heads are drawn as those that training may draw as hosts, by other seeds; their blood is the phantom's own, not that of
the synthesis which training uses.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from scripts.cache import Cache
from scripts.intake.study import CTStudy
from scripts.phantom.grid import Grid
from scripts.phantom.haemorrhage import Haemorrhage, Kind, Side
from scripts.phantom.rendering import Phantom
from scripts.synthesis.random_phantom import draw_phantom_scan

VERSION = 1
"""To be raised when the same plan comes to be drawn to other voxels."""

VOLUMES_ML = (1.0, 3.0, 10.0, 30.0, 80.0)
NEGATIVES = 20
_FIRST_SEED = 7_000_000
"""Far from the seeds that training draws its phantoms from."""
_ATTEMPTS = 10


@dataclass(frozen=True)
class PlannedPhantom:
    """One phantom before it is drawn.

    Attributes
    ----------
    name : str
        Unique in the set.
    subtype : str or None
        Of its haemorrhage.
    volume_ml : float
        That is asked for; 0 without a haemorrhage.
    seed : int
        Of head, image quality and shape.
    """

    name: str
    subtype: Kind | None
    volume_ml: float
    seed: int


@dataclass(frozen=True)
class DrawnPhantom:
    """One phantom as it was drawn, compressed by zlib.

    Attributes
    ----------
    grid : Grid
        Where its voxels lie.
    seed : int
        Of its name.
    voxels, mask : bytes
        HU as int16, and the blood as bool.
    volume_ml : float
        Of the mask.
    """

    grid: Grid
    seed: int
    voxels: bytes
    mask: bytes
    volume_ml: float

    @classmethod
    def of(cls, phantom: Phantom) -> DrawnPhantom:
        """Compress a phantom."""
        mask = np.zeros(phantom.voxels.shape, dtype=bool)
        for each in phantom.masks.values():
            mask |= each
        parts = [zlib.compress(np.ascontiguousarray(each).tobytes(), 1) for each in (phantom.voxels, mask)]
        return cls(phantom.grid, phantom.seed, parts[0], parts[1], sum(phantom.volumes_ml.values()))

    @property
    def study(self) -> CTStudy:
        """The phantom as the rest of the bundle sees a study."""
        voxels = np.frombuffer(zlib.decompress(self.voxels), np.int16).reshape(self.grid.shape)
        return Phantom(voxels, self.grid, {}, self.seed, ()).study

    @property
    def blood(self) -> NDArray[np.bool_]:
        """Mask of the blood."""
        return np.frombuffer(zlib.decompress(self.mask), np.bool_).reshape(self.grid.shape)


def plan_phantoms(negatives: int = NEGATIVES, volumes_ml: tuple[float, ...] = VOLUMES_ML) -> list[PlannedPhantom]:
    """Plan the set: heads without blood first, then every subtype in every volume."""
    plans = [PlannedPhantom(f"negative-{number:02d}", None, 0.0, _FIRST_SEED + number) for number in range(negatives)]
    for kind in get_args(Kind):
        for volume in volumes_ml:
            plans.append(PlannedPhantom(f"{kind}-{volume:g}", kind, volume, _FIRST_SEED + 1000 + len(plans)))
    return plans


def drawn(plan: PlannedPhantom, cache: Cache, grid: Grid | None = None) -> DrawnPhantom:
    """Draw a phantom, or take it from the cache.

    Where a head does not hold the volume (narrow ventricles), others are drawn, then smaller volumes are taken: the
    drawn phantom states its own.

    Raises
    ------
    ValueError
        If no head holds even a small part of the volume.
    """
    return cache.get("phantoms", [VERSION, plan, grid], lambda: DrawnPhantom.of(_draw(plan, grid)))


def _draw(plan: PlannedPhantom, grid: Grid | None) -> Phantom:
    volume, fault = plan.volume_ml, ValueError(plan.name)
    for attempt in range(_ATTEMPTS):
        generator = np.random.default_rng([plan.seed, attempt])
        try:
            bleeds = [] if plan.subtype is None else [_haemorrhage(plan.subtype, volume, generator)]
            return draw_phantom_scan(generator, grid, haemorrhages=bleeds)
        except ValueError as error:
            fault = error
            # Two more heads before less is asked for.
            volume *= 1.0 if attempt < 2 else 0.6
    raise fault


def _haemorrhage(kind: Kind, volume_ml: float, generator: np.random.Generator) -> Haemorrhage:
    side: Side = "left" if generator.random() < 0.5 else "right"
    in_fluid = kind in ("intraventricular", "subarachnoid")
    return Haemorrhage(
        kind,
        "both" if in_fluid and (volume_ml > 5.0 or generator.random() < 0.5) else side,
        volume_ml,
        float(generator.uniform(55.0, 72.0)),
        "deep" if generator.random() < 0.5 else "lobar",
    )
