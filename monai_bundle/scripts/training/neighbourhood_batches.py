"""Batches of prepared slices with their neighbours: what systems learn from that read more than one slice at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from scripts.intake.study import AIR_HU
from scripts.training.balanced_batches import BalancedBatches, stated_labels
from scripts.training.prepared_slices import PreparedGroup
from scripts.transforms import HounsfieldWindows


class NeighbourhoodBatches(BalancedBatches):
    """Balanced batches whose samples are slices with as many neighbours on either side as a system reads.

    Neighbours are changed alike: one draw of position and contrast serves a sample. Single slices, which have no
    neighbours, are drawn only where neither the system nor its channels look at any.

    Parameters
    ----------
    groups, held_out, windows, sizes, count, **settings
        As for :class:`BalancedBatches`; a window may have a third number, see
        :class:`~scripts.transforms.HounsfieldWindows`.
    reach : int
        Labelled slices of a sample on either side of the one that was drawn.
    field : float
        Side of the image relative to that of the prepared slices, at least 1; what lies around them is air.
    """

    def __init__(
        self,
        groups: Sequence[PreparedGroup],
        held_out: Mapping[str, Collection[int] | None],
        windows: Sequence[Sequence[float]],
        sizes: Sequence[tuple[int, int, float]],
        count: int,
        *,
        reach: int = 0,
        field: float = 1.0,
        **settings: Any,
    ) -> None:
        alone = reach + HounsfieldWindows(windows).reach == 0
        usable = [group for group in groups if alone or group.is_scan]
        super().__init__(usable, held_out, windows, sizes, count, **settings)
        self.reach, self.field = reach, field

    @property
    def settings(self) -> list[object]:
        """Everything but the groups that decides the batches."""
        return [*super().settings, self.reach, self.field]

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Return one batch.

        Returns
        -------
        dict
            ``image`` (samples, slices, windows, size, size) in 0..1, slices being 1 + 2 * reach; ``label`` (samples,
            slices, labels) with NaN for unknown; ``mask`` uint8 (samples, slices, size, size); ``mask_known`` (samples,
            slices) bool.
        """
        size, places, generator = self.drawn(number)
        groups = [self.groups[group] for group, _ in places]
        shown = [
            neighbours(place, self.reach + self.windows.reach, len(group.labels))
            for group, (_, place) in zip(groups, places, strict=True)
        ]
        image = torch.stack([group.image[at].float() for group, at in zip(groups, shown, strict=True)])
        mask = torch.stack([group.mask[at] for group, at in zip(groups, shown, strict=True)])
        bone = torch.tensor([group.bone for group in groups])
        image, mask = in_field(image, self.field, AIR_HU), in_field(mask, self.field, 0)
        image, mask = self.augmentation(image, mask, bone, size, generator, stride=1)
        beside = self.windows.reach
        own = slice(beside, mask.shape[1] - beside)
        labelled = [at[own] for at in shown]
        return {
            "image": samples(image, self.windows),
            "label": torch.stack([self.labels[group][at] for (group, _), at in zip(places, labelled, strict=True)]),
            "mask": mask[:, own],
            "mask_known": torch.stack([group.mask_known[at] for group, at in zip(groups, labelled, strict=True)]),
        }


class HeldOutNeighbourhoods(Dataset[dict[str, Tensor]]):
    """Real slices of one fold with their neighbours, unchanged, as inference reads them.

    Parameters
    ----------
    groups : sequence of PreparedGroup
        Real and synthetic; only real scans are taken.
    fold : int or None
        The fold; all scans where it is None or holds none.
    windows, size, reach, field
        As for :class:`NeighbourhoodBatches`; ``size`` is the image's rows and columns.
    """

    def __init__(
        self,
        groups: Sequence[PreparedGroup],
        fold: int | None,
        windows: Sequence[Sequence[float]],
        size: int,
        reach: int = 0,
        field: float = 1.0,
    ) -> None:
        real = [group for group in groups if group.kind == "scan"]
        self.groups = [group for group in real if fold is None or group.fold == fold] or real
        self.places = [(group, place) for group in self.groups for place in range(len(group.labels))]
        self.windows, self.size, self.reach, self.field = HounsfieldWindows(windows), size, reach, field

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``image`` (slices, windows, size, size) and ``label`` (labels,) of the slice in the middle."""
        group, place = self.places[index]
        at = neighbours(place, self.reach + self.windows.reach, len(group.labels))
        image = resized(in_field(group.image[at].float()[None], self.field, AIR_HU), self.size)
        return {"image": samples(image, self.windows)[0], "label": stated_labels(group)[place]}


def neighbours(place: int, reach: int, count: int) -> Tensor:
    """Return the places (1 + 2 * reach,) around one of ``count`` slices; beyond the ends the last is repeated."""
    return torch.arange(place - reach, place + reach + 1).clamp(0, count - 1)


def in_field(slices: Tensor, field: float, outside: int) -> Tensor:
    """Put slices (samples, slices, side, side) into the middle of a field so many times as wide."""
    margin = round(slices.shape[-1] * (field - 1.0) / 2.0)
    return slices if margin == 0 else functional.pad(slices, (margin,) * 4, value=outside)


def resized(slices: Tensor, size: int) -> Tensor:
    """Resample slices (samples, slices, side, side) to rows and columns of ``size``."""
    return functional.interpolate(slices, size=(size, size), mode="bilinear", antialias=True)


def samples(image: Tensor, windows: HounsfieldWindows) -> Tensor:
    """Turn neighbourhoods in HU into the channels of their slices.

    Parameters
    ----------
    image : Tensor, shape (samples, slices + 2 * windows.reach, size, size)
        HU; the outermost slices are shown by channels of others alone.
    windows : HounsfieldWindows
        What the channels show.

    Returns
    -------
    Tensor, shape (samples, slices, windows, size, size)
    """
    channels = torch.stack([torch.as_tensor(windows(each[None])) for each in image]).transpose(1, 2)
    return channels[:, windows.reach : channels.shape[1] - windows.reach].contiguous()
