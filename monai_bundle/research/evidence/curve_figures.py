"""Curves and areas of the report, with intervals that cost little: two cores measure a dozen ways to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research.metrics.class_counts import class_counts, known
from research.metrics.confidence import LEVEL, RESAMPLES, Interval, auc_interval, interval, resample_patients
from research.metrics.curves import RocCurve, roc

BAND_RESAMPLES = 500
"""Of the band of a curve; its area has as many as every other figure."""


def roc_with_area(
    labels: ArrayLike, scores: ArrayLike, patients: NDArray[np.str_], count: int = RESAMPLES, band: bool = False
) -> RocCurve:
    """Return the curve of one label, its area resampled ``count`` times, with a band only where one is wanted.

    Parameters
    ----------
    labels, scores, patients : array_like, shape (rows,)
        As :func:`~research.metrics.curves.roc` takes them.
    count : int
        Resamples of the area.
    band : bool
        Whether to resample the curve itself.
    """
    curve = roc(labels, scores, patients, min(count, BAND_RESAMPLES) if band else 1)
    area = auc_interval(labels, scores, patients, count)
    return replace(curve, auc=area) if band else replace(curve, auc=area, grid=(), low=(), high=())


def weighted_average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Return the average precision under each row of weights, as scikit-learn's of one row.

    Parameters
    ----------
    labels, scores : array_like, shape (rows,)
        0 or 1, and larger for more likely positive.
    weights : array_like, shape (resamples, rows)
        How often each row counts.

    Returns
    -------
    ndarray, shape (resamples,)
        NaN where nothing positive has weight.
    """
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    ranked = np.asarray(scores)[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    weight, truth = np.asarray(weights, dtype=np.float64)[:, order], np.asarray(labels)[order] == 1
    positive = np.add.reduceat(np.where(truth, weight, 0.0), starts, axis=1)
    called = np.cumsum(np.add.reduceat(weight, starts, axis=1), axis=1)
    hits = np.cumsum(positive, axis=1)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    total = hits[:, -1]
    return np.divide((positive * precision).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)


def average_precision_interval(
    labels: ArrayLike, scores: ArrayLike, patients: Sequence[str] | NDArray[np.str_], count: int = RESAMPLES
) -> Interval:
    """Return the average precision of one label with its interval, patients resampled."""
    counts = class_counts(labels)
    if not counts.rarest:
        return Interval(None, None, None, LEVEL, 0, str(counts))
    truth, predicted = known(labels, scores)
    judged = np.asarray(patients)[~np.isnan(np.asarray(labels, dtype=np.float64))]
    resamples = resample_patients(judged, truth == 1, count)
    estimate = float(weighted_average_precision(truth, predicted, np.ones((1, truth.size)))[0])
    drawn = weighted_average_precision(truth, predicted, resamples.weights(0, count))
    return interval(estimate, drawn, LEVEL, resamples.remark)
