"""VGG16's thirteen convolutions as a backbone (Simonyan and Zisserman 2015, configuration D): the paper's own."""

from __future__ import annotations

from collections.abc import Sequence

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
        Whether training begins with ImageNet's weights; otherwise with random ones (He et al. 2015).
    fetch : bool
        Whether they may be downloaded then, if they are not on this machine yet.
    """

    channels = 512
    stride = 16
    frozen_layers = 24

    def __init__(self, pretrained: bool = True, fetch: bool = False) -> None:
        super().__init__(convolutions(_BLOCKS))
        if not pretrained:
            self._initialise()
        self.pretrained = pretrained
        self.fetch = fetch

    def _initialise(self) -> None:
        for layer in self.features:
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def pretrained_state(self) -> dict[str, Tensor]:
        """Return ImageNet's weights in half precision, as they were always shipped.

        Raises
        ------
        ImageNetWeightsError
            If they are not on this machine and must not or cannot be fetched.
        """
        return {name: tensor.half().float() for name, tensor in vgg16_convolutions(self.fetch).items()}


def convolutions(blocks: Sequence[Sequence[int]]) -> list[nn.Module]:
    """Return VGG's layers, a max-pooling between blocks, numbered as torchvision numbers them.

    Parameters
    ----------
    blocks : sequence of sequence of int
        Channels of each 3 x 3 convolution, block by block.
    """
    layers: list[nn.Module] = []
    channels = 3
    for number, block in enumerate(blocks):
        if number > 0:
            layers.append(nn.MaxPool2d(2))
        for width in block:
            layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    return layers
