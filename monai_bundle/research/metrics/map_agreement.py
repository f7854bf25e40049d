"""Agreement of two attribution maps of one study: rank correlation and structural similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

CHANGED_BELOW = 0.5
"""Rank correlation below which a map counts as changed. Adebayo et al. set no limit: this one is ours."""

_WINDOW = 7
"""Pixels across, for structural similarity: scikit-image's own."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of two maps.

    Attributes
    ----------
    rank_correlation : float or None
        Spearman's, over the voxels of the head; None where a map is the same everywhere.
    structural_similarity : float or None
        Mean over the voxels of the head, each map scaled to its own largest magnitude.
    reason : str or None
        Why one is missing.
    """

    rank_correlation: float | None
    structural_similarity: float | None
    reason: str | None = None


@dataclass(frozen=True)
class StageMetrics:
    """Means over the maps of all scans and labels at one stage.

    Attributes
    ----------
    stage : str
        The last part randomised.
    rank_correlation, structural_similarity : float or None
        Means over the maps that could be compared.
    maps, not_compared : int
        How many were compared, and how many could not be, e.g. because a map is 0 everywhere.
    changed : bool
        Whether the mean rank correlation is below :data:`CHANGED_BELOW`, or no map is left to compare.
    """

    stage: str
    rank_correlation: float | None
    structural_similarity: float | None
    maps: int
    not_compared: int
    changed: bool


def compare_maps(
    trained: NDArray[np.number], random: NDArray[np.number], head: NDArray[np.bool_] | None = None
) -> Agreement:
    """Compare two maps of one study.

    Parameters
    ----------
    trained, random : ndarray, shape (slices, rows, columns)
        Signed or not; each in its own unit.
    head : ndarray of bool, shape (slices, rows, columns), optional
        The voxels that count; all without it.

    Raises
    ------
    ValueError
        If shapes differ, or the head is empty.
    """
    head = np.ones(trained.shape, dtype=bool) if head is None else head
    if not trained.shape == random.shape == head.shape or trained.ndim != 3:
        raise ValueError(f"maps {trained.shape} and {random.shape}, head {head.shape}: must be equal, of three axes")
    if not head.any():
        raise ValueError("the head is empty")
    first, second = _scaled(trained, head), _scaled(random, head)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return Agreement(None, None, "a map holds NaN")
    if np.ptp(first[head]) == 0 or np.ptp(second[head]) == 0:
        return Agreement(None, None, "a map is the same everywhere")
    correlation = float(spearmanr(first[head], second[head]).statistic)
    if min(head.shape[1:]) < _WINDOW:
        return Agreement(correlation, None, f"slices smaller than {_WINDOW} pixels have no structural similarity")
    similarity = []
    for index in np.flatnonzero(head.any(axis=(1, 2))):
        _, cells = structural_similarity(first[index], second[index], win_size=_WINDOW, data_range=2.0, full=True)
        similarity.append(cells[head[index]])
    return Agreement(correlation, float(np.concatenate(similarity).mean()))


def summarise(checks: Sequence[Mapping[str, Sequence[Agreement]]]) -> tuple[StageMetrics, ...]:
    """Average the checks of several scans (or seeds) of one network, stage by stage of the randomisation.

    Raises
    ------
    ValueError
        If there is no check, or they differ in their stages.
    """
    if not checks or any(list(check) != list(checks[0]) for check in checks):
        raise ValueError("checks of the same stages are needed, one at least")
    stages = []
    for stage in checks[0]:
        agreements = [agreement for check in checks for agreement in check[stage]]
        ranks = [found for one in agreements if (found := one.rank_correlation) is not None]
        similar = [found for one in agreements if (found := one.structural_similarity) is not None]
        mean_rank = float(np.mean(ranks)) if ranks else None
        stages.append(
            StageMetrics(
                stage=stage,
                rank_correlation=mean_rank,
                structural_similarity=float(np.mean(similar)) if similar else None,
                maps=len(ranks),
                not_compared=len(agreements) - len(ranks),
                changed=mean_rank is None or mean_rank < CHANGED_BELOW,
            )
        )
    return tuple(stages)


def _scaled(values: NDArray[np.number], head: NDArray[np.bool_]) -> NDArray[np.float64]:
    inside = np.where(head, values, 0).astype(np.float64)
    largest = float(np.abs(inside).max())
    return inside / largest if largest > 0 else inside
