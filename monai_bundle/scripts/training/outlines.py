"""Outlines of haemorrhage on the cells of the last feature maps: where fine-tuning may point the evidence to.

An outline is read and augmented exactly as the slices are, so that every cell lies where its map has it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from scripts.training.feature_cache import FeatureRecipe, fingerprint
from scripts.training.tensor_cache import read_cached, write_cached

OUTLINED_HU = 1000
"""What outlined voxels are painted with, on a ground of 0: augmentation shifts and blurs by a few HU only."""


class ReadOutlined(MapTransform):
    """Adds a study's outline as its slices are added: read slices in HU, painted where ``mask`` is true.

    Parameters
    ----------
    keys : KeysCollection
        The key that holds the study; ``mask`` and ``geometry`` are there as well.
    sizes : dict
        New key to rows and columns, as for :class:`scripts.transforms.ReadSlicesd`; nothing is added where nobody drew
        an outline.
    """

    def __init__(self, keys: KeysCollection, sizes: Mapping[str, int]) -> None:
        super().__init__(keys)
        self.sizes = dict(sizes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add one tensor of float32, shape (1, read slices, size, size), per key."""
        entry = dict(data)
        if entry["mask"] is not None and entry["mask"].any():
            painted = np.where(entry["mask"], np.int16(OUTLINED_HU), np.int16(0))
            for slab in entry["geometry"].slabs:
                # A slab shows what one of its slices shows, as its labels have it; their mean would fade.
                painted[list(slab)] = painted[list(slab)].max(axis=0)
            for name, size in self.sizes.items():
                entry[name] = entry["geometry"].read(painted, size)[None]
        return entry


def cached_outlines(
    entries: Sequence[Mapping[str, Any]], recipe: FeatureRecipe, cache_dir: str | Path, stride: int
) -> dict[str, Tensor]:
    """Return the outlines of every scan that has some, from the cache where they are there and up to date.

    Parameters
    ----------
    entries : sequence of mapping
        The whole datalist, in its order: a scan's augmentation depends on its place. Scans without haemorrhage are not
        looked at.
    recipe : FeatureRecipe
        The maps' recipe, but for ``load``, which ends with :class:`ReadOutlined`.
    cache_dir : path
        Created when missing.
    stride : int
        Of the backbone whose cells are meant.

    Returns
    -------
    dict of Tensor
        Name of the entry to outlines of shape (variants, read slices, h, w), float16: the outlined share of the area
        that each cell of the last block stands for; all 0 on slices without an outline.

    Raises
    ------
    NotEvaluableError
        If a scan or its outline cannot be read.
    """
    folder = Path(cache_dir)
    folder.mkdir(parents=True, exist_ok=True)
    outlines = {}
    for number, entry in enumerate(tqdm(entries, desc="outlines", unit="scan")):
        if entry["label"][0] != 1:
            continue
        path, mark = folder / f"{entry['name']}.pt", fingerprint(entry, number, recipe, f"outlines {stride}")
        found = read_cached(path, mark, ("cells",))
        if found is None:
            found = {"cells": _make(entry, recipe, number, stride)}
            write_cached(path, mark, found)
        if found["cells"].numel() > 0:
            outlines[entry["name"]] = found["cells"]
    return outlines


def _make(entry: Mapping[str, Any], recipe: FeatureRecipe, number: int, stride: int) -> Tensor:
    loaded = recipe.load(dict(entry))
    if "image" not in loaded:
        return torch.empty(0)
    pictures = (recipe.augmented({"image": loaded["image"]}, number, variant) for variant in range(recipe.variants))
    return torch.stack([share_of_cells(picture["image"][0], stride) for picture in pictures]).half()


def share_of_cells(painted: Tensor, stride: int) -> Tensor:
    """Return the outlined share of the area of each cell of the last block.

    Parameters
    ----------
    painted : Tensor, shape (slices, height, width)
        :data:`OUTLINED_HU` where outlined, 0 elsewhere.
    stride : int
        Rows and columns that a cell stands for.

    Returns
    -------
    Tensor, shape (slices, height / stride, width / stride)
    """
    outlined = convert_to_tensor(painted, track_meta=False) > OUTLINED_HU / 2
    return functional.avg_pool2d(outlined.float()[None], stride)[0]
