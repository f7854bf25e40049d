"""Classification metrics of scans or slices, label by label and over all labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_recall_fscore_support,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from research.metrics.class_counts import ClassCounts, class_counts, known
from research.metrics.reliability import reliability
from scripts.operating_points import DEFAULT_THRESHOLD

FEW = 10
"""Below this many positives (or negatives) a metric is weak, and carries a remark."""

FIXED = (0.90, 0.95)
"""Specificities at which sensitivity is given, and sensitivities at which specificity is given."""

MACRO = (
    *("auc", "average_precision", "precision", "recall", "specificity", "f1"),
    *("log_loss", "expected_calibration_error", "brier"),
)
"""Metrics whose mean over the labels is given."""

_SMALLEST_PROBABILITY = 1e-15
"""Probabilities are clipped to this before the logarithm, so that one certain mistake does not cost infinitely much."""


@dataclass(frozen=True)
class LabelMetrics:
    """Metrics of one label over the scans where it is known; None where a class that the metric needs is missing.

    Attributes
    ----------
    positive, negative, unknown : int
        Scans with the label, without it, and without a known label.
    threshold : float
        A scan of at least this probability is predicted positive, for ``precision`` to ``f1``.
    recall : float or None
        The same as sensitivity.
    sensitivity_at_specificity, specificity_at_sensitivity : dict
        ``"0.90"`` and ``"0.95"`` to the largest value of any threshold with at least that of the other.
    log_loss, brier : float or None
        Mean over scans; natural logarithm.
    expected_calibration_error : float or None
        Over ``bins`` bins of equal width.
    remark : str or None
        Why a metric is missing or weak.
    """

    positive: int
    negative: int
    unknown: int
    threshold: float
    auc: float | None
    average_precision: float | None
    precision: float | None
    recall: float | None
    specificity: float | None
    f1: float | None
    sensitivity_at_specificity: dict[str, float | None]
    specificity_at_sensitivity: dict[str, float | None]
    log_loss: float | None
    brier: float | None
    expected_calibration_error: float | None
    bins: int
    remark: str | None


@dataclass(frozen=True)
class MacroMetric:
    """Unweighted mean over the labels that have the metric.

    Attributes
    ----------
    value : float or None
        None if no label has it.
    labels : int
        Over how many labels.
    remark : str or None
        Which labels are left out, and why.
    """

    value: float | None
    labels: int
    remark: str | None


@dataclass(frozen=True)
class ClassificationMetrics:
    """Metrics of all labels.

    Attributes
    ----------
    labels : dict
        Label key to its metrics.
    macro : dict
        Name of the metric (see :data:`MACRO`) to its mean over labels.
    weighted_log_loss : float or None
        Mean of the log loss over scans and labels, weighted by label.
    weights : dict
        Label key to its weight there; they sum to 1.
    """

    labels: dict[str, LabelMetrics]
    macro: dict[str, MacroMetric]
    weighted_log_loss: float | None
    weights: dict[str, float]


def classification_metrics(
    probabilities: ArrayLike, labels: ArrayLike, keys: Sequence[str], threshold: float = DEFAULT_THRESHOLD
) -> ClassificationMetrics:
    """Return every metric of a multi-label classification.

    Parameters
    ----------
    probabilities, labels : array_like, shape (scans, labels)
        Predictions 0..1; and 0, 1 or NaN, which leaves the scan out of that label's metrics.
    keys : sequence of str
        The label of each column.
    threshold : float
        Of all labels.

    Raises
    ------
    ValueError
        If shapes do not fit, a label is none of 0, 1 and NaN, or a probability is NaN where its label is known.
    """
    predicted, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if predicted.shape != truth.shape or truth.ndim != 2 or truth.shape[1] != len(keys):
        raise ValueError(f"probabilities {predicted.shape}, labels {truth.shape}, {len(keys)} keys")
    metrics = {key: label_metrics(predicted[:, column], truth[:, column], threshold) for column, key in enumerate(keys)}
    weights = rsna_weights(keys)
    return ClassificationMetrics(
        metrics,
        {name: _macro(name, metrics) for name in MACRO},
        weighted_log_loss(predicted, truth, list(weights.values())),
        weights,
    )


def label_metrics(probabilities: ArrayLike, labels: ArrayLike, threshold: float = DEFAULT_THRESHOLD) -> LabelMetrics:
    """Return the metrics of one label; arguments as in :func:`classification_metrics`, one column each."""
    counts = class_counts(labels)
    truth, predicted = known(labels, probabilities)
    both, some = counts.rarest > 0, truth.size > 0
    positive = predicted >= threshold
    precision, recall, f1, _ = (
        precision_recall_fscore_support(truth, positive, average="binary", zero_division=0)
        if counts.positive
        else (None, None, None, None)
    )
    remarks = [str(counts)] if counts.rarest < FEW else []
    if counts.positive and not positive.any():
        remarks.append(f"none reaches the threshold {threshold:.3g}: precision counts as 0")
    calibration = reliability(truth, predicted)
    return LabelMetrics(
        positive=counts.positive,
        negative=counts.negative,
        unknown=counts.unknown,
        threshold=float(threshold),
        auc=float(roc_auc_score(truth, predicted)) if both else None,
        average_precision=float(average_precision_score(truth, predicted)) if both else None,
        precision=precision,
        recall=recall,
        specificity=float(recall_score(truth, positive, pos_label=0)) if counts.negative else None,
        f1=f1,
        **_at_fixed_points(truth, predicted, counts),
        log_loss=float(_losses(predicted, truth).mean()) if some else None,
        brier=float(brier_score_loss(truth, predicted, pos_label=1)) if some else None,
        expected_calibration_error=calibration.expected_calibration_error,
        bins=calibration.bins,
        remark="; ".join(remarks) or None,
    )


def rsna_weights(keys: Sequence[str]) -> dict[str, float]:
    """Return the weights of the RSNA 2019 challenge's log loss: ``any`` 2/7, each of five subtypes 1/7."""
    doubled = {key: 2.0 if key == "any" else 1.0 for key in keys}
    total = sum(doubled.values())
    return {key: weight / total for key, weight in doubled.items()}


