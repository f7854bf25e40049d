"""Pooled features of the frozen backbone, computed once per scan and kept: training the heads then takes minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from scripts.cache import Cache, weights_key
from scripts.messages import ExpectedError
from scripts.networks.backbone import Backbone
from scripts.networks.study_network import StudyNetwork
from scripts.precision import Precision, PrecisionName, choose_precision, fastest_layout
from scripts.training.slice_recipe import SliceRecipe, input_slices_of
from scripts.training.stage_maps import Arrays, StageMaps

Pooled = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class ScanFeatures:
    """Pooled features of one scan, in several augmented variants; variant 0 is the scan as it is.

    Attributes
    ----------
    image, high_res : Tensor of float32, shape (variants, input slices, channels)
        Of every input slice, and of the same in high resolution; NaN where there is no high resolution.
    input_slice : Tensor of int64, shape (original slices,)
        The input slice that each original slice was averaged into.
    """

    image: Tensor
    high_res: Tensor
    input_slice: Tensor


def scan_features(
    entries: Sequence[Mapping[str, Any]],
    recipe: SliceRecipe,
    network: StudyNetwork,
    cache: Cache,
    device: torch.device,
    maps: Sequence[StageMaps] | None = None,
    high_res: bool = True,
    augmented: bool = True,
) -> list[ScanFeatures]:
    """Return the features of every scan, from the cache where they are there.

    Parameters
    ----------
    entries : sequence of mapping
        Datalist.
    recipe : SliceRecipe
        How slices are made.
    network : StudyNetwork
        With the weights of its backbone, and of its lesion decoder if it uses lesion scores.
    cache : Cache
        Keeps them as ``features``.
    device : torch.device
        Where the backbone runs.
    maps : sequence of StageMaps, optional
        Cached maps of the frozen stage, of the same entries: the trained stage alone is run then, which takes seconds.
    high_res : bool
        Whether key slices are classified by their features in high resolution, or by those of the first pass again.
    augmented : bool
        Whether to return augmented variants, or the scan as it is alone.

    Raises
    ------
    ExpectedError
        ``training.no_high_res_maps`` if the maps are of single slices.
    """
    if maps is not None:
        features = _of_maps(maps, network.backbone, cache, device, recipe.precision)
    else:
        features = _of_entries(entries, recipe, network, cache, device)
    if not augmented:
        features = [ScanFeatures(scan.image[:1], scan.high_res[:1], scan.input_slice) for scan in features]
    if not high_res:
        features = [ScanFeatures(scan.image, scan.image, scan.input_slice) for scan in features]
    return features


def _of_entries(
    entries: Sequence[Mapping[str, Any]], recipe: SliceRecipe, network: StudyNetwork, cache: Cache, device: torch.device
) -> list[ScanFeatures]:
    backbone = network.backbone
    fastest_layout(network.eval().to(device))
    precision = choose_precision(device, recipe.precision)
    of_backbone = [type(backbone).__name__, backbone.normalisation, weights_key(backbone), precision.name]
    if network.uses_lesion_scores:
        of_backbone.append(weights_key(network.get_submodule("lesion_decoder")))
    pooled = partial(_pooled_images, network, device, precision)
    features = []
    for number, entry in enumerate(tqdm(entries, desc="features", unit="scan")):
        key = [recipe.key(entry, number), of_backbone]
        arrays = cache.get("features", key, partial(_compute, entry, recipe, pooled, number))
        features.append(_features(arrays, torch.from_numpy(arrays["input_slice"])))
    return features


def _compute(entry: Mapping[str, Any], recipe: SliceRecipe, pooled: Pooled, number: int) -> Arrays:
    loaded = recipe.load(dict(entry))
    images, high_res = [], []
    for variant in range(recipe.variants):
        windows = recipe.variant(loaded, number, variant)
        images.append(pooled(windows["image"], recipe.micro_batch))
        high_res.append(
            pooled(windows["high_res"], recipe.high_res_micro_batch)
            if "high_res" in windows
            else torch.full_like(images[-1], torch.nan)
        )
    return _arrays(images, high_res) | {"input_slice": input_slices_of(loaded).numpy()}


def _of_maps(
    maps: Sequence[StageMaps], backbone: Backbone, cache: Cache, device: torch.device, precision: PrecisionName
) -> list[ScanFeatures]:
    stage = fastest_layout(backbone.trained_stage().eval().to(device))
    chosen = choose_precision(device, precision)
    of_stage = [weights_key(stage), chosen.name]
    pooled = partial(_pooled_maps, stage, backbone.pool, device, chosen)
    features = []
    for scan in tqdm(maps, desc="features", unit="scan"):
        arrays = cache.get("pooled", [scan.key, of_stage], partial(_compute_from_maps, scan, pooled))
        features.append(_features(arrays, scan.input_slice))
    return features


def _compute_from_maps(scan: StageMaps, pooled: Pooled) -> Arrays:
    if scan.high_res is None:
        raise ExpectedError("training.no_high_res_maps")
    images = [pooled(variant, 32) for variant in scan.image]
    high_res = [pooled(variant, 8) for variant in scan.high_res]
    # Augmented variants without maps of their own repeat the last one.
    return _arrays(images, [high_res[min(variant, len(high_res) - 1)] for variant in range(len(images))])


def _arrays(images: Sequence[Tensor], high_res: Sequence[Tensor]) -> Arrays:
    return {"image": torch.stack(list(images)).half().numpy(), "high_res": torch.stack(list(high_res)).half().numpy()}


def _features(arrays: Arrays, input_slice: Tensor) -> ScanFeatures:
    image, high_res = (torch.from_numpy(arrays[name].astype(np.float32)) for name in ("image", "high_res"))
    return ScanFeatures(image, high_res, input_slice)


def _pooled_images(
    network: StudyNetwork, device: torch.device, precision: Precision, images: Tensor, size: int
) -> Tensor:
    """Return embeddings (slices, width) of windowed slices (windows, slices, height, width)."""
    batches = images.movedim(0, 1).split(size)
    with torch.inference_mode(), precision.autocast():
        laid_out = (batch.to(device).contiguous(memory_format=torch.channels_last) for batch in batches)
        return torch.cat([network.embed(batch) for batch in laid_out]).float().cpu()


def _pooled_maps(
    stage: nn.Module,
    pool: Callable[[Tensor], Tensor],
    device: torch.device,
    precision: Precision,
    maps: Tensor,
    size: int,
) -> Tensor:
    """Return pooled features (slices, channels) of the frozen stage's maps (slices, h, w, maps)."""
    with torch.inference_mode(), precision.autocast():
        batches = (batch.to(device).permute(0, 3, 1, 2).float() for batch in maps.split(size))
        return torch.cat([pool(stage(batch)) for batch in batches]).float().cpu()
