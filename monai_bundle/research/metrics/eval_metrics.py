"""The few figures of each label that stand in the bundle's metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from research.metrics.classification import FEW, classification_figures


def label_figures(probabilities: ArrayLike, labels: ArrayLike, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return figures per label, to three decimals.

    Parameters
    ----------
    probabilities, labels : array_like, shape (scans, labels)
        Predictions, and 0 or 1 (NaN leaves a scan out).
    keys : sequence of str
        The label of each column.

    Returns
    -------
    dict
        Per label: ``positive`` and ``negative`` (counts), ``auc`` and ``average_precision`` (None where a class is
        missing), ``remark`` (why a figure is missing or weak, else None).
    """
    return {
        key: {
            "positive": label.positive,
            "negative": label.negative,
            "auc": None if label.auc is None else round(label.auc, 3),
            "average_precision": None if label.average_precision is None else round(label.average_precision, 3),
            "remark": f"only {label.positive} positive, {label.negative} negative"
            if min(label.positive, label.negative) < FEW
            else None,
        }
        for key, label in classification_figures(probabilities, labels, keys).labels.items()
    }
