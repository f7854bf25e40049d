"""DrCT1 and DrCT2: networks that read a head CT like a doctor (Wang, Fu, Li, Pei, Medical Physics 2022).

doi 10.1002/mp.15871; equation numbers are the paper's. Decisions where it is silent: ``docs/README.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from scripts.networks.attention import FeatureAttentionKind, classifier
from scripts.networks.backbone import Backbone
from scripts.networks.branches import (
    Aggregate,
    Aggregation,
    HeadSettings,
    KeySliceNetwork,
    PrimaryNetwork,
    heads_for,
    smooth_maximum,
    weighted_mean,
)
from scripts.networks.lesion_decoder import LesionDecoder
from scripts.networks.study_network import (
    SliceSource,
    StudyNetwork,
    StudyOutput,
    attention_per_slice,
    mean_per_slice,
    merged_pixels,
)
from scripts.reading_geometry import sub_stacks

HighResolution = Callable[[Tensor], Tensor]
"""Positions of key slices (batch, m_key) -> embeddings (batch, m_key, channels) of those slices at high resolution."""


@dataclass(frozen=True)
class Reading:
    """What one pass of sub-stacks through the heads gives.

    Attributes
    ----------
    logits : Tensor, shape (batch, labels)
        Of the fusion, or of the primary network where there is no other.
    branch_logits : tuple of Tensor
        Logits of the branches with a loss of their own: primary and APS for DrCT2, none for DrCT1.
    slice_attention : Tensor, shape (batch, m)
        Sums to 1 over the slices; of DrCT2 after the second reading, which the choice of key slices does not know.
    feature_attention : Tensor, shape (batch, m, channels)
        Sums to 1 over the channels.
    key_slices : Tensor of int64, shape (batch, m_key)
        Positions in the sub-stack, ascending; m_key is 0 for DrCT1.
    slice_logits : Tensor, shape (batch, m, labels)
        Of the slice classifier; 0 without one.
    key_slice_logits : Tensor, shape (batch, m_key, labels)
        The same of the key slices at high resolution.
    """

    logits: Tensor
    branch_logits: tuple[Tensor, ...]
    slice_attention: Tensor
    feature_attention: Tensor
    key_slices: Tensor
    slice_logits: Tensor
    key_slice_logits: Tensor


class DrCT1(StudyNetwork):
    """The primary network alone.

    Parameters
    ----------
    backbone : Backbone
        Extracts the feature maps of slices; it states their number.
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
        backbone: Backbone,
        labels: int = 6,
        slices: int = 32,
        feature_attention: FeatureAttentionKind = "scaled_softmax",
        aggregation: Aggregation = "attention",
        heads: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.labels = labels
        self.slices = slices
        self.high_res_size = 0
        self.backbone = backbone
        self.lesion_decoder = LesionDecoder(backbone.level_channels, labels) if backbone.level_channels else None
        self.heads = heads_for(backbone, HeadSettings(**(heads or {})))
        self.has_slice_classifier = self.heads.slice_classifier
        self.uses_lesion_scores = self.heads.lesion_evidence
        self.primary = PrimaryNetwork(labels, slices, backbone.channels, self.heads, feature_attention, aggregation)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, labels) for windowed slices (batch, 3, m, height, width)."""
        logits: Tensor = self.primary(self.embeddings_of(image))[0]
        return logits

    @property
    def embedding_width(self) -> int:
        """Length of an embedding: the backbone's channels, and a lesion score per label where they are used."""
        return self.backbone.channels + (self.labels if self.uses_lesion_scores else 0)

    def embeddings_of(self, image: Tensor) -> Tensor:
        """Return z, the embeddings (batch, m, width), of windowed slices (batch, 3, m, height, width) (eq. 2)."""
        return self.embed(image.movedim(1, 2).flatten(0, 1)).unflatten(0, (image.shape[0], image.shape[2]))

    def read_study(self, source: SliceSource) -> StudyOutput:
        """Read a study in sub-stacks of m slices that share the embeddings of its input slices."""
        embeddings = source.embeddings()
        count = len(embeddings)
        stacks = torch.from_numpy(sub_stacks(count, self.slices)).to(embeddings.device)

        def high_resolution(positions: Tensor) -> Tensor:
            chosen, places = stacks.gather(1, positions).unique(return_inverse=True)
            return source.high_resolution(chosen, self.high_res_size)[places]

        reading = self.read(embeddings[stacks], high_resolution)
        key_slices, places = stacks.gather(1, reading.key_slices).unique(return_inverse=True)
        return StudyOutput(
            sub_stack_logits=reading.logits,
            slice_attention=attention_per_slice(reading.slice_attention, stacks, count),
            slice_logits=mean_per_slice(reading.slice_logits, stacks, count),
            key_slices=key_slices,
            key_slice_logits=mean_per_slice(reading.key_slice_logits, places, len(key_slices)),
            feature_attention=mean_per_slice(reading.feature_attention, stacks, count),
            feature_maps=source.feature_maps(),
            lesion_logits=merged_pixels(source.lesion_logits(), count),
        )

    def high_resolution_of(self, image: Tensor) -> HighResolution:
        """Return a function that gives the embeddings of enlarged slices of ``image``; DrCT1 never calls it."""
        return _no_key_slices

    def read(self, features: Tensor, high_resolution: HighResolution) -> Reading:
        """Read embeddings (batch, m, channels) of one sub-stack per batch entry."""
        logits, _, slice_attention, feature_attention, slice_logits = self.primary(features)
        no_key_slices = torch.empty(features.shape[0], 0, dtype=torch.int64, device=features.device)
        return Reading(logits, (), slice_attention, feature_attention, no_key_slices, slice_logits, slice_logits[:, :0])


