"""The RSNA 2019 winner as retrained: two slice networks, and a sequence model that merges what they say of a whole CT.

Wang et al. 2021 (doi 10.1016/j.nicl.2021.102785) and the released description; Goerge 2022 retrains it with two
SE-ResNeXt101, three windows in one, three adjacent slices in the other, explained by Grad-CAM++. What both leave open
is decided in ``docs/SYSTEMS.md``.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from scripts.networks.joint_backbone import JointBackbone
from scripts.networks.slice_system import SlicePass, SliceSystem
from scripts.networks.study_network import SLAB_MM


class ResidualConvolution(nn.Module):
    """A dilated convolution over the slices whose result is added to what it was given."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layers = _convolution(width, width, 3, dilation)

    def forward(self, rows: Tensor) -> Tensor:
        """Return (batch, width, slices)."""
        added: Tensor = rows + self.layers(rows)
        return added


class SequenceModel(nn.Module):
    """Answers for every slice of a CT from the features and predictions of the slice networks.

    Parameters
    ----------
    features : int
        Of all slice networks together.
    predictions : int
        Logits of all slice networks together.
    labels : int
        Number of logits.
    width, hidden : int
        Maps of the convolutions, and units of the recurrent layers in each direction.
    dropout : float
        Probability, in front of the first convolution.
    """

    def __init__(
        self, features: int, predictions: int, labels: int, width: int = 128, hidden: int = 96, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Dropout(dropout), nn.Conv1d(features, width, 1), nn.ReLU())
        self.recurrent = nn.GRU(width, hidden, num_layers=2, batch_first=True, bidirectional=True)
        self.first_head = nn.Linear(2 * hidden, labels)
        # Predictions, and the distances to the slices below and above
        self.convolutions = nn.Sequential(
            _convolution(predictions + 2, width, 5, 1),
            _convolution(width, width, 3, 2),
            ResidualConvolution(width, 4),
            ResidualConvolution(width, 2),
        )
        self.merge = _convolution(width + 2 * hidden, width, 1, 1)
        self.merged_recurrent = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.second_head = nn.Linear(2 * hidden, labels)

    def forward(self, features: Tensor, predictions: Tensor, positions_mm: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (batch, slices, labels) of both heads.

        Parameters
        ----------
        features : Tensor, shape (batch, slices, features)
            Of the slice networks.
        predictions : Tensor, shape (batch, slices, predictions)
            Their logits.
        positions_mm : Tensor, shape (batch, slices)
            Along the slice normal.
        """
        related, _ = self.recurrent(self.reduce(features.transpose(1, 2)).transpose(1, 2))
        beside = torch.cat([predictions.sigmoid(), distances(positions_mm)], dim=-1)
        rows = torch.cat([self.convolutions(beside.transpose(1, 2)), related.transpose(1, 2)], dim=1)
        merged, _ = self.merged_recurrent(self.merge(rows).transpose(1, 2))
        return self.first_head(related), self.second_head(merged)


def distances(positions_mm: Tensor) -> Tensor:
    """Return the distances (batch, slices, 2) to the neighbours on either side, in slabs of 5 mm; 0 at the ends."""
    steps = positions_mm.diff(dim=1).abs() / SLAB_MM
    return torch.stack([nn.functional.pad(steps, (1, 0)), nn.functional.pad(steps, (0, 1))], dim=-1)


class MergedSliceNetworks(SliceSystem):
    """Slice networks, each with a classifier of its own, and the sequence model behind them.

    Parameters
    ----------
    backbone : JointBackbone
        The slice networks.
    labels : int
        Number of logits.
    scan_rule : str
        As for :class:`~scripts.networks.slice_system.SliceSystem`.
    sequence : bool
        Whether the sequence model answers; False reads with the mean of the slice networks, as before it is trained.
    """

    def __init__(
        self, backbone: JointBackbone, labels: int = 6, scan_rule: str = "strongest", sequence: bool = True
    ) -> None:
        super().__init__(backbone, labels, scan_rule)
        self.classifiers = nn.ModuleList(nn.Linear(width, labels) for width in backbone.widths)
        self.sequence = SequenceModel(backbone.channels, labels * len(backbone.widths), labels) if sequence else None

    @property
    def joint(self) -> JointBackbone:
        """The slice networks."""
        return cast("JointBackbone", self.backbone)

    def learn(self, image: Tensor) -> SlicePass:
        """Let every slice network classify single slices (samples, 1, channels, height, width) by itself."""
        backbone = self.joint
        found = self.predictions(backbone.pool(backbone(image[:, 0])))
        return SlicePass(tuple(each[:, None] for each in found))

    def predictions(self, embeddings: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (..., labels) of each slice network from joint embeddings (..., channels)."""
        parts = self.joint.split(embeddings)
        return tuple(classify(part) for classify, part in zip(self.classifiers, parts, strict=True))

    def learn_sequence(self, embeddings: Tensor, positions_mm: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (scans, slices, labels) of the sequence model's heads for embeddings of slices in order.

        Raises
        ------
        ValueError
            If there is no sequence model.
        """
        if self.sequence is None:
            raise ValueError("this system has no sequence model")
        predictions = torch.cat(self.predictions(embeddings), dim=-1)
        heads: tuple[Tensor, Tensor] = self.sequence(embeddings, predictions, positions_mm)
        return heads

    def slice_logits(self, embeddings: Tensor, positions_mm: Tensor) -> Tensor:
        """Answer for every slice: mean of both heads, read from the feet up and from the head down."""
        if self.sequence is None:
            return torch.stack(self.predictions(embeddings)).mean(dim=0)
        upwards = torch.stack(self.learn_sequence(embeddings[None], positions_mm[None]))
        downwards = torch.stack(self.learn_sequence(embeddings.flip(0)[None], positions_mm.flip(0)[None])).flip(2)
        return (upwards + downwards).mean(dim=0)[0] / 2


def _convolution(inputs: int, outputs: int, size: int, dilation: int) -> nn.Sequential:
    padding = dilation * (size // 2)
    convolution = nn.Conv1d(inputs, outputs, size, padding=padding, dilation=dilation)
    return nn.Sequential(convolution, nn.BatchNorm1d(outputs), nn.ReLU())
