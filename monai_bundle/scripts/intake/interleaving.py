"""Two scans that lie between each other: slices that are more like the next but one than like their neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.intake.skull import SkullLocation

_SHOWN_HU = (-200, 300)
_FEWEST_TRIPLES = 8
_CLEARLY_LESS = 0.85
_MOST_TRIPLES = 0.8
_SMOOTHED_PIXELS = 3


def is_interleaved(coarse: NDArray[np.int16], skull: SkullLocation) -> bool:
    """Whether every second slice of the brain is clearly more alike than neighbouring slices are.

    In one scan a slice differs from the next but one at least as much as from the next. Where two scans were sorted
    into one stack, it is the other way round nearly everywhere.

    Parameters
    ----------
    coarse : ndarray of int16, shape (slices, rows, columns)
        Hounsfield units, sampled in plane.
    skull : SkullLocation
        Gives the slices with brain.
    """
    planes = coarse[skull.brain].clip(*_SHOWN_HU).astype(np.float32)
    if len(planes) < _FEWEST_TRIPLES + 2:
        return False
    smooth = ndimage.uniform_filter(planes, size=(1, _SMOOTHED_PIXELS, _SMOOTHED_PIXELS))
    next_one = np.abs(smooth[1:] - smooth[:-1]).mean(axis=(1, 2))
    next_but_one = np.abs(smooth[2:] - smooth[:-2]).mean(axis=(1, 2))
    less = next_but_one < _CLEARLY_LESS * (next_one[1:] + next_one[:-1]) / 2
    return bool(less.mean() >= _MOST_TRIPLES)
