"""How a scan becomes the network's input for training: its slices in HU, augmented in several variants, windowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch import Tensor

from scripts.cache import files_key
from scripts.precision import PrecisionName
from scripts.training.augmentation import Augmentation
from scripts.transforms import READING_VERSION, HounsfieldWindows


@dataclass(frozen=True)
class SliceRecipe:
    """From a datalist entry to windowed slices.

    Attributes
    ----------
    load : Compose
        From the entry to ``image`` in HU and, for a network that classifies key slices in high resolution,
        ``high_res``: Tensors of shape (1, input slices, size, size).
    augmentation : Augmentation
        Of every variant but the first, which is the scan as it is.
    windows : sequence of (float, float)
        Centre and width in HU of each input channel.
    variants : int
        Number of variants.
    micro_batch, high_res_micro_batch : int
        Slices at once in the backbone.
    precision : str
        As for :func:`scripts.precision.choose_precision`.
    """

    load: Compose
    augmentation: Augmentation
    windows: Sequence[Sequence[float]]
    variants: int
    micro_batch: int = 8
    high_res_micro_batch: int = 2
    precision: PrecisionName = "auto"

    def variant(self, loaded: Mapping[str, Tensor], number: int, variant: int) -> dict[str, Tensor]:
        """Return one variant of the ``number``-th entry: windows in 0..1, (windows, slices, height, width), by size."""
        windows = HounsfieldWindows(self.windows)
        augmented = self.augmented(loaded, number, variant)
        # Without MONAI's metadata, which is updated in every operation.
        return {key: convert_to_tensor(windows(slices), track_meta=False) for key, slices in augmented.items()}

    def augmented(self, loaded: Mapping[str, Tensor], number: int, variant: int) -> dict[str, Tensor]:
        """Return slices in HU of one variant of the ``number``-th entry; what is loaded stays as it is."""
        slices = {key: each.clone() for key, each in loaded.items() if key in ("image", "high_res")}
        if variant > 0:
            slices = self.augmentation.transform(number * self.variants + variant)(slices)
        return slices

    @property
    def settings(self) -> list[object]:
        """Every setting that decides the slices, and the steps of ``load`` with theirs."""
        # Not the Compose itself, which holds a random generator.
        steps = list(self.load.transforms)
        return [READING_VERSION, steps, self.augmentation, [list(window) for window in self.windows], self.variants]

    def key(self, entry: Mapping[str, Any], number: int) -> list[object]:
        """Return everything that decides the slices of the ``number``-th entry, as a cache's key.

        The entry's place is part of it: its variants are drawn by it, and maps and masks of other places would not
        fit each other.
        """
        return [self.settings, number, files_key(entry["study"].files)]


def input_slices_of(loaded: Mapping[str, Any]) -> Tensor:
    """Return the input slice of each original slice of a loaded scan; single slices are their own."""
    if "geometry" not in loaded:
        return torch.arange(loaded["image"].shape[1])
    input_slice = torch.empty(loaded["geometry"].original_shape[0], dtype=torch.int64)
    for number, slab in enumerate(loaded["geometry"].slabs):
        input_slice[list(slab)] = number
    return input_slice
