"""One way to train, held to unseen patients: fine-tune on slices, train the heads, read whoever was held out."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigWorkflow

from research.metrics.predictions import Predictions, ScanPrediction
from scripts.cache import Cache
from scripts.datasets.datalist import data_key as key_of_datalists
from scripts.networks.drct import DrCT1
from scripts.networks.study_network import StudyOutput
from scripts.renamed_settings import RENAMED
from scripts.training.cached_scans import LabelledFeatures, read_whole_scan
from scripts.training.scan_features import ScanFeatures

HEADS = "configs/train.json"
FINETUNING = "configs/finetune.json"
PREPARED = "configs/prepared_slices.json"
SLICES = "configs/train_slices.json"
BASE = "configs/train_base.json"
STUDIES = "configs/train_studies.json"
FROM_MAPS = {"features#maps": "@scan_maps"}
"""Overrides of train.json for a fine-tuned trained stage: features of cached maps, in seconds."""

FOLDS = ("dataset", "dataset_dir", "datalist", "folds", "label_vocabulary", "label_keys")
"""Keys of train.json that decide who is held out."""

INPUT = (
    *("start_from", "device", "cache", "image_size", "high_res_size", "image_sizes", "slab_mm", "crop_margin"),
    *("windows", "variants", "recipe", "scan_maps", "train#preprocessing", "backbone"),
)
"""Keys of train.json that decide what the trained stage is given: it must be the same in fine-tuning and in use."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes
    ----------
    name : str
        Of its files.
    title : str
        As a person reads it.
    heads : mapping
        Overrides of ``configs/train.json``.
    finetuning : mapping or None
        Overrides of ``configs/finetune.json``; None leaves the backbone as it is.
    augmentations : int
        Cached variants of a held-out scan that are averaged (test-time augmentation): 1 is the scan as it is alone.
    slices : mapping or None
        Overrides of ``configs/train_slices.json``, which trains all of the backbone on real and synthetic slices,
        before ``configs/train_studies.json`` trains the heads; None for cached maps of a mostly frozen backbone.
    """

    name: str
    title: str
    heads: Mapping[str, Any] = field(default_factory=dict)
    finetuning: Mapping[str, Any] | None = field(default_factory=dict)
    augmentations: int = 1
    slices: Mapping[str, Any] | None = None


def run(configuration: str | list[str], overrides: Mapping[str, Any]) -> ConfigWorkflow:
    """Run one training and return its workflow, for its network and its split; ``finalize`` is the caller's."""
    # Many trainings of minutes share one folder here: a stage that was cut off is made anew, none is gone on with.
    workflow = prepared(configuration, {**overrides, "train#checkpoints#interval": 0, "resume": False})
    workflow.run()
    return workflow


def prepared(configuration: str | list[str], overrides: Mapping[str, Any], initialize: bool = True) -> ConfigWorkflow:
    """Return the workflow of one training that is not run, for what its configuration makes.

    Parameters
    ----------
    configuration : str or list of str
        Files, later ones laid over earlier ones.
    overrides : mapping
        Keys and their values, laid over the files.
    initialize : bool
        Whether to seed the random generators and load the starting weights.
    """
    settings = _known(overrides)
    workflow = ConfigWorkflow(configuration, meta_file=None, logging_file=False, workflow_type="train", **settings)
    if initialize:
        workflow.initialize()
    else:
        workflow.parser.parse(reset=True)
    return workflow


def data_key(configuration: str | list[str], overrides: Mapping[str, Any]) -> str:
    """Return a hash of all scans, and slices where there are any, that a training learns from or is evaluated on."""
    content = prepared(configuration, overrides, initialize=False).parser.get_parsed_content
    return key_of_datalists(content(key) for key in ("datalist", "slice_datalist") if key in _keys(configuration))


def _keys(configuration: str | list[str]) -> set[str]:
    files = [configuration] if isinstance(configuration, str) else configuration
    return {key for name in files for key in json.loads(Path(name).read_text("utf-8"))}


