"""An ensemble of slice classifiers as one network: the ICH app's twelve (section 3.3), or any subset of them.

Which members it has stands in a small file beside its weights, because the best subset is searched on validation data.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from scripts.networks.ensemble_rules import RULES, EnsembleRule, combined, member_weights
from scripts.networks.imagenet_backbones import (
    DenseNet121Features,
    EfficientNetB2Features,
    ImageNetBackbone,
    ResNet50Features,
)
from scripts.networks.joint_backbone import JointBackbone
from scripts.networks.slice_system import SliceClassifierSystem, SlicePass, SliceSystem

HIDDEN, DROPOUT = 128, 0.125
"""Of every member's head: the ICH app's table 3 and figure 16; 128 units give the parameters that table 3 states."""

WINDOWS, ADJACENT = (0, 1, 2), (3, 4, 5)
"""Channels of the ensemble's input: three windows, then the slice below, itself and the slice above in one window."""

ARCHITECTURES: dict[str, Callable[..., ImageNetBackbone]] = {
    "efficientnet": EfficientNetB2Features,
    "resnet": ResNet50Features,
    "densenet": DenseNet121Features,
}
INPUTS = {"windows": WINDOWS, "adjacent": ADJACENT}
TRAININGS = ("plain", "optimised")

TWELVE = tuple(
    f"ich_app_{architecture}_{kind}_{training}"
    for architecture in ARCHITECTURES
    for kind in INPUTS
    for training in TRAININGS
)
"""Names of the systems that the ensemble may consist of."""


@dataclass(frozen=True)
class EnsembleMembers:
    """What an ensemble consists of.

    Attributes
    ----------
    names : tuple of str
        Some of :data:`TWELVE`.
    rule : {"average", "vote", "accuracy"}
        See :func:`~scripts.networks.ensemble_rules.combined`.
    accuracies : tuple of float
        Of each member on validation data.
    searched_on : str
        Which data chose the subset, as a person reads it.
    """

    names: tuple[str, ...]
    rule: EnsembleRule
    accuracies: tuple[float, ...]
    searched_on: str = ""

    def __post_init__(self) -> None:
        """Hold the members to the twelve and to one another.

        Raises
        ------
        ValueError
            If one is unknown or named twice, the rule is, or there is not one accuracy per member.
        """
        unknown = sorted(set(self.names) - set(TWELVE))
        if unknown or not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"members must be some of {', '.join(TWELVE)}, each once: {', '.join(self.names)}")
        if self.rule not in RULES or len(self.accuracies) != len(self.names):
            raise ValueError(f"{len(self.names)} members, {len(self.accuracies)} accuracies, rule {self.rule!r}")

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=4) + "\n", encoding="utf-8")
        partial.replace(path)


def members_file(weights: str | Path) -> Path:
    """Return the file that states the members, beside the ensemble's weights."""
    return Path(weights).with_suffix(".members.json")


def read_members(weights: str | Path | None, bundle_root: str | Path = ".") -> EnsembleMembers:
    """Return the members of an ensemble's weights; the average of all twelve where nothing states them yet.

    Parameters
    ----------
    weights : path or None
        From the bundle's folder; None for an ensemble of random weights.
    bundle_root : path
        The bundle's folder.
    """
    file = members_file(Path(bundle_root) / (weights or "none"))
    if not file.is_file():
        return EnsembleMembers(TWELVE, "average", (1.0,) * len(TWELVE))
    content = json.loads(file.read_text("utf-8"))
    return EnsembleMembers(
        tuple(content["names"]), content["rule"], tuple(content["accuracies"]), content["searched_on"]
    )


def architecture_and_input(name: str) -> tuple[Callable[..., ImageNetBackbone], tuple[int, ...]]:
    """Return the backbone of one of the twelve and the channels of the ensemble's input that it reads."""
    _, _, architecture, kind, _ = name.split("_")
    return ARCHITECTURES[architecture], INPUTS[kind]


class MembersBackbone(JointBackbone):
    """The members' backbones side by side.

    Parameters
    ----------
    members : EnsembleMembers
        Which; random weights, as the ensemble's own file holds them all.
    """

    def __init__(self, members: EnsembleMembers) -> None:
        parts = [architecture_and_input(name) for name in members.names]
        super().__init__([backbone(pretrained=False) for backbone, _ in parts], [channels for _, channels in parts])


class SliceEnsemble(SliceSystem):
    """Combines what its members find in every slice; never trained itself.

    Logits are those of the combined probabilities, clipped to 1e-4 from 0 and 1. Their gradient is that of the members'
    weighted mean logit, whatever the rule: Grad-CAM is then the weighted mean of the members' maps, all in logits and
    on one scale, and a vote, which has no gradient of its own, has a map as well.

    Parameters
    ----------
    backbone : MembersBackbone
        Of the same members.
    members : EnsembleMembers
        Which, and how they are combined.
    labels : int
        Number of logits.
    scan_rule : str
        As for :class:`~scripts.networks.slice_system.SliceSystem`.
    """

    def __init__(
        self, backbone: MembersBackbone, members: EnsembleMembers, labels: int = 6, scan_rule: str = "strongest"
    ) -> None:
        super().__init__(backbone, labels, scan_rule)
        self.rule = scan_rule
        self.combination = members.rule
        self.heads = nn.ModuleList(head(width, labels) for width in backbone.widths)
        accuracies = torch.tensor(members.accuracies)
        # Not in the state dict: the file of members holds them.
        self.register_buffer("accuracies", accuracies, persistent=False)
        self.register_buffer("weights", member_weights(len(members.names), members.rule, accuracies), persistent=False)
        self.accuracies: Tensor
        self.weights: Tensor

    def slice_logits(self, embeddings: Tensor, positions_mm: Tensor) -> Tensor:
        """Combine the members' logits (slices, labels)."""
        parts = cast("MembersBackbone", self.backbone).split(embeddings)
        found = torch.stack([classify(part) for classify, part in zip(self.heads, parts, strict=True)])
        mean = torch.tensordot(self.weights, found, dims=1)
        probability = combined(found.sigmoid(), self.combination, self.accuracies).clamp(1e-4, 1 - 1e-4)
        return mean + (probability.logit() - mean).detach()

    def learn(self, image: Tensor) -> SlicePass:
        """Read single slices (samples, 1, channels, height, width); members are trained one by one instead."""
        embeddings = self.backbone.pool(self.backbone(image[:, 0]))
        return SlicePass((self.slice_logits(embeddings, torch.zeros(len(embeddings)))[:, None],))


def head(channels: int, labels: int) -> nn.Sequential:
    """Return the layers behind a member's embedding, as :class:`SliceClassifierSystem` has them."""
    return nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(channels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, labels))


def member_of(name: str, labels: int = 6) -> SliceClassifierSystem:
    """Return one of the twelve as its own configuration builds it, without ImageNet's weights."""
    backbone, _ = architecture_and_input(name)
    return SliceClassifierSystem(backbone(pretrained=False), labels, hidden=HIDDEN, dropout=DROPOUT)


def assembled_state(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Put the members' trained weights, in their order, under the ensemble's names."""
    assembled = {}
    for place, state in enumerate(states):
        for name, tensor in state.items():
            part, _, rest = name.partition(".")
            prefix = f"backbone.members.{place}" if part == "backbone" else f"heads.{place}"
            assembled[f"{prefix}.{rest}"] = tensor
    return assembled
