"""Random changes of whole batches of training slices: position, contrast, sharpness, noise, and what is not known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scripts.intake.study import AIR_HU

NARROW_HU = (-5.0, 75.0)
"""What an image in a brain window of 35/80 keeps of the Hounsfield units."""
BRAIN_HU = 33.0
STRIDE = 4
"""Pixels of the image per pixel of the lesion decoder."""


@dataclass(frozen=True)
class SliceAugmentation:
    """How far the slices of a batch are changed, each by its own draw.

    Attributes
    ----------
    rotation_radians : float
        Standard deviation of the rotation.
    scaling : float
        Largest relative change of size.
    stretch : float
        Largest relative difference of the two axes.
    shift : float
        Largest shift relative to the image's side.
    contrast : float
        Largest relative change of HU around the brain's.
    shift_hu : float
        Largest shift of HU.
    noise_hu : float
        Largest standard deviation of the noise.
    blur : float
        Probability of smoothing.
    narrow : float
        Probability that a slice with bone is read as one of an 8-bit image in a brain window, without.
    mirror, upside_down : float
        Probability of mirroring left and right, and front and back.
    """

    rotation_radians: float = 0.2
    scaling: float = 0.15
    stretch: float = 0.08
    shift: float = 0.06
    contrast: float = 0.12
    shift_hu: float = 5.0
    noise_hu: float = 5.0
    blur: float = 0.3
    narrow: float = 0.3
    mirror: float = 0.5
    upside_down: float = 0.0

    def __call__(
        self,
        image: Tensor,
        mask: Tensor,
        bone: Tensor,
        size: int,
        generator: np.random.Generator,
        stride: int = STRIDE,
    ) -> tuple[Tensor, Tensor]:
        """Change a batch.

        Parameters
        ----------
        image : Tensor of float32, shape (slices, 1, side, side)
            HU; more than one channel is changed alike.
        mask : Tensor of uint8, shape (slices, 1, side, side)
            Values stay as they are.
        bone : Tensor of bool, shape (slices,)
            Whether HU beyond the brain window are known.
        size : int
            Rows and columns of the result.
        generator : Generator
            Source of all randomness.
        stride : int
            Pixels of the image per pixel of the mask that is returned.

        Returns
        -------
        image : Tensor, shape (slices, 1, size, size)
            HU.
        mask : Tensor, shape (slices, 1, size / stride, size / stride)
            The mask on the pixels that are to be found, the lesion decoder's unless another stride is asked for.
        """
        count = len(image)
        affine = self._affine(count, generator)
        grid = functional.affine_grid(affine, [count, 1, *image.shape[-2:]], align_corners=False)
        # Air outside the image is air: grid_sample fills with 0.
        moved = functional.grid_sample(image - AIR_HU, grid, align_corners=False) + AIR_HU
        moved = functional.interpolate(moved, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        coarse = functional.affine_grid(affine, [count, 1, size // stride, size // stride], align_corners=False)
        inside = functional.grid_sample(mask.float(), coarse, mode="nearest", align_corners=False).to(torch.uint8)
        moved = self._with_other_contrast(moved, generator)
        narrow = ~bone | torch.from_numpy(generator.random(count) < self.narrow)
        clipped = moved.clamp(*NARROW_HU)
        return torch.where(narrow[:, None, None, None], clipped, moved), inside

    def _affine(self, count: int, generator: np.random.Generator) -> Tensor:
        """Draw matrices (slices, 2, 3) from the result's coordinates to the image's, mirrored or not."""
        angle = generator.normal(0.0, self.rotation_radians, count)
        scale = 1.0 + generator.uniform(-self.scaling, self.scaling, count)
        stretch = 1.0 + generator.uniform(-self.stretch, self.stretch, count)
        side = np.where(generator.random(count) < self.mirror, -1.0, 1.0)
        shift = generator.uniform(-2.0 * self.shift, 2.0 * self.shift, (count, 2))
        cos, sin = np.cos(angle), np.sin(angle)
        x, y = side / (scale * stretch), stretch / scale
        if self.upside_down:
            y = y * np.where(generator.random(count) < self.upside_down, -1.0, 1.0)
        rows = [[x * cos, -y * sin, shift[:, 0]], [x * sin, y * cos, shift[:, 1]]]
        return torch.from_numpy(np.array(rows, dtype=np.float32)).permute(2, 0, 1).contiguous()

    def _with_other_contrast(self, image: Tensor, generator: np.random.Generator) -> Tensor:
        count = len(image)

        def per_slice(values: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(values.astype(np.float32))[:, None, None, None]

        head = image > AIR_HU + 100
        gain = per_slice(1.0 + generator.uniform(-self.contrast, self.contrast, count))
        shift = per_slice(generator.uniform(-self.shift_hu, self.shift_hu, count))
        # Around the brain's HU, so that a changed contrast is not a changed brightness as well.
        changed = (image - BRAIN_HU) * gain + BRAIN_HU + shift
        blurred = torch.from_numpy(generator.random(count) < self.blur)
        if blurred.any():
            soft = functional.avg_pool2d(functional.pad(changed[blurred], (1, 1, 1, 1), mode="replicate"), 3, 1)
            part = per_slice(generator.uniform(0.2, 1.0, int(blurred.sum())))
            changed[blurred] = torch.lerp(changed[blurred], soft, part)
        noise = torch.from_numpy(generator.standard_normal(image.shape, dtype=np.float32))
        strength = np.where(generator.random(count) < 0.5, generator.uniform(0.0, self.noise_hu, count), 0.0)
        return torch.where(head, changed + per_slice(strength) * noise, image)