class DrCT2(DrCT1):
    """Primary network, APS network on the key slices at high resolution, and their fusion.

    Parameters
    ----------
    key_slices : int
        m_key: how many slices are read again.
    high_res_size : int
        Rows and columns to which ``forward`` enlarges key slices (eq. 8).
    fusion : {"by_position", "first_rows"}
        How the m_key rows of the APS network are added to the m rows of the primary network: each at its slice's
        position, or, as a literal reading, onto the first m_key rows.
    backbone, aggregation, **primary
        As for :class:`DrCT1`.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        key_slices: int = 16,
        high_res_size: int = 512,
        fusion: Literal["by_position", "first_rows"] = "by_position",
        aggregation: Aggregation = "attention",
        **primary: Any,
    ) -> None:
        super().__init__(backbone, aggregation=aggregation, **primary)
        if fusion not in ("by_position", "first_rows"):
            raise ValueError(f"fusion must be 'by_position' or 'first_rows', not {fusion!r}")
        if not 2 <= key_slices <= self.slices:
            raise ValueError(f"key_slices must lie between 2 and slices ({self.slices}), not {key_slices}")
        self.key_slices = key_slices
        self.high_res_size = high_res_size
        self.fusion_kind = fusion
        self.aps = KeySliceNetwork(self.labels, key_slices, backbone.channels, self.heads, aggregation)
        self.aggregate = Aggregate(aggregation)
        width = self.aggregate.width(self.slices, self.heads.width)
        self.fusion = classifier(width, self.heads.classifier, self.labels, self.heads.dropout)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, labels) for windowed slices (batch, 3, m, height, width)."""
        _, rows, slice_attention, _, slice_logits = self.primary(self.embeddings_of(image))
        keys = self.choose(slice_attention)
        return self.fuse(rows, slice_logits, slice_attention, keys, self.high_res_embeddings(image, keys))[0]

    def high_resolution_of(self, image: Tensor) -> HighResolution:
        """Return a function that gives the embeddings of enlarged slices of ``image`` (eq. 8 and 9)."""
        return partial(self.high_res_embeddings, image)

    def high_res_embeddings(self, image: Tensor, key_slices: Tensor) -> Tensor:
        """Return embeddings (batch, m_key, channels) of enlarged slices, those at ``key_slices`` (eq. 8 and 9)."""
        stacks = torch.arange(image.shape[0], device=key_slices.device)[:, None]
        slices = image.movedim(1, 2)[stacks, key_slices].flatten(0, 1)
        enlarged = functional.interpolate(slices, size=(self.high_res_size, self.high_res_size), mode="bilinear")
        return self.embed(enlarged).unflatten(0, key_slices.shape)

    def read(self, features: Tensor, high_resolution: HighResolution) -> Reading:
        """Read all slices, then the key slices again, then both together (eq. 10 to 13)."""
        primary_logits, rows, slice_attention, feature_attention, slice_logits = self.primary(features)
        keys = self.choose(slice_attention)
        found = self.fuse(rows, slice_logits, slice_attention, keys, high_resolution(keys))
        logits, aps_logits, key_slice_logits = found
        merged = mean_of_readings(slice_logits, keys, key_slice_logits)[..., 0]
        attended = self.primary.slice_attention.after_second_reading(slice_attention, slice_logits[..., 0], merged)
        branches = (primary_logits, aps_logits)
        return Reading(logits, branches, attended, feature_attention, keys, slice_logits, key_slice_logits)

    def choose(self, slice_attention: Tensor) -> Tensor:
        """Return the positions (batch, m_key) of the slices with the largest attention (batch, m), ascending."""
        # Ascending: the recurrent layer needs the anatomical order.
        return slice_attention.topk(self.key_slices, dim=1).indices.sort(dim=1).values

    def fuse(
        self, rows: Tensor, slice_logits: Tensor, slice_attention: Tensor, key_slices: Tensor, features: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of the fusion and of the APS network, and the key slices' own.

        Parameters
        ----------
        rows : Tensor, shape (batch, m, width)
            Of the primary network, attended.
        slice_logits : Tensor, shape (batch, m, labels)
            Of its slice classifier; those of the APS network count as much.
        slice_attention : Tensor, shape (batch, m)
            Of all slices.
        key_slices : Tensor of int64, shape (batch, m_key)
            Their positions.
        features : Tensor, shape (batch, m_key, channels)
            Their embeddings at high resolution.
        """
        attention = slice_attention.gather(1, key_slices)
        weights = attention / attention.sum(dim=1, keepdim=True)
        aps_logits, key_rows, key_slice_logits = self.aps(features, weights)
        fused = rows + self._on_all_slices(key_rows, key_slices, rows)
        if self.heads.slice_pooling == "smooth_maximum":
            both = smooth_maximum(mean_of_readings(slice_logits, key_slices, key_slice_logits))
        else:
            both = (weighted_mean(slice_logits, slice_attention) + weighted_mean(key_slice_logits, weights)) / 2
        logits: Tensor = self.fusion(self.aggregate(fused)) + both
        return logits, aps_logits, key_slice_logits

    def _on_all_slices(self, key_rows: Tensor, keys: Tensor, rows: Tensor) -> Tensor:
        if self.fusion_kind == "first_rows":
            keys = torch.arange(self.key_slices, device=keys.device).expand_as(keys)
        return torch.zeros_like(rows).scatter_add(1, keys[..., None].expand_as(key_rows), key_rows)


def mean_of_readings(slice_logits: Tensor, key_slices: Tensor, key_slice_logits: Tensor) -> Tensor:
    """Return slice logits (batch, m, labels), the mean of both readings where a slice is a key slice.

    Parameters
    ----------
    slice_logits : Tensor, shape (batch, m, labels)
        Of the first reading.
    key_slices : Tensor of int64, shape (batch, m_key)
        Positions of the key slices.
    key_slice_logits : Tensor, shape (batch, m_key, labels)
        Of the second reading.
    """
    at_key_slices = key_slices[..., None].expand_as(key_slice_logits)
    return slice_logits.scatter(1, at_key_slices, (slice_logits.gather(1, at_key_slices) + key_slice_logits) / 2)


def _no_key_slices(key_slices: Tensor) -> Tensor:
    raise RuntimeError("DrCT1 reads no key slices again")
