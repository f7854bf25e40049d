"""Calibration of logits to probabilities: one straight line per label (Platt 1999)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

ANY = "any"
"""The label of any haemorrhage."""


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
    prevalence : tuple of (float or None)
        Part of the scans behind the line that show the label: what calibrated probabilities presume. None where no scan
        is known.
    slices : Calibration or None
        That of the slice classifier's logits; None where no held-out slices are known.
    """

    keys: tuple[str, ...]
    slope: tuple[float, ...]
    offset: tuple[float, ...]
    remarks: dict[str, str]
    prevalence: tuple[float | None, ...] = ()
    slices: Calibration | None = None

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
        return np.asarray(expit(self.logits(logits)), dtype=np.float64)

    def logits(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Return calibrated logits of logits, shape (..., labels)."""
        return np.asarray(np.asarray(logits, dtype=np.float64) * self.slope + self.offset, dtype=np.float64)

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Calibration:
        """Return the calibration that ``dataclasses.asdict`` and JSON made of one."""
        prevalence = tuple(entry.get("prevalence") or ())
        slope, offset = (tuple(float(value) for value in entry[name]) for name in ("slope", "offset"))
        lines = (tuple(entry["keys"]), slope, offset)
        of_slices = entry.get("slices")
        return cls(
            *lines, dict(entry.get("remarks", {})), prevalence, None if of_slices is None else cls.from_dict(of_slices)
        )

    def of_labels(self, labels: Sequence[str]) -> Calibration:
        """Return the lines of some labels, in their order.

        Raises
        ------
        ValueError
            If a label has no line.
        """
        places = [self.keys.index(label) for label in labels]
        return Calibration(
            tuple(labels),
            tuple(self.slope[place] for place in places),
            tuple(self.offset[place] for place in places),
            {label: self.remarks[label] for label in labels if label in self.remarks},
            tuple(self.prevalence[place] for place in places) if self.prevalence else (),
            None if self.slices is None else self.slices.of_labels(labels),
        )

    def shift_for(self, prevalence: Mapping[str, float]) -> tuple[float, ...]:
        """Return what another prevalence adds to each label's calibrated logit.

        Parameters
        ----------
        prevalence : mapping
            Label key to the part of scans that show it where the network is used, above 0 and below 1. ``any`` serves
            the subtypes that are not named: their mix is then that of the scans behind the calibration.

        Returns
        -------
        tuple of float
            By Bayes' rule the odds change as the prior odds do (Saerens et al., Neural Computation 2002, eq. 2.4).

        Raises
        ------
        ValueError
            If a key is unknown, a prevalence is not between 0 and 1, or that of the calibration is unknown.
        """
        unknown = set(prevalence) - set(self.keys)
        if unknown or not all(0.0 < value < 1.0 for value in prevalence.values()):
            raise ValueError(f"prevalence {dict(prevalence)} of the labels {self.keys}")
        if not prevalence:
            return (0.0,) * len(self.keys)
        own = dict(zip(self.keys, self.prevalence, strict=False))

        def shift(key: str) -> float:
            before = own.get(key)
            if before is None or not 0.0 < before < 1.0:
                raise ValueError(f"the calibration does not state a prevalence of {key}")
            return float(logit(prevalence[key]) - logit(before))

        common = shift(ANY) if ANY in prevalence else 0.0
        return tuple(shift(key) if key in prevalence else common for key in self.keys)


def identity(keys: Sequence[str]) -> Calibration:
    """Return the calibration that changes nothing."""
    return Calibration(tuple(keys), (1.0,) * len(keys), (0.0,) * len(keys), {})
