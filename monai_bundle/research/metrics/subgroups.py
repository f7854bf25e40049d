"""Whether a model serves all kinds of patients alike: figures per subgroup, where there are scans enough to say so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research.metrics.class_counts import class_counts, known
from research.metrics.confidence import LEVEL, RESAMPLES, Interval, auc_interval, proportion_interval
from research.metrics.predictions import Predictions

FEWEST = 5
"""A subgroup has figures from so many positive and negative scans on."""

UNKNOWN = "unknown"

EDGES: dict[str, tuple[float, ...]] = {"age": (18, 40, 65), "slices": (28, 35)}
"""Where bands begin; any other number is divided at its median."""


@dataclass(frozen=True)
class SubgroupFigures:
    """Figures of one label in one subgroup.

    Attributes
    ----------
    scans, positive, negative : int
        With a known label.
    auc : Interval
        Resampled by patient.
    sensitivity, specificity : Interval
        At the label's threshold, with Wilson's interval.
    remark : str or None
        Why there are no figures.
    """

    scans: int
    positive: int
    negative: int
    auc: Interval
    sensitivity: Interval
    specificity: Interval
    remark: str | None


def bands(values: Sequence[float], edges: Sequence[float]) -> list[str]:
    """Name the band of each value: ``under 18``, ``18 to under 40``, ..., ``65 and over``; NaN is ``unknown``.

    Raises
    ------
    ValueError
        If there is no edge, or they do not rise.
    """
    if not edges or list(edges) != sorted(set(edges)):
        raise ValueError(f"edges of bands must rise: {tuple(edges)}")
    between = [f"{low:g} to under {high:g}" for low, high in pairwise(edges)]
    names = [f"under {edges[0]:g}", *between, f"{edges[-1]:g} and over"]
    return [UNKNOWN if math.isnan(value) else names[int(np.searchsorted(edges, value, "right"))] for value in values]


def groups_of(predictions: Predictions, edges: Mapping[str, Sequence[float]] | None = None) -> dict[str, list[str]]:
    """Return, for every property that the scans state, the subgroup of each scan.

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
        stated = [scan.group.get(name) for scan in predictions.scans]
        texts = [value for value in stated if isinstance(value, str)]
        numbers = [math.nan if value is None else value for value in stated if not isinstance(value, str)]
        if not texts:
            given = (EDGES if edges is None else edges).get(name)
            stated_numbers = [value for value in numbers if not math.isnan(value)]
            found[name] = (
                bands(numbers, given or (float(np.median(stated_numbers)),))
                if stated_numbers
                else [UNKNOWN] * len(stated)
            )
        elif any(not math.isnan(value) for value in numbers):
            raise ValueError(f"{name} is text in some scans and a number in others")
        else:
            found[name] = [value if isinstance(value, str) else UNKNOWN for value in stated]
    return found


def subgroup_figures(
    probabilities: ArrayLike,
    labels: ArrayLike,
    keys: Sequence[str],
    patients: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    thresholds: Mapping[str, float] | float = 0.5,
    fewest: int = FEWEST,
    count: int = RESAMPLES,
) -> dict[str, dict[str, dict[str, SubgroupFigures]]]:
    """Return figures per property, subgroup and label.

    Parameters
    ----------
    probabilities, labels : array_like, shape (scans, labels)
        Predictions 0..1; and 0, 1 or NaN (left out).
    keys, patients : sequence of str
        The label of each column, the patient of each scan.
    groups : mapping
        Property to the subgroup of each scan (see :func:`groups_of`).
    thresholds : mapping or float
        Per label, or one for all.
    fewest : int
        A subgroup with fewer positive or negative scans gets no figures, but a remark.
    count : int
        Resamples.

    Raises
    ------
    ValueError
        If a property has not one subgroup per scan.
    """
    predicted, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    cuts = thresholds if isinstance(thresholds, Mapping) else dict.fromkeys(keys, float(thresholds))
    people = np.asarray(patients)
    found: dict[str, dict[str, dict[str, SubgroupFigures]]] = {}
    for name, members in groups.items():
        if len(members) != len(truth):
            raise ValueError(f"{name}: subgroups of {len(members)} scans, {len(truth)} scans")
        found[name] = {}
        for value in sorted(set(members)):
            rows = np.array([member == value for member in members])
            found[name][value] = {
                key: _figures(truth[rows, column], predicted[rows, column], people[rows], cuts[key], fewest, count)
                for column, key in enumerate(keys)
            }
    return found


def _figures(
    labels: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    patients: NDArray[np.str_],
    threshold: float,
    fewest: int,
    count: int,
) -> SubgroupFigures:
    counts = class_counts(labels)
    size = (counts.positive + counts.negative, counts.positive, counts.negative)
    if counts.rarest < max(fewest, 1):
        nothing = Interval(None, None, None, LEVEL, 0, str(counts))
        return SubgroupFigures(*size, nothing, nothing, nothing, f"too few: {counts}")
    truth, predicted = known(labels, probabilities)
    called = predicted >= threshold
    return SubgroupFigures(
        *size,
        auc_interval(labels, probabilities, patients, count),
        proportion_interval(int((called & (truth == 1)).sum()), counts.positive),
        proportion_interval(int((~called & (truth == 0)).sum()), counts.negative),
        None,
    )
