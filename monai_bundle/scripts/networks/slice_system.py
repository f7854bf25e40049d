"""The seam of systems that learn from labelled slices: what their training and their reading of a study share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scripts.networks.backbone import Backbone
from scripts.networks.scan_rules import RULES, slice_attention
from scripts.networks.study_network import SliceSource, StudyNetwork, StudyOutput, merged_pixels


@dataclass(frozen=True)
class SlicePass:
    """What one pass of training samples gives.

    Attributes
    ----------
    logits : tuple of Tensor, shape (samples, slices, labels)
        One per output with a loss of its own; the first is the system's answer.
    pixels : tuple of Tensor, shape (samples * slices, 1, height, width)
        Logits of haemorrhage in every pixel, one per auxiliary segmentation; empty without any.
    """

    logits: tuple[Tensor, ...]
    pixels: tuple[Tensor, ...] = ()


class SliceSystem(StudyNetwork):
    """A network that learns from slices, single ones or with their neighbours, and answers per slice and per scan.

    Parameters
    ----------
    backbone : Backbone
        Reads slices.
    labels : int
        Number of logits.
    scan_rule : str
        Name of a rule of :data:`scripts.networks.scan_rules.RULES`.

    Attributes
    ----------
    reach : int
        Slices on either side of the labelled one that a training sample holds; 0 for single slices.
    """

    has_slice_classifier = True
    reach = 0

    def __init__(self, backbone: Backbone, labels: int, scan_rule: str) -> None:
        super().__init__()
        if scan_rule not in RULES:
            raise ValueError(f"scan_rule must be one of {', '.join(RULES)}, not {scan_rule!r}")
        self.backbone = backbone
        self.labels = labels
        self.slices = 1
        self.rule = scan_rule

    @abstractmethod
    def learn(self, image: Tensor) -> SlicePass:
        """Read training samples.

        Parameters
        ----------
        image : Tensor, shape (samples, 1 + 2 * reach, channels, height, width)
            Windows in 0..1; the slices of a sample are neighbours, from the feet to the head.
        """

    @abstractmethod
    def slice_logits(self, embeddings: Tensor, positions_mm: Tensor) -> Tensor:
        """Return logits (slices, labels) of all slices of a study from their embeddings (slices, channels).

        Parameters
        ----------
        embeddings : Tensor, shape (slices, channels)
            Of the backbone.
        positions_mm : Tensor, shape (slices,)
            Along the slice normal.
        """

    def read_study(self, source: SliceSource) -> StudyOutput:
        """Read all slices of a study; the scan's logits follow from theirs by the rule."""
        positions = source.positions_mm()
        found = self.slice_logits(source.embeddings(), positions)
        none = torch.empty(0, dtype=torch.int64, device=found.device)
        return StudyOutput(
            sub_stack_logits=RULES[self.rule](found, positions)[None],
            slice_attention=slice_attention(found),
            slice_logits=found,
            key_slices=none,
            key_slice_logits=found[:0],
            feature_maps=source.feature_maps(),
            lesion_logits=merged_pixels(source.lesion_logits(), len(found)),
            saliency_logits=merged_pixels(source.saliency_logits(), len(found)),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return scan logits (batch, labels) for windowed slices (batch, channels, slices, height, width)."""
        batch, _, count = image.shape[:3]
        embeddings = self.backbone.pool(self.backbone(image.movedim(1, 2).flatten(0, 1))).unflatten(0, (batch, count))
        positions = 5.0 * torch.arange(count, dtype=torch.float32, device=image.device)
        return torch.stack([RULES[self.rule](self.slice_logits(each, positions), positions) for each in embeddings])


class SliceClassifierSystem(SliceSystem):
    """Classifies every slice by itself: backbone, pooling, head.

    Parameters
    ----------
    backbone : Backbone
        Its pooling gives one embedding per slice.
    labels : int
        Number of logits.
    hidden : int
        Units of a fully connected layer with ReLU between embedding and logits; 0 for none.
    dropout : float
        Probability in front of the first fully connected layer.
    scan_rule : str
        As for :class:`SliceSystem`.
    """

    def __init__(
        self,
        backbone: Backbone,
        labels: int = 6,
        hidden: int = 0,
        dropout: float = 0.0,
        scan_rule: str = "strongest",
    ) -> None:
        super().__init__(backbone, labels, scan_rule)
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        if hidden:
            layers += [nn.Linear(backbone.channels, hidden), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(hidden or backbone.channels, labels))

    def learn(self, image: Tensor) -> SlicePass:
        """Classify single slices (samples, 1, channels, height, width)."""
        return SlicePass((self.head(self.backbone.pool(self.backbone(image[:, 0])))[:, None],))

    def slice_logits(self, embeddings: Tensor, positions_mm: Tensor) -> Tensor:
        """Classify every slice by its embedding."""
        logits: Tensor = self.head(embeddings)
        return logits
