"""RADnet, DenseNet-A and the plain DenseNet of Grewal et al. (2018, arXiv 1710.04934), sections 2.2 and 2.3.

What the paper leaves open is decided in ``docs/SYSTEMS.md``: growth rate, LSTM units, length of the neighbourhood,
weights of the auxiliary losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from scripts.networks.densenet40 import DenseNet40, initialise
from scripts.networks.slice_system import SlicePass, SliceSystem


class SegmentationBranch(nn.Sequential):
    """One auxiliary task: a 1 x 1 convolution and a deconvolution to the size of the image (section 2.2.2).

    Parameters
    ----------
    channels : int
        Of the block's maps.
    factor : int
        By which they are enlarged: 2, 4 or 8.
    width : int
        Maps between convolution and deconvolution.
    """

    def __init__(self, channels: int, factor: int, width: int = 8) -> None:
        deconvolution = nn.ConvTranspose2d(width, 1, kernel_size=2 * factor, stride=factor, padding=factor // 2)
        super().__init__(nn.Conv2d(channels, width, kernel_size=1), deconvolution)


class BranchDecoder(nn.Module):
    """The auxiliary segmentations as one map of any haemorrhage: the mean of their logits.

    The paper trains three and shows none. Each learns the same mask, the first from fine maps that see little around a
    pixel, the last from coarse ones that see most of the head: their mean asks for both.

    Parameters
    ----------
    branches : ModuleList of SegmentationBranch
        A network's own: they share its weights.
    """

    def __init__(self, branches: nn.ModuleList) -> None:
        super().__init__()
        self.branches = branches

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return logits (slices, 1, h, w) of the image's size, from the maps of the blocks, the first of the levels."""
        pixels = [branch(maps) for branch, maps in zip(self.branches, levels, strict=False)]
        return torch.stack(pixels).mean(dim=0)


class RADnet(SliceSystem):
    """DenseNet with three auxiliary segmentations and a bidirectional LSTM over neighbouring slices.

    Parameters
    ----------
    backbone : DenseNet40
        The baseline network.
    labels : int
        Number of logits; the paper has one, haemorrhage, which is the first label here.
    reach : int
        Slices on either side of one that the LSTM reads with it; 0 leaves the LSTM out.
    hidden : int
        Units of the LSTM in each direction.
    segmentations : bool
        Whether there are auxiliary segmentations. Without them and with a reach of 0 this is the plain DenseNet, with
        them alone DenseNet-A (table 1).
    scan_rule : str
        As for :class:`~scripts.networks.slice_system.SliceSystem`.
    """

    def __init__(
        self,
        backbone: DenseNet40,
        labels: int = 6,
        reach: int = 2,
        hidden: int = 128,
        segmentations: bool = True,
        scan_rule: str = "three_thin_consecutive",
    ) -> None:
        super().__init__(backbone, labels, scan_rule)
        self.reach = reach
        self.lstm = nn.LSTM(backbone.channels, hidden, batch_first=True, bidirectional=True) if reach else None
        self.classifier = nn.Linear(2 * hidden if reach else backbone.channels, labels)
        factors = (2, 4, 8) if segmentations else ()
        self.branches = nn.ModuleList(
            SegmentationBranch(channels, factor)
            for channels, factor in zip(backbone.block_channels, factors, strict=False)
        )
        initialise(self.branches)

    @property
    def lesion_decoder(self) -> BranchDecoder | None:
        """Where it finds haemorrhage: its auxiliary segmentations as one map; None without them."""
        return BranchDecoder(self.branches) if len(self.branches) else None

    @property
    def dense_net(self) -> DenseNet40:
        """The backbone."""
        return cast("DenseNet40", self.backbone)

    def learn(self, image: Tensor) -> SlicePass:
        """Classify every slice of a sample with the others, and the pixels of all (section 2.2.2)."""
        slices = image.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        backbone = self.dense_net
        blocks = tuple(backbone.blocks(slices))
        embeddings = backbone.pool(backbone.last(blocks[-1])).unflatten(0, image.shape[:2])
        logits: Tensor = self.classifier(self._with_neighbours(embeddings))
        pixels = tuple(branch(maps) for branch, maps in zip(self.branches, blocks, strict=False))
        return SlicePass((logits,), pixels)

    def slice_logits(self, embeddings: Tensor, positions_mm: Tensor) -> Tensor:
        """Classify each slice in the middle of its neighbourhood; beyond the ends the last slice is repeated."""
        samples = embeddings[self._neighbourhoods(len(embeddings)).to(embeddings.device)]
        logits: Tensor = self.classifier(self._with_neighbours(samples)[:, self.reach])
        return logits

    def _with_neighbours(self, embeddings: Tensor) -> Tensor:
        return embeddings if self.lstm is None else self.lstm(embeddings)[0]

    def _neighbourhoods(self, count: int) -> Tensor:
        offsets = torch.arange(-self.reach, self.reach + 1)
        return (torch.arange(count)[:, None] + offsets).clamp(0, count - 1)
