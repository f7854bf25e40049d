"""Does slice attention point at the slices that show the disease? DrCT2's three interpretive tasks and its tables 5, 6.

The paper (Wang, Fu, Li, Pei, Medical Physics 2022, doi 10.1002/mp.15871) gives the tasks only as its algorithm 1. No
copy of that listing was at hand, so the definitions here are OURS, a paraphrase; its figures (easy 83.92 %, difficult
62.67 %, comprehensive 67.15 %) stand beside ours as orientation, not as the same measurement. A positive scan has n
slices, h of which show the disease; attention ranks the slices:

- easy: the slice with most attention is positive;
- comprehensive: the share of the h slices with most attention that are positive;
- difficult: the same share, over the scans in which fewer than a quarter of the slices are positive.

Two further readings of "easy" are offered, because the figures fit them too: ``extensive`` (the share over the scans
that are not difficult, so that comprehensive lies between the two) and ``at_least_one`` (one of the h is positive).
Equal attention is ranked by position, the lower slice first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from research.metrics.random_baseline import (
    Figure,
    MeanInterval,
    chance_average_precision,
    chance_of_a_hit,
    mean_figure,
    missing,
)
from research.metrics.key_slices import top_h_share
from research.metrics.predictions import Predictions

FEW_SLICES = 0.25
"""A scan in which a smaller share of the slices is positive is difficult."""

PUBLISHED = {"easy": 0.8392, "difficult": 0.6267, "comprehensive": 0.6715}
"""DrCT2's own figures, on its own slice annotations of CQ500."""


@dataclass(frozen=True, eq=False)
class AttendedScan:
    """Attention and truth of one scan for one label.

    Attributes
    ----------
    name, patient : str
        As in the predictions.
    slice_attention : ndarray of float64, shape (slices,)
        At least 0; slices in the order of the study.
    positive : ndarray of bool, shape (slices,)
        Whether the slice shows the label.
    called : bool
        Whether the model called the scan positive.
    """

    name: str
    patient: str
    slice_attention: NDArray[np.float64]
    positive: NDArray[np.bool_]
    called: bool

    def __post_init__(self) -> None:
        """Hold the two arrays to each other.

        Raises
        ------
        ValueError
            If there is not one attention per slice, or one is no number.
        """
        if self.slice_attention.shape != self.positive.shape or self.positive.ndim != 1:
            raise ValueError(f"{self.name}: attention {self.slice_attention.shape}, labels {self.positive.shape}")
        if not np.isfinite(self.slice_attention).all():
            raise ValueError(f"{self.name}: attention must be a number for every slice")

    @property
    def positive_share(self) -> float:
        """Share of the slices that are positive, h / n."""
        return float(self.positive.mean())


def attended_scans(predictions: Predictions, key: str, threshold: float = 0.5) -> list[AttendedScan]:
    """Take from predictions what the tasks need for one label; scans with an unjudged slice are left out.

    Parameters
    ----------
    predictions : Predictions
        A slice that the model did not read gets attention 0: it cannot be picked.
    key : str
        The label.
    threshold : float
        Probability from which the model calls a scan positive.
    """
    column = predictions.keys.index(key)
    # A comparison of logits: a sigmoid would round the largest to 1.
    cut = float("inf") if threshold >= 1 else float(np.log(threshold / (1 - threshold))) if threshold > 0 else -np.inf
    return [
        AttendedScan(
            name=scan.name,
            patient=scan.patient,
            slice_attention=np.nan_to_num(scan.slice_attention, nan=0.0),
            positive=scan.slice_labels[:, column] == 1,
            called=bool(scan.logits[column] >= cut),
        )
        for scan in predictions.scans
        if scan.slice_labels is not None and not np.isnan(scan.slice_labels[:, column]).any()
    ]


