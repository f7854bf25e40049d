"""Agreement of two saliency maps: divergence, correlation and similarity of distributions (Qiu, thesis 2024, 2.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SMALLEST = 1e-12


@dataclass(frozen=True)
class SaliencyAgreement:
    """One slice.

    Attributes
    ----------
    divergence : float
        KL, Kullback-Leibler divergence of the prediction from the truth, in nats; 0 is best.
    correlation : float or None
        CC, Pearson's correlation over the pixels; None where one of the maps is the same everywhere.
    similarity : float
        HS, the sum over the pixels of the smaller of the two distributions; 1 is best.
    """

    divergence: float
    correlation: float | None
    similarity: float


def saliency_agreement(predicted: ArrayLike, true: ArrayLike) -> SaliencyAgreement:
    """Compare a predicted saliency map with the true one.

    Divergence and similarity take each map as a distribution over the pixels. The thesis prints the divergence with the
    two exchanged, which is infinite wherever nobody looked; and it describes the similarity in words alone ("histogram
    similarity"): the sum of the smaller values is the measure of that name in the saliency literature (Judd et al.
    2012).

    Parameters
    ----------
    predicted, true : array_like, shape (rows, columns)
        At least 0, in any unit.

    Raises
    ------
    ValueError
        If the shapes differ, a value is negative or not finite, or a map is 0 everywhere.
    """
    first, second = (np.asarray(each, dtype=np.float64) for each in (predicted, true))
    if first.shape != second.shape:
        raise ValueError(f"predicted map {first.shape}, true map {second.shape}")
    one, other = _distribution(first, "predicted"), _distribution(second, "true")
    some = other > 0
    divergence = float((other[some] * np.log(other[some] / np.maximum(one[some], _SMALLEST))).sum())
    varied = np.ptp(first) > 0 and np.ptp(second) > 0
    return SaliencyAgreement(
        divergence=max(divergence, 0.0),
        correlation=float(np.corrcoef(first.ravel(), second.ravel())[0, 1]) if varied else None,
        similarity=float(np.minimum(one, other).sum()),
    )


def _distribution(values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"the {name} map must be finite and at least 0")
    total = values.sum()
    if total == 0:
        raise ValueError(f"the {name} map is 0 everywhere")
    return np.asarray(values / total)
