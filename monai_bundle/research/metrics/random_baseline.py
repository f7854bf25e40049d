"""Means over scans beside their random baseline: what the same scans give if positions are drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from research.metrics.confidence import LEVEL, RESAMPLES, interval, proportion_interval, resample_patients

MeanInterval = Callable[[NDArray[np.float64], NDArray[np.str_]], "tuple[float, float] | None"]
"""Values (one per scan) and patients (one per scan) -> bounds of their mean; None where there are too few."""


@dataclass(frozen=True)
class MeanMetric:
    """A mean over scans.

    Attributes
    ----------
    value : float or None
        None where nothing could be measured; ``reason`` then states why.
    random_baseline : float or None
        Expectation of ``value`` on the same scans under a random choice, exact.
    low, high : float or None
        Interval of ``value``, where one was asked for.
    scans, patients : int
        How many were measured.
    reason : str or None
        Why something is missing.
    """

    value: float | None
    random_baseline: float | None
    low: float | None
    high: float | None
    scans: int
    patients: int
    reason: str | None = None


def missing(reason: str) -> MeanMetric:
    """Return the metric of something that could not be measured."""
    return MeanMetric(value=None, random_baseline=None, low=None, high=None, scans=0, patients=0, reason=reason)


def mean_metric(
    values: Sequence[float], baselines: Sequence[float], patients: Sequence[str], bounds_of: MeanInterval | None = None
) -> MeanMetric:
    """Average one value and one random baseline per scan; every scan counts the same.

    Parameters
    ----------
    values, baselines : sequence of float
        One per scan; a scan whose value is NaN is left out of both means.
    patients : sequence of str
        Patient of each scan.
    bounds_of : callable, optional
        Gives the bounds of the mean, e.g. :func:`by_patient`.

    Raises
    ------
    ValueError
        If the three differ in length, or a measured scan has no random baseline.
    """
    if not len(values) == len(baselines) == len(patients):
        raise ValueError(f"{len(values)} values, {len(baselines)} random baselines, {len(patients)} patients")
    measured = ~np.isnan(np.asarray(values, dtype=np.float64))
    if not measured.any():
        return missing("no scan to measure")
    value = np.asarray(values, dtype=np.float64)[measured]
    baseline = np.asarray(baselines, dtype=np.float64)[measured]
    if np.isnan(baseline).any():
        raise ValueError("a measured scan has no random baseline")
    measured_patients = np.asarray(patients, dtype=np.str_)[measured]
    bounds = bounds_of(value, measured_patients) if bounds_of is not None else None
    left_out = int((~measured).sum())
    return MeanMetric(
        value=float(value.mean()),
        random_baseline=float(baseline.mean()),
        low=None if bounds is None else float(bounds[0]),
        high=None if bounds is None else float(bounds[1]),
        scans=int(measured.sum()),
        patients=len(set(measured_patients.tolist())),
        reason=f"{left_out} scans could not be measured" if left_out else None,
    )


def by_patient(count: int = RESAMPLES, seed: int = 0, level: float = LEVEL) -> MeanInterval:
    """Return a function that gives a mean's percentile interval, patients resampled with all their scans.

    None where there are fewer than two patients: their variance is unknown. Where every scan gives the same 0 or 1, so
    does every resample: the interval is Wilson's, over patients.
    """

    def bounds_of(values: NDArray[np.float64], patients: NDArray[np.str_]) -> tuple[float, float] | None:
        resamples = resample_patients(patients, np.ones(len(values)), count, seed)
        if resamples.remark:
            return None
        if np.ptp(values) == 0 and values[0] in (0.0, 1.0):
            total = len(set(patients.tolist()))
            exact = proportion_interval(int(values[0]) * total, total, level)
            return None if exact.low is None or exact.high is None else (exact.low, exact.high)
        weights = resamples.weights(0, count)
        found = interval(float(values.mean()), weights @ values / weights.sum(axis=1), level, None)
        return None if found.low is None or found.high is None else (found.low, found.high)

    return bounds_of


def probability_of_a_true_positive(slices: int, positive: int, chosen: int) -> float:
    """Return the probability that ``chosen`` slices drawn at random include a positive one (hypergeometric)."""
    _check(slices, positive)
    if not 0 <= chosen <= slices:
        raise ValueError(f"{chosen} chosen of {slices} slices")
    return float(hypergeom.sf(0, slices, positive, chosen))


def random_average_precision(slices: int, positive: int) -> float:
    """Return the expected average precision of a ranking drawn at random.

    The slice at rank k is positive with probability h / n; each of the k - 1 slices before it is then positive with
    probability (h - 1) / (n - 1). Average precision is the mean, over positive slices, of the precision at their rank.
    """
    _check(slices, positive)
    if slices == 1:
        return 1.0
    ranks = np.arange(1, slices + 1, dtype=np.float64)
    return float(((1 + (ranks - 1) * (positive - 1) / (slices - 1)) / ranks).mean())


def _check(slices: int, positive: int) -> None:
    if not 1 <= positive <= slices:
        raise ValueError(f"{positive} positive of {slices} slices")