def interpretive_tasks(
    scans: Sequence[AttendedScan], called_only: bool = False, interval: MeanInterval | None = None
) -> dict[str, Figure]:
    """Measure the tasks over the truly positive scans, every scan counting the same.

    Parameters
    ----------
    scans : sequence of AttendedScan
        Of one label; scans without a positive slice are left out.
    called_only : bool
        Whether to leave out positive scans that the model missed: a doctor looks for key slices where it says "yes".
    interval : callable, optional
        See :func:`~research.metrics.random_baseline.mean_figure`.

    Returns
    -------
    dict
        ``easy``, ``difficult``, ``comprehensive``, ``extensive`` and ``at_least_one``. Chance is exact: h / n for a
        share of the top h (the hypergeometric mean) and for the first slice, 1 - C(n - h, h) / C(n, h) for one of h.
    """
    chosen = _positive(scans, called_only)
    difficult = [scan for scan in chosen if scan.positive_share < FEW_SLICES]
    extensive = [scan for scan in chosen if scan.positive_share >= FEW_SLICES]

    def share_chance(scan: AttendedScan) -> float:
        return scan.positive_share

    def hit_chance(scan: AttendedScan) -> float:
        h = int(scan.positive.sum())
        return chance_of_a_hit(len(scan.positive), h, h)

    return {
        "easy": _figure(chosen, _first_is_positive, share_chance, interval),
        "difficult": _figure(difficult, _top_h, share_chance, interval),
        "comprehensive": _figure(chosen, _top_h, share_chance, interval),
        "extensive": _figure(extensive, _top_h, share_chance, interval),
        "at_least_one": _figure(chosen, lambda scan: float(_top_h(scan) > 0), hit_chance, interval),
    }


def top_h_shares(scans: Sequence[AttendedScan]) -> dict[str, float]:
    """Return, for each scan with h positive slices, their share among the h with most attention; by the scan's name."""
    return {scan.name: _top_h(scan) for scan in _positive(scans, called_only=False)}


def key_slices_per_label(
    predictions: Predictions,
    thresholds: Mapping[str, float] | None = None,
    called_only: bool = False,
    interval: MeanInterval | None = None,
) -> dict[str, dict[str, Figure]]:
    """Measure the tasks label by label: h is then the number of slices that show this label (tables 5 and 6).

    Attention is one for all labels; a scan with two kinds of haemorrhage counts under both.
    """
    thresholds = thresholds or {}
    return {
        key: interpretive_tasks(attended_scans(predictions, key, thresholds.get(key, 0.5)), called_only, interval)
        for key in predictions.keys
    }


def slice_detection(
    scans: Sequence[AttendedScan], called_only: bool = False, interval: MeanInterval | None = None
) -> dict[str, Figure]:
    """Judge attention as a detector of positive slices within each positive scan.

    Returns
    -------
    dict
        ``auc`` and ``average_precision``, the means over scans. A scan whose slices are all positive has no AUC and is
        left out of both. Chance is .5, and the expected average precision of a random ranking.
    """
    chosen = [scan for scan in _positive(scans, called_only) if not scan.positive.all()]
    return {
        "auc": _figure(
            chosen, lambda scan: float(roc_auc_score(scan.positive, scan.slice_attention)), lambda _: 0.5, interval
        ),
        "average_precision": _figure(
            chosen,
            lambda scan: float(average_precision_score(scan.positive, scan.slice_attention)),
            lambda scan: chance_average_precision(len(scan.positive), int(scan.positive.sum())),
            interval,
        ),
    }


def _positive(scans: Sequence[AttendedScan], called_only: bool) -> list[AttendedScan]:
    return [scan for scan in scans if scan.positive.any() and (scan.called or not called_only)]


def _first_is_positive(scan: AttendedScan) -> float:
    return float(scan.positive[int(np.argmax(scan.slice_attention))])


def _top_h(scan: AttendedScan) -> float:
    return top_h_share(scan.slice_attention, scan.positive)


def _figure(
    scans: Sequence[AttendedScan],
    value: Callable[[AttendedScan], float],
    chance: Callable[[AttendedScan], float],
    interval: MeanInterval | None,
) -> Figure:
    if not scans:
        return missing("no such scan is positive")
    patients = [scan.patient for scan in scans]
    return mean_figure([value(scan) for scan in scans], [chance(scan) for scan in scans], patients, interval)
