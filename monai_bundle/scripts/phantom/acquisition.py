"""What the scanner adds to the anatomy: noise and residual beam hardening."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.phantom.grid import Grid
from scripts.phantom.shapes import Values, smooth_step


def residual_beam_hardening(head: Values, depth: Values) -> Values:
    """Residual beam hardening in HU: brighter under the vault, darker between the petrous ridges."""
    cupping = 4.0 * np.exp(-np.maximum(depth, 0.0) / 7.0)
    height, along = (head[2] + 36.0) / 7.0, (head[1] + 22.0 + 0.3 * np.abs(head[0])) / 7.0
    across = smooth_step(np.abs(head[0]), 40.0, 20.0)
    return cupping - 9.0 * across * np.exp(-height * height - along * along)


def reconstruction_noise(grid: Grid, seed: int) -> NDArray[np.float32]:
    """Reconstruction noise of standard deviation 1: correlated over about a pixel of 0.5 mm, never across slices."""
    noise = np.random.default_rng([seed, 23]).standard_normal(grid.shape, dtype=np.float32)
    sigma = (0.0, 0.38 / grid.spacing[1], 0.38 / grid.spacing[0])
    smooth = ndimage.gaussian_filter(noise, sigma, truncate=3.0)
    # A sharpening reconstruction kernel takes the coarse structure out of the noise again.
    smooth -= 0.6 * ndimage.gaussian_filter(smooth, tuple(3.0 * s for s in sigma), truncate=2.5)
    return smooth / max(float(smooth.std()), 1e-6)
