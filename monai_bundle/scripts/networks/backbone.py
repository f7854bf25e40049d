"""The seam behind which every feature extractor stands: what DrCT and its training need to know of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class InputNormalisation:
    """Mean and standard deviation of each input channel that the weights were trained with; windows are 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


Pooling = Literal["max", "max_mean", "mean"]

IMAGENET = InputNormalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNCHANGED = InputNormalisation((0.0,), (1.0,))
"""For networks that take windows in 0..1 as they are, of any number of channels."""


class Normalise(nn.Module):
    """Brings windows in 0..1 to the mean and standard deviation that pretrained weights expect."""

    def __init__(self, normalisation: InputNormalisation) -> None:
        super().__init__()
        # Not in the state dict: they belong to the class, not to what was trained.
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(normalisation, name))[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Normalise slices of shape (slices, channels, height, width)."""
        return (image - self.mean) / self.std


class Backbone(nn.Module):
    """Extracts feature maps of slices, one by one, by layers in a sequence.

    A subclass states the attributes below and hands its layers over. Slices enter as windows in 0..1: the backbone
    normalises them itself, so that another one needs no other preprocessing. The first ``frozen_layers`` layers keep
    their pretrained weights, so that training computes their maps once; the others can be fine-tuned on CT.

    Parameters
    ----------
    layers : sequence of nn.Module
        From normalised slices to the last feature maps. Their parameters are named ``features.<place>.<name>``.

    Attributes
    ----------
    channels : int
        Feature maps of the last layer.
    stride : int
        Input pixels per cell of the last feature maps along one axis.
    frozen_layers : int
        Number of leading layers that are not trained.
    normalisation : InputNormalisation
        Of the pretrained weights.
    pooling : {"max", "max_mean", "mean"}
        How feature maps become one embedding, see :meth:`pool`.
    level_channels : tuple of int
        Feature maps of each of :meth:`levels`; empty where the backbone gives none, and has no lesion decoder.
    pretrained : bool
        Whether :meth:`pretrained_state` gives weights that training begins with; otherwise it begins with random ones.
    """

    channels: int
    stride: int
    frozen_layers: int
    normalisation: InputNormalisation = IMAGENET
    pooling: ClassVar[Pooling] = "max"
    level_channels: tuple[int, ...] = ()
    pretrained: bool = False

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.normalise = Normalise(self.normalisation)
        self.features = nn.Sequential(*layers)

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
        maps: Tensor = self.features(self.normalise(image))
        return maps

    def levels(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return feature maps of growing stride, 4 first; the last are :meth:`forward`'s.

        Parameters
        ----------
        image : Tensor, shape (slices, 3, height, width)
            Windows in 0..1.

        Returns
        -------
        tuple of Tensor, shape (slices, level's channels, height / stride, width / stride)
        """
        return (self(image),)

    def pool(self, maps: Tensor) -> Tensor:
        """Pool feature maps to one embedding z per slice: their maximum (DrCT2, eq. 2), their mean, or the sum of both.

        Parameters
        ----------
        maps : Tensor, shape (..., channels, h, w)

        Returns
        -------
        Tensor, shape (..., channels)
        """
        if self.pooling == "mean":
            return maps.mean(dim=(-2, -1))
        return pool(maps) if self.pooling == "max" else pool(maps) + maps.mean(dim=(-2, -1))

    def pretrained_state(self) -> dict[str, Tensor]:
        """Return the weights that training begins with, by the names of this backbone's state dict.

        A backbone is built without them, so that reading a study needs no more than the trained file.

        Raises
        ------
        ExpectedError
            If they cannot be read or fetched; the message says what to do.
        """
        raise NotImplementedError(f"{type(self).__name__} has no pretrained weights")

    def starts_from(self) -> str:
        """Return what training began with, as results state it."""
        return "pretrained weights" if self.pretrained else "random weights"

    def frozen_stage(self) -> nn.Sequential:
        """Return normalisation and the layers that keep their pretrained weights; they take windows in 0..1.

        The layers are this backbone's own: they share its weights.
        """
        return nn.Sequential(self.normalise, *list(self.features)[: self.frozen_layers])

    def trained_stage(self) -> nn.Sequential:
        """Return the layers that can be fine-tuned on CT, this backbone's own; they take the frozen stage's maps."""
        return nn.Sequential(*list(self.features)[self.frozen_layers :])


def pool(maps: Tensor) -> Tensor:
    """Adaptive max-pooling of feature maps to one embedding z per slice (DrCT2, eq. 2).

    Parameters
    ----------
    maps : Tensor, shape (..., channels, h, w)

    Returns
    -------
    Tensor, shape (..., channels)
    """
    return maps.amax(dim=(-2, -1))