def fine_tuned(variant: Variant, validation_fold: int | None, base: Mapping[str, Any]) -> str | None:
    """Return the file of a last block fine-tuned without one fold, made anew unless the same was made before.

    Parameters
    ----------
    variant : Variant
        States how.
    validation_fold : int or None
        Its patients' slices are not seen; None for all patients.
    base : mapping
        Overrides of every configuration: data folders, caches, device.
    """
    if variant.finetuning is None:
        return None
    if variant.finetuning.get("with_scans", True) is False:
        # No scan is learnt from: one network serves every fold.
        validation_fold = None
    # With another fold assignment than the heads', fine-tuning would see their held-out patients.
    own = {key: value for key, value in variant.finetuning.items() if key not in FOLDS}
    overrides = {**base, **own, **_of_keys(variant.heads, (*FOLDS, *INPUT)), "validation_fold": validation_fold}
    # Where the heads go, or the caches lie, does not change the weights in front of them.
    for elsewhere in ("model_path", "cache_root"):
        overrides.pop(elsewhere, None)
    key = [settings_of(HEADS, FINETUNING), overrides, data_key([HEADS, FINETUNING], overrides)]
    if overrides.get("start_from") is not None:
        key.append(hashlib.sha256(Path(overrides["start_from"]).read_bytes()).hexdigest())

    def write(path: Path) -> None:
        logger.info("%s: fine-tuning without fold %s", variant.name, validation_fold)
        run([HEADS, FINETUNING], {**overrides, "model_path": str(path)}).finalize()

    return str(Cache(str(base.get("cache_root", "cache"))).file("finetuned", key, f"-{validation_fold}.pt", write))


def slices_trained(variant: Variant, validation_fold: int | None, base: Mapping[str, Any]) -> str:
    """Return the file of a network trained on slices without one fold; an interrupted training goes on.

    It begins with what single slices and phantoms alone teach (``configs/train_base.json``), which every fold shares:
    no patient of any fold is seen there. With 0 epochs of its own a fold stops there. Two trainings serve all folds,
    each without one half of them: a fold's network has then seen fewer patients than it might, and never its own.

    Parameters
    ----------
    variant, validation_fold, base
        As for :func:`fine_tuned`.
    """
    own = _of_keys(variant.heads, (*FOLDS, *INPUT, "network_def"))
    overrides = {key: value for key, value in {**base, **own}.items() if key not in ("model_path", "cache_root")}
    folder = str(base.get("cache_root", "cache"))
    begun = _slices_file(variant, [HEADS, PREPARED, SLICES, BASE], overrides, folder, "-base.pt")
    own_fold = {**overrides, **(variant.slices or {}), "validation_fold": validation_fold, "start_from": begun}
    if own_fold.get("epochs") == 0:
        return begun
    files = [HEADS, PREPARED, SLICES]
    if validation_fold is not None:
        content = prepared(files, overrides, initialize=False).parser.get_parsed_content
        half = half_of_folds(validation_fold, int(content("folds")))
        own_fold |= {"validation_fold": half[0], "held_out_folds": half}
    return _slices_file(variant, files, own_fold, folder, f"-{own_fold['validation_fold']}.pt")


