"""Held-out predictions of every way to train that the report compares; made again only where inputs changed."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from scripts.evaluation.predictions import Predictions
from scripts.training.protocol import FINETUNING, HEADS, Variant, cross_validated, settings_of

CONFIGURATION = "configs/evidence.json"
logger = logging.getLogger(__name__)


def read_variants(configuration: Mapping[str, Any]) -> list[Variant]:
    """Return the variants of ``configs/evidence.json``, the shipped one first.

    Raises
    ------
    ValueError
        If two share a name, or the shipped one is not among them.
    """
    variants = [
        Variant(entry["name"], entry["title"], entry.get("heads", {}), entry.get("finetuning"))
        for entry in configuration["variants"]
    ]
    names = [variant.name for variant in variants]
    if len(set(names)) != len(names) or configuration["shipped"] not in names:
        raise ValueError(f"{CONFIGURATION}: names must be unique, and {configuration['shipped']!r} among them")
    return sorted(variants, key=lambda variant: variant.name != configuration["shipped"])


def make_maps(variant: Variant, base: Mapping[str, Any]) -> None:
    """Make the maps in front of the last block where they are missing: all variants share them."""
    overrides = {**base, **(variant.finetuning or {})}
    workflow = ConfigWorkflow(
        [HEADS, FINETUNING], meta_file=None, logging_file=False, workflow_type="train", **overrides
    )
    workflow.initialize()
    for key in ("scan_maps", "slice_maps"):
        workflow.parser.get_parsed_content(key)


def predict(
    variant: Variant, base: Mapping[str, Any], folder: Path, keep: Path | None = None
) -> tuple[Predictions, bool]:
    """Return the held-out predictions of one variant, and whether they were there already.

    A file is up to date if the variant, the configurations and the data folders are what they were; the code is not
    looked at: after changing it, remove the folder.

    Parameters
    ----------
    variant : Variant
        How to train.
    base : mapping
        Overrides of every configuration.
    folder : Path
        Holds ``<name>.json`` and, beside it, the mark of what it was made from.
    keep : Path, optional
        Folder for the networks of the folds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, mark_path = folder / f"{variant.name}.json", folder / f"{variant.name}.mark"
    mark = _mark(variant, base)
    if path.is_file() and mark_path.is_file() and mark_path.read_text("utf-8") == mark:
        logger.info("%s: predictions are there", variant.name)
        return Predictions.from_json(path), True
    mark_path.unlink(missing_ok=True)
    predictions = cross_validated(variant, base, keep)
    predictions.to_json(path)
    mark_path.write_text(mark, encoding="utf-8")
    return predictions, False


def _mark(variant: Variant, base: Mapping[str, Any]) -> str:
    made_from = [variant.heads, variant.finetuning, base, settings_of(HEADS), settings_of(HEADS, FINETUNING)]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()
