"""Maps of VGG16's first four blocks, made once: fine-tuning its last block then costs a tenth of the whole.

A file holds one scan (or one batch of single slices) in several augmented variants, in bfloat16, channels last, and is
mapped into memory: the cache may be larger than that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.utils import convert_to_tensor
from torch import Tensor, nn
from tqdm import tqdm

from scripts.networks.backbone import Backbone, pool
from scripts.precision import PrecisionName, choose_precision, fastest_layout
from scripts.training.feature_cache import (
    FeatureRecipe,
    ScanFeatures,
    fingerprint,
    read_slice_of_stored,
    weights_digest,
)
from scripts.training.tensor_cache import read_cached, write_cached


@dataclass(frozen=True)
class CachedFeatureMaps:
    """Maps in front of VGG16's fifth block.

    Attributes
    ----------
    image : Tensor of bfloat16, shape (variants, read slices, h, w, 512)
        Every read slice at the picture's size; variant 0 is the scan as it is.
    high_res : Tensor of bfloat16, shape (variants, read slices, h, w, 512), or None
        The same slices at the zoomed size; None for single slices. It may have fewer variants.
    read_slice : Tensor of int64, shape (stored slices,)
        The read slice that each stored slice was averaged into.
    mark : str
        Fingerprint of everything that the maps were made from.
    """

    image: Tensor
    high_res: Tensor | None
    read_slice: Tensor
    mark: str = ""


def cached_maps(
    entries: Sequence[Mapping[str, Any]],
    recipe: FeatureRecipe,
    backbone: Backbone,
    cache_dir: str | Path,
    device: torch.device,
    high_res_variants: int,
) -> list[CachedFeatureMaps]:
    """Return the maps of every entry, from the cache where they are there and up to date.

    Parameters
    ----------
    entries : sequence of mapping
        Datalist; ``name`` names the cache's file.
    recipe : FeatureRecipe
        How pictures are made.
    backbone : Backbone
        Its first four blocks are used.
    cache_dir : path
        Created when missing.
    device : torch.device
        Where the backbone runs.
    high_res_variants : int
        Variants of the zoomed slices, which cost five times as much; 0 for single slices.

    Raises
    ------
    RuntimeError
        If a file that was just written cannot be read.
    """
    folder = Path(cache_dir)
    folder.mkdir(parents=True, exist_ok=True)
    trunk = fastest_layout(backbone.frozen_stage().eval().to(device))
    names = ("image", "high_res", "read_slice") if high_res_variants else ("image", "read_slice")
    maps, weights = [], weights_digest(trunk)
    for number, entry in enumerate(tqdm(entries, desc="maps", unit="scan")):
        path, mark = (
            folder / f"{entry['name']}.pt",
            f"{fingerprint(entry, number, recipe, weights)} {high_res_variants}",
        )
        found = read_cached(path, mark, names)
        if found is None:
            write_cached(path, mark, _make(entry, recipe, trunk, device, number, high_res_variants))
            found = read_cached(path, mark, names)
            if found is None:
                raise RuntimeError(f"{path.name}: what was just written cannot be read; is the disk full?")
        maps.append(CachedFeatureMaps(found["image"], found.get("high_res"), found["read_slice"], mark))
    return maps


def _make(
    entry: Mapping[str, Any],
    recipe: FeatureRecipe,
    trunk: nn.Module,
    device: torch.device,
    number: int,
    high_res_variants: int,
) -> dict[str, Tensor]:
    made: dict[str, list[Tensor]] = {"image": [], "high_res": []}
    loaded = recipe.load(dict(entry))
    for variant in range(recipe.variants):
        sizes = ("image", "high_res") if variant < high_res_variants else ("image",)
        windows = recipe.variant({key: loaded[key] for key in sizes}, number, variant)
        for key in sizes:
            size = recipe.micro_batch if key == "image" else recipe.high_res_micro_batch
            made[key].append(_see(trunk, windows[key], size, device, recipe.precision))
    tensors = {key: torch.stack(variants) for key, variants in made.items() if variants}
    return tensors | {"read_slice": read_slice_of_stored(loaded)}


def _see(trunk: nn.Module, windows: Tensor, size: int, device: torch.device, name: PrecisionName) -> Tensor:
    """Return maps (slices, h, w, 512) of windowed slices (3, slices, height, width)."""
    plain = convert_to_tensor(windows, track_meta=False)
    seen = []
    with torch.inference_mode(), choose_precision(device, name).autocast():
        for batch in plain.movedim(0, 1).split(size):
            maps = trunk(batch.to(device).contiguous(memory_format=torch.channels_last))
            seen.append(maps.permute(0, 2, 3, 1).to("cpu", torch.bfloat16))
    return torch.cat(seen)


def pooled_features(
    scans: Sequence[CachedFeatureMaps],
    backbone: Backbone,
    device: torch.device,
    precision: PrecisionName = "auto",
    high_res_variants: int = 1,
    cache_dir: str | Path | None = None,
) -> list[ScanFeatures]:
    """Look through the last block at every scan's maps and pool: what :func:`cached_features` gives, in minutes.

    Parameters
    ----------
    scans : sequence of CachedFeatureMaps
        From :func:`cached_maps`.
    backbone : Backbone
        Its last block is used.
    device : torch.device
        Where it runs.
    precision : str
        As for :func:`scripts.precision.choose_precision`.
    high_res_variants : int
        Zoomed variants to look at, which cost most; the others repeat the last one.
    cache_dir : path, optional
        Where features are kept, one file for all scans and one state of the last block.

    Raises
    ------
    ValueError
        If maps are of single slices, or no zoomed variant is to be looked at.
    """
    if high_res_variants < 1:
        raise ValueError(
            f"high_res_variants_used must be at least 1, not {high_res_variants}: key slices are read zoomed"
        )
    block = fastest_layout(backbone.trained_stage().eval().to(device))
    path = None
    if cache_dir is not None:
        made_from = json.dumps([weights_digest(block), precision, high_res_variants, [scan.mark for scan in scans]])
        mark = hashlib.sha256(made_from.encode()).hexdigest()
        path = Path(cache_dir) / f"{mark[:16]}.pt"
        names = tuple(f"{name}.{number}" for number in range(len(scans)) for name in ("image", "high_res"))
        found = read_cached(path, mark, names)
        if found is not None:
            pairs = ((found[f"image.{number}"], found[f"high_res.{number}"]) for number in range(len(scans)))
            return [
                ScanFeatures(image.float(), high_res.float(), scan.read_slice)
                for scan, (image, high_res) in zip(scans, pairs, strict=True)
            ]
    look = partial(_look, block, device, precision)
    features = [_pooled(scan, look, high_res_variants) for scan in tqdm(scans, desc="features", unit="scan")]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {f"image.{number}": scan.image.half() for number, scan in enumerate(features)}
        tensors |= {f"high_res.{number}": scan.high_res.half() for number, scan in enumerate(features)}
        write_cached(path, mark, tensors)
    return features


def _look(block: nn.Module, device: torch.device, precision: PrecisionName, maps: Tensor, size: int) -> Tensor:
    """Return pooled features (slices, 512) of maps (slices, h, w, 512), rounded as the cache keeps them."""
    with torch.inference_mode(), choose_precision(device, precision).autocast():
        seen = [pool(block(batch.to(device).permute(0, 3, 1, 2).float())) for batch in maps.split(size)]
        return torch.cat(seen).cpu().half().float()


def _pooled(scan: CachedFeatureMaps, look: Callable[[Tensor, int], Tensor], high_res_variants: int) -> ScanFeatures:
    if scan.high_res is None:
        raise ValueError("single slices have no zoomed maps: features are of whole scans")
    image = torch.stack([look(variant, 32) for variant in scan.image])
    high_res = torch.stack([look(variant, 8) for variant in scan.high_res[:high_res_variants]])
    repeated = high_res[torch.arange(len(image)).clamp(max=len(high_res) - 1)]
    return ScanFeatures(image, repeated, scan.read_slice)


def without_high_res(features: Sequence[ScanFeatures]) -> list[ScanFeatures]:
    """Put the picture's features in the place of the zoomed: key slices are read again at the size of before."""
    return [ScanFeatures(scan.image, scan.image, scan.read_slice) for scan in features]


def without_augmentation(features: Sequence[ScanFeatures]) -> list[ScanFeatures]:
    """Keep of every scan the first variant, the scan as it is."""
    return [ScanFeatures(scan.image[:1], scan.high_res[:1], scan.read_slice) for scan in features]
