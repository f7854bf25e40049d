"""VGG16's thirteen convolutions as a backbone (Simonyan and Zisserman 2015, configuration D)."""

from __future__ import annotations

from torch import nn

from scripts.networks.backbone import Backbone

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16Features(Backbone):
    """VGG16 up to its last convolution, with torchvision's parameter names; four of its five blocks stay frozen.

    The fifth max-pooling is left out: DrCT2 takes the maximum of the 7 x 7 map that it gives (eq. 2), and the maximum
    of the 14 x 14 map in front of it is the same number, while Grad-CAM gains twice the resolution.
    """

    channels = 512
    stride = 16
    frozen_layers = 24
    weights_file: str | None = "models/backbone.pt"

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for number, block in enumerate(_BLOCKS):
            if number > 0:
                layers.append(nn.MaxPool2d(2))
            for width in block:
                layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        super().__init__(layers)
