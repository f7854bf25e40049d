"""Attention over the height of the head, beside the positive slices (DrCT2, figure 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research.metrics.interpretive_tasks import AttendedScan


@dataclass(frozen=True)
class AttentionByHeight:
    """Means over scans, from the lowest bin (0 of the scan's length) to the highest (1).

    Attributes
    ----------
    edges : tuple of float
        Of the bins, one more than there are bins.
    attention_positive, attention_negative : tuple of float or None
        Proportion of a scan's attention in each bin; sums to 1. None where there is no such scan.
    positive_slices : tuple of float or None
        Proportion of the slices in each bin that are positive, over the positive scans.
    positive_scans, negative_scans : int
        How many.
    """

    edges: tuple[float, ...]
    attention_positive: tuple[float, ...] | None
    attention_negative: tuple[float, ...] | None
    positive_slices: tuple[float, ...] | None
    positive_scans: int
    negative_scans: int


def attention_by_height(scans: Sequence[AttendedScan], bins: int = 10) -> AttentionByHeight:
    """Divide every scan's length into bins and average over scans; every scan counts the same.

    A slice covers its part of the scan's length and is divided between the bins that it overlaps: a scan of 24 slices
    then has no empty bin, and none that only rounding filled.

    Parameters
    ----------
    scans : sequence of AttendedScan
        Slices evenly spaced, from the feet to the head.
    bins : int
        At least 1.

    Raises
    ------
    ValueError
        If ``bins`` is less than 1, or a scan has no attention at all.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    attention: dict[bool, list[NDArray[np.float64]]] = {True: [], False: []}
    positive_slices = []
    for scan in scans:
        total = float(scan.slice_attention.sum())
        if total <= 0:
            raise ValueError(f"{scan.name}: no slice has attention")
        overlap = overlap_with_bins(len(scan.positive), bins)
        attention[bool(scan.positive.any())].append(overlap @ scan.slice_attention / total)
        if scan.positive.any():
            positive_slices.append(overlap @ scan.positive.astype(np.float64) / overlap.sum(axis=1))
    return AttentionByHeight(
        edges=tuple(float(edge) for edge in np.linspace(0, 1, bins + 1)),
        attention_positive=_mean(attention[True]),
        attention_negative=_mean(attention[False]),
        positive_slices=_mean(positive_slices),
        positive_scans=len(attention[True]),
        negative_scans=len(attention[False]),
    )


def overlap_with_bins(slices: int, bins: int) -> NDArray[np.float64]:
    """Return the proportion of each slice that lies in each bin, shape (bins, slices); every column sums to 1."""
    slice_edges, bin_edges = np.linspace(0, 1, slices + 1), np.linspace(0, 1, bins + 1)
    top = np.minimum(slice_edges[None, 1:], bin_edges[1:, None])
    bottom = np.maximum(slice_edges[None, :-1], bin_edges[:-1, None])
    return np.asarray(np.clip(top - bottom, 0, None) * slices)


def _mean(rows: Sequence[NDArray[np.float64]]) -> tuple[float, ...] | None:
    return tuple(float(value) for value in np.mean(rows, axis=0)) if rows else None
