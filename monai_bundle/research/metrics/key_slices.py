"""Whether slice attention finds the slices that matter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def top_h_share(slice_attention: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the share of positive slices among the h slices with most attention, h being the number of positive ones.

    Parameters
    ----------
    slice_attention : ndarray, shape (slices,)
        Attention of each slice.
    positive : ndarray of bool, shape (slices,)
        Whether the slice shows a haemorrhage.

    Returns
    -------
    float
        0..1; a random choice reaches the share of positive slices in the scan.

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
    chosen = np.argsort(-slice_attention, kind="stable")[:count]
    return float(positive[chosen].mean())
