"""Classification networks that the field's comparisons use, up to their last maps, averaged to one embedding a slice.

EfficientNet-B2, ResNet50 and DenseNet121 are the three architectures of the ICH app (its section 4.1.5); VGG16/19,
ResNet18/34/50/101 and the vision transformers of :mod:`~scripts.networks.vision_transformer` those of Qiu's comparison
of Grad-CAM (chapter 3). MONAI's networks in two dimensions; weights from the files that are published for them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from monai.networks.nets import DenseNet121, EfficientNetBN, resnet18, resnet34, resnet50, resnet101
from torch import Tensor, nn

from scripts.networks.backbone import Backbone
from scripts.networks.imagenet_files import ImageNetFile
from scripts.networks.imagenet_weights import ImageNetWeightsError
from scripts.networks.vgg16 import VGG16Features, convolutions

_TORCHVISION = "https://download.pytorch.org/models/"
_BSD = "BSD-3-Clause (torchvision; trained on ImageNet)"
_RESNETS = {18: (resnet18, 512), 34: (resnet34, 512), 50: (resnet50, 2048), 101: (resnet101, 2048)}


def torchvision_file(name: str) -> ImageNetFile:
    """Return one of torchvision's files, whose name ends with the first digits of its sha256."""
    prefix = name.removesuffix(".pth").rpartition("-")[2]
    return ImageNetFile(name, _TORCHVISION + name, prefix, _BSD)


class ImageNetBackbone(Backbone):
    """A backbone whose training begins with a published file where that is on this machine or may be fetched.

    Parameters
    ----------
    layers : sequence of nn.Module
        As for :class:`~scripts.networks.backbone.Backbone`.
    pretrained : bool
        Whether training begins with ImageNet's weights where they can be had; random ones otherwise, and what was
        trained says so.
    fetch : bool
        Whether the file may be downloaded.

    Attributes
    ----------
    weights : ImageNetFile or None
        None where no file with a stated checksum is published.
    """

    frozen_layers = 0
    pooling = "mean"
    weights: ClassVar[ImageNetFile | None] = None

    def __init__(self, layers: Sequence[nn.Module], pretrained: bool = True, fetch: bool = False) -> None:
        super().__init__(layers)
        self.pretrained = pretrained and self.weights is not None and self.weights.available(fetch)

    def starts_from(self) -> str:
        """Return what training began with, as results state it."""
        return f"ImageNet weights ({self.weights.name})" if self.pretrained and self.weights else "random weights"

    def file_name(self, name: str) -> str:
        """Return the name that the file gives to one of this backbone's parameters."""
        return name

    def pretrained_state(self) -> dict[str, Tensor]:
        """Return ImageNet's weights under this backbone's names.

        Raises
        ------
        ImageNetWeightsError
            If the file is damaged, not the one that was stated, or lacks a parameter.
        NotImplementedError
            If no file is published for this network.
        """
        if self.weights is None:
            return super().pretrained_state()
        published, state = self.weights.read(), self.state_dict()
        for name in state:
            found = published.get(self.file_name(name))
            if found is not None:
                state[name] = found
            # Older files do not count batches.
            elif not name.endswith("num_batches_tracked"):
                raise ImageNetWeightsError("weights.imagenet_damaged", file=self.weights.name)
        return state


class _ResNet(ImageNetBackbone):
    """ResNet (He et al. 2016) up to its last block, with torchvision's strides."""

    stride = 32
    depth: ClassVar[int]

    def __init__(self, pretrained: bool = True, fetch: bool = False) -> None:
        build, self.channels = _RESNETS[self.depth]
        # MONAI's first convolution has a stride of 1 and its shortcuts a bias, unless told otherwise.
        whole = build(spatial_dims=2, n_input_channels=3, conv1_t_stride=2, bias_downsample=False, num_classes=1)
        self.parts = ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4")
        super().__init__([getattr(whole, part) for part in self.parts], pretrained, fetch)

    def file_name(self, name: str) -> str:
        """Return torchvision's name."""
        _, place, rest = name.split(".", maxsplit=2)
        return f"{self.parts[int(place)]}.{rest}"


class ResNet18Features(_ResNet):
    """ResNet18."""

    depth = 18
    weights = torchvision_file("resnet18-f37072fd.pth")


