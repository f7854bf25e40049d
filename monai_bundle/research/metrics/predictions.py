"""Predictions of held-out scans: the one record that every metric reads."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

FORMAT = "ich-predictions/1"
"""Value of ``schema`` in the file."""

DIGITS = 5
"""Significant digits of a number in the file."""

Floats: TypeAlias = NDArray[np.float64]
Compact: TypeAlias = "list[Compact] | float | None"


@dataclass(frozen=True, eq=False)
class ScanPrediction:
    """One scan's labels and predictions. Slices are the ORIGINAL ones, in the order of the study.

    Attributes
    ----------
    name : str
        Unique in its predictions.
    patient : str
        Whoever shares this value is the same patient.
    fold : int
        The fold whose network, trained without this patient, made the prediction.
    labels : ndarray of float64, shape (labels,)
        0, 1, or NaN where unknown.
    logits : ndarray of float64, shape (labels,)
        Before the sigmoid.
    slice_attention : ndarray of float64, shape (slices,)
        Attention of each original slice, NaN where it is no input slice.
    slice_labels, slice_logits : ndarray of float64, shape (slices, labels), or None
        As above for each slice; None where unknown, or without a slice classifier.
    key_slices : tuple of int
        Original slices read again at high resolution, largest attention first.
    group : dict
        Properties that subgroups are made from: ``sex``, ``age`` (years), ``slices`` ...
    """

    name: str
    patient: str
    fold: int
    labels: Floats
    logits: Floats
    slice_attention: Floats
    slice_labels: Floats | None = None
    slice_logits: Floats | None = None
    key_slices: tuple[int, ...] = ()
    group: dict[str, str | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hold every array as float64 and the shapes to each other.

        Raises
        ------
        ValueError
            If a shape does not fit, a number is infinite, a label is none of 0, 1 and NaN, or a key slice lies
            outside the scan.
        """
        for name in ("labels", "logits", "slice_attention", "slice_labels", "slice_logits"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, np.asarray(value, dtype=np.float64))
        object.__setattr__(self, "key_slices", tuple(int(index) for index in self.key_slices))
        slices, labels = len(self.slice_attention), len(self.labels)
        wanted = {
            "labels": (labels,),
            "logits": (labels,),
            "slice_attention": (slices,),
            "slice_labels": (slices, labels),
            "slice_logits": (slices, labels),
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is None:
                continue
            if value.shape != shape:
                raise ValueError(f"{self.name}: {name} of shape {value.shape}, expected {shape}")
            if np.isinf(value).any():
                raise ValueError(f"{self.name}: {name} must not be infinite")
        for name in ("labels", "slice_labels"):
            value = getattr(self, name)
            if value is not None and not np.all(np.isnan(value) | (value == 0) | (value == 1)):
                raise ValueError(f"{self.name}: {name} must be 0, 1 or NaN")
        if any(not 0 <= index < slices for index in self.key_slices):
            raise ValueError(f"{self.name}: key slices {self.key_slices} of a scan of {slices} slices")


@dataclass(frozen=True, eq=False)
class Predictions:
    """One model's predictions of many scans.

    Attributes
    ----------
    keys : tuple of str
        Label key of each column.
    scans : tuple of ScanPrediction
        In the order in which the data came.
    model, protocol : str
        Which model, and how the scans were held out, as a person reads it.
    """

    keys: tuple[str, ...]
    scans: tuple[ScanPrediction, ...]
    model: str
    protocol: str

    def __post_init__(self) -> None:
        """Hold the scans to the keys and to unique names.

        Raises
        ------
        ValueError
            If there is no scan, two share a name, or one has not one column per key.
        """
        object.__setattr__(self, "keys", tuple(self.keys))
        object.__setattr__(self, "scans", tuple(self.scans))
        if not self.scans:
            raise ValueError("predictions of no scan")
        twice = sorted(name for name, count in Counter(scan.name for scan in self.scans).items() if count > 1)
        if twice:
            raise ValueError(f"names must be unique: {', '.join(twice[:5])}")
        for scan in self.scans:
            if len(scan.labels) != len(self.keys):
                raise ValueError(f"{scan.name}: {len(scan.labels)} labels, {len(self.keys)} keys")

    @property
    def labels(self) -> Floats:
        """0, 1 or NaN, shape (scans, labels)."""
        return np.stack([scan.labels for scan in self.scans])

    @property
    def logits(self) -> Floats:
        """Before the sigmoid, shape (scans, labels)."""
        return np.stack([scan.logits for scan in self.scans])

    @property
    def patients(self) -> NDArray[np.str_]:
        """Patient of each scan, shape (scans,)."""
        return np.array([scan.patient for scan in self.scans])

    @property
    def folds(self) -> NDArray[np.int64]:
        """Fold of each scan, shape (scans,)."""
        return np.array([scan.fold for scan in self.scans], dtype=np.int64)

    @property
    def has_slice_logits(self) -> bool:
        """Whether the network classifies slices; without a slice classifier the logits of all slices are equal."""
        logits = [scan.slice_logits[:, 0] for scan in self.scans if scan.slice_logits is not None]
        return bool(logits) and float(np.ptp(np.concatenate(logits))) > 0

    def slice_level(self) -> tuple[Floats, Floats, NDArray[np.str_]]:
        """Return the labels and logits, shape (slices, labels), and the patient of every slice that has both.

        Raises
        ------
        ValueError
            If no scan has both slice labels and slice logits.
        """
        found = [
            (scan.slice_labels, scan.slice_logits, [scan.patient] * len(scan.slice_attention))
            for scan in self.scans
            if scan.slice_labels is not None and scan.slice_logits is not None
        ]
        if not found:
            raise ValueError(f"{self.model}: no scan has both slice labels and slice logits")
        labels, logits, patients = zip(*found, strict=True)
        return np.concatenate(labels), np.concatenate(logits), np.concatenate(patients)

    def to_json(self, path: Path) -> None:
        """Write the file, five significant digits per number, NaN as null."""
        text = json.dumps(
            {
                "schema": FORMAT,
                "model": self.model,
                "protocol": self.protocol,
                "keys": list(self.keys),
                "scans": [_scan_entry(scan) for scan in self.scans],
            },
            allow_nan=False,
            separators=(",", ":"),
            ensure_ascii=False,
        )
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, path: Path) -> Predictions:
        """Read the file.

        Raises
        ------
        ValueError
            If it is not one of these files, or its content does not fit together.
        """
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            if entry["schema"] != FORMAT:
                raise ValueError(f"{path.name}: schema {entry['schema']!r}, expected {FORMAT!r}")
            scans = tuple(_scan(scan, len(entry["keys"])) for scan in entry["scans"])
            return cls(tuple(entry["keys"]), scans, entry["model"], entry["protocol"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path.name}: no file of predictions ({type(error).__name__}: {error})") from error


def ensemble(members: Sequence[Predictions], model: str) -> Predictions:
    """Return the predictions of an ensemble: the mean of its members' probabilities.

    Parameters
    ----------
    members : sequence of Predictions
        Of the same scans in the same order; attention and slice logits are averaged, key slices are the first one's.
    model : str
        Name of the ensemble.

    Raises
    ------
    ValueError
        If they are not of the same scans and labels, or only some have slice logits.
    """
    first = members[0]
    if any([scan.name for scan in each.scans] != [scan.name for scan in first.scans] for each in members):
        raise ValueError(f"{model}: its members are not of the same scans")
    if any(each.keys != first.keys for each in members):
        raise ValueError(f"{model}: its members have not the same labels")
    scans = tuple(_mean_scan(same) for same in zip(*(each.scans for each in members), strict=True))
    return Predictions(first.keys, scans, model, first.protocol)


def _mean_scan(scans: Sequence[ScanPrediction]) -> ScanPrediction:
    present = [scan.slice_logits for scan in scans if scan.slice_logits is not None]
    if present and len(present) != len(scans):
        raise ValueError(f"{scans[0].name}: only some members have slice logits")
    return replace(
        scans[0],
        logits=np.asarray(logit(np.mean([expit(scan.logits) for scan in scans], axis=0))),
        slice_attention=np.mean([scan.slice_attention for scan in scans], axis=0),
        slice_logits=np.mean(present, axis=0) if present else None,
    )


def _compact(values: ArrayLike) -> Compact:
    """Return nested lists, rounded; NaN as None, because JSON has none."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim:
        return [_compact(part) for part in array]
    number = float(f"{float(array):.{DIGITS}g}")
    if math.isnan(number):
        return None
    return int(number) if number.is_integer() else number


def _scan_entry(scan: ScanPrediction) -> dict[str, Any]:
    slice_labels, slice_logits = scan.slice_labels, scan.slice_logits
    return {
        "name": scan.name,
        "patient": scan.patient,
        "fold": scan.fold,
        "labels": _compact(scan.labels),
        "logits": _compact(scan.logits),
        "slice_attention": _compact(scan.slice_attention),
        "slice_labels": None if slice_labels is None else _compact(slice_labels),
        "slice_logits": None if slice_logits is None else _compact(slice_logits),
        "key_slices": list(scan.key_slices),
        "group": {name: value if isinstance(value, str) else _compact(value) for name, value in scan.group.items()},
    }


def _floats(values: Sequence[Any] | None, columns: int | None = None) -> Floats | None:
    if values is None:
        return None
    array = np.array(values, dtype=np.float64)  # None becomes NaN
    return array if columns is None else array.reshape(len(values), columns)


def _scan(entry: Mapping[str, Any], labels: int) -> ScanPrediction:
    group = {name: float("nan") if value is None else value for name, value in entry["group"].items()}
    return ScanPrediction(
        name=entry["name"],
        patient=entry["patient"],
        fold=entry["fold"],
        labels=np.array(entry["labels"], dtype=np.float64),
        logits=np.array(entry["logits"], dtype=np.float64),
        slice_attention=np.array(entry["slice_attention"], dtype=np.float64),
        slice_labels=_floats(entry["slice_labels"], labels),
        slice_logits=_floats(entry["slice_logits"], labels),
        key_slices=tuple(entry["key_slices"]),
        group=group,
    )
