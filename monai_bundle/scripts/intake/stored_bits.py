"""Bits of a stored pixel that are no part of its value (PS3.5 section 8.1.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

_AIR_AT_MOST_HU = -500
_CORNER = 8


def within_bits_stored(
    values: NDArray[np.int32], padding: NDArray[np.bool_] | None, dataset: Dataset, slope: float, intercept: float
) -> tuple[NDArray[np.int32], bool]:
    """Take from each pixel the bits that Bits Stored and High Bit name, where others are set.

    Unsigned values above the range hold an overlay in their high bits, which is removed. Signed values above it lack
    the extension of their sign where that alone makes the corners air. Left-aligned values are moved to the right.

    Parameters
    ----------
    values : ndarray of int32, shape (rows, columns)
        As decoded.
    padding : ndarray of bool or None
        Padded pixels, which may lie outside the range.
    dataset : Dataset
        Bits Allocated (0028,0100), Bits Stored (0028,0101), High Bit (0028,0102), Pixel Representation (0028,0103).
    slope, intercept : float
        To Hounsfield units.

    Returns
    -------
    ndarray of int32, bool
        The values, and whether any was changed.
    """
    bits, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    if not 0 < bits < allocated:
        return values, False
    shift = int(dataset.get("HighBit") or bits - 1) - (bits - 1)
    if 0 < shift <= allocated - bits and not (values & ((1 << shift) - 1)).any():
        return values >> shift, True
    signed = bool(dataset.PixelRepresentation)
    highest = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1
    outside = values > highest
    if padding is not None:
        outside &= ~padding
    if not outside.any():
        return values, False
    low_bits = values & ((1 << bits) - 1)
    if not signed:
        return np.where(outside, low_bits, values).astype(np.int32), True
    extended = np.where(low_bits > highest, low_bits - (1 << bits), low_bits).astype(np.int32)
    if values.min() >= 0 and not _is_air(values, slope, intercept) and _is_air(extended, slope, intercept):
        return extended, True
    return values, False


def _is_air(values: NDArray[np.int32], slope: float, intercept: float) -> bool:
    ends = (slice(None, _CORNER), slice(-_CORNER, None))
    corners = np.concatenate([values[rows, columns].ravel() for rows in ends for columns in ends])
    return float(np.median(corners)) * slope + intercept <= _AIR_AT_MOST_HU
