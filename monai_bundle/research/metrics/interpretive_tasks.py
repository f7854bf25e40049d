"""Whether slice attention ranks the positive slices first: DrCT2's three interpretive tasks.

Wang, Fu, Li, Pei, Medical Physics 2022 (doi 10.1002/mp.15871), section IV and algorithm 1. A positive scan has n
slices, h of which show the disease; attention ranks the slices:

- easy: scans with five or more positive slices; the share of positive slices among the five with most attention;
- difficult: scans with five or fewer; 1 if one of the five with most attention is positive, else 0;
- comprehensive: all positive scans; the share of positive slices among the h with most attention.

A scan with exactly five positive slices counts in both of the first two, as in the paper: its 6,529 and 1,759 scans are
more than the 7,855 positive ones. The paper samples every scan to 28 slices; here all original slices are ranked, about
30 of 5 mm. Equal attention is ranked by position, the lower slice first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from research.metrics.predictions import Predictions
from research.metrics.random_baseline import (
    MeanInterval,
    MeanMetric,
    mean_metric,
    missing,
    probability_of_a_true_positive,
    random_average_precision,
)

SELECTED = 5
"""Slices with most attention that the easy and the difficult task look at: the paper's m_select."""


@dataclass(frozen=True, eq=False)
class AttendedScan:
    """Slice attention and slice labels of one scan for one label.

    Attributes
    ----------
    name, patient : str
        As in the predictions.
    slice_attention : ndarray of float64, shape (slices,)
        At least 0; slices in the order of the study.
    positive : ndarray of bool, shape (slices,)
        Whether the slice shows the label.
    predicted_positive : bool
        Whether the scan is predicted positive.
    """

    name: str
    patient: str
    slice_attention: NDArray[np.float64]
    positive: NDArray[np.bool_]
    predicted_positive: bool

    def __post_init__(self) -> None:
        """Hold the two arrays to each other.

        Raises
        ------
        ValueError
            If there is not one attention per slice, or one is not finite.
        """
        if self.slice_attention.shape != self.positive.shape or self.positive.ndim != 1:
            raise ValueError(f"{self.name}: attention {self.slice_attention.shape}, labels {self.positive.shape}")
        if not np.isfinite(self.slice_attention).all():
            raise ValueError(f"{self.name}: attention must be finite for every slice")

    @property
    def positive_slices(self) -> int:
        """Number of positive slices, h."""
        return int(self.positive.sum())

    @property
    def prevalence(self) -> float:
        """Proportion of the slices that are positive, h / n."""
        return float(self.positive.mean())


def attended_scans(
    predictions: Predictions, key: str, predicted_positive: NDArray[np.bool_] | None = None
) -> list[AttendedScan]:
    """Take from predictions what the tasks need for one label; scans with an unlabelled slice are left out.

    Parameters
    ----------
    predictions : Predictions
        A slice that is no input slice gets attention 0: it ranks last.
    key : str
        The label.
    predicted_positive : ndarray of bool, shape (scans,), optional
        Of each scan; probability 0.5 and more by default.
    """
    column = predictions.keys.index(key)
    predicted = predictions.logits[:, column] >= 0 if predicted_positive is None else predicted_positive
    return [
        AttendedScan(
            name=scan.name,
            patient=scan.patient,
            slice_attention=np.nan_to_num(scan.slice_attention, nan=0.0),
            positive=scan.slice_labels[:, column] == 1,
            predicted_positive=bool(positive),
        )
        for scan, positive in zip(predictions.scans, predicted, strict=True)
        if scan.slice_labels is not None and not np.isnan(scan.slice_labels[:, column]).any()
    ]


