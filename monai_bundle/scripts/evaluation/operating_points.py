"""Thresholds chosen on patients that the network has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

UNCHOSEN = 0.5
"""Threshold of a label that too few scans show."""

TARGET = 0.95
"""Sensitivity of the point "high_sensitivity" and specificity of the point "high_specificity"."""


def operating_points(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], keys: Sequence[str], fewest: int = 0
) -> dict[str, dict[str, float]]:
    """Choose the thresholds of every label at three operating points.

    ``balanced`` maximises sensitivity + specificity (Youden); the other two reach 0.95 of what their name says and as
    much of the other as that allows. A scan is positive from its threshold upwards; a threshold of 1 says that no other
    reaches the specificity.

    Parameters
    ----------
    probabilities, labels : ndarray, shape (scans, labels)
        Predictions for held-out patients, and 0 or 1.
    keys : sequence of str
        The label of each column.
    fewest : int
        A label with fewer positive or negative scans gets 0.5 everywhere: nothing can be chosen from so few.

    Raises
    ------
    ValueError
        If a label has no positive or no negative scan, and ``fewest`` does not excuse it.
    """
    points: dict[str, dict[str, float]] = {"high_sensitivity": {}, "balanced": {}, "high_specificity": {}}
    for column, key in enumerate(keys):
        true = labels[:, column]
        rarest = min(int((true == 1).sum()), int((true == 0).sum()))
        if rarest < fewest:
            for point in points.values():
                point[key] = UNCHOSEN
            continue
        if rarest == 0:
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
            below = float(cuts[index + 1]) if index + 1 < len(cuts) else -np.inf
            points[name][key] = _shortened(float(cuts[index]), below)
    return points


def _shortened(threshold: float, below: float) -> float:
    """Cut off the decimals that are not needed, four at least: no scan may change its side.

    Above ``threshold`` the scan that set it would turn negative, at ``below`` the next one would turn positive.
    """
    for decimals in range(4, 17):
        shorter = math.floor(threshold * 10**decimals) / 10**decimals
        if below < shorter <= threshold:
            return shorter
    return threshold
