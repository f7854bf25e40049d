"""Curves of one label with their intervals: receiver operating characteristic and precision-recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from research.metrics.class_counts import class_counts, known
from research.metrics.confidence import LEVEL, RESAMPLES, Interval, auc_interval, interval, resample_patients

_GRID = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class RocCurve:
    """Receiver operating characteristic of one label.

    Attributes
    ----------
    false_positive, sensitivity : tuple of float
        Corners of the curve, 1 - specificity rising from 0 to 1; empty where a class is missing.
    grid : tuple of float
        Values of 1 - specificity at which the band is given; empty where there is none.
    low, high : tuple of float
        The band of sensitivity there, pointwise, patients resampled.
    auc : Interval
        Area below, with the reason where something is missing.
    """

    false_positive: tuple[float, ...]
    sensitivity: tuple[float, ...]
    grid: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    auc: Interval


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision over recall of one label.

    Attributes
    ----------
    recall, precision : tuple of float
        Corners of the curve, recall falling from 1 to 0; empty where a class is missing.
    average_precision, prevalence : float or None
        The step-wise area below, and its random baseline.
    remark : str or None
        Why there is no curve.
    """

    recall: tuple[float, ...]
    precision: tuple[float, ...]
    average_precision: float | None
    prevalence: float | None
    remark: str | None


def roc(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: Sequence[str] | NDArray[np.str_],
    count: int = RESAMPLES,
    band_count: int = 0,
    seed: int = 0,
    level: float = LEVEL,
) -> RocCurve:
    """Return the curve of one label.

    Parameters
    ----------
    labels, scores, patients : sequence, shape (rows,)
        0, 1 or NaN (left out); probability or logit; the patient of each scan or slice.
    count : int
        Resamples of the area's interval.
    band_count : int
        Resamples of the curve's band, each a curve of its own; none by default.
    seed, level
        Of the resamples, and of interval and band.
    """
    area = auc_interval(labels, scores, patients, count, seed, level)
    if area.estimate is None:
        return RocCurve((), (), (), (), (), area)
    truth, predicted = known(labels, scores)
    false_positive, sensitivity, _ = roc_curve(truth, predicted)
    corners = tuple(false_positive.tolist()), tuple(sensitivity.tolist())
    if area.low is None or not band_count:
        return RocCurve(*corners, (), (), (), area)
    labelled = np.asarray(patients)[~np.isnan(np.asarray(labels, dtype=np.float64))]
    resamples = resample_patients(labelled, truth == 1, band_count, seed)
    resampled = np.array(
        [
            _sensitivity_on_grid(truth, predicted, resamples.weights(number, number + 1)[0])
            for number in range(band_count)
        ]
    )
    low, high = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return RocCurve(*corners, tuple(_GRID.tolist()), tuple(low.tolist()), tuple(high.tolist()), area)


def precision_recall(labels: ArrayLike, scores: ArrayLike) -> PrecisionRecallCurve:
    """Return the curve of one label; arguments as in :func:`roc`."""
    counts = class_counts(labels)
    if not counts.rarest:
        return PrecisionRecallCurve((), (), None, None, str(counts))
    truth, predicted = known(labels, scores)
    precision, recall, _ = precision_recall_curve(truth, predicted)
    return PrecisionRecallCurve(
        tuple(recall.tolist()),
        tuple(precision.tolist()),
        float(average_precision_score(truth, predicted)),
        float(truth.mean()),
        None,
    )


def average_precision_interval(
    labels: ArrayLike, scores: ArrayLike, patients: Sequence[str] | NDArray[np.str_], count: int = RESAMPLES
) -> Interval:
    """Return the average precision of one label with its interval, patients resampled."""
    counts = class_counts(labels)
    if not counts.rarest:
        return Interval(None, None, None, LEVEL, 0, str(counts))
    truth, predicted = known(labels, scores)
    labelled = np.asarray(patients)[~np.isnan(np.asarray(labels, dtype=np.float64))]
    resamples = resample_patients(labelled, truth == 1, count)
    estimate = float(weighted_average_precision(truth, predicted, np.ones((1, truth.size)))[0])
    resampled = weighted_average_precision(truth, predicted, resamples.weights(0, count))
    return interval(estimate, resampled, LEVEL, resamples.remark)


def weighted_average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Return the average precision under each row of weights: scikit-learn's, for all resamples at once.

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
    predicted_positive = np.cumsum(np.add.reduceat(weight, starts, axis=1), axis=1)
    true_positive = np.cumsum(positive, axis=1)
    precision = np.divide(
        true_positive, predicted_positive, out=np.zeros_like(true_positive), where=predicted_positive > 0
    )
    total = true_positive[:, -1]
    return np.divide((positive * precision).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)


def _sensitivity_on_grid(
    labels: NDArray[np.float64], scores: NDArray[np.float64], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the resample's sensitivity at each value of the grid; NaN where it lacks a class."""
    drawn = weights > 0
    if not 0 < (weights * labels).sum() < weights.sum():
        return np.full(_GRID.shape, np.nan)
    false_positive, sensitivity, _ = roc_curve(labels[drawn], scores[drawn], sample_weight=weights[drawn])
    # Of the corners above one value of the grid the highest counts; interpolation alone may take the lowest.
    last = np.append(false_positive[1:] != false_positive[:-1], True)
    return np.interp(_GRID, false_positive[last], sensitivity[last])
