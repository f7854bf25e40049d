"""Sensitivity at a fixed specificity, by volume and subtype of a haemorrhage whose volume is known.

One threshold serves all volumes: the smallest at which the wanted proportion of the negatives stays negative.
Intervals resample hosts with everything that was made from them, positives and negatives, and choose the threshold anew
each time: the threshold's own uncertainty is part of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research.metrics.confidence import (
    LEVEL,
    RESAMPLES,
    Interval,
    auc_interval,
    interval,
    proportion_interval,
    resample_patients,
)
from research.metrics.lesion_contrast import LesionContrast

SPECIFICITY = 0.8
VOLUME_BINS = ((0.3, 1.0), (1.0, 5.0), (5.0, 10.0), (10.0, 30.0), (30.0, 80.0))
"""Volumes in ml, the lower bound included; the last bin includes its upper bound."""
FROM_ML = (1.0, 5.0, 10.0)
"""Volumes in ml from which on sensitivity is given as well."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScoredScan:
    """One scan made from a host.

    Attributes
    ----------
    host : str
        Whose head it is.
    scores : mapping of str to float
        Label to logit.
    subtype : str or None
        Of the haemorrhage; None for a negative scan.
    volume_ml : float
        Of the haemorrhage; 0 for a negative scan.
    contrast : LesionContrast or None
        Of the haemorrhage to the brain beside it; None for a negative scan, and where it cannot be measured.
    """

    host: str
    scores: Mapping[str, float]
    subtype: str | None = None
    volume_ml: float = 0.0
    contrast: LesionContrast | None = None


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity over some positive scans.

    Attributes
    ----------
    estimate, low, high : float or None
        With its interval; None where there is no such scan.
    positive, true_positive : int
        Scans, and how many of them reach the threshold.
    remark : str or None
        Why a part is missing.
    """

    estimate: float | None
    low: float | None
    high: float | None
    positive: int
    true_positive: int
    remark: str | None


def threshold_at_specificity(negatives: Floats, specificity: float = SPECIFICITY) -> float:
    """Return the smallest threshold at which at least this proportion of negatives lies below it.

    Parameters
    ----------
    negatives : ndarray, shape (scans,)
        Scores of negative scans.
    specificity : float
        Above 0, at most 1.

    Raises
    ------
    ValueError
        If there is no negative, or the specificity is out of range.
    """
    if not negatives.size or not 0.0 < specificity <= 1.0:
        raise ValueError(f"{negatives.size} negatives, specificity {specificity}")
    needed = int(np.ceil(specificity * negatives.size - 1e-9))
    return float(np.nextafter(np.sort(negatives)[needed - 1], np.inf))


def sensitivity_by_volume(
    scans: Sequence[ScoredScan], key: str = "any", specificity: float = SPECIFICITY, count: int = RESAMPLES
) -> dict[str, Sensitivity]:
    """Return the sensitivity in each bin of :data:`VOLUME_BINS`, from each of :data:`FROM_ML` on, and over all.

    Parameters
    ----------
    scans : sequence of ScoredScan
        Positive and negative.
    key : str
        The label whose score decides.
    specificity, count
        See :func:`sensitivities`.
    """
    groups: dict[str, Callable[[ScoredScan], bool]] = {}
    for low, high in VOLUME_BINS:
        last = high == VOLUME_BINS[-1][1]
        groups[f"{low:g} to {high:g} ml"] = _within(low, high, last)
    for low in FROM_ML:
        groups[f"from {low:g} ml"] = _within(low, np.inf, True)
    groups["all"] = _within(0.0, np.inf, True)
    return sensitivities(scans, groups, key, specificity, count)


def sensitivity_by_subtype(
    scans: Sequence[ScoredScan], specificity: float = SPECIFICITY, count: int = RESAMPLES
) -> dict[str, dict[str, dict[str, Sensitivity]]]:
    """Return the sensitivity for each subtype by volume, by the score of any haemorrhage and by the subtype's own.

    Returns
    -------
    dict
        Subtype to ``any`` and ``own``, each as :func:`sensitivity_by_volume` gives it. The negatives are the same.
    """
    subtypes = sorted({scan.subtype for scan in scans if scan.subtype is not None})
    found = {}
    for subtype in subtypes:
        chosen = [scan for scan in scans if scan.subtype in (None, subtype)]
        found[subtype] = {
            "any": sensitivity_by_volume(chosen, "any", specificity, count),
            "own": sensitivity_by_volume(chosen, subtype, specificity, count),
        }
    return found


def sensitivities(
    scans: Sequence[ScoredScan],
    groups: Mapping[str, Callable[[ScoredScan], bool]],
    key: str,
    specificity: float = SPECIFICITY,
    count: int = RESAMPLES,
) -> dict[str, Sensitivity]:
    """Return the sensitivity of several groups of positive scans at one threshold.

    Parameters
    ----------
    scans : sequence of ScoredScan
        Positive and negative.
    groups : mapping
        Name to which positive scans belong.
    key : str
        The label whose score decides.
    specificity : float
        Proportion of negatives below the threshold.
    count : int
        Resamples of hosts.

    Raises
    ------
    ValueError
        If there is no negative scan.
    """
    scores = np.array([scan.scores[key] for scan in scans], dtype=np.float64)
    positive = np.array([scan.subtype is not None for scan in scans])
    found = scores >= threshold_at_specificity(scores[~positive], specificity)
    resamples = resample_patients([scan.host for scan in scans], positive, count)
    weights = resamples.weights(0, count)
    found_in_resample = scores >= _thresholds(scores[~positive], weights[:, ~positive], specificity)[:, None]
    results = {}
    for name, belongs in groups.items():
        members = np.array([scan.subtype is not None and belongs(scan) for scan in scans])
        total, right = int(members.sum()), int((members & found).sum())
        if not total:
            results[name] = Sensitivity(None, None, None, 0, 0, "no such scan")
            continue
        drawn = weights * members
        amount = drawn.sum(axis=1)
        resampled = np.divide(
            (drawn * found_in_resample).sum(axis=1), amount, out=np.full(count, np.nan), where=amount > 0
        )
        bounds = _interval(right, total, resampled, resamples.remark)
        results[name] = Sensitivity(right / total, bounds.low, bounds.high, total, right, bounds.remark)
    return results


def synthetic_auc(scans: Sequence[ScoredScan], count: int = RESAMPLES) -> dict[str, Interval]:
    """Return the AUC of each label against the scans without haemorrhage, hosts resampled.

    A subtype's positives are the scans with this subtype; scans with another one are left out.
    """
    keys = list(scans[0].scores)
    found = {}
    for key in keys:
        labels = [
            float(scan.subtype is not None) if key == "any" or scan.subtype in (None, key) else float("nan")
            for scan in scans
        ]
        found[key] = auc_interval(labels, [scan.scores[key] for scan in scans], [scan.host for scan in scans], count)
    return found


def _within(low: float, high: float, last: bool) -> Callable[[ScoredScan], bool]:
    return lambda scan: low <= scan.volume_ml and (scan.volume_ml <= high if last else scan.volume_ml < high)


def _thresholds(negatives: Floats, weights: NDArray[np.int64], specificity: float) -> Floats:
    """Thresholds of resamples, shape (resamples,), from how often each negative is drawn; NaN where none is."""
    order = np.argsort(negatives)
    passed = np.cumsum(weights[:, order], axis=1)
    total = passed[:, -1:]
    first = (passed >= np.ceil(specificity * total - 1e-9)).argmax(axis=1)
    return np.where(total[:, 0] > 0, np.nextafter(negatives[order][first], np.inf), np.nan)


def _interval(right: int, total: int, resampled: Floats, remark: str | None) -> Interval:
    found = interval(right / total, resampled, LEVEL, remark)
    if found.low is not None and found.low == found.high:
        # Every resample gives the same 0 or 1: the bootstrap knows no uncertainty, Wilson's interval does.
        return proportion_interval(right, total)
    return found
