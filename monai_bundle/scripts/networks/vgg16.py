"""VGG16's thirteen convolutions as a backbone (Simonyan and Zisserman 2015, configuration D): the paper's own."""

from __future__ import annotations

from torch import Tensor, nn

from scripts.networks.backbone import Backbone
from scripts.networks.imagenet_weights import vgg16_convolutions

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16Features(Backbone):
    """VGG16 up to its last convolution, with torchvision's parameter names; four of its five blocks stay frozen.

    The fifth max-pooling is left out: DrCT2 takes the maximum of the 7 x 7 map that it gives (eq. 2), and the maximum
    of the 14 x 14 map in front of it is the same number, while Grad-CAM gains twice the resolution.

    Parameters
    ----------
    pretrained : bool
        Whether training begins with ImageNet's weights; otherwise with random ones.
    fetch : bool
        Whether they may be downloaded then, if they are not on this machine yet.
    """

    channels = 512
    stride = 16
    frozen_layers = 24

    def __init__(self, pretrained: bool = True, fetch: bool = False) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for number, block in enumerate(_BLOCKS):
            if number > 0:
                layers.append(nn.MaxPool2d(2))
            for width in block:
                layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        super().__init__(layers)
        self.pretrained = pretrained
        self.fetch = fetch

    def pretrained_state(self) -> dict[str, Tensor]:
        """Return ImageNet's weights in half precision, as they were always shipped.

        Raises
        ------
        ImageNetWeightsError
            If they are not on this machine and must not or cannot be fetched.
        """
        return {name: tensor.half().float() for name, tensor in vgg16_convolutions(self.fetch).items()}
