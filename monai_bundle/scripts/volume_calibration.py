"""From the volume of a lesion's mask to the true one: a factor and limits, measured on held-out scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class VolumeBand:
    """Limits of volumes from one size upwards.

    Attributes
    ----------
    from_ml : float
        Smallest volume of a mask (ml) that the band holds for; the next band begins where it ends.
    low, high : float
        Limits of true volume / volume of the mask, above 0.
    scans : int
        How many scans they were measured on.
    factor : float
        Median of the same ratio: sets right a decoder whose masks are too small or too wide.
    """

    from_ml: float
    low: float
    high: float
    scans: int
    factor: float = 1.0


@dataclass(frozen=True)
class VolumeCalibration:
    """Limits per compartment.

    Attributes
    ----------
    level : float
        Fraction of scans whose true volume lies within the limits, e.g. 0.9.
    bands : dict
        Key of a :class:`~scripts.labels.LesionGroup`, or ``"total"``, to its bands.

    Raises
    ------
    ValueError
        If a limit is not above 0, limits are the wrong way round, or the level is not between 0 and 1.
    """

    level: float = 0.9
    bands: Mapping[str, Sequence[VolumeBand]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse limits that are none."""
        if not 0 < self.level < 1:
            raise ValueError(f"the level must lie between 0 and 1: {self.level}")
        for band in (band for bands in self.bands.values() for band in bands):
            if not 0 < band.low <= band.factor <= band.high:
                raise ValueError(f"limits must be above 0 and in order: {band}")

    def limits(self, group: str, mask_ml: float) -> tuple[float, float] | None:
        """Return lower and upper limit (ml) of the true volume; None where none were measured for such a mask."""
        band = self._band(group, mask_ml)
        return None if band is None else (mask_ml * band.low, mask_ml * band.high)

    def estimate(self, group: str, mask_ml: float) -> float:
        """Return the likeliest true volume (ml): that of the mask where nothing was measured."""
        band = self._band(group, mask_ml)
        return mask_ml if band is None else mask_ml * band.factor

    def _band(self, group: str, mask_ml: float) -> VolumeBand | None:
        fitting = [band for band in self.bands.get(group, ()) if band.from_ml <= mask_ml]
        return max(fitting, key=lambda band: band.from_ml, default=None)

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> VolumeCalibration:
        """Return the calibration that ``configs/volume_calibration.json`` states."""
        bands = {key: tuple(VolumeBand(**band) for band in group) for key, group in entry["bands"].items()}
        return cls(float(entry["level"]), bands)
