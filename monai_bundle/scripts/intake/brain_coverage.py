"""How much brain a stack shows, estimated from a few of its slices before the stack is read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scripts.intake.dicom_pixels import read_voxels
from scripts.intake.skull import locate_skull
from scripts.intake.stack import Stack
from scripts.intake.study import NotEvaluableError

_SAMPLES = 12
_FEW = 3


@dataclass(frozen=True)
class BrainCoverage:
    """Brain in a stack.

    Attributes
    ----------
    volume_ml : float
        Soft tissue that a skull encloses; 0 where there is none or the samples cannot be read.
    centres_mm : ndarray of float64, shape (samples, 3)
        Middle of each sampled slice that shows brain (LPS, mm).
    """

    volume_ml: float = 0.0
    centres_mm: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))


def estimate_coverage(stack: Stack) -> BrainCoverage:
    """Read about twelve slices, evenly spaced, and measure the brain in them.

    Parameters
    ----------
    stack : Stack
        Without a fault.
    """
    count = len(stack.headers)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _SAMPLES)).round().astype(int))
    try:
        voxels, _ = read_voxels([stack.headers[index] for index in chosen])
    except NotEvaluableError:
        return BrainCoverage()
    row_mm, column_mm = stack.first.pixel_spacing or (1.0, 1.0)
    step_mm = float(np.median(np.diff(stack.positions_mm[chosen]))) if len(chosen) > 1 else stack.thickness_mm or 1.0
    skull = locate_skull(voxels, (column_mm, row_mm, max(step_mm, 0.1)))
    orientation = np.array(stack.orientation).reshape(2, 3)
    to_middle = orientation[0] * column_mm * voxels.shape[2] / 2 + orientation[1] * row_mm * voxels.shape[1] / 2
    corners = np.array([stack.headers[index].position for index in chosen], dtype=np.float64)
    return BrainCoverage(float(skull.sections_cm2.sum()) * step_mm / 10, (corners + to_middle)[skull.brain])
