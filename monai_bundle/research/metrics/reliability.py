"""Reliability of probabilities: points of the reliability diagram, expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binned_statistic

from research.metrics.class_counts import known

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Points of a reliability diagram; bins without a scan are left out.

    Attributes
    ----------
    predicted, observed : tuple of float
        Mean probability and proportion of positives in each bin, 0..1.
    count : tuple of int
        Scans in each bin.
    bins : int
        Number of bins of equal width over 0..1, the empty ones included.
    expected_calibration_error : float or None
        Mean distance of the two, weighted by the count; None without any known label.
    """

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    count: tuple[int, ...]
    bins: int
    expected_calibration_error: float | None


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> Reliability:
    """Sort the scans into bins of equal width, and compare predicted with observed proportions.

    ``sklearn.calibration.calibration_curve`` gives the same points without the counts that the error is weighted by.

    Parameters
    ----------
    labels, probabilities : array_like, shape (scans,)
        0, 1 or NaN (left out), and 0..1.
    bins : int
        Number of bins; a probability of 1 belongs to the last.

    Raises
    ------
    ValueError
        If there is no bin, or a probability lies outside 0..1.

    Notes
    -----
    Naeini M. P. et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015.
    """
    if bins < 1:
        raise ValueError(f"{bins} bins")
    truth, predicted = known(labels, probabilities)
    if ((predicted < 0) | (predicted > 1)).any():
        raise ValueError("a probability lies outside 0..1")
    if not truth.size:
        return Reliability((), (), (), bins, None)
    sums, _, numbers = binned_statistic(predicted, [predicted, truth], "sum", bins, range=(0, 1))
    counts = np.bincount(numbers - 1, minlength=bins)
    filled = counts > 0
    mean, proportion = sums[:, filled] / counts[filled]
    error = float(np.abs(mean - proportion) @ counts[filled] / truth.size)
    return Reliability(tuple(mean.tolist()), tuple(proportion.tolist()), tuple(counts[filled].tolist()), bins, error)
