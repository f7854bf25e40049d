"""Several feature extractors of a slice as one backbone: each reads its own channels, maps stand side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.networks.backbone import UNCHANGED, Backbone


class JointBackbone(Backbone):
    """Concatenates the feature maps of its members, so that Grad-CAM through it is the sum of theirs, on one scale.

    Maps of different sizes are enlarged to the largest, bilinearly; members must pool alike.

    Parameters
    ----------
    members : sequence of Backbone
        Each normalises its own input.
    channels : sequence of sequence of int
        For each member, which channels of the input it reads.

    Raises
    ------
    ValueError
        If not every member has its channels, or if members pool differently.
    """

    frozen_layers = 0
    normalisation = UNCHANGED

    def __init__(self, members: Sequence[Backbone], channels: Sequence[Sequence[int]]) -> None:
        super().__init__([])
        if not members or len(members) != len(channels):
            raise ValueError(f"{len(members)} members, {len(channels)} lists of channels")
        if len({member.pooling for member in members}) > 1:
            raise ValueError("members of a joint backbone must pool alike")
        self.members = nn.ModuleList(members)
        self.member_channels = [list(each) for each in channels]
        self.widths = [member.channels for member in members]
        self.channels = sum(self.widths)
        self.stride = min(member.stride for member in members)
        # Every member's weights that are there; the others start from random ones.
        self.pretrained = any(member.pretrained for member in members)

    def forward(self, image: Tensor) -> Tensor:
        """Return the members' maps (slices, channels, h, w), one after another, for windows in 0..1."""
        maps = [member(image[:, channels]) for member, channels in zip(self.members, self.member_channels, strict=True)]
        rows, columns = (max(each.shape[axis] for each in maps) for axis in (-2, -1))
        return torch.cat(
            [
                each
                if each.shape[-2:] == (rows, columns)
                else functional.interpolate(each, size=(rows, columns), mode="bilinear", align_corners=False)
                for each in maps
            ],
            dim=1,
        )

    def pool(self, maps: Tensor) -> Tensor:
        """Pool as the members do."""
        return cast("Backbone", self.members[0]).pool(maps)

    def split(self, embeddings: Tensor) -> tuple[Tensor, ...]:
        """Divide embeddings (..., channels) into the members' own."""
        return embeddings.split(self.widths, dim=-1)

    def starts_from(self) -> str:
        """Return what training of the members began with, as results state it."""
        return "; ".join(dict.fromkeys(each.starts_from() for each in cast("list[Backbone]", list(self.members))))

    def pretrained_state(self) -> dict[str, Tensor]:
        """Return the weights that members begin with, of those that have any."""
        state = dict(self.state_dict())
        for number, member in enumerate(cast("list[Backbone]", list(self.members))):
            if member.pretrained:
                state |= {f"members.{number}.{name}": each for name, each in member.pretrained_state().items()}
        return state
