"""Two models on the same scans: DeLong's test (in no well-kept library), paired bootstrap, paired t-test (SciPy)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata, ttest_rel

from research.metrics.class_counts import class_counts, known
from research.metrics.confidence import (
    LEVEL,
    RESAMPLES,
    Interval,
    interval,
    resample_patients,
    resampled_auc,
    weighted_auc,
)


@dataclass(frozen=True)
class Comparison:
    """A metric of two models on the same scans, and a two-sided test of their difference.

    Attributes
    ----------
    test : str
        Its name.
    first, second, difference : float or None
        The metric of each model, and first minus second.
    low, high : float or None
        Interval of the difference at ``level``.
    level : float
        0..1.
    statistic : float or None
        The test's own: z, t, or None for the bootstrap.
    p : float or None
        p value.
    units : int
        Scans, or patients where they were resampled, that the test takes as independent.
    remark : str or None
        Why a part is missing.
    """

    test: str
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    level: float
    statistic: float | None
    p: float | None
    units: int
    remark: str | None


def auc_covariance(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the AUCs of several models on the same scans and the covariance of their estimates.

    Parameters
    ----------
    labels : array_like, shape (scans,)
        0 or 1; at least two of each for a covariance.
    scores : array_like, shape (models, scans)
        Larger for more likely positive.

    Returns
    -------
    aucs : ndarray, shape (models,)
    covariance : ndarray, shape (models, models)

    Notes
    -----
    DeLong E. R. et al., Biometrics 1988, with the structural components from midranks: Sun X. and Xu W., IEEE Signal
    Processing Letters 2014, equations 10 to 14.
    """
    truth, values = np.asarray(labels) == 1, np.atleast_2d(np.asarray(scores, dtype=np.float64))
    positive, negative = values[:, truth], values[:, ~truth]
    among_all = rankdata(values, axis=1)
    won = (among_all[:, truth] - rankdata(positive, axis=1)) / negative.shape[1]
    lost = 1 - (among_all[:, ~truth] - rankdata(negative, axis=1)) / positive.shape[1]
    covariance = np.cov(won) / positive.shape[1] + np.cov(lost) / negative.shape[1]
    return won.mean(axis=1), np.atleast_2d(covariance)


def delong(labels: ArrayLike, first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> Comparison:
    """Test whether two correlated AUCs differ (see :func:`auc_covariance`).

    Scans count as independent; where patients have several, use :func:`paired_bootstrap`.

    Parameters
    ----------
    labels, first, second : array_like, shape (scans,)
        0, 1 or NaN (left out), and the two models' scores.
    level : float
        Of the interval of the difference.
    """
    counts, name = class_counts(labels), "DeLong"
    units = counts.positive + counts.negative
    if counts.rarest < 2:
        return _nothing(name, level, units, f"{counts}: two of each are needed")
    truth, one, other = known(labels, first, second)
    aucs, covariance = auc_covariance(truth, np.stack([one, other]))
    difference = float(aucs[0] - aucs[1])
    error = float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0)))
    values = (float(aucs[0]), float(aucs[1]), difference)
    # Equal rankings leave a rounding error where the variance is 0.
    if error < 1e-12:
        same = abs(difference) < 1e-12
        remark = "the models rank the scans alike" if same else "both models' AUCs have no variance"
        return Comparison(name, *values, None, None, level, None, 1.0 if same else None, units, remark)
    z, reach = difference / error, float(norm.ppf((1 + level) / 2)) * error
    p = float(2 * norm.sf(abs(z)))
    return Comparison(name, *values, difference - reach, difference + reach, level, z, p, units, None)


def paired_bootstrap(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    patients: Sequence[str] | NDArray[np.str_],
    count: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Comparison:
    """Compare the AUC of two models on the same resampled patients.

    Parameters
    ----------
    labels, first, second, patients : sequence, shape (rows,)
        0, 1 or NaN (left out); the two models' scores; the patient of each scan or slice.
    count, seed, level
        Of the resamples and the interval.

    Returns
    -------
    Comparison
        ``p`` is twice the smaller proportion of resamples on either side of no difference, the data counted as one.
    """
    name, counts = "paired bootstrap by patient", class_counts(labels)
    truth, one, other = known(labels, first, second)
    labelled = np.asarray(patients)[~np.isnan(np.asarray(labels, dtype=np.float64))]
    units = len(np.unique(labelled))
    if not counts.rarest:
        return _nothing(name, level, units, str(counts))
    resamples = resample_patients(labelled, truth == 1, count, seed)
    everyone = np.ones((1, truth.size))
    aucs = [float(weighted_auc(truth, scores, everyone)[0]) for scores in (one, other)]
    resampled = [resampled_auc(truth, scores, resamples) for scores in (one, other)]
    differences = resampled[0] - resampled[1]
    difference = interval(aucs[0] - aucs[1], differences, level, resamples.remark)
    p = None if difference.low is None else _two_sided(differences[~np.isnan(differences)])
    return _compared(name, aucs[0], aucs[1], difference, p, units)


def paired_t_test(
    first: ArrayLike,
    second: ArrayLike,
    patients: Sequence[str] | NDArray[np.str_] | None = None,
    level: float = LEVEL,
) -> Comparison:
    """Test whether the mean losses of two models on the same scans differ (DrCT2's test of DrCT1 against DrCT2).

    Parameters
    ----------
    first, second : array_like, shape (scans,)
        Loss of each scan; a scan that has none (NaN) in either is left out.
    patients : sequence, optional
        Patient of each scan; if given, each patient's losses are averaged first, so that the pairs are independent.
    level : float
        Of the interval of the difference.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    pair = np.stack([np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)])
    kept = ~np.isnan(pair).any(axis=0)
    pair = pair[:, kept]
    if patients is not None:
        _, member = np.unique(np.asarray(patients)[kept], return_inverse=True)
        sizes = np.bincount(member)
        pair = np.stack([np.bincount(member, losses) / sizes for losses in pair])
    name, units = "paired t-test", pair.shape[1]
    if units < 2:
        return _nothing(name, level, units, f"{units} pairs: two are needed")
    difference = float((pair[0] - pair[1]).mean())
    values = (float(pair[0].mean()), float(pair[1].mean()), difference)
    if np.ptp(pair[0] - pair[1]) < 1e-15:
        return Comparison(
            name, *values, None, None, level, None, None, units, "every pair differs by the same: no variance"
        )
    result = ttest_rel(pair[0], pair[1])
    bounds = result.confidence_interval(level)
    return Comparison(
        name,
        *values,
        float(bounds.low),
        float(bounds.high),
        level,
        float(result.statistic),
        float(result.pvalue),
        units,
        None,
    )


def _two_sided(differences: NDArray[np.float64]) -> float:
    below, above = (differences <= 0).sum(), (differences >= 0).sum()
    return float(min(1.0, 2 * (min(below, above) + 1) / (differences.size + 1)))


def _compared(name: str, first: float, second: float, bounds: Interval, p: float | None, units: int) -> Comparison:
    return Comparison(
        name, first, second, first - second, bounds.low, bounds.high, bounds.level, None, p, units, bounds.remark
    )


def _nothing(name: str, level: float, units: int, remark: str) -> Comparison:
    return Comparison(name, None, None, None, None, None, level, None, None, units, remark)
