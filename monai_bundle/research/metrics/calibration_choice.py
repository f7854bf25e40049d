"""Which labels are calibrated: those that calibration serves on patients that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.metrics import log_loss

from research.metrics.calibration import FEWEST, Fit, cross_fitted, fit_platt
from research.metrics.class_counts import class_counts


def platt_where_it_helps(
    logits: ArrayLike, labels: ArrayLike, keys: Sequence[str], folds: ArrayLike, fewest: int = FEWEST
) -> Fit:
    """Return Platt scaling for the labels whose log loss it lowers on patients that it was not fitted to.

    The choice is made once for each label, from all folds: a line in some folds and none in others would put scans on
    two scales, and a threshold chosen on one would be applied to the other. The choice has seen everybody whom it is
    made from: whoever is to judge it must not be among them.

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
    if len(reasons) < len(keys):
        fitted = cross_fitted(
            values, truth, keys, fold, partial(fit_platt, fewest=fewest, left_alone=reasons)
        ).probabilities
        for column, key in enumerate(keys):
            if key in reasons:
                continue
            rows = ~np.isnan(truth[:, column])
            before = log_loss(truth[rows, column], expit(values[rows, column]), labels=[0, 1])
            after = log_loss(truth[rows, column], fitted[rows, column], labels=[0, 1])
            if after >= before:
                reasons[key] = (
                    f"left as it is: on patients that it was not fitted to, a line takes the log loss from "
                    f"{before:.3f} to {after:.3f}"
                )
    return partial(fit_platt, fewest=fewest, left_alone=reasons)