def half_of_folds(fold: int, folds: int) -> list[int]:
    """Return the folds, among them one, that a network of slices is trained without."""
    middle = max(folds // 2, 1)
    return list(range(middle) if fold < middle else range(middle, folds))


def _slices_file(variant: Variant, files: list[str], overrides: Mapping[str, Any], folder: str, suffix: str) -> str:
    key = [settings_of(*files), dict(overrides), data_key(files, overrides)]

    def write(path: Path) -> None:
        logger.info("%s: training on slices%s", variant.name, suffix.removesuffix(".pt"))
        workflow = prepared(files, {**overrides, "model_path": str(path), "resume": True})
        workflow.run()
        workflow.finalize()

    return str(Cache(folder).file("slices", key, suffix, write).absolute())


def _of_keys(overrides: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return the overrides of some keys and of what lies below them."""
    return {
        name: value
        for name, value in overrides.items()
        if any(name == key or name.startswith(f"{key}#") for key in keys)
    }


def trained(variant: Variant, validation_fold: int | None, base: Mapping[str, Any]) -> ConfigWorkflow:
    """Train the heads of one variant, the backbone first, and return the finished workflow."""
    if variant.slices is not None:
        start = slices_trained(variant, validation_fold, base)
        overrides = {**_known(base), **variant.heads, "validation_fold": validation_fold, "start_from": start}
        return run([HEADS, PREPARED, STUDIES], overrides)
    start_from = fine_tuned(variant, validation_fold, base)
    overrides = {**_known(base), **variant.heads, "validation_fold": validation_fold}
    if start_from is not None:
        overrides |= {"start_from": str(Path(start_from).absolute()), **FROM_MAPS}
    return run(HEADS, overrides)


def cross_validated(variant: Variant, base: Mapping[str, Any], keep: Path | None = None) -> Predictions:
    """Train one network per fold and read the patients that it has not seen.

    Parameters
    ----------
    variant : Variant
        How to train.
    base : mapping
        Overrides of every configuration.
    keep : Path, optional
        Folder for the networks of the folds, ``<fold>.pt``; without it they are forgotten.

    Returns
    -------
    Predictions
        Of every scan, in the order of the folds.
    """
    scans: list[ScanPrediction] = []
    keys: tuple[str, ...] = ()
    folds, fold = 1, 0
    while fold < folds:
        workflow = trained(variant, fold, base if keep is None else {**base, "model_path": str(keep / f"{fold}.pt")})
        if keep is not None:
            workflow.finalize()
        content = workflow.parser.get_parsed_content
        folds, keys = int(content("folds")), content("label_keys")
        held_out: Sequence[LabelledFeatures] = content("split").validation
        network = content("network_def")
        scans += [scan_prediction(network, entry, features, variant.augmentations) for entry, features in held_out]
        fold += 1
        logger.info("%s: fold %d of %d done", variant.name, fold, folds)
    protocol = f"{len(scans)} scans, cross-validation by patient in {folds} folds, held-out patients pooled"
    return Predictions(keys, tuple(scans), variant.title, protocol)


def scan_prediction(
    network: DrCT1, entry: Mapping[str, Any], features: ScanFeatures, augmentations: int = 1
) -> ScanPrediction:
    """Read one held-out scan and carry the values of input slices over to the original slices.

    Parameters
    ----------
    network : DrCT1
        Not trained on the scan.
    entry : mapping
        Of the datalist.
    features : ScanFeatures
        Of the scan.
    augmentations : int
        As for :class:`Variant`; the key slices are those of the scan as it is.
    """
    readings = [read_whole_scan(network, features, number) for number in range(augmentations)]
    probabilities, attention, slice_logits = (
        torch.stack([getattr(reading, name) for reading in readings]).mean(dim=0)
        for name in ("probabilities", "slice_attention", "merged_slice_logits")
    )
    input_slice = features.input_slice.numpy()
    per_read = np.bincount(input_slice, minlength=len(attention))
    return ScanPrediction(
        name=entry["name"],
        patient=entry["patient"],
        fold=int(entry["fold"]),
        labels=np.asarray(entry["label"], dtype=np.float64),
        logits=probabilities.double().logit(eps=1e-7).numpy(),
        slice_attention=attention.numpy()[input_slice] / per_read[input_slice],
        slice_labels=entry["slice_labels"],
        slice_logits=slice_logits.numpy()[input_slice] if network.has_slice_classifier else None,
        key_slices=_stored_key_slices(readings[0], input_slice),
        group=_group(entry, len(input_slice)),
    )


def _stored_key_slices(reading: StudyOutput, input_slice: np.ndarray) -> tuple[int, ...]:
    """Return the middle original slice of each input slice that was read again, the one with most attention first."""
    ranked = sorted(reading.key_slices.tolist(), key=lambda number: -float(reading.slice_attention[number]))
    members = (np.flatnonzero(input_slice == number) for number in ranked)
    return tuple(int(stored[len(stored) // 2]) for stored in members)


def _group(entry: Mapping[str, Any], slices: int) -> dict[str, str | float]:
    group: dict[str, str | float] = {"slices": float(slices)}
    if getattr(entry["study"], "age_years", None) is not None:
        group["age"] = float(entry["study"].age_years)
    if getattr(entry["study"], "sex", None) is not None:
        group["sex"] = str(entry["study"].sex)
    return group


def _known(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is no key of the configurations, and take keys of the last version for their new names."""
    known = {}
    for key, value in overrides.items():
        if key == "cache_root":
            continue
        if key in RENAMED:
            logger.warning("the key %s is now %s; the old one is taken for the last time", key, RENAMED[key])
        known[RENAMED.get(key, key)] = value
    return known


def settings_of(*configurations: str) -> dict[str, Any]:
    """Return configurations, later ones laid over earlier ones, without the parts that change no weights.

    A new handler, or a key that another configuration replaces, is no reason to train again.
    """
    idle = {"imports", "handlers", "validate", "initialize", "run", "finalize", "val_interval"}
    idle |= {"+imports", "checkpoints", "resume", "cache"}
    merged: dict[str, Any] = {}
    for name in configurations:
        merged |= json.loads(Path(name).read_text("utf-8"))
    merged["train"] = {key: value for key, value in merged.get("train", {}).items() if key not in idle}
    return {key: value for key, value in merged.items() if not set(key.removeprefix("+").split("#")) & idle}
