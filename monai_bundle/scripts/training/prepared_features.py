"""Embeddings of prepared scans, real, synthetic and phantoms: what the heads of a study network are trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from scripts.cache import Cache, weights_key
from scripts.networks.study_network import StudyNetwork
from scripts.precision import Precision, PrecisionName, choose_precision, fastest_layout
from scripts.training.balanced_batches import stated_labels, windowed
from scripts.training.cached_scans import ScanSplit
from scripts.training.prepared_slices import PreparedGroup
from scripts.training.scan_features import ScanFeatures
from scripts.training.stage_maps import Arrays
from scripts.transforms import HounsfieldWindows


def scans_of(groups: Sequence[PreparedGroup], synthetic: int, resembling: int, phantoms: int) -> list[PreparedGroup]:
    """Return the groups that are whole scans: all real ones, and as many of the others as asked for.

    Parameters
    ----------
    groups : sequence of PreparedGroup
        Of scans and single slices.
    synthetic, resembling : int
        Versions of a host with synthetic haemorrhage, and with what resembles it alone; the first ones are taken.
    phantoms : int
        Phantoms; the first ones are taken.
    """
    limits = {"phantom": phantoms, "with": synthetic, "without": resembling}
    taken: Counter[tuple[str, str]] = Counter()
    chosen = []
    for group in groups:
        if group.kind == "synthetic scan":
            kind = (group.name.rpartition("-")[0], "with" if bool(group.scan_labels[0] > 0) else "without")
        else:
            kind = (group.kind, group.kind)
        taken[kind] += 1
        if group.is_scan and taken[kind] <= limits.get(kind[1], len(groups)):
            chosen.append(group)
    return chosen


def without_fold(groups: Sequence[PreparedGroup], validation_fold: int | None) -> list[PreparedGroup]:
    """Return the groups that training may see: none of the fold that is held out, nor what was made of its scans."""
    return [group for group in groups if validation_fold is None or group.fold != validation_fold]


def scan_entries(groups: Sequence[PreparedGroup], datalist: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a data entry for every prepared scan: the datalist's own for a real one, a made one for the others.

    Parameters
    ----------
    groups : sequence of PreparedGroup
        Whole scans.
    datalist : sequence of mapping
        The real scans.

    Returns
    -------
    list of dict
        As :func:`scripts.datasets.datalist.as_datalist` makes them, with ``real``, whether it may be evaluated on.
    """
    own = {entry["name"]: dict(entry) for entry in datalist}
    entries = []
    for group in groups:
        if group.kind == "scan":
            entries.append({**own[group.name], "real": True})
            continue
        labels = stated_labels(group)
        known = labels.nan_to_num(nan=-1.0).amax(dim=0)
        # A scan whose only slices with a label are faint shows it to nobody, or to a careful reader: unknown.
        unknown = (known < 1.0) & labels.isnan().any(dim=0)
        made = torch.where(unknown, torch.nan, known.clamp(min=0.0))
        entry = {"name": group.name, "patient": group.name, "fold": group.fold, "real": False}
        entries.append({**entry, "label": made.tolist(), "slice_labels": labels.numpy()})
    return entries


def split_prepared(
    entries: Sequence[Mapping[str, Any]], features: Sequence[ScanFeatures], validation_fold: int | None
) -> ScanSplit:
    """Split scans by the fold of their patient or host; only real scans are evaluated on.

    Parameters
    ----------
    entries, features : sequence
        From :func:`scan_entries` and :func:`prepared_features`.
    validation_fold : int or None
        The fold that training must not see; None trains on all and evaluates on the real ones of the training.
    """
    pairs = list(zip(entries, features, strict=True))
    train = [pair for pair in pairs if validation_fold is None or pair[0]["fold"] != validation_fold]
    held_out = [pair for pair in pairs if pair[0]["real"] and pair[0]["fold"] == validation_fold]
    return ScanSplit(train, held_out or [pair for pair in train if pair[0]["real"]] or train)


def prepared_features(
    groups: Sequence[PreparedGroup],
    network: StudyNetwork,
    windows: Sequence[Sequence[float]],
    sizes: Mapping[str, int],
    cache: Cache,
    device: torch.device,
    precision: PrecisionName = "auto",
) -> list[ScanFeatures]:
    """Return the embeddings of every scan at both sizes, from the cache where they are there.

    Parameters
    ----------
    groups : sequence of PreparedGroup
        Whole scans.
    network : StudyNetwork
        With the weights of its backbone, and of its lesion decoder if it uses lesion scores.
    windows : sequence of (float, float)
        Centre and width in HU of each channel.
    sizes : mapping
        ``image`` and, for networks that read key slices again, ``high_res``: rows and columns.
    cache : Cache
        Keeps them as ``embeddings``.
    device : torch.device
        Where the backbone runs.
    precision : str
        As for :func:`scripts.precision.choose_precision`.
    """
    backbone = network.backbone
    fastest_layout(network.eval().to(device))
    chosen = choose_precision(device, precision)
    of_backbone = [type(backbone).__name__, weights_key(backbone), [list(each) for each in windows], dict(sizes)]
    if network.uses_lesion_scores:
        of_backbone.append(weights_key(network.get_submodule("lesion_decoder")))
    found = []
    for group in tqdm(groups, desc="embeddings", unit="scan"):
        key = [group.key, of_backbone, chosen.name]
        compute = partial(_compute, group, network, HounsfieldWindows(windows), sizes, (device, chosen))
        arrays = cache.get("embeddings", key, compute)
        image = torch.from_numpy(arrays["image"]).float()
        high_res = torch.from_numpy(arrays["high_res"]).float() if "high_res" in arrays else image * torch.nan
        found.append(ScanFeatures(image, high_res, torch.arange(image.shape[1])))
    return found


def _compute(
    group: PreparedGroup,
    network: StudyNetwork,
    windows: HounsfieldWindows,
    sizes: Mapping[str, int],
    where: tuple[torch.device, Precision],
) -> Arrays:
    arrays: Arrays = {}
    for name, side in sizes.items():
        size = (side, side)
        image = functional.interpolate(group.image.float()[:, None], size=size, mode="bilinear", antialias=True)
        slices = windowed(image, windows)
        arrays[name] = _embeddings(network, slices, *where)[None].half().numpy()
    return arrays


def _embeddings(network: StudyNetwork, slices: Tensor, device: torch.device, precision: Precision) -> Tensor:
    with torch.inference_mode(), precision.autocast():
        batches = (batch.to(device).contiguous(memory_format=torch.channels_last) for batch in slices.split(16))
        return torch.cat([network.embed(batch).float() for batch in batches]).cpu()
