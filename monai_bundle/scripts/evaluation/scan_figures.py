"""How well scan probabilities tell positive from negative scans, label by label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

FEW = 10
"""Below this many positives (or negatives) a figure says little."""


def label_figures(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], keys: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return figures per label.

    Parameters
    ----------
    probabilities, labels : ndarray, shape (scans, labels)
        Predictions, and 0 or 1.
    keys : sequence of str
        The label of each column.

    Returns
    -------
    dict
        Per label: ``positive`` and ``negative`` (counts), ``auc`` and ``average_precision`` (None where a class is
        missing), ``remark`` (why a figure is missing or weak, else None).
    """
    figures = {}
    for column, key in enumerate(keys):
        true, predicted = labels[:, column], probabilities[:, column]
        positive, negative = int((true == 1).sum()), int((true == 0).sum())
        judged = min(positive, negative) > 0
        figures[key] = {
            "positive": positive,
            "negative": negative,
            "auc": round(float(roc_auc_score(true, predicted)), 3) if judged else None,
            "average_precision": round(float(average_precision_score(true, predicted)), 3) if judged else None,
            "remark": f"only {positive} positive, {negative} negative" if min(positive, negative) < FEW else None,
        }
    return figures
