"""The branches of DrCT1 and DrCT2 behind the backbone: primary network and APS network, and their settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

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
    mean_with_neighbours,
)
from scripts.networks.backbone import Backbone
from scripts.networks.lesion_evidence import LesionEvidence, NoLesionEvidence

Aggregation = Literal["flatten", "attention"]
SlicePooling = Literal["attention", "smooth_maximum"]

SHARPNESS = 2.0
"""Of the smooth maximum, per logit: about the three strongest slices decide."""


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
    slice_classifier : bool
        Whether each slice is classified by itself too (:class:`~scripts.networks.attention.SliceClassifier`): its logit
        for the first label is added to its attention's value, and the mean of all slices' logits, weighted with the
        attention, to the network's.
    slice_pooling : {"attention", "smooth_maximum"}
        How slice logits reach the study's: their mean weighted with the attention, or their smooth maximum over
        neighbouring slices (:func:`smooth_maximum`), which one slice that plainly shows blood suffices to raise.
    attention_smoothing : int
        How often the slice logits that are added to the attention's values are averaged with their neighbours first
        (:func:`~scripts.networks.attention.mean_with_neighbours`): a haemorrhage spans slices, and what one slice of
        5 mm shows alone is more often none. 0 takes each slice's own.
    lesion_evidence : bool
        Whether the area of the lesion map counts in each slice's logits
        (:class:`~scripts.networks.lesion_evidence.LesionEvidence`), and so in attention and answer; without effect
        where there is no slice classifier, or a backbone without maps for a lesion decoder.
    """

    hidden: int = 32
    width: int = 64
    classifier: int = 64
    dropout: float = 0.5
    normalisation: Normalisation = "batch"
    slice_classifier: bool = False
    slice_pooling: SlicePooling = "attention"
    attention_smoothing: int = 0
    lesion_evidence: bool = False


def heads_for(backbone: Backbone, heads: HeadSettings) -> HeadSettings:
    """Return the settings without what a backbone, or the other settings, leave no place for."""
    possible = heads.slice_classifier and bool(backbone.level_channels)
    return replace(heads, lesion_evidence=heads.lesion_evidence and possible)


def _lesion_evidence(labels: int, heads: HeadSettings) -> nn.Module:
    return LesionEvidence(labels) if heads.lesion_evidence else NoLesionEvidence(labels)


def _slice_classifier(labels: int, channels: int, heads: HeadSettings) -> nn.Module:
    if not heads.slice_classifier:
        return NoSliceClassifier(labels)
    return SliceClassifier(channels, labels, heads.dropout, heads.normalisation)


class PrimaryNetwork(nn.Module):
    """Reads all m slices: feature attention, BiGRU encoder, slice attention (eq. 3 to 6)."""

    def __init__(
        self,
        labels: int,
        slices: int,
        channels: int,
        heads: HeadSettings,
        kind: FeatureAttentionKind,
        how: Aggregation,
    ) -> None:
        super().__init__()
        self.feature_attention = FeatureAttention(kind, channels, heads.dropout, heads.normalisation)
        self.encoder = BiGRUEncoder(channels, heads.hidden, heads.width)
        self.slice_classifier = _slice_classifier(labels, channels, heads)
        self.lesion_evidence = _lesion_evidence(labels, heads)
        self.slice_attention = SliceAttention(heads.width, heads.attention_smoothing, heads.slice_classifier)
        self.slice_pooling = heads.slice_pooling
        self.aggregate = Aggregate(how)
        self.classifier = classifier(self.aggregate.width(slices, heads.width), heads.classifier, labels, heads.dropout)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return logits, attended rows (batch, m, width), slice attention, feature attention and slice logits."""
        features, evidence = self.lesion_evidence(features)
        attended, feature_attention = self.feature_attention(features)
        rows = self.encoder(attended)
        slice_logits = self.slice_classifier(features) + evidence
        slice_attention = self.slice_attention(rows, slice_logits[..., 0])
        rows = rows * slice_attention[..., None]
        pooled = pooled_slice_logits(slice_logits, slice_attention, self.slice_pooling)
        logits = self.classifier(self.aggregate(rows)) + pooled
        return logits, rows, slice_attention, feature_attention, slice_logits


class KeySliceNetwork(nn.Module):
    """APS: reads the key slices again at high resolution (eq. 9 and 10)."""

    def __init__(self, labels: int, slices: int, channels: int, heads: HeadSettings, how: Aggregation) -> None:
        super().__init__()
        self.slice_classifier = _slice_classifier(labels, channels, heads)
        self.lesion_evidence = _lesion_evidence(labels, heads)
        self.normalisation = FeatureNormalisation(heads.normalisation, channels)
        self.fully_connected = nn.Sequential(nn.Linear(channels, channels), nn.ReLU())
        self.encoder = BiGRUEncoder(channels, heads.hidden, heads.width)
        self.aggregate = Aggregate(how)
        self.classifier = classifier(self.aggregate.width(slices, heads.width), heads.classifier, labels, heads.dropout)

    def forward(self, features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, rows (batch, m_key, width) and slice logits for embeddings (batch, m_key, channels).

        ``weights`` (batch, m_key) are the key slices' attention, brought to a sum of 1. Rows that are added are
        multiplied by them, as the primary network's are.
        """
        features, evidence = self.lesion_evidence(features)
        rows = self.encoder(self.fully_connected(self.normalisation(features)))
        if self.aggregate.how != "flatten":
            rows = rows * weights[..., None]
        slice_logits = self.slice_classifier(features) + evidence
        return self.classifier(self.aggregate(rows)) + weighted_mean(slice_logits, weights), rows, slice_logits


def pooled_slice_logits(slice_logits: Tensor, attention: Tensor, how: SlicePooling) -> Tensor:
    """Turn slice logits (batch, slices, labels) into (batch, labels); see :class:`HeadSettings`."""
    return smooth_maximum(slice_logits) if how == "smooth_maximum" else weighted_mean(slice_logits, attention)


def smooth_maximum(slice_logits: Tensor) -> Tensor:
    """Maximum over the slices of the mean with their neighbours, smooth: weighted with their own softmax.

    Blood on a slice is seldom without some on the next; a single false positive counts less than two in a row.

    Parameters
    ----------
    slice_logits : Tensor, shape (batch, slices, labels)
        Of slices in anatomical order.

    Returns
    -------
    Tensor, shape (batch, labels)
    """
    near = mean_with_neighbours(slice_logits)
    return ((SHARPNESS * near).softmax(dim=1) * near).sum(dim=1)


def weighted_mean(slice_logits: Tensor, weights: Tensor) -> Tensor:
    """Mean of logits (batch, slices, labels), with weights (batch, slices) that sum to 1."""
    return (slice_logits * weights[..., None]).sum(dim=1)


class Aggregate(nn.Module):
    """How rows (batch, slices, width) reach a fully connected layer.

    ``"flatten"`` is the paper's: one input per slice and unit, tied to the slice's place in the sub-stack.
    ``"attention"`` adds the rows, which carry their attention already: as many inputs as a row has.
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
