"""Macro precision, recall and F1 of thresholded predictions, beside chance: the columns of DrCT2's tables 2 to 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research.metrics.confidence import LEVEL, RESAMPLES, interval, resample_patients
from research.metrics.random_baseline import MeanMetric, missing

SCORES = ("precision", "recall", "f1")

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Counts:
    """Numbers of scans per row of weights and label, shape (rows, labels)."""

    true_positive: Floats
    predicted: Floats
    positive: Floats

    def scores(self) -> dict[str, Floats]:
        """Return the mean over the labels with a positive scan, shape (rows,); what nothing is predicted for is 0."""
        values = {
            "precision": _divided(self.true_positive, self.predicted),
            "recall": _divided(self.true_positive, self.positive),
            "f1": _divided(2 * self.true_positive, self.predicted + self.positive),
        }
        present = self.positive > 0
        return {name: _divided((value * present).sum(axis=1), present.sum(axis=1)) for name, value in values.items()}


def thresholded_scores(
    predicted: ArrayLike, labels: ArrayLike, patients: Sequence[str] | NDArray[np.str_], count: int = RESAMPLES
) -> dict[str, MeanMetric]:
    """Return macro precision, recall and F1: unweighted means over the labels that at least one scan shows.

    Parameters
    ----------
    predicted, labels : array_like, shape (scans, labels)
        1 where predicted positive, else 0; and 0, 1 or NaN, which leaves the scan out of that label.
    patients : sequence of str
        Of each scan; resampled with all their scans.
    count : int
        Resamples of the intervals.

    Returns
    -------
    dict
        :data:`SCORES`. The random baseline is what as many scans per label, drawn at random, are expected to reach;
        it is exact, because precision, recall and F1 are linear in the true positives.
    """
    truth, positive = np.asarray(labels, dtype=np.float64), np.asarray(predicted, dtype=np.float64) == 1
    known = ~np.isnan(truth)
    shown = known & (truth == 1)
    if not shown.any():
        return dict.fromkeys(SCORES, missing("no scan shows a label"))
    resamples = resample_patients(patients, shown.any(axis=1), count)
    parts = [(positive & shown).astype(float), (positive & known).astype(float), shown.astype(float)]
    counted = _Counts(*(part.sum(axis=0, keepdims=True) for part in parts))
    drawn = _divided(counted.predicted * counted.positive, known.sum(axis=0, keepdims=True).astype(float))
    chance = _Counts(drawn, counted.predicted, counted.positive).scores()
    weights = resamples.weights(0, count)
    resampled = _Counts(*(weights @ part for part in parts)).scores()
    found = {}
    for name, value in counted.scores().items():
        bounds = interval(float(value[0]), resampled[name], LEVEL, resamples.remark)
        found[name] = MeanMetric(
            value=float(value[0]),
            random_baseline=float(chance[name][0]),
            low=bounds.low,
            high=bounds.high,
            scans=len(truth),
            patients=len(set(np.asarray(patients).tolist())),
        )
    return found


def _divided(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0)
