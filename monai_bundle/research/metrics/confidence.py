"""Confidence intervals: percentile bootstrap by patient, Wilson's interval of a proportion.

``scipy.stats.bootstrap`` resamples rows, not patients with all their rows, and has no strata; the draws of the
committed evidence are those of :func:`resample_patients`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from research.metrics.class_counts import class_counts, known

RESAMPLES = 2000
LEVEL = 0.95

_MOST_NUMBERS = 1_000_000
"""Weights held at once: 2,000 resamples of 870,000 slices would not fit into memory."""


@dataclass(frozen=True)
class Interval:
    """A metric and its confidence interval.

    Attributes
    ----------
    estimate : float or None
        The metric over the patients as they are.
    low, high : float or None
        Bounds of the interval; None where there is none.
    level : float
        0..1.
    resamples : int
        Resamples in which the metric exists.
    remark : str or None
        Why a part is missing, or how many resamples are.
    """

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    resamples: int
    remark: str | None


@dataclass(frozen=True)
class PatientResamples:
    """How often each patient is drawn in each resample; all of a patient's rows are drawn as often.

    Attributes
    ----------
    draws : ndarray of int64, shape (resamples, patients)
        Patients in the order of their sorted names, so that the order of the rows does not matter.
    row_patient : ndarray of int64, shape (rows,)
        Column of ``draws`` that each row (scan or slice) belongs to.
    remark : str or None
        Why resampling cannot estimate the uncertainty of a metric.
    """

    draws: NDArray[np.int64]
    row_patient: NDArray[np.int64]
    remark: str | None

    def weights(self, first: int, last: int) -> NDArray[np.int64]:
        """Return how often each row is drawn in resamples ``first`` to ``last``, shape (resamples, rows)."""
        return self.draws[first:last, self.row_patient]


def resample_patients(
    patients: Sequence[str] | NDArray[np.str_], positive: ArrayLike, count: int = RESAMPLES, seed: int = 0
) -> PatientResamples:
    """Draw patients with replacement, stratified by whether a patient has a positive row.

    Parameters
    ----------
    patients, positive : sequence, shape (rows,)
        Patient of each scan or slice, and whether it is positive. Each stratum keeps its size: no resample lacks a
        class that whole patients make up.
    count, seed : int
        Number of resamples, and of the generator.

    Raises
    ------
    ValueError
        If there is no row, no resample, or not one patient per row.
    """
    names, row_patient = np.unique(np.asarray(patients), return_inverse=True)
    shown = np.asarray(positive, dtype=bool)
    if shown.shape != row_patient.shape or not shown.size or count < 1:
        raise ValueError(f"{count} resamples of {len(row_patient)} rows with {shown.size} labels")
    has_positive = np.bincount(row_patient, shown, len(names)) > 0
    generator = np.random.default_rng(seed)
    draws = np.zeros((count, len(names)), dtype=np.int64)
    remarks = []
    for word, members in (("with", np.flatnonzero(has_positive)), ("without", np.flatnonzero(~has_positive))):
        if members.size:
            draws[:, members] = generator.multinomial(members.size, np.full(members.size, 1 / members.size), count)
        if members.size == 1:
            remarks.append(f"a single patient {word} a positive has no variance")
    return PatientResamples(draws, row_patient.astype(np.int64), "; ".join(remarks) or None)


def weighted_auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Return the AUC under each row of weights: the proportion of pairs that the positive wins, a tie counting half.

    All resamples at once: ``roc_auc_score`` takes one vector of weights, and 2,000 calls per interval take minutes.

    Parameters
    ----------
    labels, scores : array_like, shape (rows,)
        0 or 1, and larger for more likely positive.
    weights : array_like, shape (resamples, rows)
        How often each row counts.

    Returns
    -------
    ndarray, shape (resamples,)
        NaN where a class has no weight.
    """
    order = np.argsort(np.asarray(scores), kind="stable")
    ranked = np.asarray(scores)[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    weight, truth = np.asarray(weights, dtype=np.float64)[:, order], np.asarray(labels)[order] == 1
    positive = np.add.reduceat(np.where(truth, weight, 0.0), starts, axis=1)
    negative = np.add.reduceat(np.where(truth, 0.0, weight), starts, axis=1)
    won = (positive * (np.cumsum(negative, axis=1) - negative / 2)).sum(axis=1)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def resampled_auc(labels: ArrayLike, scores: ArrayLike, resamples: PatientResamples) -> NDArray[np.float64]:
    """Return the AUC of every resample, shape (resamples,); NaN where a class is missing."""
    total, rows = len(resamples.draws), len(resamples.row_patient)
    step = max(1, _MOST_NUMBERS // max(rows, 1))
    return np.concatenate(
        [
            weighted_auc(labels, scores, resamples.weights(first, min(first + step, total)))
            for first in range(0, total, step)
        ]
    )


def auc_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: Sequence[str] | NDArray[np.str_],
    count: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Return the AUC of one label with its interval, patients resampled with all their scans or slices.

    Parameters
    ----------
    labels, scores, patients : sequence, shape (rows,)
        0, 1 or NaN (left out); probability or logit; and the patient of each scan or slice.
    count, seed, level
        See :func:`resample_patients` and :class:`Interval`.
    """
    counts = class_counts(labels)
    if not counts.rarest:
        return Interval(None, None, None, level, 0, str(counts))
    truth, predicted = known(labels, scores)
    labelled = np.asarray(patients)[~np.isnan(np.asarray(labels, dtype=np.float64))]
    resamples = resample_patients(labelled, truth == 1, count, seed)
    estimate = float(weighted_auc(truth, predicted, np.ones((1, truth.size)))[0])
    return interval(estimate, resampled_auc(truth, predicted, resamples), level, resamples.remark)


def interval(
    estimate: float, resampled: NDArray[np.float64], level: float = LEVEL, remark: str | None = None
) -> Interval:
    """Return the percentile interval of a resampled metric.

    Parameters
    ----------
    estimate : float
        The metric over the patients as they are.
    resampled : ndarray, shape (resamples,)
        The metric over each resample; NaN where it does not exist.
    level : float
        0..1.
    remark : str, optional
        Why there is no interval.
    """
    present = resampled[~np.isnan(resampled)]
    if remark or not present.size:
        return Interval(estimate, None, None, level, 0, remark or "the metric exists in no resample")
    low, high = np.quantile(present, [(1 - level) / 2, (1 + level) / 2])
    missing = len(resampled) - len(present)
    undefined = f"{missing} of {len(resampled)} resamples lack a class" if missing else None
    return Interval(estimate, float(low), float(high), level, len(present), undefined)


def proportion_interval(successes: int, trials: int, level: float = LEVEL) -> Interval:
    """Return a proportion with its Wilson interval (Wilson E. B., JASA 1927), for scans of different patients.

    A percentile interval of 36 of 36 would be 1 to 1; this one is not.
    """
    if not trials:
        return Interval(None, None, None, level, 0, "no scan to count")
    bounds = binomtest(successes, trials).proportion_ci(level, method="wilson")
    return Interval(successes / trials, float(bounds.low), float(bounds.high), level, 0, None)
