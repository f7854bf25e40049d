"""Masks of haemorrhage on the cells of the last feature maps: where fine-tuning may draw attribution to.

A mask is read and augmented exactly as the slices are, so that every cell lies where its map has it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from scripts.cache import Cache
from scripts.training.slice_recipe import SliceRecipe

MASKED_HU = 1000
"""What masked voxels are painted with, on a ground of 0: augmentation shifts and blurs by a few HU only."""


class ReadMaskd(MapTransform):
    """Adds a study's mask as its slices are added: input slices in HU, painted where ``mask`` is true.

    Parameters
    ----------
    keys : KeysCollection
        The key that holds the study; ``mask`` and ``geometry`` are there as well.
    sizes : dict
        New key to rows and columns, as for :class:`scripts.transforms.ReadSlicesd`; nothing is added where nobody drew
        a mask.
    """

    def __init__(self, keys: KeysCollection, sizes: Mapping[str, int]) -> None:
        super().__init__(keys)
        self.sizes = dict(sizes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add one tensor of float32, shape (1, input slices, size, size), per key."""
        entry = dict(data)
        if entry["mask"] is not None and entry["mask"].any():
            painted = np.where(entry["mask"], np.int16(MASKED_HU), np.int16(0))
            for slab in entry["geometry"].slabs:
                # A slab shows what one of its slices shows, as its labels have it; their mean would fade.
                painted[list(slab)] = painted[list(slab)].max(axis=0)
            for name, size in self.sizes.items():
                entry[name] = entry["geometry"].resample(painted, size)[None]
        return entry


def cached_masks(
    entries: Sequence[Mapping[str, Any]], recipe: SliceRecipe, cache: Cache, stride: int
) -> dict[str, Tensor]:
    """Return the masks of every scan that has some, from the cache where they are there.

    Parameters
    ----------
    entries : sequence of mapping
        The whole datalist, in its order: a scan's augmentation depends on its place. Scans without haemorrhage are
        left out.
    recipe : SliceRecipe
        The maps' recipe, but for ``load``, which ends with :class:`ReadMaskd`.
    cache : Cache
        Keeps them as ``masks``.
    stride : int
        The backbone's pixels per cell.

    Returns
    -------
    dict of Tensor
        Name of the entry to masks of shape (variants, input slices, h, w), float16: the masked fraction of each cell's
        area; all 0 on slices without a mask.

    Raises
    ------
    NotEvaluableError
        If a scan or its mask cannot be read.
    """
    masks = {}
    for number, entry in enumerate(tqdm(entries, desc="masks", unit="scan")):
        if entry["label"][0] != 1:
            continue
        cells = cache.get(
            "masks", [recipe.key(entry, number), stride], partial(_compute, entry, recipe, number, stride)
        )
        if cells.size > 0:
            masks[entry["name"]] = torch.from_numpy(cells)
    return masks


def _compute(entry: Mapping[str, Any], recipe: SliceRecipe, number: int, stride: int) -> NDArray[np.float16]:
    loaded = recipe.load(dict(entry))
    if "image" not in loaded:
        return np.empty(0, dtype=np.float16)
    slices = (recipe.augmented({"image": loaded["image"]}, number, variant) for variant in range(recipe.variants))
    cells: NDArray[np.float16] = torch.stack([masked_cells(each["image"][0], stride) for each in slices]).half().numpy()
    return cells


def masked_cells(painted: Tensor, stride: int) -> Tensor:
    """Return the masked fraction of the area of each cell of the last feature maps.

    Parameters
    ----------
    painted : Tensor, shape (slices, height, width)
        :data:`MASKED_HU` where masked, 0 elsewhere.
    stride : int
        The backbone's pixels per cell.

    Returns
    -------
    Tensor, shape (slices, height / stride, width / stride)
    """
    masked = convert_to_tensor(painted, track_meta=False) > MASKED_HU / 2
    return functional.avg_pool2d(masked.float()[None], stride)[0]
