"""The seam behind which every feature extractor stands: what DrCT and its training need to know of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class InputNormalisation:
    """Mean and standard deviation of each input channel that the weights were trained with; windows are 0..1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = InputNormalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Backbone(nn.Module, ABC):
    """Extracts feature maps of slices, one by one.

    A subclass states ``channels`` (feature maps of its last layer), ``stride`` (input pixels per cell of a map along
    one axis), ``normalisation`` and ``weights_file`` (path inside the bundle of its pretrained weights, or None for
    random ones), and splits itself into a frozen and a trained stage. Slices enter as windows in 0..1: the backbone
    normalises them itself, so that another one needs no other preprocessing.
    """

    channels: int
    stride: int
    normalisation: InputNormalisation = IMAGENET
    weights_file: str | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Return the feature maps of slices.

        Parameters
        ----------
        image : Tensor, shape (slices, 3, height, width)
            Windows in 0..1; height and width divisible by ``stride``.

        Returns
        -------
        Tensor, shape (slices, channels, height / stride, width / stride)
        """
        maps: Tensor = self.trained_stage()(self.frozen_stage()(self.normalised(image)))
        return maps

    def normalised(self, image: Tensor) -> Tensor:
        """Return windows in 0..1 as the pretrained weights expect them."""
        mean, std = (
            torch.tensor(values, dtype=image.dtype, device=image.device)[:, None, None]
            for values in (self.normalisation.mean, self.normalisation.std)
        )
        return (image - mean) / std

    @abstractmethod
    def frozen_stage(self) -> nn.Module:
        """Return the layers that keep their pretrained weights; they take normalised slices."""

    @abstractmethod
    def trained_stage(self) -> nn.Module:
        """Return the layers that are fine-tuned on CT; they take the maps of the frozen stage."""
