"""DenseNet of 40 layers in three dense blocks (Huang et al. 2017, table 2, k = 12), as RADnet's baseline network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from scripts.networks.backbone import UNCHANGED, Backbone

LAYERS_OF_A_BLOCK = 12
"""40 layers: the first convolution, three blocks of twelve, two transitions, and the classifier behind the backbone."""


class DenseLayer(nn.Sequential):
    """Batch normalisation, ReLU and a 3 x 3 convolution, whose maps are appended to what it was given."""

    def __init__(self, channels: int, growth: int) -> None:
        convolution = nn.Conv2d(channels, growth, kernel_size=3, padding=1, bias=False)
        super().__init__(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), convolution)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (slices, channels + growth, h, w)."""
        return torch.cat([maps, super().forward(maps)], dim=1)


class DenseNet40(Backbone):
    """Reads single-window slices; three blocks at strides 2, 4 and 8.

    RADnet's figure 1 enlarges the maps of its blocks by 2, 4 and 8, so that the first block works at half the size of
    the image: the first convolution has a stride of 2 here, and every transition halves, as in the original.

    Parameters
    ----------
    in_channels : int
        Channels of a slice; the paper has one.
    growth : int
        Maps that each layer adds, k.
    """

    stride = 8
    frozen_layers = 0
    normalisation = UNCHANGED
    pooling = "mean"

    def __init__(self, in_channels: int = 1, growth: int = 12) -> None:
        channels = 16
        first: list[nn.Module] = [nn.Conv2d(in_channels, channels, kernel_size=3, stride=2, padding=1, bias=False)]
        layers: list[nn.Module] = []
        widths = []
        for number in range(3):
            if number:
                first = [
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(channels, channels, kernel_size=1, bias=False),
                    nn.AvgPool2d(2),
                ]
            block = [DenseLayer(channels + place * growth, growth) for place in range(LAYERS_OF_A_BLOCK)]
            channels += LAYERS_OF_A_BLOCK * growth
            widths.append(channels)
            layers.append(nn.Sequential(*first, *block))
        super().__init__([*layers, nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())])
        self.channels = channels
        self.block_channels = tuple(widths)
        initialise(self)

    def blocks(self, image: Tensor) -> Iterator[Tensor]:
        """Yield the maps after the last concatenation of each block, at strides 2, 4 and 8."""
        maps = self.normalise(image)
        for block in list(self.features)[:3]:
            maps = block(maps)
            yield maps

    def levels(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of each block, at strides 2, 4 and 8, then the network's."""
        blocks = tuple(self.blocks(image))
        return (*blocks, self.last(blocks[-1]))

    def last(self, maps: Tensor) -> Tensor:
        """Turn the third block's maps into the network's: normalised and rectified."""
        rectified: Tensor = self.features[3](maps)
        return rectified


def initialise(network: nn.Module) -> None:
    """Initialise convolutions and fully connected layers as He et al. (2015), and set biases to 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
