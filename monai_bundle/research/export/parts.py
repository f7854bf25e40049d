"""The pieces of DrCT2 that are exported each by itself, because a study is read in steps.

Slices go through the backbone as many at a time as the memory holds; which of them are read again is only known
when all are read. ``docs/export.md`` shows the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from scripts.networks.drct import DrCT2


@dataclass(frozen=True)
class Interface:
    """Names of what goes into a piece and comes out of it.

    Attributes
    ----------
    inputs : mapping of str to mapping
        By name, the axes whose length is free: number of the axis to its name.
    outputs : tuple of str
        In the order of the results.
    """

    inputs: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]


class SliceFeatures(nn.Module):
    """What reads pixels: feature maps of slices, their embeddings (DrCT2, eq. 2) and, with a decoder, lesion logits."""

    def __init__(self, network: DrCT2) -> None:
        super().__init__()
        self.network = network

    @property
    def interface(self) -> Interface:
        """Names of what goes in and comes out."""
        lesions = () if self.network.lesion_decoder is None else ("lesion_logits",)
        return Interface({"slices": {0: "slices", 2: "height", 3: "width"}}, ("maps", "features", *lesions))

    def forward(self, slices: Tensor) -> tuple[Tensor, ...]:
        """Return maps (slices, channels, height / stride, width / stride), embeddings (slices, width) and pixels.

        The pixels' logits have the shape (slices, labels, height / 4, width / 4); they are left out where the network
        has no lesion decoder.

        Parameters
        ----------
        slices : Tensor, shape (slices, 3, height, width)
            Windows in 0..1; height and width divisible by the backbone's stride.
        """
        backbone, decoder = self.network.backbone, self.network.lesion_decoder
        levels = backbone.levels(slices)
        features = backbone.pool(levels[-1])
        if decoder is None:
            return levels[-1], features
        pixels = decoder(levels)
        return levels[-1], self.network.embedding(features, pixels), pixels


class KeySlices(nn.Module):
    """The first pass: which slices are to be read again (DrCT2, eq. 3 to 7)."""

    interface = Interface({"features": {0: "batch"}}, ("key_slices", "slice_attention"))

    def __init__(self, network: DrCT2) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions (batch, m_key), ascending, and attention (batch, m) for embeddings (batch, m, channels)."""
        slice_attention = self.network.primary(features)[2]
        return self.network.choose(slice_attention), slice_attention


class Heads(nn.Module):
    """Both passes together: the logits, and the attention that explains it (DrCT2, eq. 3 to 13)."""

    interface = Interface(
        {"features": {0: "batch"}, "high_res_features": {0: "batch"}},
        ("logits", "slice_attention", "feature_attention"),
    )

    def __init__(self, network: DrCT2) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, high_res_features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (batch, labels), slice attention (batch, m) and feature attention (batch, m, channels).

        Parameters
        ----------
        features : Tensor, shape (batch, m, channels)
            Of all slices of a sub-stack.
        high_res_features : Tensor, shape (batch, m_key, channels)
            Of the slices that :class:`KeySlices` names, at high resolution.
        """
        reading = self.network.read(features, lambda _: high_res_features)
        return reading.logits, reading.slice_attention, reading.feature_attention
