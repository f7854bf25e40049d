"""Probabilities that mean what they say: temperature and Platt scaling of logits, fitted on validation patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit

from research.metrics.class_counts import class_counts
from scripts.calibration import Calibration

FEWEST = 10
"""Platt scaling needs so many positive (and negative) scans of a label."""

SLOPES = (0.01, 100.0)
"""A slope stays within these: above 0, because calibration must not change the order of scans."""


Fit = Callable[[NDArray[np.float64], NDArray[np.float64], Sequence[str]], Calibration]
"""Takes logits and labels, shape (scans, labels), and the keys, e.g. :func:`fit_platt`."""

Choice = Callable[[NDArray[np.float64], NDArray[np.float64], Sequence[str], NDArray[np.int64]], Fit]
"""Takes logits, labels, keys and folds, and says how they are calibrated."""


def fit_temperature(logits: ArrayLike, labels: ArrayLike, keys: Sequence[str]) -> Calibration:
    """Divide all logits by the one temperature that gives the smallest log loss.

    Parameters
    ----------
    logits, labels : array_like, shape (scans, labels)
        Of validation patients; 0, 1 or NaN (left out).
    keys : sequence of str
        The label of each column.

    Notes
    -----
    Guo C. et al., On calibration of modern neural networks, ICML 2017.
    """
    values, truth = _checked(logits, labels, keys)
    rows = ~np.isnan(truth)
    if not rows.any():
        return Calibration(
            tuple(keys), (1.0,) * len(keys), (0.0,) * len(keys), dict.fromkeys(keys, "no label is known")
        )
    slope, _ = _line(values[rows], truth[rows], with_offset=False)
    return Calibration(tuple(keys), (slope,) * len(keys), (0.0,) * len(keys), _at_bound(keys, [slope] * len(keys)))


def fit_platt(
    logits: ArrayLike,
    labels: ArrayLike,
    keys: Sequence[str],
    fewest: int = FEWEST,
    left_alone: Mapping[str, str] = MappingProxyType({}),
) -> Calibration:
    """Give each label the line, slope above 0, that gives the smallest log loss.

    Parameters
    ----------
    logits, labels : array_like, shape (scans, labels)
        Of validation patients; 0, 1 or NaN (left out).
    keys : sequence of str
        The label of each column.
    fewest : int
        A label with fewer positive or negative scans keeps its logits: two numbers cannot be fitted to so few.
    left_alone : mapping
        Labels that keep their logits for another reason, and the reason (:mod:`.calibration_choice`).

    Notes
    -----
    Platt J., Probabilistic outputs for support vector machines, 1999; with its targets (N+ + 1) / (N+ + 2) and
    1 / (N- + 2) in place of 1 and 0, without which a label that is perfectly told apart has no best line.
    """
    values, truth = _checked(logits, labels, keys)
    slopes, offsets, remarks = [], [], {}
    for column, key in enumerate(keys):
        counts = class_counts(truth[:, column])
        if counts.rarest < max(fewest, 1) or key in left_alone:
            slopes.append(1.0)
            offsets.append(0.0)
            remarks[key] = left_alone.get(key, f"not calibrated: {counts}")
            continue
        rows = ~np.isnan(truth[:, column])
        positive = truth[rows, column] == 1
        target = np.where(positive, (counts.positive + 1) / (counts.positive + 2), 1 / (counts.negative + 2))
        slope, offset = _line(values[rows, column], target, with_offset=True)
        slopes.append(slope)
        offsets.append(offset)
    return Calibration(tuple(keys), tuple(slopes), tuple(offsets), _at_bound(keys, slopes) | remarks)


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Calibrated probabilities of patients whose labels their calibration has not seen.

    Attributes
    ----------
    probabilities : ndarray, shape (scans, labels)
        In the order of the logits.
    calibrations : dict
        Fold to the calibration that was fitted on all others.
    """

    probabilities: NDArray[np.float64]
    calibrations: dict[int, Calibration]


def cross_fitted(
    logits: ArrayLike, labels: ArrayLike, keys: Sequence[str], folds: ArrayLike, fit: Fit = fit_platt
) -> CrossFitted:
    """Calibrate each fold with what is fitted on all others.

    Parameters
    ----------
    logits, labels : array_like, shape (scans, labels)
        Of held-out patients.
    keys : sequence of str
        The label of each column.
    folds : array_like of int, shape (scans,)
        Folds that split no patient.
    fit : callable
        :func:`fit_platt`, :func:`fit_temperature` or the like.

    Raises
    ------
    ValueError
        If there are not two folds, or shapes do not fit.
    """
    values, truth = _checked(logits, labels, keys)
    fold = np.asarray(folds)
    numbers = [int(number) for number in np.unique(fold)]
    if len(numbers) < 2 or fold.shape != (len(truth),):
        raise ValueError(f"cross-fitting {len(truth)} scans needs two folds and one number per scan, not {numbers}")
    probabilities = np.empty_like(values)
    calibrations = {}
    for number in numbers:
        held_out = fold == number
        calibrations[number] = fit(values[~held_out], truth[~held_out], keys)
        probabilities[held_out] = calibrations[number].apply(values[held_out])
    return CrossFitted(probabilities, calibrations)


def _checked(
    logits: ArrayLike, labels: ArrayLike, keys: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if values.shape != truth.shape or truth.ndim != 2 or truth.shape[1] != len(keys):
        raise ValueError(f"logits {values.shape}, labels {truth.shape}, {len(keys)} keys")
    if not np.isfinite(values[~np.isnan(truth)]).all():
        raise ValueError("a logit is not finite where its label is known")
    return values, truth


def _line(logits: NDArray[np.float64], targets: NDArray[np.float64], with_offset: bool) -> tuple[float, float]:
    """Return slope and offset of the smallest mean log loss; the loss is convex in both."""

    def loss(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        calibrated = line[0] * logits + line[1]
        error = expit(calibrated) - targets
        value = float((np.logaddexp(0, calibrated) - targets * calibrated).mean())
        return value, np.array([float((error * logits).mean()), float(error.mean())])

    offsets = (None, None) if with_offset else (0.0, 0.0)
    found = minimize(
        loss,
        np.array([1.0, 0.0]),
        jac=True,
        bounds=[SLOPES, offsets],
        method="L-BFGS-B",
        options={"gtol": 1e-9, "ftol": 1e-14},
    )
    return float(found.x[0]), float(found.x[1])


def _at_bound(keys: Sequence[str], slopes: Sequence[float]) -> dict[str, str]:
    """Say where the bound stopped the fit: a lower one means that the logits hardly tell the classes apart."""
    return {
        key: f"the slope stands at its bound {slope:g}"
        for key, slope in zip(keys, slopes, strict=True)
        if slope in SLOPES
    }
