"""DrCT1 and DrCT2 with a backbone of a few numbers, for tests of what stands behind it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.networks.backbone import Backbone
from scripts.networks.drct import DrCT1, DrCT2


class SmallBackbone(Backbone):
    """A backbone without weights: 512 maps from the image's own values; remembers images."""

    channels, stride, frozen_layers = 512, 8, 0

    def __init__(self) -> None:
        super().__init__([])
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(image)
        cells = functional.adaptive_avg_pool2d(image, 4)
        return torch.cat([cells * gain for gain in torch.linspace(-2, 2, 171)], dim=1)[:, :512]


def drct1(**settings: Any) -> DrCT1:
    torch.manual_seed(3)
    return DrCT1(SmallBackbone(), slices=4, **settings).eval()


def drct2(**settings: Any) -> DrCT2:
    torch.manual_seed(3)
    return DrCT2(SmallBackbone(), **({"slices": 6, "key_slices": 3, "high_res_size": 32} | settings)).eval()


def outputs_of(module: nn.Module) -> list[Any]:
    """Collect what a module returns from now on."""
    outputs: list[Any] = []
    module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    return outputs


def inputs_of(module: nn.Module) -> list[Tensor]:
    inputs: list[Tensor] = []
    module.register_forward_hook(lambda _module, arguments, _output: inputs.append(arguments[0]))
    return inputs
