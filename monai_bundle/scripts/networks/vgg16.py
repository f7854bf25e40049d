"""VGG16's thirteen convolutions: the eye that looks at every slice (Simonyan and Zisserman 2015, configuration D)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

CHANNELS = 512
"""Feature maps of the last convolution."""

STRIDE = 16
"""Image pixels per feature-map cell along one axis."""

TRUNK_LAYERS = 24
"""Layers in front of the fifth block: four blocks, each with its pooling."""

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16Features(nn.Module):
    """VGG16 up to its last convolution, with torchvision's parameter names.

    The fifth max-pooling is left out: DrCT2 takes the maximum of the 7 x 7 map that it gives (eq. 2), and the maximum
    of the 14 x 14 map in front of it is the same number, while Grad-CAM gains twice the resolution.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for number, block in enumerate(_BLOCKS):
            if number > 0:
                layers.append(nn.MaxPool2d(2))
            for width in block:
                layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Return the feature maps of slices.

        Parameters
        ----------
        image : Tensor, shape (slices, 3, height, width)
            Windowed slices in ImageNet's normalisation; height and width divisible by 16.

        Returns
        -------
        Tensor, shape (slices, 512, height / 16, width / 16)
        """
        maps: Tensor = self.features(image)
        return maps

    def trunk(self) -> nn.Sequential:
        """Return the first four blocks, the fourth pooling included; they share this network's weights."""
        return nn.Sequential(*list(self.features)[:TRUNK_LAYERS])

    def last_block(self) -> nn.Sequential:
        """Return the fifth block, from maps (slices, 512, height / 16, width / 16) to maps of the same shape."""
        return nn.Sequential(*list(self.features)[TRUNK_LAYERS:])


def micro_batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """Split slices so that at most ``size`` of them are in the network's memory at once."""
    yield from torch.split(images, size)


def pool(maps: Tensor) -> Tensor:
    """Adaptive max-pooling of feature maps to one vector z per slice (DrCT2, eq. 2).

    Parameters
    ----------
    maps : Tensor, shape (..., 512, h, w)

    Returns
    -------
    Tensor, shape (..., 512)
    """
    return maps.amax(dim=(-2, -1))
