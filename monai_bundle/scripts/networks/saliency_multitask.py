"""Diagnosis together with where a reader looks: DenseNet-201, dual-encoder UNet, fusion (Qiu, thesis 2024, chapter 4).

Three stages, each frozen for the next (4.3): 1 the encoder, by triplet loss and then by classification; 2 the UNet that
predicts saliency maps with the encoder's help; 3 a classifier of both their maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Literal, cast

import torch
from monai.networks.nets import DenseNet201
from torch import Tensor, nn
from torch.nn import functional

from scripts.networks.backbone import Backbone
from scripts.networks.imagenet_backbones import ImageNetBackbone, densenet_file_name, torchvision_file
from scripts.networks.residual_se_unet import ResidualSEUNet
from scripts.networks.slice_system import SliceClassifierSystem

Stage = Literal["triplets", "encoder", "saliency", "fusion"]
"""What is trained: the encoder by triplets, the encoder by labels, the UNet, the classifier of both."""

FUSED = 256
"""Maps of the fusion's convolution; the thesis has "a simple CNN classifier"."""


class DenseNet201Encoder(ImageNetBackbone):
    """DenseNet-201 without its last dense block: 896 maps at 1/32 of the size (4.3.1)."""

    channels = 896
    stride = 32
    weights = torchvision_file("densenet201-c1103571.pth")

    def __init__(self, pretrained: bool = True, fetch: bool = False) -> None:
        named = dict(DenseNet201(spatial_dims=2, in_channels=3, out_channels=1).features.named_children())
        self.parts = tuple(name for name in named if name not in ("denseblock4", "norm5"))
        super().__init__([named[name] for name in self.parts], pretrained, fetch)

    def file_name(self, name: str) -> str:
        """Return torchvision's name."""
        return densenet_file_name(name, self.parts)


class FusedBackbone(Backbone):
    """What stage 3 classifies: the encoder's maps and the UNet's last ones, side by side through a convolution.

    Parameters
    ----------
    encoder : Backbone
        Of stage 1, whose maps have 1/32 of the size.
    unet : ResidualSEUNet, optional
        Of stage 2; by default with residual blocks and the encoder beside it.
    """

    stride = 32
    frozen_layers = 0
    pooling = "mean"
    channels = FUSED

    def __init__(self, encoder: Backbone, unet: ResidualSEUNet | None = None) -> None:
        super().__init__([])
        self.encoder = encoder
        self.unet = ResidualSEUNet(second_encoder=encoder.channels) if unet is None else unet
        self.fusion = nn.Sequential(
            nn.Conv2d(encoder.channels + self.unet.width, FUSED, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(FUSED),
            nn.ReLU(),
        )
        self.pretrained = encoder.pretrained

    def starts_from(self) -> str:
        """Return what training of the encoder began with."""
        return self.encoder.starts_from()

    def pretrained_state(self) -> dict[str, Tensor]:
        """Return the encoder's weights and the random ones of the rest."""
        own = {f"encoder.{name}": tensor for name, tensor in self.encoder.pretrained_state().items()}
        return dict(self.state_dict()) | own

    def saliency(self, image: Tensor) -> Tensor:
        """Return the logits (slices, 1, h, w) of the saliency map of windows in 0..1."""
        logits: Tensor = self.unet(image, self.encoder(image) if self.unet.second_encoder else None)[0]
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """Return the fused maps (slices, 256, h / 32, w / 32) of windows in 0..1."""
        return self.levels(image)[-1]

    def levels(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the saliency map's logits (slices, 1, h, w) and the fused maps, from one pass."""
        encoded, logits, last = self._both(image)
        rows, columns = encoded.shape[-2:]
        coarse = functional.adaptive_avg_pool2d(last, (rows, columns))
        fused: Tensor = self.fusion(torch.cat([encoded, coarse], dim=1))
        return logits, fused

    def _both(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        encoded: Tensor = self.encoder(image)
        logits, last = self.unet(image, encoded if self.unet.second_encoder else None)
        return encoded, logits, last


class SaliencyMultiTask(SliceClassifierSystem):
    """The whole network; its encoder has a classifier of its own, for stage 1 and its ablation.

    Parameters
    ----------
    backbone : FusedBackbone
        Encoder, UNet and fusion.
    labels : int
        Number of logits.
    **settings
        As for :class:`~scripts.networks.slice_system.SliceClassifierSystem`.
    """

    def __init__(self, backbone: FusedBackbone, labels: int = 6, **settings: Any) -> None:
        super().__init__(backbone, labels, **settings)
        self.encoder_head = nn.Linear(backbone.encoder.channels, labels)

    @property
    def saliency_decoder(self) -> Callable[[Sequence[Tensor]], Tensor]:
        """Picks the saliency map's logits from the backbone's levels, which its pass gives anyway."""
        return itemgetter(0)

    def parts_of(self, stage: Stage) -> tuple[nn.Module, ...]:
        """Return what a stage trains; all else stays as it is (4.3.2, 4.3.3)."""
        fused = cast("FusedBackbone", self.backbone)
        return {
            "triplets": (fused.encoder,),
            "encoder": (fused.encoder, self.encoder_head),
            "saliency": (fused.unet,),
            "fusion": (fused.fusion, self.head),
        }[stage]

    def encoded(self, image: Tensor) -> Tensor:
        """Return the encoder's embeddings (slices, channels) of windows in 0..1."""
        encoder = cast("FusedBackbone", self.backbone).encoder
        return encoder.pool(encoder(image))