def weighted_log_loss(probabilities: ArrayLike, labels: ArrayLike, weights: Sequence[float]) -> float | None:
    """Return the mean log loss over all known labels of all scans, each weighted by its label.

    Parameters
    ----------
    probabilities, labels : array_like, shape (scans, labels)
        As in :func:`classification_metrics`.
    weights : sequence of float
        One per label; only their proportions matter.

    Returns
    -------
    float or None
        None if no label is known.
    """
    losses, weight = _weighted_losses(probabilities, labels, weights)
    return float(losses.sum() / weight.sum()) if weight.sum() > 0 else None


def scan_losses(probabilities: ArrayLike, labels: ArrayLike, weights: Sequence[float]) -> NDArray[np.float64]:
    """Return each scan's log loss, the weighted mean over its known labels, shape (scans,); NaN if it has none."""
    losses, weight = _weighted_losses(probabilities, labels, weights)
    total = weight.sum(axis=1)
    return np.divide(losses.sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)


def _weighted_losses(
    probabilities: ArrayLike, labels: ArrayLike, weights: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return losses times weights, and the weights, both 0 where the label is unknown."""
    truth = np.asarray(labels, dtype=np.float64)
    labelled = ~np.isnan(truth)
    weight = np.where(labelled, np.asarray(weights, dtype=np.float64), 0.0)
    losses = np.where(labelled, _losses(np.asarray(probabilities, dtype=np.float64), truth), 0.0)
    if np.isnan(losses).any():
        raise ValueError("a prediction is NaN where its label is known")
    return losses * weight, weight


def _losses(probabilities: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(probabilities, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    return np.asarray(-(xlogy(labels, clipped) + xlogy(1 - labels, 1 - clipped)), dtype=np.float64)


def _at_fixed_points(
    truth: NDArray[np.float64], predicted: NDArray[np.float64], counts: ClassCounts
) -> dict[str, dict[str, float | None]]:
    names = [f"{value:.2f}" for value in FIXED]
    if not counts.rarest:
        nothing: dict[str, float | None] = dict.fromkeys(names)
        return {"sensitivity_at_specificity": nothing, "specificity_at_sensitivity": dict(nothing)}
    false_positive, sensitivity, _ = roc_curve(truth, predicted, drop_intermediate=False)
    specificity = 1 - false_positive
    # 1 - 2/20 is not 0.9 in binary: without the tolerance a specificity that is just reached would not count.
    return {
        "sensitivity_at_specificity": {
            name: float(sensitivity[specificity >= value - 1e-12].max())
            for name, value in zip(names, FIXED, strict=True)
        },
        "specificity_at_sensitivity": {
            name: float(specificity[sensitivity >= value - 1e-12].max())
            for name, value in zip(names, FIXED, strict=True)
        },
    }


def _macro(name: str, metrics: Mapping[str, LabelMetrics]) -> MacroMetric:
    values = {key: getattr(label, name) for key, label in metrics.items()}
    present = [value for value in values.values() if value is not None]
    missing = [f"{key}: {metrics[key].remark}" for key, value in values.items() if value is None]
    return MacroMetric(
        float(np.mean(present)) if present else None,
        len(present),
        f"without {'; '.join(missing)}" if missing else None,
    )
