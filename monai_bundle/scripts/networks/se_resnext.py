"""SE-ResNeXt101 (Hu et al. 2018; Xie et al. 2017), MONAI's in two dimensions, as a backbone."""

from __future__ import annotations

import re

from monai.networks.nets import SEResNext101
from torch import Tensor

from scripts.networks.backbone import Backbone
from scripts.networks.imagenet_files import ImageNetFile

WEIGHTS = ImageNetFile(
    name="se_resnext101_32x4d-3b2fe3d8.pth",
    url="http://data.lip6.fr/cadene/pretrainedmodels/se_resnext101_32x4d-3b2fe3d8.pth",
    sha256_prefix="3b2fe3d8",
    licence="BSD-3-Clause (R. Cadene, converted from Hu et al.'s Caffe weights)",
)

# As monai.networks.nets.senet maps them; its own function only downloads, and hands the result to a network of its own.
_RENAMED = (
    (re.compile(r"^(layer[1-4]\.\d+\.conv)(\d)\.(\w+)$"), r"\g<1>\g<2>.conv.\g<3>"),
    (re.compile(r"^(layer[1-4]\.\d+\.)bn(\d)\.(\w+)$"), r"\g<1>conv\g<2>.adn.N.\g<3>"),
    (re.compile(r"^(layer[1-4]\.\d+\.)se_module\.fc1\.(\w+)$"), r"\g<1>se_layer.fc.0.\g<2>"),
    (re.compile(r"^(layer[1-4]\.\d+\.)se_module\.fc2\.(\w+)$"), r"\g<1>se_layer.fc.2.\g<2>"),
    (re.compile(r"^(layer[1-4]\.\d+\.)downsample\.0\.(\w+)$"), r"\g<1>project.conv.\g<2>"),
    (re.compile(r"^(layer[1-4]\.\d+\.)downsample\.1\.(\w+)$"), r"\g<1>project.adn.N.\g<2>"),
)
_PARTS = ("layer0", "layer1", "layer2", "layer3", "layer4")


class SEResNeXt101Features(Backbone):
    """SE-ResNeXt101 (32 x 4d) up to its last block.

    Parameters
    ----------
    pretrained : bool
        Whether training begins with ImageNet's weights where they are on this machine or can be fetched; random ones
        otherwise (He et al. 2015), and what was trained says so.
    fetch : bool
        Whether the file may be downloaded.
    """

    channels = 2048
    stride = 32
    frozen_layers = 0
    pooling = "mean"

    def __init__(self, pretrained: bool = True, fetch: bool = False) -> None:
        whole = SEResNext101(spatial_dims=2, in_channels=3, num_classes=1)
        super().__init__([whole.layer0, whole.layer1, whole.layer2, whole.layer3, whole.layer4])
        self.pretrained = pretrained and WEIGHTS.available(fetch)

    def starts_from(self) -> str:
        """Return what training began with, as results state it."""
        return f"ImageNet weights ({WEIGHTS.name})" if self.pretrained else "random weights"

    def pretrained_state(self) -> dict[str, Tensor]:
        """Return ImageNet's weights under this backbone's names.

        Raises
        ------
        ImageNetWeightsError
            If the file is damaged, or not the one that was stated.
        """
        state = {}
        for name, tensor in WEIGHTS.read().items():
            part, _, rest = renamed(name).partition(".")
            if part in _PARTS:
                # The file has the squeeze-and-excitation as 1 x 1 convolutions, MONAI as fully connected layers.
                linear = tensor[..., 0, 0] if ".se_layer.fc." in rest and tensor.ndim == 4 else tensor
                state[f"features.{_PARTS.index(part)}.{rest}"] = linear
        return state


def renamed(name: str) -> str:
    """Return MONAI's name of one of the file's parameters."""
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return name
