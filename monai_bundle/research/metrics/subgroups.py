"""Metrics per subgroup of patients, where enough scans are in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research.metrics.class_counts import class_counts, known
from research.metrics.confidence import LEVEL, RESAMPLES, Interval, auc_interval, proportion_interval
from research.metrics.predictions import Predictions
from scripts.operating_points import DEFAULT_THRESHOLD

FEWEST = 5
"""A subgroup has metrics from so many positive and negative scans on."""

UNKNOWN = "unknown"

EDGES: dict[str, tuple[float, ...]] = {"age": (18, 40, 65), "slices": (28, 35)}
"""Lower edges of bands; any other number is divided at its median."""


@dataclass(frozen=True)
class SubgroupMetrics:
    """Metrics of one label in one subgroup.

    Attributes
    ----------
    scans, positive, negative : int
        With a known label.
    auc : Interval
        Resampled by patient.
    sensitivity, specificity : Interval
        At the threshold, with Wilson's interval.
    remark : str or None
        Why there are no metrics.
    """

    scans: int
    positive: int
    negative: int
    auc: Interval
    sensitivity: Interval
    specificity: Interval
    remark: str | None


def bands(values: Sequence[float], edges: Sequence[float]) -> list[str]:
    """Return the band of each value: ``under 18``, ``18 to under 40``, ..., ``65 and over``; NaN is ``unknown``.

    Raises
    ------
    ValueError
        If there is no edge, or they do not rise.
    """
    if not edges or list(edges) != sorted(set(edges)):
        raise ValueError(f"edges of bands must rise: {tuple(edges)}")
    between = [f"{low:g} to under {high:g}" for low, high in pairwise(edges)]
    names = [f"under {edges[0]:g}", *between, f"{edges[-1]:g} and over"]
    cut = pd.cut(np.asarray(values, dtype=np.float64), [-math.inf, *edges, math.inf], right=False, labels=names)
    return [UNKNOWN if pd.isna(name) else str(name) for name in cut]


def groups_of(predictions: Predictions, edges: Mapping[str, Sequence[float]] | None = None) -> dict[str, list[str]]:
    """Return, for every property of the scans, the subgroup of each scan.

    Parameters
    ----------
    predictions : Predictions
        With ``group`` filled; a scan without a property is ``unknown`` there.
    edges : mapping, optional
        Of the bands of each number; :data:`EDGES` by default.

    Raises
    ------
    ValueError
        If a property is a number in one scan and text in another.
    """
    found: dict[str, list[str]] = {}
    for name in sorted({name for scan in predictions.scans for name in scan.group}):
        values = [scan.group.get(name) for scan in predictions.scans]
        texts = [value for value in values if isinstance(value, str)]
        numbers = [math.nan if value is None else value for value in values if not isinstance(value, str)]
        if not texts:
            given = (EDGES if edges is None else edges).get(name)
            known_numbers = [value for value in numbers if not math.isnan(value)]
            found[name] = (
                bands(numbers, given or (float(np.median(known_numbers)),))
                if known_numbers
                else [UNKNOWN] * len(values)
            )
        elif any(not math.isnan(value) for value in numbers):
            raise ValueError(f"{name} is text in some scans and a number in others")
        else:
            found[name] = [value if isinstance(value, str) else UNKNOWN for value in values]
    return found


def subgroup_metrics(
    probabilities: ArrayLike,
    labels: ArrayLike,
    keys: Sequence[str],
    patients: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    threshold: float = DEFAULT_THRESHOLD,
    fewest: int = FEWEST,
    count: int = RESAMPLES,
) -> dict[str, dict[str, dict[str, SubgroupMetrics]]]:
    """Return metrics per property, subgroup and label.

    Parameters
    ----------
    probabilities, labels : array_like, shape (scans, labels)
        Predictions 0..1; and 0, 1 or NaN (left out).
    keys, patients : sequence of str
        The label of each column, the patient of each scan.
    groups : mapping
        Property to the subgroup of each scan (see :func:`groups_of`).
    threshold : float
        Of all labels.
    fewest : int
        A subgroup with fewer positive or negative scans gets a remark in place of metrics.
    count : int
        Resamples.

    Raises
    ------
    ValueError
        If a property has not one subgroup per scan.
    """
    predicted, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    patient_of_scan = np.asarray(patients)
    found: dict[str, dict[str, dict[str, SubgroupMetrics]]] = {}
    for name, members in groups.items():
        if len(members) != len(truth):
            raise ValueError(f"{name}: subgroups of {len(members)} scans, {len(truth)} scans")
        found[name] = {}
        for value in sorted(set(members)):
            rows = np.array([member == value for member in members])
            found[name][value] = {
                key: _metrics(
                    truth[rows, column], predicted[rows, column], patient_of_scan[rows], threshold, fewest, count
                )
                for column, key in enumerate(keys)
            }
    return found


def _metrics(
    labels: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    patients: NDArray[np.str_],
    threshold: float,
    fewest: int,
    count: int,
) -> SubgroupMetrics:
    counts = class_counts(labels)
    size = (counts.positive + counts.negative, counts.positive, counts.negative)
    if counts.rarest < max(fewest, 1):
        nothing = Interval(None, None, None, LEVEL, 0, str(counts))
        return SubgroupMetrics(*size, nothing, nothing, nothing, f"too few: {counts}")
    truth, predicted = known(labels, probabilities)
    positive = predicted >= threshold
    return SubgroupMetrics(
        *size,
        auc_interval(labels, probabilities, patients, count),
        proportion_interval(int((positive & (truth == 1)).sum()), counts.positive),
        proportion_interval(int((~positive & (truth == 0)).sum()), counts.negative),
        None,
    )
