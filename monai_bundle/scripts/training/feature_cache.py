"""Features of the frozen backbone, made once per scan and kept: training the heads then takes minutes.

A scan's file is written under a temporary name and renamed, so an interrupted run goes on where it stopped. Each file
carries a fingerprint of everything it was made from; another fingerprint means that it is made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch import Tensor, nn
from tqdm import tqdm

from scripts.networks.vgg16 import micro_batches, pool
from scripts.precision import PrecisionName, choose_precision, fastest_layout

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScanFeatures:
    """Pooled features of one scan, in several augmented variants; variant 0 is the scan as it is.

    Attributes
    ----------
    image, zoom : Tensor of float32, shape (variants, read slices, 512)
        Every read slice seen at the picture's size and at the zoomed size.
    """

    image: Tensor
    zoom: Tensor


@dataclass(frozen=True)
class FeatureRecipe:
    """How features are made from one scan.

    Attributes
    ----------
    load : Compose
        From a datalist entry to ``image`` and ``zoom`` in HU.
    augmentation : Compose
        Random transforms on ``image`` and ``zoom`` in HU, for every variant but the first.
    to_input : Compose
        Windows and normalisation.
    variants : int
        Number of variants.
    settings : mapping
        All numbers that the transforms were configured with, as plain data; part of the fingerprint.
    micro_batch, zoom_micro_batch : int
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
    zoom_micro_batch: int = 2
    precision: PrecisionName = "auto"


def fingerprint(entry: Mapping[str, Any], recipe: FeatureRecipe, backbone: nn.Module) -> str:
    """Return a sha256 over the scan's files (names, sizes, times), the recipe's settings and the backbone's weights."""
    digest = hashlib.sha256()
    for path in sorted(entry["study"].files):
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    steps = [type(step).__name__ for step in (*recipe.load.transforms, *recipe.augmentation.transforms)]
    made_with = {"variants": recipe.variants, "steps": steps, **recipe.settings}
    digest.update(json.dumps(made_with, sort_keys=True).encode())
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
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
    features = []
    for number, entry in enumerate(tqdm(entries, desc="features", unit="scan")):
        path, mark = folder / f"{entry['name']}.pt", fingerprint(entry, recipe, backbone)
        found = _read(path, mark)
        if found is None:
            found = _make(entry, recipe, backbone, device, seed=number)
            _write(path, mark, found)
        features.append(found)
    return features


def _read(path: Path, mark: str) -> ScanFeatures | None:
    if not path.is_file():
        return None
    stored = io.BytesIO(path.read_bytes())
    try:
        content: dict[str, Any] = dict(torch.load(stored, weights_only=True))
        found, image, zoom = (content[key] for key in ("fingerprint", "image", "zoom"))
    except (EOFError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s: the cache's file is damaged (%s), features are made again", path.stem, type(error).__name__)
        return None
    if found != mark:
        logger.info("%s: inputs changed, features are made again", path.stem)
        return None
    return ScanFeatures(image.float(), zoom.float())


def _write(path: Path, mark: str, features: ScanFeatures) -> None:
    partial = path.with_suffix(".partial")
    torch.save({"fingerprint": mark, "image": features.image.half(), "zoom": features.zoom.half()}, partial)
    partial.replace(path)


def _make(
    entry: Mapping[str, Any], recipe: FeatureRecipe, backbone: nn.Module, device: torch.device, seed: int
) -> ScanFeatures:
    loaded = recipe.load(dict(entry))
    images, zooms = [], []
    for variant in range(recipe.variants):
        augmented = {key: loaded[key].clone() for key in ("image", "zoom")}
        if variant > 0:
            recipe.augmentation.set_random_state(_variant_seed(recipe, seed, variant))
            augmented = recipe.augmentation(augmented)
        windows = recipe.to_input(augmented)
        look = _looker(backbone, device, recipe.precision)
        images.append(look(windows["image"], recipe.micro_batch))
        zooms.append(look(windows["zoom"], recipe.zoom_micro_batch))
    # As the cache keeps them: a training must not depend on whether its features were made or read.
    return ScanFeatures(torch.stack(images).half().float(), torch.stack(zooms).half().float())


def _variant_seed(recipe: FeatureRecipe, number: int, variant: int) -> int:
    return int(recipe.settings.get("seed", 0)) * 100_003 + number * recipe.variants + variant


def _looker(backbone: nn.Module, device: torch.device, name: PrecisionName) -> Callable[[Tensor, int], Tensor]:
    precision = choose_precision(device, name)

    def look(windows: Tensor, size: int) -> Tensor:
        """Pooled features (slices, 512) of windowed slices (3, slices, height, width)."""
        # MONAI's tensor with metadata would be saved as such, and a file of those cannot be read with weights_only.
        plain = convert_to_tensor(windows, track_meta=False)
        with torch.inference_mode(), precision.autocast():
            batches = micro_batches(plain.movedim(0, 1), size)
            seen = [pool(backbone(batch.to(device).contiguous(memory_format=torch.channels_last))) for batch in batches]
            return torch.cat(seen).float().cpu()

    return look
