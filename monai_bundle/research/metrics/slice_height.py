"""What the height of a slice alone tells: most haemorrhages lie in the middle of the head, whatever is in the image.

A network that has learnt nothing but to tell vertex and skull base from the middle reaches this AUC on single slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from research.metrics.attention_by_height import overlap_with_bins
from research.metrics.confidence import RESAMPLES, Interval, auc_interval

BINS = 10


def positive_by_height(scans: Iterable[NDArray[np.floating]], bins: int = BINS) -> NDArray[np.float64]:
    """Return the share of positive slices in each part of the scans' length, shape (bins,).

    Parameters
    ----------
    scans : iterable of ndarray, shape (slices,)
        Whether each slice shows haemorrhage, 0 or 1, NaN (left out) where unknown; slices evenly spaced, from the feet
        to the head.
    bins : int
        Parts of equal length.

    Raises
    ------
    ValueError
        If no slice is labelled in some part.
    """
    positive, slices = np.zeros(bins), np.zeros(bins)
    for labels in scans:
        known = ~np.isnan(labels)
        overlap = overlap_with_bins(len(labels), bins)[:, known]
        positive += overlap @ np.asarray(labels, np.float64)[known]
        slices += overlap.sum(axis=1)
    if not slices.all():
        raise ValueError("no labelled slice at some height: nothing to learn from")
    return np.asarray(positive / slices)


def auc_by_height(
    scans: Sequence[tuple[str, NDArray[np.floating], NDArray[np.float64]]], count: int = RESAMPLES
) -> Interval:
    """Return the AUC of slices that are scored by their height alone.

    Parameters
    ----------
    scans : sequence of (patient, labels, shares)
        Labels as for :func:`positive_by_height`, whose result ``shares`` is, learnt from other patients.
    count : int
        Resamples.
    """
    scores = [shares @ overlap_with_bins(len(labels), len(shares)) for _, labels, shares in scans]
    patients = [patient for patient, labels, _ in scans for _ in labels]
    return auc_interval(np.concatenate([labels for _, labels, _ in scans]), np.concatenate(scores), patients, count)
