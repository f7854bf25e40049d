"""Calibration of logits to probabilities: one straight line per label (Platt 1999)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit


@dataclass(frozen=True)
class Calibration:
    """A straight line per label, from logit to calibrated logit.

    Attributes
    ----------
    keys : tuple of str
        The label of each column.
    slope, offset : tuple of float
        Slope above 0, so that the order of scans stays; (1, 0) is the identity.
    remarks : dict
        Label key to the reason why its line is the identity, or not what was sought.
    """

    keys: tuple[str, ...]
    slope: tuple[float, ...]
    offset: tuple[float, ...]
    remarks: dict[str, str]

    def __post_init__(self) -> None:
        """Refuse a line that would turn the order of scans round.

        Raises
        ------
        ValueError
            If a slope is not above 0, or there is not one line per label.
        """
        if not len(self.keys) == len(self.slope) == len(self.offset):
            raise ValueError(f"{len(self.keys)} labels, {len(self.slope)} slopes, {len(self.offset)} offsets")
        if not all(slope > 0 for slope in self.slope):
            raise ValueError(f"slopes must be above 0: {self.slope}")

    def apply(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Return calibrated probabilities of logits, shape (..., labels)."""
        return np.asarray(expit(np.asarray(logits, dtype=np.float64) * self.slope + self.offset), dtype=np.float64)

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Calibration:
        """Return the calibration that ``dataclasses.asdict`` and JSON made of one."""
        return cls(tuple(entry["keys"]), tuple(entry["slope"]), tuple(entry["offset"]), dict(entry["remarks"]))


def identity(keys: Sequence[str]) -> Calibration:
    """Return the calibration that changes nothing."""
    return Calibration(tuple(keys), (1.0,) * len(keys), (0.0,) * len(keys), {})
