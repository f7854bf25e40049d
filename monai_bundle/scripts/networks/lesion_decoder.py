"""Where the blood is: a light decoder on the backbone's feature maps, trained with masks (RADnet's auxiliary idea).

A feature pyramid (Lin et al. 2017) of separable convolutions; one logit per label and pixel at a quarter of the image
size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_RARE = -4.0
"""Where the logits start: few pixels show blood."""


class LesionDecoder(nn.Module):
    """Labels every pixel of a slice from feature maps at several strides.

    Parameters
    ----------
    level_channels : sequence of int
        Feature maps of each level, the finest first; each level has half the size of the one before.
    labels : int
        Number of logits per pixel; the first is that of any haemorrhage.
    width : int
        Channels of the pyramid.
    """

    def __init__(self, level_channels: Sequence[int], labels: int = 6, width: int = 48) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in level_channels)
        self.smooth = nn.ModuleList(_separable(width) for _ in level_channels)
        self.output = nn.Conv2d(width, labels, 1)
        nn.init.constant_(self.output.bias if self.output.bias is not None else torch.empty(0), _RARE)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return logits (slices, labels, h, w) of the finest level's size.

        Parameters
        ----------
        levels : sequence of Tensor, shape (slices, level's channels, h, w)
            From :meth:`scripts.networks.backbone.Backbone.levels`.
        """
        maps: Tensor | None = None
        for level, lateral, smooth in zip(reversed(levels), reversed(self.lateral), reversed(self.smooth), strict=True):
            here = lateral(level)
            if maps is not None:
                here = here + functional.interpolate(maps, size=here.shape[-2:], mode="nearest")
            maps = smooth(here)
        logits: Tensor = self.output(maps)
        return logits


def _separable(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)
