"""Random changes of a scan for training: mirrored, rotated, scaled, another contrast, shifted, smoothed and noisy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monai.transforms import (
    Compose,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandRotated,
    RandScaleIntensityd,
    RandShiftIntensityd,
    RandZoomd,
)

SEED_STEP = 100_003
"""Between two seeds of the augmentation; more than there are scans and variants."""


@dataclass(frozen=True)
class Augmentation:
    """How far slices in HU, of shape (1, slices, height, width), are changed; both sizes of a scan alike.

    Attributes
    ----------
    rotation_radians : float
        Largest rotation in the slice plane.
    scaling : float
        Largest relative change of size in the slice plane.
    window_contrast : float
        Largest relative change of HU.
    window_shift_hu : float
        Largest shift of HU.
    noise_hu : float
        Largest standard deviation of the noise, which half of the scans are given.
    blur_pixels : float
        Largest standard deviation of the smoothing in the slice plane, from 0.4; three scans in ten are smoothed.
    seed : int
        Of all draws.
    """

    rotation_radians: float = 0.3
    scaling: float = 0.15
    window_contrast: float = 0.1
    window_shift_hu: float = 5.0
    noise_hu: float = 3.0
    blur_pixels: float = 0.8
    seed: int = 0

    def transform(self, draw: int) -> Compose:
        """Return the transforms of one draw: the same draw changes the same slices in the same way."""
        both: dict[str, Any] = {"keys": ["image", "high_res"], "allow_missing_keys": True}
        low, high = [1.0, *[1 - self.scaling] * 2], [1.0, *[1 + self.scaling] * 2]
        blur: dict[str, Any] = {"sigma_y": (0.4, self.blur_pixels), "sigma_z": (0.4, self.blur_pixels)}
        transforms = Compose(
            [
                RandFlipd(**both, prob=1.0, spatial_axis=2),
                RandRotated(**both, prob=1.0, range_x=self.rotation_radians, mode="bilinear", padding_mode="border"),
                RandZoomd(**both, prob=1.0, min_zoom=low, max_zoom=high, mode="trilinear", padding_mode="edge"),
                RandScaleIntensityd(**both, prob=1.0, factors=self.window_contrast),
                RandShiftIntensityd(**both, prob=1.0, offsets=self.window_shift_hu),
                # The first axis is that of the slices: they are not mixed.
                RandGaussianSmoothd(**both, prob=0.3, sigma_x=(0.0, 0.01), **blur),
                RandGaussianNoised("image", prob=0.5, std=self.noise_hu, allow_missing_keys=True),
                RandGaussianNoised("high_res", prob=0.5, std=self.noise_hu, allow_missing_keys=True),
            ]
        )
        transforms.set_random_state(self.seed * SEED_STEP + draw)
        return transforms
