"""Vision transformers (Dosovitskiy et al. 2021) as backbones; their maps are the patch tokens before the last block.

Qiu (thesis 2024, section 3.3.2) applies Grad-CAM "to the final block layer before the classification token is
processed". Behind the last block only the classification token is classified, so that patch tokens have no gradient
there. The maps here are therefore what the last block is given; its attention, through which the patches reach the
classification token, belongs to :meth:`VisionTransformer.pool`, and Grad-CAM differentiates through it.
"""

from __future__ import annotations

import re
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.networks.imagenet_backbones import ImageNetBackbone, torchvision_file

PATCH = 16
GRID = 14
"""Patches along one side of the 224 pixels that the position embedding is made for; other sizes interpolate it."""

_FILE_NAMES = (
    (re.compile(r"^patches\."), "conv_proj."),
    (re.compile(r"^positions$"), "encoder.pos_embedding"),
    (re.compile(r"^last_normalisation\."), "encoder.ln."),
    (re.compile(r"^blocks\.(\d+)\."), r"encoder.layers.encoder_layer_\1."),
    (re.compile(r"\.norm(\d)\."), r".ln_\1."),
    (re.compile(r"\.self_attn\."), ".self_attention."),
    (re.compile(r"\.linear(\d)\."), r".mlp.linear_\1."),
)


class VisionTransformer(ImageNetBackbone):
    """Tokens of 16 x 16 pixels through pre-normalised encoder blocks; the classification token is the embedding.

    ``forward`` returns maps of twice ``channels``: the patch tokens and, the same in every cell, the classification
    token that travels with them.

    Attributes
    ----------
    channels : int
        Of a token, and of the embedding.
    depth, heads : int
        Encoder blocks, and attention heads of each.
    """

    stride = PATCH
    depth: ClassVar[int]
    heads: ClassVar[int]

    def __init__(self, pretrained: bool = True, fetch: bool = False) -> None:
        super().__init__([], pretrained, fetch)
        width = self.channels
        self.patches = nn.Conv2d(3, width, kernel_size=PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + GRID**2, width).normal_(std=0.02))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                self.heads,
                4 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
                layer_norm_eps=1e-6,
            )
            for _ in range(self.depth)
        )
        self.last_normalisation = nn.LayerNorm(width, eps=1e-6)

    def forward(self, image: Tensor) -> Tensor:
        """Return the tokens in front of the last block as maps (slices, 2 * channels, h, w)."""
        maps = self.patches(self.normalise(image))
        rows, columns = maps.shape[-2:]
        tokens = maps.flatten(2).mT
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + self._positions(rows, columns)
        for block in list(self.blocks)[:-1]:
            tokens = block(tokens)
        own = tokens[:, 0, :, None, None].expand(-1, -1, rows, columns)
        return torch.cat([tokens[:, 1:].mT.unflatten(2, (rows, columns)), own], dim=1)

    def pool(self, maps: Tensor) -> Tensor:
        """Run the last block and return the normalised classification token (..., channels).

        Outside training no gradient flows into the classification token that the maps carry: it belongs to no place,
        so that Grad-CAM shows the patches alone.
        """
        shape = maps.shape[:-3]
        maps = maps.reshape(-1, *maps.shape[-3:])
        patches, own = maps.split(self.channels, dim=1)
        class_token = own.mean(dim=(-2, -1))
        if not self.training:
            class_token = class_token.detach()
        tokens = torch.cat([class_token[:, None], patches.flatten(2).mT], dim=1)
        tokens = cast("nn.TransformerEncoderLayer", self.blocks[-1])(tokens)
        embedding: Tensor = self.last_normalisation(tokens[:, 0])
        return embedding.reshape(*shape, self.channels)

    def file_name(self, name: str) -> str:
        """Return torchvision's name."""
        for pattern, replacement in _FILE_NAMES:
            name = pattern.sub(replacement, name)
        return name

    def _positions(self, rows: int, columns: int) -> Tensor:
        if (rows, columns) == (GRID, GRID):
            return self.positions
        own, patches = self.positions[:, :1], self.positions[:, 1:]
        grid = patches.mT.unflatten(2, (GRID, GRID))
        resized = functional.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([own, resized.flatten(2).mT], dim=1)


class ViTSmall(VisionTransformer):
    """ViT-S/16. No file of ImageNet-1K weights with a stated checksum is published: it begins with random ones."""

    channels = 384
    depth = 12
    heads = 6


class ViTBase(VisionTransformer):
    """ViT-B/16."""

    channels = 768
    depth = 12
    heads = 12
    weights = torchvision_file("vit_b_16-c867db91.pth")


class ViTLarge(VisionTransformer):
    """ViT-L/16."""

    channels = 1024
    depth = 24
    heads = 16
    weights = torchvision_file("vit_l_16-852ce7e3.pth")
