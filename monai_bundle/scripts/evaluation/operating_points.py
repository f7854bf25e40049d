"""Thresholds chosen on patients that the network has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

TARGET = 0.95
"""Sensitivity of the point "high_sensitivity" and specificity of the point "high_specificity"."""


def operating_points(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], keys: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Choose the thresholds of every label at three operating points.

    ``balanced`` maximises sensitivity + specificity (Youden); the other two reach 0.95 of what their name says and as
    much of the other as that allows.

    Parameters
    ----------
    probabilities, labels : ndarray, shape (scans, labels)
        Predictions for held-out patients, and 0 or 1.
    keys : sequence of str
        The label of each column.

    Raises
    ------
    ValueError
        If a label has no positive or no negative scan.
    """
    points: dict[str, dict[str, float]] = {"high_sensitivity": {}, "balanced": {}, "high_specificity": {}}
    for column, key in enumerate(keys):
        true = labels[:, column]
        if len(np.unique(true)) < 2:
            raise ValueError(f"{key}: an operating point needs positive and negative scans")
        false_positive, true_positive, cuts = roc_curve(true, probabilities[:, column], drop_intermediate=False)
        # roc_curve's first cut is infinite, "nothing is positive": a threshold is a probability.
        cuts = np.minimum(cuts, 1.0)
        chosen = {
            "high_sensitivity": int(np.argmax(true_positive >= TARGET)),
            "balanced": int(np.argmax(true_positive - false_positive)),
            "high_specificity": int(np.flatnonzero(false_positive <= 1 - TARGET)[-1]),
        }
        for name, index in chosen.items():
            points[name][key] = _rounded_down(float(cuts[index]))
    return points


def _rounded_down(threshold: float) -> float:
    """Four decimals, never above the scan that set the threshold: it would turn negative."""
    return float(np.floor(threshold * 1e4) / 1e4)
