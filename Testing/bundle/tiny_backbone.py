"""A backbone of two convolutions, for tests of what is trained and cached behind any backbone; it counts its slices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scripts.networks.backbone import Backbone


class InterruptionError(Exception):
    """What ends a run in the middle."""


class TinyBackbone(Backbone):
    """Random weights by a seed; ``slices`` counts what its frozen stage was given, ``trained_slices`` the other's."""

    channels = 12
    stride = 8
    frozen_layers = 2
    slices: int
    trained_slices: int

    def __init__(self, seed: int = 0, fail_after: int | None = None) -> None:
        layers = [
            nn.Conv2d(3, 6, kernel_size=8, stride=8),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 12, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
        ]
        super().__init__(layers)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.3, 0.3, generator=generator)
        self.requires_grad_(False)
        self.slices, self.trained_slices, self.fail_after = 0, 0, fail_after
        self.features[0].register_forward_pre_hook(self._count)
        self.features[2].register_forward_pre_hook(self._count_trained)

    def _count(self, _layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self.slices += len(arguments[0])
        if self.fail_after is not None and self.slices > self.fail_after:
            raise InterruptionError

    def _count_trained(self, _layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self.trained_slices += len(arguments[0])