class ResNet34Features(_ResNet):
    """ResNet34."""

    depth = 34
    weights = torchvision_file("resnet34-b627a593.pth")


class ResNet50Features(_ResNet):
    """ResNet50."""

    depth = 50
    weights = torchvision_file("resnet50-0676ba61.pth")


class ResNet101Features(_ResNet):
    """ResNet101."""

    depth = 101
    weights = torchvision_file("resnet101-63fe2227.pth")


class DenseNet121Features(ImageNetBackbone):
    """DenseNet121 (Huang et al. 2017) up to its last, rectified normalisation."""

    channels = 1024
    stride = 32
    weights = torchvision_file("densenet121-a639ec97.pth")

    def __init__(self, pretrained: bool = True, fetch: bool = False) -> None:
        named = dict(DenseNet121(spatial_dims=2, in_channels=3, out_channels=1).features.named_children())
        self.parts = tuple(named)
        super().__init__([*named.values(), nn.ReLU()], pretrained, fetch)

    def file_name(self, name: str) -> str:
        """Return torchvision's name."""
        return densenet_file_name(name, self.parts)


def densenet_file_name(name: str, parts: Sequence[str]) -> str:
    """Return torchvision's name of a DenseNet's parameter: its files have ``norm.1`` where MONAI has ``layers.norm1``.

    Parameters
    ----------
    name : str
        ``features.<place>.<rest>``.
    parts : sequence of str
        What stands at each place.
    """
    _, place, rest = name.split(".", maxsplit=2)
    rest = re.sub(r"^(denselayer\d+)\.layers\.(norm|conv)(\d)", r"\1.\2.\3", rest)
    return f"features.{parts[int(place)]}.{rest}"


MOMENTUM = 0.1
"""Of EfficientNet's running statistics, as the other networks here have it."""


class EfficientNetB2Features(ImageNetBackbone):
    """EfficientNet-B2 (Tan and Le 2019) up to its last activation."""

    channels = 1408
    stride = 32
    weights = ImageNetFile(
        name="efficientnet-b2-8bb594d6.pth",
        url="https://github.com/lukemelas/EfficientNet-PyTorch/releases/download/1.0/efficientnet-b2-8bb594d6.pth",
        sha256_prefix="8bb594d6",
        licence="Apache-2.0 (L. Melas-Kyriazi, converted from Tan and Le's weights)",
    )

    def __init__(self, pretrained: bool = True, fetch: bool = False) -> None:
        whole = EfficientNetBN("efficientnet-b2", pretrained=False, spatial_dims=2, in_channels=3, num_classes=1)
        for layer in whole.modules():
            if isinstance(layer, nn.BatchNorm2d):
                # The published 0.01 is for 350 epochs of ImageNet: after some hundred steps a tenth of the initial
                # statistics is left, layer upon layer, and every slice gets the same answer in evaluation.
                layer.momentum = MOMENTUM
        stem = ("_conv_stem_padding", "_conv_stem", "_bn0", "_swish")
        self.parts = (*stem, "_blocks", "_conv_head_padding", "_conv_head", "_bn1", "_swish")
        super().__init__([getattr(whole, part) for part in self.parts], pretrained, fetch)

    def file_name(self, name: str) -> str:
        """Return the file's name: blocks are counted through in both, and MONAI names their stage as well."""
        _, place, rest = name.split(".", maxsplit=2)
        part = self.parts[int(place)]
        if part != "_blocks":
            return f"{part}.{rest}"
        return f"_blocks.{rest.partition('.')[2]}"


class VGG16Averaged(VGG16Features):
    """VGG16's convolutions, averaged to an embedding as the other networks of a comparison are."""

    frozen_layers = 0
    pooling = "mean"


class VGG19Averaged(ImageNetBackbone):
    """VGG19's sixteen convolutions (Simonyan and Zisserman 2015, configuration E), without the last max-pooling."""

    channels = 512
    stride = 16
    weights = torchvision_file("vgg19-dcbb9e9d.pth")

    def __init__(self, pretrained: bool = True, fetch: bool = False) -> None:
        blocks = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
        super().__init__(convolutions(blocks), pretrained, fetch)
