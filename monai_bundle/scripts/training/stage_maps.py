"""Feature maps of the backbone's frozen stage, computed once: fine-tuning its trained stage then costs a fraction.

A cached result holds one scan (or one batch of single slices) in several augmented variants, in bfloat16, channels
last, and is mapped into memory: the cache may be larger than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from scripts.cache import Cache, mapped_tensor, weights_key
from scripts.networks.backbone import Backbone
from scripts.precision import Precision, choose_precision, fastest_layout
from scripts.training.slice_recipe import SliceRecipe, input_slices_of

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class StageMaps:
    """Cached maps of the frozen stage; behind VGG16 these are the cached block-4 features.

    Attributes
    ----------
    image : Tensor of bfloat16, shape (variants, input slices, h, w, maps)
        Every input slice; variant 0 is the scan as it is.
    high_res : Tensor of bfloat16, shape (variants, input slices, h, w, maps), or None
        The same slices in high resolution; None for single slices. It may have fewer variants.
    input_slice : Tensor of int64, shape (original slices,)
        The input slice that each original slice was averaged into.
    key : object
        Cache key of the maps.
    """

    image: Tensor
    high_res: Tensor | None
    input_slice: Tensor
    key: object = None


def cached_stage_maps(
    entries: Sequence[Mapping[str, Any]],
    recipe: SliceRecipe,
    backbone: Backbone,
    cache: Cache,
    device: torch.device,
    high_res_variants: int = 1,
) -> list[StageMaps]:
    """Return the maps of every entry, from the cache where they are there.

    Parameters
    ----------
    entries : sequence of mapping
        Datalist.
    recipe : SliceRecipe
        How slices are made.
    backbone : Backbone
        With its weights; its frozen stage is used.
    cache : Cache
        Keeps them as ``maps``.
    device : torch.device
        Where the backbone runs.
    high_res_variants : int
        Variants of the high-resolution slices, which cost several times as much; 0 for single slices.
    """
    stage = fastest_layout(backbone.frozen_stage().eval().to(device))
    precision = choose_precision(device, recipe.precision)
    of_stage = [type(backbone).__name__, backbone.normalisation, weights_key(stage), precision.name, high_res_variants]
    found = []
    for number, entry in enumerate(tqdm(entries, desc="maps", unit="scan")):
        key = [recipe.key(entry, number), of_stage]
        compute = partial(_compute, entry, recipe, stage, (device, precision), number, high_res_variants)
        arrays = cache.get("maps", key, compute, mapped=True)
        image, high_res = (
            mapped_tensor(arrays[name], torch.bfloat16) if name in arrays else None for name in ("image", "high_res")
        )
        assert image is not None
        found.append(StageMaps(image, high_res, torch.from_numpy(np.array(arrays["input_slice"])), key))
    return found


def _compute(
    entry: Mapping[str, Any],
    recipe: SliceRecipe,
    stage: nn.Module,
    where: tuple[torch.device, Precision],
    number: int,
    high_res_variants: int,
) -> Arrays:
    maps: dict[str, list[Tensor]] = {"image": [], "high_res": []}
    loaded = recipe.load(dict(entry))
    for variant in range(recipe.variants):
        sizes = ("image", "high_res") if variant < high_res_variants else ("image",)
        windows = recipe.variant({key: loaded[key] for key in sizes}, number, variant)
        for key in sizes:
            size = recipe.micro_batch if key == "image" else recipe.high_res_micro_batch
            maps[key].append(_maps(stage, windows[key], size, *where))
    arrays = {key: torch.stack(each).view(torch.uint16).numpy() for key, each in maps.items() if each}
    return arrays | {"input_slice": input_slices_of(loaded).numpy()}


def _maps(stage: nn.Module, windows: Tensor, size: int, device: torch.device, precision: Precision) -> Tensor:
    """Return maps (slices, h, w, maps) in bfloat16 of windowed slices (windows, slices, height, width)."""
    maps = []
    with torch.inference_mode(), precision.autocast():
        for batch in windows.movedim(0, 1).split(size):
            of_batch = stage(batch.to(device).contiguous(memory_format=torch.channels_last))
            maps.append(of_batch.permute(0, 2, 3, 1).to("cpu", torch.bfloat16))
    return torch.cat(maps)
