"""DrCT1 and DrCT2: networks that read a head CT like a doctor (Wang, Fu, Li, Pei, Medical Physics 2022).

doi 10.1002/mp.15871; equation numbers are the paper's. Decisions where it is silent: ``docs/README.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.networks.attention import (
    BiGRUEncoder,
    FeatureAttention,
    FeatureAttentionKind,
    FeatureNormalisation,
    Normalisation,
    NoSliceClassifier,
    SliceAttention,
    SliceClassifier,
    classifier,
)
from scripts.networks.backbone import pool
from scripts.networks.vgg16 import VGG16Features

Aggregation = Literal["flatten", "attention"]
HighResFeatures = Callable[[Tensor], Tensor]
"""Indices of key slices (batch, m_key) -> features of those slices seen at 512 x 512 (batch, m_key, 512)."""


@dataclass(frozen=True)
class HeadSettings:
    """What the paper leaves open behind the backbone.

    Attributes
    ----------
    hidden : int
        Units of the recurrent layer in each direction.
    width : int
        Length of a row y_t.
    classifier : int
        Units of the first two fully connected layers.
    normalisation : {"scan", "batch"}
        See :class:`~scripts.networks.attention.FeatureNormalisation`.
    dropout : float
        Probability, in front of the second and third fully connected layer and behind a scaled feature attention.
    evidence : bool
        Whether each slice also speaks for itself (:class:`~scripts.networks.attention.SliceClassifier`): its logit for
        the first label is added to its attention's value, and the mean of all slices' logits, weighted with the
        attention, to the network's.
    channels : int
        Features of a slice: 512 behind VGG16. Another number only serves to measure other backbones by their cached
        features; the network's own backbone is VGG16.
    """

    hidden: int = 32
    width: int = 64
    classifier: int = 64
    dropout: float = 0.5
    normalisation: Normalisation = "batch"
    evidence: bool = False
    channels: int = VGG16Features.channels


@dataclass(frozen=True)
class Reading:
    """Everything that one pass through the heads gives.

    Attributes
    ----------
    logits : Tensor, shape (batch, labels)
        The answer: of the fusion, or of the primary network where there is no other.
    branch_logits : tuple of Tensor
        Logits of the branches with a loss of their own: primary and APS for DrCT2, none for DrCT1.
    slice_attention : Tensor, shape (batch, m)
        Sums to 1 over the slices.
    feature_attention : Tensor, shape (batch, m, 512)
        Sums to 1 over the features.
    key_slices : Tensor of int64, shape (batch, m_key)
        Positions in the sample, ascending; m_key is 0 for DrCT1.
    slice_logits : Tensor, shape (batch, m, labels)
        What each slice says by itself; 0 where the heads have no evidence.
    key_slice_logits : Tensor, shape (batch, m_key, labels)
        The same of the zoomed key slices.
    """

    logits: Tensor
    branch_logits: tuple[Tensor, ...]
    slice_attention: Tensor
    feature_attention: Tensor
    key_slices: Tensor
    slice_logits: Tensor
    key_slice_logits: Tensor


def _evidence(labels: int, heads: HeadSettings) -> nn.Module:
    if not heads.evidence:
        return NoSliceClassifier(labels)
    return SliceClassifier(heads.channels, labels, heads.dropout, heads.normalisation)


class PrimaryNetwork(nn.Module):
    """Reads all m slices: feature attention, dependencies learning, slice attention (eq. 3 to 6)."""

    def __init__(
        self, labels: int, slices: int, heads: HeadSettings, kind: FeatureAttentionKind, how: Aggregation
    ) -> None:
        super().__init__()
        self.feature_attention = FeatureAttention(kind, heads.channels, heads.dropout, heads.normalisation)
        self.dependencies = BiGRUEncoder(heads.channels, heads.hidden, heads.width)
        self.evidence = _evidence(labels, heads)
        self.slice_attention = SliceAttention(heads.width)
        self.aggregate = Aggregate(how)
        self.classifier = classifier(self.aggregate.width(slices, heads.width), heads.classifier, labels, heads.dropout)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return logits, attended rows (batch, m, width), slice attention, feature attention and slice logits."""
        attended, feature_attention = self.feature_attention(features)
        rows = self.dependencies(attended)
        slice_logits = self.evidence(features)
        slice_attention = self.slice_attention(rows, slice_logits[..., 0])
        rows = rows * slice_attention[..., None]
        logits = self.classifier(self.aggregate(rows)) + weighted_mean(slice_logits, slice_attention)
        return logits, rows, slice_attention, feature_attention, slice_logits


