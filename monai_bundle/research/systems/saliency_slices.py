"""Held-out slices through a saliency multi-task network: its map against the true one, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from research.metrics.saliency import SaliencyAgreement, saliency_agreement
from research.systems.training import FOLDER, GAZE, files_of
from research.training.protocol import prepared
from scripts.cache import Cache
from scripts.messages import ExpectedError
from scripts.networks.saliency_multitask import FusedBackbone
from scripts.systems import System
from scripts.training.neighbourhood_batches import HeldOutNeighbourhoods
from scripts.training.prepared_slices import PreparedGroup
from scripts.training.saliency_learning import SaliencyLearning
from scripts.training.saliency_losses import true_saliency
from scripts.weights import load_network

EVEN = "even map"
"""A map that is the same everywhere: what agreement is without any prediction."""
_VERSION = 1
_AT_ONCE = 8


@dataclass(frozen=True)
class Variant:
    """One network of the thesis's tables 4.1 and 4.2.

    Attributes
    ----------
    title : str
        As the thesis names it.
    stages : tuple of str
        Of its training; the last one decides which of its outputs answers.
    overrides : mapping
        Keys of the configuration.
    maps, answers : bool
        Whether its saliency map, and its diagnosis, are measured.
    """

    title: str
    stages: tuple[str, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    maps: bool = False
    answers: bool = False


@dataclass(frozen=True)
class SliceMeasure:
    """What was measured on one held-out slice.

    Attributes
    ----------
    scan, patient : str
        Whose it is.
    label, logit : float
        Of any haemorrhage; NaN where unknown, or not answered.
    agreement, even : SaliencyAgreement or None
        Of the predicted map, and of an even one, with the true map; None where either is missing.
    """

    scan: str
    patient: str
    label: float
    logit: float
    agreement: SaliencyAgreement | None
    even: SaliencyAgreement | None


def measured_slices(
    system: System, variant: Variant, weights: Path, fold: int, overrides: Mapping[str, Any]
) -> list[SliceMeasure]:
    """Read the real slices of a fold by the weights that have not seen it; kept, and not read again.

    Parameters
    ----------
    system : System
        The saliency multi-task network.
    variant : Variant
        Which form of it.
    weights : Path
        Of its last stage.
    fold : int
        Held out.
    overrides : mapping
        Those of its training.

    Raises
    ------
    ExpectedError
        If no scan is held out.
    """
    stage = variant.stages[-1]
    files = files_of(system, stage, overrides)
    settings = {**overrides, **variant.overrides, "saliency_stage": stage, "validation_fold": fold}
    content = prepared(files, settings, initialize=False).parser.get_parsed_content
    held_out = _held_out(content, fold, gaze=GAZE in files)
    size, windows = int(content("image_size")), content("windows")
    key = [_VERSION, weights.name, fold, size, windows, [group.key for group in held_out], GAZE in files]
    key += [variant.maps, variant.answers]

    def read() -> list[SliceMeasure]:
        network = content("network")
        load_network(content("network_def"), ".", str(weights.absolute()))
        slices = HeldOutNeighbourhoods(held_out, fold, windows, size)
        patients = {entry["name"]: str(entry["patient"]) for entry in content("datalist")}
        return list(_read(network.eval(), slices, variant, patients, GAZE in files))

    return Cache(FOLDER / system.name / "cache").get("saliency_slices", key, read)


def _held_out(content: Callable[[str], Any], fold: int, gaze: bool) -> list[PreparedGroup]:
    """Return the real scans of a fold; with gaze, those without any have an empty mask: their answers still count.

    Raises
    ------
    ExpectedError
        ``training.no_held_out`` if the fold has none.
    """
    real: list[PreparedGroup] = [each for each in content("prepared") if each.kind == "scan" and each.fold == fold]
    if not real:
        raise ExpectedError("training.no_held_out", fold=fold)
    if not gaze:
        return real
    looked = {group.name: group for group in content("gaze_groups")}
    return [looked.get(group.name) or replace(group, mask=torch.zeros_like(group.mask)) for group in real]


@torch.no_grad()
def _read(
    network: SaliencyLearning,
    slices: HeldOutNeighbourhoods,
    variant: Variant,
    patients: Mapping[str, str],
    gaze: bool,
) -> Iterator[SliceMeasure]:
    for first in range(0, len(slices), _AT_ONCE):
        places = slices.places[first : first + _AT_ONCE]
        items = [slices[first + number] for number in range(len(places))]
        image = torch.stack([item["image"] for item in items])
        truth = _truth(places, image.shape[-1], gaze)
        logits = network(image)[:, 0].tolist() if variant.answers else [float("nan")] * len(places)
        maps = _predicted(network, image[:, 0]) if variant.maps else truth
        for (group, _), item, logit, predicted, true in zip(places, items, logits, maps, truth, strict=True):
            compared = variant.maps and bool(true.any())
            yield SliceMeasure(
                scan=group.name,
                patient=patients.get(group.name, group.name),
                label=float(item["label"][0]),
                logit=logit,
                agreement=saliency_agreement(predicted.numpy(), true.numpy()) if compared else None,
                even=saliency_agreement(np.ones(true.shape), true.numpy()) if compared else None,
            )


def _predicted(network: SaliencyLearning, image: Tensor) -> Tensor:
    """Return the predicted distributions (slices, size, size) over the pixels."""
    logits = cast("FusedBackbone", network.network.backbone).saliency(image).float()
    return logits.flatten(1).softmax(dim=1).reshape(logits.shape)[:, 0]


def _truth(places: Sequence[tuple[PreparedGroup, int]], size: int, gaze: bool) -> Tensor:
    """Return the true maps (slices, size, size) of some slices, as training has them."""
    mask = torch.stack([group.mask[place] for group, place in places])[:, None].float()
    known = torch.stack([group.mask_known[place] for group, place in places])[:, None]
    return true_saliency(functional.interpolate(mask, size=(size, size), mode="nearest"), known, gaze)[:, 0]
