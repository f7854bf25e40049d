"""Synthetic scans of known truth: haemorrhages of every subtype and volume in CT-ICH's scans without any.

A plan states every scan before one is made: in each host one haemorrhage of each subtype, whose volumes lie in another
bin for each subtype, in turn (a Latin square over hosts), the host as it is, and the host with what resembles blood.
Hosts keep their fold, so that a fold's network reads hosts that it has not seen.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from research.metrics.lesion_contrast import LesionContrast, lesion_contrast
from research.metrics.volume_sensitivity import VOLUME_BINS
from scripts.cache import Cache, files_key
from scripts.datasets.datalist import LabelledScan
from scripts.intake.study import CTStudy
from scripts.synthesis.anatomy import HeadAnatomy, find_anatomy
from scripts.synthesis.lesion import SUBTYPES, LesionRequest, Subtype
from scripts.synthesis.random_synthesis import SynthesisSettings, draw_synthesis
from scripts.synthesis.synthesis import Synthesis, synthesise
from scripts.synthesis.working_grid import SynthesisError

VERSION = 1
"""To be raised when the same plan comes to be made to other voxels."""
CONTRAST_VERSION = 1
"""To be raised when the contrast of the same voxels comes to be measured in another way."""

Kind = Literal["haemorrhage", "host", "mimic"]
MIMICS = SynthesisSettings(mimic=1.0, artefact=0.3)
_ATTEMPTS = 4


@dataclass(frozen=True)
class PlannedScan:
    """One scan before it is made.

    Attributes
    ----------
    name : str
        Unique in the set.
    host : str
        Name of the scan that it is made from.
    fold : int
        Of the host's patient.
    kind : {"haemorrhage", "host", "mimic"}
        With a synthetic haemorrhage, as it is, or with what resembles blood.
    subtype : str or None
        Of the haemorrhage.
    volume_ml : float
        That is asked for.
    seed : tuple of int
        Of everything that is drawn.
    """

    name: str
    host: str
    fold: int
    kind: Kind
    subtype: Subtype | None
    volume_ml: float
    seed: tuple[int, ...]


@dataclass(frozen=True)
class MadeScan:
    """One scan as it was made, compressed: what differs from its host.

    Attributes
    ----------
    change : bytes
        Difference of HU to the host, int16, compressed by zlib.
    label_map : bytes
        Values of subtypes, uint8, likewise.
    volume_ml : float
        That was placed, partial volumes counted.
    pattern : str or None
        How the haemorrhage lies; of a mimic, what it is.
    """

    change: bytes
    label_map: bytes
    volume_ml: float
    pattern: str | None

    @classmethod
    def of(cls, made: Synthesis, host: CTStudy) -> MadeScan:
        """Compress a synthesis."""
        change = made.study.voxels - host.voxels
        # Blood and what resembles it change little of a host: the fastest compression is enough.
        parts = [zlib.compress(np.ascontiguousarray(each).tobytes(), 1) for each in (change, made.label_map)]
        volume = sum(each.volume_ml for each in made.lesions if each.kind in SUBTYPES)
        patterns = sorted({each.pattern if each.kind in SUBTYPES else each.kind for each in made.lesions})
        return cls(parts[0], parts[1], volume, ", ".join(patterns) or None)

    def study(self, host: CTStudy) -> CTStudy:
        """Return the host with the change."""
        change = np.frombuffer(zlib.decompress(self.change), np.int16).reshape(host.voxels.shape)
        return replace(host, voxels=host.voxels + change)

    def mask(self, host: CTStudy) -> NDArray[np.bool_]:
        """Return the mask of the synthetic blood."""
        values = np.frombuffer(zlib.decompress(self.label_map), np.uint8).reshape(host.voxels.shape)
        return np.asarray(values > 0)


def plan_scans(
    entries: Sequence[Mapping[str, Any]], hosts_per_fold: int | None = None, seed: int = 0
) -> list[PlannedScan]:
    """Plan the set.

    Parameters
    ----------
    entries : sequence of mapping
        A datalist; its scans without haemorrhage are the hosts.
    hosts_per_fold : int, optional
        The first so many of each fold; all by default.
    seed : int
        Of all draws.

    Returns
    -------
    list of PlannedScan
        Fold by fold, host by host; seven scans of each host.
    """
    negative = sorted((entry for entry in entries if entry["label"][0] == 0), key=lambda e: (e["fold"], e["name"]))
    hosts = []
    for fold in sorted({entry["fold"] for entry in negative}):
        hosts += [entry for entry in negative if entry["fold"] == fold][:hosts_per_fold]
    plans = []
    for place, entry in enumerate(hosts):
        name, fold = entry["name"], int(entry["fold"])
        plans.append(PlannedScan(f"{name}-host", name, fold, "host", None, 0.0, (seed, place)))
        plans.append(PlannedScan(f"{name}-mimic", name, fold, "mimic", None, 0.0, (seed, place, 0)))
        for number, subtype in enumerate(SUBTYPES, 1):
            low, high = np.log(VOLUME_BINS[(place + number) % len(VOLUME_BINS)])
            origin = (seed, place, number)
            volume = float(np.exp(np.random.default_rng(origin).uniform(low, high)))
            plans.append(PlannedScan(f"{name}-{subtype}", name, fold, "haemorrhage", subtype, volume, origin))
    return plans


class Host:
    """One scan without haemorrhage, and what is made from it.

    Parameters
    ----------
    scan : LabelledScan
        On disk.
    cache : Cache
        Keeps what was made as ``synthetic``, its contrast as ``synthetic_contrast``.
    """

    def __init__(self, scan: LabelledScan, cache: Cache) -> None:
        self.scan = scan
        self.cache = cache

    @cached_property
    def study(self) -> CTStudy:
        """The scan as it is."""
        return self.scan.read()

    @cached_property
    def _anatomy(self) -> HeadAnatomy:
        return find_anatomy(self.study)

    def made(self, plan: PlannedScan) -> MadeScan | None:
        """Make a planned scan, or take it from the cache; None where the host has no place for it."""
        key = [VERSION, plan, files_key(self.scan.files)]
        return self.cache.get("synthetic", key, lambda: self._make(plan))

    def contrast(self, plan: PlannedScan, made: MadeScan) -> LesionContrast | None:
        """Measure the contrast of a made haemorrhage, or take it from the cache; None of what has no blood.

        See :func:`~research.metrics.lesion_contrast.lesion_contrast`. No network is needed: it is a property of the
        scan, and stays when another network reads it.
        """
        if plan.subtype is None:
            return None
        key = [VERSION, CONTRAST_VERSION, plan, files_key(self.scan.files)]
        return self.cache.get("synthetic_contrast", key, partial(self._contrast, made))

    def _contrast(self, made: MadeScan) -> LesionContrast | None:
        return lesion_contrast(made.study(self.study), made.mask(self.study), self._anatomy)

    def _make(self, plan: PlannedScan) -> MadeScan | None:
        if plan.kind == "host":
            return MadeScan.of(Synthesis(self.study, np.zeros(self.study.voxels.shape, np.uint8), ()), self.study)
        volume = plan.volume_ml
        for attempt in range(_ATTEMPTS):
            generator = np.random.default_rng([*plan.seed, attempt])
            try:
                made = self._synthesis(plan, volume, generator)
            except SynthesisError:
                # A narrow ventricle or a tight brain holds less than was asked for.
                volume = max(0.3, 0.6 * volume)
                continue
            return MadeScan.of(made, self.study)
        return None

    def _synthesis(self, plan: PlannedScan, volume: float, generator: np.random.Generator) -> Synthesis:
        if plan.subtype is None:
            return draw_synthesis(self.study, generator, MIMICS, haemorrhage=False, anatomy=self._anatomy)
        return synthesise(self.study, [LesionRequest(plan.subtype, volume)], generator, self._anatomy)