class KeySliceNetwork(nn.Module):
    """APS: reads the key slices again, seen at 512 x 512 (eq. 9 and 10)."""

    def __init__(self, labels: int, slices: int, heads: HeadSettings, how: Aggregation) -> None:
        super().__init__()
        self.evidence = _evidence(labels, heads)
        self.normalisation = FeatureNormalisation(heads.normalisation, heads.channels)
        self.fully_connected = nn.Sequential(nn.Linear(heads.channels, heads.channels), nn.ReLU())
        self.dependencies = BiGRUEncoder(heads.channels, heads.hidden, heads.width)
        self.aggregate = Aggregate(how)
        self.classifier = classifier(self.aggregate.width(slices, heads.width), heads.classifier, labels, heads.dropout)

    def forward(self, features: Tensor, shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, rows (batch, m_key, width) and slice logits for features (batch, m_key, 512).

        ``shares`` (batch, m_key) are the key slices' shares of the attention. Rows that are added are multiplied by
        them, so that they weigh as the primary network's do.
        """
        rows = self.dependencies(self.fully_connected(self.normalisation(features)))
        if self.aggregate.how != "flatten":
            rows = rows * shares[..., None]
        slice_logits = self.evidence(features)
        return self.classifier(self.aggregate(rows)) + weighted_mean(slice_logits, shares), rows, slice_logits


def weighted_mean(slice_logits: Tensor, shares: Tensor) -> Tensor:
    """Mean of logits (batch, slices, labels), weighted with shares (batch, slices) that sum to 1."""
    return (slice_logits * shares[..., None]).sum(dim=1)


class Aggregate(nn.Module):
    """How rows (batch, slices, width) reach a fully connected layer.

    ``"flatten"`` is the paper's: one input per slice and unit, tied to the slice's place in the sample. ``"attention"``
    adds the rows, which carry their attention already: as many inputs as a row has, wherever the bleeding lies.
    """

    def __init__(self, how: Aggregation) -> None:
        super().__init__()
        if how not in ("flatten", "attention"):
            raise ValueError(f"aggregation must be 'flatten' or 'attention', not {how!r}")
        self.how = how

    def width(self, slices: int, width: int) -> int:
        """Return the number of inputs that it hands on."""
        return slices * width if self.how == "flatten" else width

    def forward(self, rows: Tensor) -> Tensor:
        """Turn rows (batch, slices, width) into (batch, inputs)."""
        return rows.flatten(1) if self.how == "flatten" else rows.sum(dim=1)


class DrCT1(nn.Module):
    """The primary network alone.

    Parameters
    ----------
    labels : int
        Number of logits.
    slices : int
        m: 32 as the paper uses for CQ500, 28 as for RSNA.
    feature_attention : {"scaled_softmax", "softmax"}
        See :class:`~scripts.networks.attention.FeatureAttention`.
    aggregation : {"attention", "flatten"}
        See :class:`Aggregate`.
    heads : dict, optional
        Fields of :class:`HeadSettings`.
    """

    def __init__(
        self,
        labels: int = 6,
        slices: int = 32,
        feature_attention: FeatureAttentionKind = "scaled_softmax",
        aggregation: Aggregation = "attention",
        heads: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.slices = slices
        self.heads = HeadSettings(**(heads or {}))
        self.backbone = VGG16Features()
        self.primary = PrimaryNetwork(labels, slices, self.heads, feature_attention, aggregation)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, labels) for windowed slices (batch, 3, m, height, width)."""
        # Not through read: torch.jit.script, by which MONAI exports, knows neither functions as arguments nor Reading.
        logits: Tensor = self.primary(self.features_of(image))[0]
        return logits

    def features_of(self, image: Tensor) -> Tensor:
        """Return z, the pooled features (batch, m, 512), of windowed slices (batch, 3, m, height, width) (eq. 2)."""
        slices = image.movedim(1, 2).flatten(0, 1)
        return pool(self.backbone(slices)).unflatten(0, (image.shape[0], image.shape[2]))

    def high_res_source(self, image: Tensor) -> HighResFeatures:
        """Return what the network asks for the features of zoomed slices; DrCT1 never asks."""
        raise_if_asked: HighResFeatures = _no_zoom
        return raise_if_asked

    def read(self, features: Tensor, high_res_features: HighResFeatures) -> Reading:
        """Read pooled features (batch, m, 512) of one sample per batch entry."""
        logits, _, slice_attention, feature_attention, slice_logits = self.primary(features)
        no_key_slices = torch.empty(features.shape[0], 0, dtype=torch.int64, device=features.device)
        return Reading(logits, (), slice_attention, feature_attention, no_key_slices, slice_logits, slice_logits[:, :0])


class DrCT2(DrCT1):
    """Primary network, APS network on the zoomed key slices, and their fusion.

    Parameters
    ----------
    key_slices : int
        m_key: how many slices are read again.
    high_res_size : int
        Rows and columns to which ``forward`` enlarges key slices (eq. 8).
    fusion : {"by_position", "first_rows"}
        How the m_key rows of the APS network are added to the m rows of the primary network: each at its slice's
        position, or, as a literal reading, onto the first m_key rows.
    labels, slices, feature_attention, aggregation, heads
        As for :class:`DrCT1`.
    """

    def __init__(
        self,
        labels: int = 6,
        slices: int = 32,
        key_slices: int = 16,
        high_res_size: int = 512,
        fusion: Literal["by_position", "first_rows"] = "by_position",
        feature_attention: FeatureAttentionKind = "scaled_softmax",
        aggregation: Aggregation = "attention",
        heads: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(labels, slices, feature_attention, aggregation, heads)
        if fusion not in ("by_position", "first_rows"):
            raise ValueError(f"fusion must be 'by_position' or 'first_rows', not {fusion!r}")
        if not 2 <= key_slices <= slices:
            raise ValueError(f"key_slices must lie between 2 and slices ({slices}), not {key_slices}")
        self.key_slices = key_slices
        self.high_res_size = high_res_size
        self.fusion_kind = fusion
        self.aps = KeySliceNetwork(labels, key_slices, self.heads, aggregation)
        self.aggregate = Aggregate(aggregation)
        width = self.aggregate.width(slices, self.heads.width)
        self.fusion = classifier(width, self.heads.classifier, labels, self.heads.dropout)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, labels) for windowed slices (batch, 3, m, height, width)."""
        _, rows, slice_attention, _, slice_logits = self.primary(self.features_of(image))
        keys = self.choose(slice_attention)
        evidence = weighted_mean(slice_logits, slice_attention)
        return self.fuse(rows, evidence, slice_attention, keys, self.high_res_features(image, keys))[0]

    def high_res_source(self, image: Tensor) -> HighResFeatures:
        """Return a function that enlarges the asked slices of ``image`` and gives their features (eq. 8 and 9)."""
        return partial(self.high_res_features, image)

    def high_res_features(self, image: Tensor, key_slices: Tensor) -> Tensor:
        """Return features (batch, m_key, 512) of the slices of ``image`` at ``key_slices``, enlarged (eq. 8 and 9)."""
        samples = torch.arange(image.shape[0], device=key_slices.device)[:, None]
        slices = image.movedim(1, 2)[samples, key_slices].flatten(0, 1)
        enlarged = functional.interpolate(slices, size=(self.high_res_size, self.high_res_size), mode="bilinear")
        return pool(self.backbone(enlarged)).unflatten(0, key_slices.shape)

    def read(self, features: Tensor, high_res_features: HighResFeatures) -> Reading:
        """Read all slices, then the key slices again, then both together (eq. 10 to 13)."""
        primary_logits, rows, slice_attention, feature_attention, slice_logits = self.primary(features)
        keys = self.choose(slice_attention)
        evidence = weighted_mean(slice_logits, slice_attention)
        logits, aps_logits, key_slice_logits = self.fuse(rows, evidence, slice_attention, keys, high_res_features(keys))
        branches = (primary_logits, aps_logits)
        return Reading(logits, branches, slice_attention, feature_attention, keys, slice_logits, key_slice_logits)

    def choose(self, slice_attention: Tensor) -> Tensor:
        """Return the positions (batch, m_key) of the slices with the largest attention (batch, m), ascending."""
        # Ascending: the recurrent layer needs the anatomical order.
        return slice_attention.topk(self.key_slices, dim=1).indices.sort(dim=1).values

    def fuse(
        self, rows: Tensor, evidence: Tensor, slice_attention: Tensor, key_slices: Tensor, zoomed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of the fusion and of the APS network, and the key slices' own, for features of the zoomed.

        Parameters
        ----------
        rows : Tensor, shape (batch, m, width)
            Of the primary network, attended.
        evidence : Tensor, shape (batch, labels)
            Mean of its slice logits; the APS network's counts as much.
        slice_attention : Tensor, shape (batch, m)
            Of all slices.
        key_slices : Tensor of int64, shape (batch, m_key)
            Their positions.
        zoomed : Tensor, shape (batch, m_key, 512)
            Their features at 512 x 512.
        """
        attention = slice_attention.gather(1, key_slices)
        shares = attention / attention.sum(dim=1, keepdim=True)
        aps_logits, key_rows, key_slice_logits = self.aps(zoomed, shares)
        fused = rows + self._on_all_slices(key_rows, key_slices, rows)
        both = (evidence + weighted_mean(key_slice_logits, shares)) / 2
        logits: Tensor = self.fusion(self.aggregate(fused)) + both
        return logits, aps_logits, key_slice_logits

    def _on_all_slices(self, key_rows: Tensor, keys: Tensor, rows: Tensor) -> Tensor:
        if self.fusion_kind == "first_rows":
            keys = torch.arange(self.key_slices, device=keys.device).expand_as(keys)
        return torch.zeros_like(rows).scatter_add(1, keys[..., None].expand_as(key_rows), key_rows)


def _no_zoom(key_slices: Tensor) -> Tensor:
    raise RuntimeError("DrCT1 reads no key slices again")
