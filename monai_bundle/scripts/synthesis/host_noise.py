"""Noise of the host: its strength and texture, measured in quiet brain, and new noise of the same kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from scripts.synthesis.working_grid import Field

_PATCH = 32
_QUIET = 0.3
_STRUCTURE_MM = 2.2
_USUAL_HU = 3.0


@dataclass(frozen=True)
class HostNoise:
    """Noise in plane, independent from slice to slice.

    Attributes
    ----------
    deviation_hu : float
        Standard deviation in HU.
    amplitude : ndarray of float32, shape (32, 32)
        Square root of the noise power spectrum over spatial frequencies of a 32 x 32 patch, of mean square 1.
    """

    deviation_hu: float
    amplitude: NDArray[np.float32]

    def field(self, shape: tuple[int, int, int], generator: np.random.Generator) -> Field:
        """Draw noise of this strength and texture, in HU, shape (slices, rows, columns)."""
        slices, *plane = shape
        rows, columns = (fft.next_fast_len(size, real=True) for size in plane)
        white = generator.standard_normal((slices, rows, columns), dtype=np.float32)
        # The spectrum of the patch, stretched over the frequencies of the larger plane.
        frequencies = np.meshgrid(np.abs(fft.fftfreq(rows)) * _PATCH, fft.rfftfreq(columns) * _PATCH, indexing="ij")
        gain = ndimage.map_coordinates(self.amplitude, frequencies, order=1, mode="grid-wrap")
        coloured = fft.irfft2(fft.rfft2(white) * gain.astype(np.float32), s=(rows, columns))
        coloured = coloured[:, : plane[0], : plane[1]]
        return np.asarray(coloured * (self.deviation_hu / max(float(coloured.std()), 1e-6)), dtype=np.float32)


def measure_noise(voxels: NDArray[np.number], inside: NDArray[np.bool_], pixel_mm: float) -> HostNoise:
    """Measure the noise of a host in the quietest patches of its brain.

    Structure coarser than about 2 mm is taken out first, so that the spectrum is that of noise and kernel, and only the
    patches of the lowest variance count, which hold no sulci.

    Parameters
    ----------
    voxels : ndarray, shape (slices, rows, columns)
        Hounsfield units.
    inside : ndarray of bool, same shape
        Where brain lies, well away from bone.
    pixel_mm : float
        Pixel spacing in mm.
    """
    patches = []
    window = np.hanning(_PATCH)[:, None] * np.hanning(_PATCH)[None, :]
    for index in np.flatnonzero(inside.any(axis=(1, 2))):
        plane = inside[index]
        rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
        tiles = [
            (row, column)
            for row in range(int(rows[0]), int(rows[-1]) - _PATCH, _PATCH)
            for column in range(int(columns[0]), int(columns[-1]) - _PATCH, _PATCH)
            if plane[row : row + _PATCH, column : column + _PATCH].mean() > 0.95
        ]
        patches += [
            voxels[index, row : row + _PATCH, column : column + _PATCH]
            for row, column in tiles[:: 1 + len(tiles) // 12]
        ]
    if not patches:
        return HostNoise(_USUAL_HU, np.ones((_PATCH, _PATCH), dtype=np.float32))
    stack = np.stack(patches).astype(np.float32)
    stack -= ndimage.gaussian_filter(stack, (0, *(2 * (_STRUCTURE_MM / pixel_mm,))), mode="mirror", truncate=2.5)
    variance = stack.var(axis=(1, 2))
    quiet = stack[variance <= np.quantile(variance, _QUIET)]
    power = np.square(np.abs(fft.fft2(quiet * window))).mean(axis=0)
    # Noise has hardly any direction: both mirror images of the spectrum steady the estimate.
    power = 0.5 * (power + np.roll(power[::-1], 1, axis=0))
    amplitude = np.sqrt(ndimage.gaussian_filter(power, 0.8, mode="wrap"))
    strength = np.sqrt(np.square(amplitude).mean())
    if strength == 0.0:
        # A drawn image without any noise: none is added.
        return HostNoise(0.0, np.ones((_PATCH, _PATCH), dtype=np.float32))
    amplitude /= strength
    return HostNoise(float(np.sqrt(quiet.var(axis=(1, 2)).mean())), amplitude.astype(np.float32))
