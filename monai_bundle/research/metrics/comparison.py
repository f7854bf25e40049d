"""Whether one model is really better than another on the same scans: DeLong, paired bootstrap, paired t-test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

Statistic = Callable[[NDArray[np.float64], NDArray[np.float64]], float | None]
"""Takes labels and scores, shape (rows,), and returns a figure; None or NaN where it has none."""


@dataclass(frozen=True)
class Comparison:
    """Two models' figures on the same scans and whether they differ; two-sided.

    Attributes
    ----------
    test : str
        What was done.
    first, second, difference : float or None
        The figure of each model, and first minus second.
    low, high : float or None
        Interval of the difference at ``level``.
    level : float
        0..1.
    statistic : float or None
        The test's own: z, t, or None for the bootstrap.
    p : float or None
        Probability of so large a difference between equal models.
    units : int
        Scans (or patients, where they were drawn) that the test counts as independent.
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
    figures = (float(aucs[0]), float(aucs[1]), difference)
    # Equal rankings leave rounding where the variance is nought.
    if error < 1e-12:
        same = abs(difference) < 1e-12
        remark = "the models rank alike" if same else "both models' AUCs have no variance"
        return Comparison(name, *figures, None, None, level, None, 1.0 if same else None, units, remark)
    z, reach = difference / error, float(norm.ppf((1 + level) / 2)) * error
    p = float(2 * norm.sf(abs(z)))
    return Comparison(name, *figures, difference - reach, difference + reach, level, z, p, units, None)


def paired_bootstrap(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    patients: Sequence[str] | NDArray[np.str_],
    statistic: Statistic | None = None,
    count: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Comparison:
    """Compare two models on the same resampled patients.

    Parameters
    ----------
    labels, first, second, patients : sequence, shape (rows,)
        0, 1 or NaN (left out); the two models' scores; the patient of each scan or slice.
    statistic : callable, optional
        The figure to compare; the AUC by default.
    count, seed, level
        Of the resamples and the interval.

    Returns
    -------
    Comparison
        ``p`` is twice the smaller share of resamples on either side of no difference, the data counted as one of them.
    """
    name, counts = "paired bootstrap by patient", class_counts(labels)
    truth, one, other = known(labels, first, second)
    judged = np.asarray(patients)[~np.isnan(np.asarray(labels, dtype=np.float64))]
    units = len(np.unique(judged))
    if not counts.rarest:
        return _nothing(name, level, units, str(counts))
    resamples = resample_patients(judged, truth == 1, count, seed)
    if statistic is None:
        everyone = np.ones((1, truth.size))
        figures = [float(weighted_auc(truth, scores, everyone)[0]) for scores in (one, other)]
        drawn = [resampled_auc(truth, scores, resamples) for scores in (one, other)]
    else:
        found = [statistic(truth, scores) for scores in (one, other)]
        if any(value is None or np.isnan(value) for value in found):
            return _nothing(name, level, units, f"{counts}: the figure does not exist")
        figures = [float(value) for value in found if value is not None]
        rows = [resamples.rows(number) for number in range(count)]
        drawn = [
            np.array([statistic(truth[kept], scores[kept]) for kept in rows], dtype=np.float64)
            for scores in (one, other)
        ]
    differences = drawn[0] - drawn[1]
    spread = interval(figures[0] - figures[1], differences, level, resamples.remark)
    p = None if spread.low is None else _two_sided(differences[~np.isnan(differences)])
    return _compared(name, figures[0], figures[1], spread, p, units)


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
    figures = (float(pair[0].mean()), float(pair[1].mean()), difference)
    if np.ptp(pair[0] - pair[1]) < 1e-15:
        return Comparison(
            name, *figures, None, None, level, None, None, units, "every pair differs by the same: no variance"
        )
    result = ttest_rel(pair[0], pair[1])
    bounds = result.confidence_interval(level)
    return Comparison(
        name,
        *figures,
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


def _compared(name: str, first: float, second: float, spread: Interval, p: float | None, units: int) -> Comparison:
    return Comparison(
        name, first, second, first - second, spread.low, spread.high, spread.level, None, p, units, spread.remark
    )


def _nothing(name: str, level: float, units: int, remark: str) -> Comparison:
    return Comparison(name, None, None, None, None, None, level, None, None, units, remark)
