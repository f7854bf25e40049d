"""Thresholds chosen on patients that the network has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.metrics import roc_curve

from research.metrics.calibration import Choice, Fit, cross_fitted
from research.metrics.class_counts import class_counts, known, pooled_keys
from research.metrics.confidence import Interval, proportion_interval
from scripts.operating_points import DEFAULT_THRESHOLD

TARGET = 0.95
"""Sensitivity of the point "high_sensitivity" and specificity of the point "high_specificity"."""

BALANCED_SPECIFICITY = 0.9
"""Least specificity at the point "balanced": a subtype is so rare that Youden's threshold, which weighs its few scans
as much as all others together, would name it in every third or fourth scan that does not show it."""

POINTS = ("high_sensitivity", "balanced", "high_specificity")


@dataclass(frozen=True)
class AchievedPoint:
    """What one operating point reaches for one label on patients that its thresholds were not chosen on.

    Attributes
    ----------
    threshold : float
        Chosen on all patients: the one to ship. The metrics below evaluate the choice, not this number.
    fold_thresholds : dict
        Fold to the threshold chosen on all others and applied to it.
    true_positive, positive, true_negative, negative : int
        Scans, pooled over the folds.
    sensitivity, specificity : Interval
        With Wilson's interval; its estimate is None where a class is missing.
    remark : str or None
        In how many folds no threshold is chosen, and why.
    """

    threshold: float
    fold_thresholds: dict[int, float]
    true_positive: int
    positive: int
    true_negative: int
    negative: int
    sensitivity: Interval
    specificity: Interval
    remark: str | None


def operating_points(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer | np.floating], keys: Sequence[str], fewest: int = 0
) -> dict[str, dict[str, float]]:
    """Choose the thresholds of every label at three operating points.

    ``balanced`` maximises sensitivity + specificity (Youden) among thresholds of a specificity of 0.9 at least; the
    other two reach 0.95 of what their name states and as much of the other as that allows, and none of the three
    promises more than it has beside the others. A scan is positive from its threshold upwards; the threshold is 1 where
    no other reaches the specificity.

    Parameters
    ----------
    probabilities, labels : ndarray, shape (scans, labels)
        Predictions for held-out patients, and 0 or 1 (NaN leaves a scan out).
    keys : sequence of str
        The label of each column.
    fewest : int
        Labels with fewer positive or negative scans share thresholds, chosen on the scans of all of them
        (:func:`research.metrics.class_counts.pooled_keys`); the default threshold, if they are too few together.

    Raises
    ------
    ValueError
        If a label has no positive or no negative scan, and ``fewest`` does not excuse it.
    """
    points: dict[str, dict[str, float]] = {name: {} for name in POINTS}
    pooled = pooled_keys(labels, keys, fewest)
    together = [column for column, key in enumerate(keys) if key in pooled]
    for column, key in enumerate(keys):
        columns = together if column in together else [column]
        of_label = labels[:, columns].ravel()
        rarest = class_counts(of_label).rarest
        if rarest < fewest:
            for point in points.values():
                point[key] = DEFAULT_THRESHOLD
            continue
        if rarest == 0:
            raise ValueError(f"{key}: an operating point needs positive and negative scans")
        true, predicted = known(of_label, probabilities[:, columns].ravel())
        for name, threshold in _chosen(true, predicted).items():
            points[name][key] = threshold
    return points


def _chosen(true: NDArray[np.float64], predicted: NDArray[np.float64]) -> dict[str, float]:
    false_positive, true_positive, cuts = roc_curve(true, predicted, drop_intermediate=False)
    # roc_curve's first cut is infinite, "nothing is positive": a threshold is a probability.
    cuts = np.minimum(cuts, 1.0)
    # 1 - 0.9 is less than 0.1 in binary.
    allowed = false_positive <= 1 - BALANCED_SPECIFICITY + 1e-12
    chosen = {
        "high_sensitivity": int(np.argmax(true_positive >= TARGET)),
        "balanced": int(np.argmax(np.where(allowed, true_positive - false_positive, -np.inf))),
        "high_specificity": int(np.flatnonzero(false_positive <= 1 - TARGET)[-1]),
    }
    # Cuts fall. The best balance may be more specific than asked, or more sensitive: no name may then promise less.
    chosen["high_specificity"] = min(chosen["high_specificity"], chosen["balanced"])
    chosen["high_sensitivity"] = max(chosen["high_sensitivity"], chosen["balanced"])
    below = {name: float(cuts[at + 1]) if at + 1 < len(cuts) else -np.inf for name, at in chosen.items()}
    return {name: _shortened(float(cuts[at]), below[name]) for name, at in chosen.items()}


def achieved_points(
    logits: ArrayLike,
    labels: ArrayLike,
    keys: Sequence[str],
    folds: ArrayLike,
    choose: Choice | None = None,
    fewest: int = 0,
) -> dict[str, dict[str, AchievedPoint]]:
    """Choose thresholds on all folds but one, evaluate them on that one, and pool the counts.

    The shipped threshold is chosen on cross-fitted calibrated probabilities of all patients. Each fold is evaluated the
    same way from the others alone: they decide how to calibrate, are cross-fitted among themselves, thresholds are
    chosen on them, and the calibration fitted on all of them is applied to the fold.

    Parameters
    ----------
    logits, labels : array_like, shape (scans, labels)
        Of held-out patients; 0, 1 or NaN (left out).
    keys : sequence of str
        The label of each column.
    folds : array_like of int, shape (scans,)
        Folds that split no patient.
    choose : callable, optional
        Returns how patients are calibrated, e.g. :func:`research.metrics.calibration.platt_where_it_helps`; the plain
        sigmoid by default.
    fewest : int
        See :func:`operating_points`; at least 1 here.

    Returns
    -------
    dict
        Operating point to label key to what it reaches.

    Raises
    ------
    ValueError
        If there are not two folds, or, with a calibration, not three.
    """
    values, truth, fold = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64), np.asarray(folds)
    numbers = [int(number) for number in np.unique(fold)]
    if len(numbers) < (2 if choose is None else 3):
        raise ValueError(f"operating points need two folds, three with calibration, not {len(numbers)}")
    least = max(fewest, 1)
    fit = None if choose is None else choose(values, truth, keys, fold)
    shipped = operating_points(held_out_probabilities(values, truth, keys, fold, fit), truth, keys, least)
    chosen, applied = {}, np.empty_like(values)
    for number in numbers:
        here, rest = fold == number, fold != number
        fit = None if choose is None else choose(values[rest], truth[rest], keys, fold[rest])
        probabilities = held_out_probabilities(values[rest], truth[rest], keys, fold[rest], fit)
        chosen[number] = operating_points(probabilities, truth[rest], keys, least)
        applied[here] = expit(values[here]) if fit is None else fit(values[rest], truth[rest], keys).apply(values[here])
    unchosen = {
        key: sum(
            class_counts(truth[fold != number, column]).rarest < least
            and key not in pooled_keys(truth[fold != number], keys, least)
            for number in numbers
        )
        for column, key in enumerate(keys)
    }
    return {
        name: {
            key: _achieved(
                shipped[name][key],
                {number: chosen[number][name][key] for number in numbers},
                (applied[:, column], truth[:, column], fold),
                unchosen[key],
            )
            for column, key in enumerate(keys)
        }
        for name in POINTS
    }


def held_out_probabilities(
    logits: NDArray[np.float64],
    labels: NDArray[np.float64],
    keys: Sequence[str],
    folds: NDArray[np.int64],
    fit: Fit | None,
) -> NDArray[np.float64]:
    """Return probabilities (scans, labels), each fold calibrated by the others; the plain sigmoid without ``fit``."""
    if fit is None or len(np.unique(folds)) < 2:
        return np.asarray(expit(logits), dtype=np.float64)
    return cross_fitted(logits, labels, keys, folds, fit)


def _achieved(
    threshold: float,
    fold_thresholds: dict[int, float],
    column: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]],
    unchosen: int,
) -> AchievedPoint:
    probabilities, truth, folds = column
    positive = probabilities >= np.array([fold_thresholds[int(number)] for number in folds])
    counts = class_counts(truth)
    true_positive, true_negative = int((positive & (truth == 1)).sum()), int((~positive & (truth == 0)).sum())
    remark = f"default threshold in {unchosen} of {len(fold_thresholds)} folds, too few scans: {counts}"
    return AchievedPoint(
        threshold,
        fold_thresholds,
        true_positive,
        counts.positive,
        true_negative,
        counts.negative,
        proportion_interval(true_positive, counts.positive),
        proportion_interval(true_negative, counts.negative),
        remark if unchosen else None,
    )


def _shortened(threshold: float, below: float) -> float:
    """Cut off the decimals that are not needed, four at least: no scan may change its side.

    Above ``threshold`` the scan that set it would turn negative, at ``below`` the next one would turn positive.
    """
    for decimals in range(4, 17):
        shorter = math.floor(threshold * 10**decimals) / 10**decimals
        if below < shorter <= threshold:
            return shorter
    return threshold
