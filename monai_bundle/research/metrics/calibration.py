"""Calibration: Platt scaling of logits, fitted on validation patients, for the labels that it serves.

scikit-learn's sigmoid calibration has Platt's targets but no bound on the slope: a negative one would reverse the
order of scans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import log_loss

from research.metrics.class_counts import class_counts, pooled_keys
from scripts.calibration import Calibration

FEWEST = 10
"""Platt scaling needs so many positive (and negative) scans of a label."""

SLOPES = (0.01, 100.0)
"""A slope stays within these: above 0, because calibration must not change the order of scans."""


Fit = Callable[[NDArray[np.float64], NDArray[np.float64], Sequence[str]], Calibration]
"""Takes logits and labels, shape (scans, labels), and the keys, e.g. :func:`fit_platt`."""

Choice = Callable[[NDArray[np.float64], NDArray[np.float64], Sequence[str], NDArray[np.int64]], Fit]
"""Takes logits, labels, keys and folds, and returns how they are calibrated, e.g. :func:`platt_where_it_helps`."""


def fit_platt(
    logits: ArrayLike,
    labels: ArrayLike,
    keys: Sequence[str],
    fewest: int = FEWEST,
    left_alone: Mapping[str, str] = MappingProxyType({}),
    pooled: Sequence[str] = (),
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
        Labels that keep their logits for another reason, and the reason (:func:`platt_where_it_helps`).
    pooled : sequence of str
        Labels that are too rare each and share one line, fitted to the scans of all of them
        (:func:`research.metrics.class_counts.pooled_keys`).

    Notes
    -----
    Platt J., Probabilistic outputs for support vector machines, 1999; with its targets (N+ + 1) / (N+ + 2) and
    1 / (N- + 2) in place of 1 and 0, without which perfectly separated classes have no best line.
    """
    values, truth = _checked(logits, labels, keys)
    slopes, offsets, remarks = [], [], {}
    prevalence: list[float | None] = []
    together = [column for column, key in enumerate(keys) if key in pooled]
    for column, key in enumerate(keys):
        columns = together if column in together else [column]
        labelled, scores = truth[:, columns].ravel(), values[:, columns].ravel()
        counts = class_counts(labelled)
        everybody = counts.positive + counts.negative
        prevalence.append(counts.positive / everybody if everybody else None)
        if counts.rarest < max(fewest, 1) or key in left_alone:
            slopes.append(1.0)
            offsets.append(0.0)
            remarks[key] = left_alone.get(key, f"not calibrated: {counts}")
            continue
        rows = ~np.isnan(labelled)
        positive = labelled[rows] == 1
        target = np.where(positive, (counts.positive + 1) / (counts.positive + 2), 1 / (counts.negative + 2))
        slope, offset = _line(scores[rows], target)
        slopes.append(slope)
        offsets.append(offset)
        if column in together:
            remarks[key] = f"one line for {', '.join(pooled)} together: {counts}"
    return Calibration(tuple(keys), tuple(slopes), tuple(offsets), _at_bound(keys, slopes) | remarks, tuple(prevalence))


