"""Features of the frozen backbone, made once per scan and kept: training the heads then takes minutes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch import Tensor, nn
from tqdm import tqdm

from scripts.networks.backbone import pool
from scripts.precision import PrecisionName, choose_precision, fastest_layout
from scripts.training.tensor_cache import read_cached, write_cached
from scripts.transforms import READING_VERSION


@dataclass(frozen=True)
class ScanFeatures:
    """Pooled features of one scan, in several augmented variants; variant 0 is the scan as it is.

    Attributes
    ----------
    image, high_res : Tensor of float32, shape (variants, read slices, 512)
        Every read slice seen at the picture's size and at the zoomed size; NaN where slices are read at one size
        alone. The last axis is as long as the backbone has channels: 512 for VGG16.
    read_slice : Tensor of int64, shape (stored slices,)
        The read slice that each stored slice was averaged into.
    """

    image: Tensor
    high_res: Tensor
    read_slice: Tensor


@dataclass(frozen=True)
class FeatureRecipe:
    """How features are made from one scan.

    Attributes
    ----------
    load : Compose
        From a datalist entry to ``image`` in HU and, for a network that reads twice, ``high_res``.
    augmentation : Compose
        Random transforms on ``image`` and ``high_res`` in HU, for every variant but the first.
    to_input : Compose
        Windows in 0..1; the backbone normalises them itself.
    variants : int
        Number of variants.
    settings : mapping
        All numbers that the transforms were configured with, as plain data; part of the fingerprint.
    micro_batch, high_res_micro_batch : int
        Slices at once in the backbone.
    precision : str
        As for :func:`scripts.precision.choose_precision`.
    """

    load: Compose
    augmentation: Compose
    to_input: Compose
    variants: int
    settings: Mapping[str, Any]
    micro_batch: int = 8
    high_res_micro_batch: int = 2
    precision: PrecisionName = "auto"

    def variant(self, loaded: Mapping[str, Tensor], number: int, variant: int) -> dict[str, Tensor]:
        """Return windowed slices of one variant of the ``number``-th entry; variant 0 is the scan as it is."""
        windows: dict[str, Tensor] = self.to_input(self.augmented(loaded, number, variant))
        return windows

    def augmented(self, loaded: Mapping[str, Tensor], number: int, variant: int) -> dict[str, Tensor]:
        """Return slices in HU of one variant of the ``number``-th entry; what is loaded stays as it is."""
        pictures = {key: slices.clone() for key, slices in loaded.items()}
        if variant > 0:
            seed = int(self.settings.get("seed", 0)) * 100_003 + number * self.variants + variant
            self.augmentation.set_random_state(seed)
            pictures = self.augmentation(pictures)
        return pictures


def read_slice_of_stored(loaded: Mapping[str, Any]) -> Tensor:
    """Return the read slice that each stored slice of a loaded scan belongs to; single slices stand for themselves."""
    if "geometry" not in loaded:
        return torch.arange(loaded["image"].shape[1])
    slabs = loaded["geometry"].slabs
    read_slice = torch.empty(loaded["geometry"].stored_shape[0], dtype=torch.int64)
    for number, slab in enumerate(slabs):
        read_slice[list(slab)] = number
    return read_slice


def weights_digest(network: nn.Module) -> str:
    """Return a sha256 over a network's weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def fingerprint(entry: Mapping[str, Any], number: int, recipe: FeatureRecipe, weights: str) -> str:
    """Return a sha256 over the scan's files (names, sizes, times), its variants, the recipe and the digest of weights.

    ``number`` is the scan's place in the datalist, by which its variants are drawn: maps and outlines that were made
    with another place would not fit each other.
    """
    digest = hashlib.sha256()
    for path in sorted(entry["study"].files):
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    steps = [type(step).__name__ for step in (*recipe.load.transforms, *recipe.augmentation.transforms)]
    made_with = {"version": READING_VERSION, "precision": recipe.precision, "steps": steps}
    made_with |= {"variants": recipe.variants, "number": number, **recipe.settings}
    digest.update(json.dumps(made_with, sort_keys=True).encode() + weights.encode())
    return digest.hexdigest()


def cached_features(
    entries: Sequence[Mapping[str, Any]],
    recipe: FeatureRecipe,
    backbone: nn.Module,
    cache_dir: str | Path,
    device: torch.device,
) -> list[ScanFeatures]:
    """Return the features of every scan, from the cache where they are there and up to date.

    Parameters
    ----------
    entries : sequence of mapping
        Datalist; ``name`` names the cache's file, ``study`` (a LabelledScan) its own files.
    recipe : FeatureRecipe
        How features are made.
    backbone : nn.Module
        Frozen.
    cache_dir : path
        Created when missing.
    device : torch.device
        Where the backbone runs.
    """
    folder = Path(cache_dir)
    folder.mkdir(parents=True, exist_ok=True)
    backbone = fastest_layout(backbone.eval().to(device))
    features, weights = [], weights_digest(backbone)
    for number, entry in enumerate(tqdm(entries, desc="features", unit="scan")):
        path, mark = folder / f"{entry['name']}.pt", fingerprint(entry, number, recipe, weights)
        found = read_cached(path, mark, ("image", "high_res", "read_slice"))
        if found is None:
            found = _make(entry, recipe, backbone, device, number)
            write_cached(path, mark, found)
        features.append(ScanFeatures(found["image"].float(), found["high_res"].float(), found["read_slice"]))
    return features


def _make(
    entry: Mapping[str, Any], recipe: FeatureRecipe, backbone: nn.Module, device: torch.device, number: int
) -> dict[str, Tensor]:
    loaded = recipe.load(dict(entry))
    look = _looker(backbone, device, recipe.precision)
    sizes = [key for key in ("image", "high_res") if key in loaded]
    images, zooms = [], []
    for variant in range(recipe.variants):
        windows = recipe.variant({key: loaded[key] for key in sizes}, number, variant)
        images.append(look(windows["image"], recipe.micro_batch))
        zooms.append(
            look(windows["high_res"], recipe.high_res_micro_batch)
            if "high_res" in windows
            else torch.full_like(images[-1], torch.nan)
        )
    # As the cache keeps them: a training must not depend on whether its features were made or read.
    image, high_res = torch.stack(images).half(), torch.stack(zooms).half()
    return {"image": image, "high_res": high_res, "read_slice": read_slice_of_stored(loaded)}


def _looker(backbone: nn.Module, device: torch.device, name: PrecisionName) -> Callable[[Tensor, int], Tensor]:
    precision = choose_precision(device, name)

    def look(windows: Tensor, size: int) -> Tensor:
        """Pooled features (slices, 512) of windowed slices (3, slices, height, width)."""
        # MONAI's tensor with metadata would be saved as such, and a file of those cannot be read with weights_only.
        plain = convert_to_tensor(windows, track_meta=False)
        with torch.inference_mode(), precision.autocast():
            batches = plain.movedim(0, 1).split(size)
            seen = [pool(backbone(batch.to(device).contiguous(memory_format=torch.channels_last))) for batch in batches]
            return torch.cat(seen).float().cpu()

    return look
