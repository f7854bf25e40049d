"""Which slices attention picks, over all scans: DrCT2's table 6 (by subtype) and figure 7 (by position).

Table 6 states "for all slices that reflect a certain disease, how many slices our algorithm can correctly pick out",
not how many are picked. It cannot be five a scan: 83,923 positive slices of 7,855 scans are 10.7 a scan, and 78 % of
them are found. Hence picked are the h of the comprehensive task, h being the scan's slices with ANY haemorrhage; one
choice a scan serves every subtype, as one attention does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research.metrics.attention_by_height import overlap_with_bins
from research.metrics.confidence import LEVEL, RESAMPLES, interval, resample_patients
from research.metrics.interpretive_tasks import SELECTED, AttendedScan, attended_scans, most_attended
from research.metrics.predictions import Predictions
from research.metrics.random_baseline import MeanMetric, missing

POSITIONS = 32
"""Positions along the head in figure 7: the slices to which the paper samples a scan of CQ500."""


@dataclass(frozen=True)
class PickedSlices:
    """One row of table 6.

    Attributes
    ----------
    slices : int
        Slices that show the label, in all scans.
    picked : MeanMetric
        The share of them that is among the picked; its random baseline is the mean of h / n over the same slices.
    """

    slices: int
    picked: MeanMetric


@dataclass(frozen=True)
class PickedPositions:
    """Figure 7: how often the slices with most attention lie at each position along the head, over positive scans.

    Attributes
    ----------
    counts : tuple of float
        From the feet to the head; a slice that covers parts of two positions is divided between them. The sum is the
        number of picked slices.
    random_baseline : float
        The count at every position if the same number of slices is drawn at random.
    scans : int
        Positive scans.
    """

    counts: tuple[float, ...]
    random_baseline: float
    scans: int


def picked_per_label(predictions: Predictions, count: int = RESAMPLES, any_key: str = "any") -> dict[str, PickedSlices]:
    """Return table 6: for every label, the share of all slices showing it that are among the picked.

    Parameters
    ----------
    predictions : Predictions
        Scans whose slices are not all labelled are left out.
    count : int
        Resamples of each interval: patients with all their slices.
    any_key : str
        The label whose slices are counted for h.
    """
    picked = {
        scan.name: np.isin(np.arange(len(scan.positive)), most_attended(scan.slice_attention, scan.positive_slices))
        for scan in attended_scans(predictions, any_key)
    }
    found = {}
    for key in predictions.keys:
        scans = [scan for scan in attended_scans(predictions, key) if scan.name in picked and scan.positive.any()]
        found[key] = _pooled(scans, [picked[scan.name] for scan in scans], count)
    return found


def picked_positions(scans: Sequence[AttendedScan], positions: int = POSITIONS) -> PickedPositions:
    """Return where the five slices with most attention lie in the positive scans.

    Parameters
    ----------
    scans : sequence of AttendedScan
        Of any haemorrhage; slices evenly spaced, from the feet to the head. Scans without a positive slice are left
        out: the paper counts "diseased" scans.
    positions : int
        At least 1.
    """
    counts, drawn = np.zeros(positions), 0
    positive = [scan for scan in scans if scan.positive.any()]
    for scan in positive:
        chosen = most_attended(scan.slice_attention, SELECTED)
        counts += overlap_with_bins(len(scan.positive), positions)[:, chosen].sum(axis=1)
        drawn += len(chosen)
    return PickedPositions(tuple(float(value) for value in counts), drawn / positions, len(positive))


def _pooled(scans: Sequence[AttendedScan], picked: Sequence[NDArray[np.bool_]], count: int) -> PickedSlices:
    """Pool the slices of all scans: every slice counts the same, as in the paper."""
    if not scans:
        return PickedSlices(0, missing("no slice shows it"))
    shown = np.array([scan.positive_slices for scan in scans], dtype=np.float64)
    hits = np.array([(scan.positive & chosen).sum() for scan, chosen in zip(scans, picked, strict=True)])
    by_chance = shown * [chosen.mean() for chosen in picked]
    total = float(shown.sum())
    resamples = resample_patients([scan.patient for scan in scans], np.ones(len(scans)), count)
    weights = resamples.weights(0, count)
    bounds = interval(float(hits.sum() / total), weights @ hits / (weights @ shown), LEVEL, resamples.remark)
    picked_share = MeanMetric(
        value=float(hits.sum() / total),
        random_baseline=float(by_chance.sum() / total),
        low=bounds.low,
        high=bounds.high,
        scans=len(scans),
        patients=len({scan.patient for scan in scans}),
    )
    return PickedSlices(int(total), picked_share)