def interpretive_tasks(
    scans: Sequence[AttendedScan], predicted_positive_only: bool = False, interval: MeanInterval | None = None
) -> dict[str, MeanMetric]:
    """Measure the tasks over the truly positive scans, every scan counting the same.

    Parameters
    ----------
    scans : sequence of AttendedScan
        Of one label; scans without a positive slice are left out.
    predicted_positive_only : bool
        Whether to leave out false-negative scans: key slices are read where the prediction is positive.
    interval : callable, optional
        See :func:`~research.metrics.random_baseline.mean_metric`.

    Returns
    -------
    dict
        ``easy``, ``difficult`` and ``comprehensive``. Random baselines are exact: h / n for a share of the selected
        slices (the hypergeometric mean), 1 - C(n - h, 5) / C(n, 5) for a positive one among five.
    """
    chosen = _positive(scans, predicted_positive_only)
    easy = [scan for scan in chosen if scan.positive_slices >= SELECTED]
    difficult = [scan for scan in chosen if scan.positive_slices <= SELECTED]

    def prevalence(scan: AttendedScan) -> float:
        return scan.prevalence

    def one_of_selected(scan: AttendedScan) -> float:
        slices = len(scan.positive)
        return probability_of_a_true_positive(slices, scan.positive_slices, min(SELECTED, slices))

    return {
        "easy": _metric(easy, lambda scan: float(_selected(scan, SELECTED).mean()), prevalence, interval),
        "difficult": _metric(difficult, lambda scan: float(_selected(scan, SELECTED).any()), one_of_selected, interval),
        "comprehensive": _metric(chosen, _top_h, prevalence, interval),
    }


def most_attended(slice_attention: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Return the indices of the ``count`` slices with most attention, the largest first; all, where there are fewer."""
    return np.argsort(-slice_attention, kind="stable")[:count]


def top_h_proportion(slice_attention: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the proportion of positive slices among the h with most attention, h being the number of positive ones.

    Parameters
    ----------
    slice_attention : ndarray, shape (slices,)
        Attention of each slice.
    positive : ndarray of bool, shape (slices,)
        Whether the slice shows a haemorrhage.

    Returns
    -------
    float
        0..1; its random baseline is the scan's proportion of positive slices.

    Raises
    ------
    ValueError
        If no slice is positive, or there is not one attention per slice.
    """
    if slice_attention.shape != positive.shape:
        raise ValueError(f"attention of {slice_attention.shape[0]} slices, labels of {positive.shape[0]}")
    count = int(positive.sum())
    if count == 0:
        raise ValueError("a scan without a positive slice has no key slices to find")
    return float(positive[most_attended(slice_attention, count)].mean())


def top_h_proportions(scans: Sequence[AttendedScan]) -> dict[str, float]:
    """Return :func:`top_h_proportion` of each scan that has a positive slice, by the scan's name."""
    return {scan.name: _top_h(scan) for scan in _positive(scans)}


def slice_detection(scans: Sequence[AttendedScan], interval: MeanInterval | None = None) -> dict[str, MeanMetric]:
    """Evaluate attention as a detector of positive slices within each positive scan.

    Returns
    -------
    dict
        ``first_slice``, the share of scans whose slice with most attention is positive, and ``auc`` and
        ``average_precision``, the means over scans. A scan whose slices are all positive has no AUC
        and is left out of the last two. Random baselines: h / n, .5, and the expected average precision of
        a random ranking.
    """
    positive = _positive(scans)
    chosen = [scan for scan in positive if not scan.positive.all()]
    return {
        "first_slice": _metric(
            positive, lambda scan: float(_selected(scan, 1).all()), lambda scan: scan.prevalence, interval
        ),
        "auc": _metric(
            chosen, lambda scan: float(roc_auc_score(scan.positive, scan.slice_attention)), lambda _: 0.5, interval
        ),
        "average_precision": _metric(
            chosen,
            lambda scan: float(average_precision_score(scan.positive, scan.slice_attention)),
            lambda scan: random_average_precision(len(scan.positive), int(scan.positive.sum())),
            interval,
        ),
    }


def _positive(scans: Sequence[AttendedScan], predicted_positive_only: bool = False) -> list[AttendedScan]:
    return [scan for scan in scans if scan.positive.any() and (scan.predicted_positive or not predicted_positive_only)]


def _selected(scan: AttendedScan, count: int) -> NDArray[np.bool_]:
    """Return whether each of the slices with most attention is positive."""
    return scan.positive[most_attended(scan.slice_attention, count)]


def _top_h(scan: AttendedScan) -> float:
    return top_h_proportion(scan.slice_attention, scan.positive)


def _metric(
    scans: Sequence[AttendedScan],
    value: Callable[[AttendedScan], float],
    baseline: Callable[[AttendedScan], float],
    interval: MeanInterval | None,
) -> MeanMetric:
    if not scans:
        return missing("no such scan is positive")
    patients = [scan.patient for scan in scans]
    return mean_metric([value(scan) for scan in scans], [baseline(scan) for scan in scans], patients, interval)