def cross_fitted(
    logits: ArrayLike, labels: ArrayLike, keys: Sequence[str], folds: ArrayLike, fit: Fit = fit_platt
) -> NDArray[np.float64]:
    """Return probabilities, shape (scans, labels), each fold calibrated by a fit on all others.

    Parameters
    ----------
    logits, labels : array_like, shape (scans, labels)
        Of held-out patients.
    keys : sequence of str
        The label of each column.
    folds : array_like of int, shape (scans,)
        Folds that split no patient.
    fit : callable
        :func:`fit_platt` or the like.

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
    for number in numbers:
        held_out = fold == number
        probabilities[held_out] = fit(values[~held_out], truth[~held_out], keys).apply(values[held_out])
    return probabilities


def platt_where_it_helps(
    logits: ArrayLike, labels: ArrayLike, keys: Sequence[str], folds: ArrayLike, fewest: int = FEWEST
) -> Fit:
    """Return Platt scaling for the labels whose log loss it lowers on patients that it was not fitted to.

    The choice is made once for each label, from all folds: calibration in some folds and none in others would put scans
    on two scales, and a threshold chosen on one would be applied to the other. Patients that the choice is made from
    must not be among those that it is evaluated on.

    Parameters
    ----------
    logits, labels, keys, folds
        As for :func:`cross_fitted`.
    fewest : int
        So many positive (and negative) scans must be left of a label without any one fold.
    """
    values, truth, fold = (np.asarray(each, dtype=np.float64) for each in (logits, labels, folds))
    rest = [fold != number for number in np.unique(fold)]
    reasons: dict[str, str] = {}
    for column, key in enumerate(keys):
        if min((class_counts(truth[rows, column]).rarest for rows in rest if rows.any()), default=0) < max(fewest, 1):
            counts = class_counts(truth[:, column])
            reasons[key] = f"not calibrated: {counts}; {fewest} of each must be left without any one fold"
    pooled = _pooled_in_every_fold(truth, keys, rest, fewest)
    for key in pooled:
        reasons.pop(key, None)
    if len(reasons) < len(keys):
        chosen = partial(fit_platt, fewest=fewest, left_alone=reasons, pooled=pooled)
        fitted = cross_fitted(values, truth, keys, fold, chosen)
        for group in (pooled, *((key,) for key in keys if key not in pooled and key not in reasons)):
            columns = [column for column, key in enumerate(keys) if key in group]
            reason = _no_help(values[:, columns], fitted[:, columns], truth[:, columns])
            if columns and reason is not None:
                reasons |= dict.fromkeys(group, reason)
    return partial(fit_platt, fewest=fewest, left_alone=reasons, pooled=[key for key in pooled if key not in reasons])


def _pooled_in_every_fold(
    truth: NDArray[np.float64], keys: Sequence[str], rest: Sequence[NDArray[np.bool_]], fewest: int
) -> tuple[str, ...]:
    """Return the labels that every fold's patients alone would pool: one that is rare in some folds has two scales."""
    rare = {key for rows in rest if rows.any() for key in pooled_keys(truth[rows], keys, fewest)}
    columns = [column for column, key in enumerate(keys) if key in rare]
    if any(class_counts(truth[rows][:, columns].ravel()).rarest < max(fewest, 1) for rows in rest):
        return ()
    return tuple(key for key in keys if key in rare)


def _no_help(raw: NDArray[np.float64], fitted: NDArray[np.float64], truth: NDArray[np.float64]) -> str | None:
    rows = ~np.isnan(truth)
    if not rows.any():
        return None
    before, after = (log_loss(truth[rows], each[rows], labels=[0, 1]) for each in (expit(raw), fitted))
    if after < before:
        return None
    return f"not calibrated: calibration changes the log loss of held-out patients from {before:.3f} to {after:.3f}"


def _checked(
    logits: ArrayLike, labels: ArrayLike, keys: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if values.shape != truth.shape or truth.ndim != 2 or truth.shape[1] != len(keys):
        raise ValueError(f"logits {values.shape}, labels {truth.shape}, {len(keys)} keys")
    if not np.isfinite(values[~np.isnan(truth)]).all():
        raise ValueError("a logit is not finite where its label is known")
    return values, truth


def _line(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> tuple[float, float]:
    """Return slope and offset of the smallest mean log loss; the loss is convex in both."""

    def loss(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        calibrated = line[0] * logits + line[1]
        error = expit(calibrated) - targets
        value = float((np.logaddexp(0, calibrated) - targets * calibrated).mean())
        return value, np.array([float((error * logits).mean()), float(error.mean())])

    found = minimize(
        loss,
        np.array([1.0, 0.0]),
        jac=True,
        bounds=[SLOPES, (None, None)],
        method="L-BFGS-B",
        options={"gtol": 1e-9, "ftol": 1e-14},
    )
    return float(found.x[0]), float(found.x[1])


def _at_bound(keys: Sequence[str], slopes: Sequence[float]) -> dict[str, str]:
    """Return where the bound stopped the fit: at the lower one the logits hardly separate the classes."""
    return {
        key: f"the slope is at its bound {slope:g}" for key, slope in zip(keys, slopes, strict=True) if slope in SLOPES
    }
