"""Runs the explanations fold by fold: every positive scan is explained by a network not trained on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigWorkflow
from monai.transforms import Compose
from tqdm import tqdm

from research.evidence.explanations import (
    HeldOutScan,
    check_sanity,
    load_scan,
    measure_quality,
    no_qualities,
    reading_from_maps,
    summary,
)
from research.evidence.failure_images import Failure, FailureMaps, worst_failures, write_failure
from research.metrics.map_agreement import Agreement
from research.metrics.predictions import Predictions
from research.training.protocol import HEADS, Variant, prepared
from scripts.calibration import Calibration
from scripts.datasets.datalist import ReadLabelledStudyd
from scripts.explanation.methods import METHODS
from scripts.inferer import StudyReading
from scripts.labels import vocabulary
from scripts.transforms import ReadingGeometryd

ATTRIBUTION = "CT-ICH, Hssayeni et al. 2020, CC BY 4.0. Research use only."
FAILURES = 2

logger = logging.getLogger(__name__)


def explain_folds(
    variant: Variant,
    base: Mapping[str, Any],
    predictions: Predictions,
    decision: tuple[Calibration, float],
    networks: Path,
    images: Path,
) -> dict[str, Any]:
    """Measure the maps of all positive scans, check the sanity of one scan of each fold, and draw the worst failures.

    Parameters
    ----------
    variant, base
        As the predictions were made with.
    predictions : Predictions
        Of the variant.
    decision : (Calibration, float)
        Of the first label: which scans are failures.
    networks : Path
        Networks of the folds, ``<fold>.pt``.
    images : Path
        Folder for images of failures.
    """
    failures = _failures(predictions, decision)
    for name in ("false_negative_*.png", "false_positive_*.png"):
        for of_an_earlier_run in images.glob(name):
            of_an_earlier_run.unlink()
    qualities = no_qualities()
    checks: dict[str, list[dict[str, tuple[Agreement, ...]]]] = {method: [] for method in METHODS}
    checked: set[int] = set()
    drawn = []
    for fold in sorted(set(predictions.folds.tolist())):
        workflow = _fold(variant, base, fold, networks / f"{fold}.pt")
        content = workflow.parser.get_parsed_content
        network, keys = reading_from_maps(content("network_def")), content("label_keys")
        load = Compose(
            [
                ReadLabelledStudyd("study", with_mask=True),
                ReadingGeometryd("study", content("slab_mm"), content("crop_margin")),
            ]
        )
        pairs = zip(content("datalist"), content("scan_maps"), strict=True)
        held_out = [(entry, maps) for entry, maps in pairs if entry["fold"] == fold]
        for entry, maps in tqdm(held_out, desc=f"explanations, fold {fold}", unit="scan"):
            failure = failures.get(entry["name"])
            if entry["label"][0] != 1 and failure is None:
                continue
            scan = load_scan(entry, maps, load)
            reading = measure_quality(scan, network, keys, qualities)
            if entry["label"][0] == 1 and fold not in checked:
                checked.add(fold)
                for method in METHODS:
                    checks[method].append(check_sanity(scan, network, method))
            if failure is not None:
                drawn.append(_draw(failure, scan, reading, images))
    found = summary(qualities, checks)
    return found | {"sanity_scans": len(checked), "failures": sorted(drawn, key=lambda entry: str(entry["file"]))}


def _fold(variant: Variant, base: Mapping[str, Any], fold: int, network: Path) -> ConfigWorkflow:
    return prepared(HEADS, {**base, **variant.heads, "validation_fold": fold, "start_from": str(network.absolute())})


def _failures(predictions: Predictions, decision: tuple[Calibration, float]) -> dict[str, Failure]:
    calibration, threshold = decision
    probabilities = calibration.apply(predictions.logits)[:, 0]
    names = [scan.name for scan in predictions.scans]
    false_negative, false_positive = worst_failures(probabilities, predictions.labels[:, 0], names, threshold, FAILURES)
    return {failure.name: failure for failure in (*false_negative, *false_positive)}


def _draw(failure: Failure, scan: HeldOutScan, reading: StudyReading, folder: Path) -> dict[str, Any]:
    geometry = scan.inputs["geometry"]
    order = reading.slice_attention.argsort(descending=True, stable=True)[:4].tolist()
    maps = FailureMaps(
        study=scan.study,
        head=scan.head,
        attribution_map=reading.label_maps[0].voxels,
        key_slices=tuple(geometry.slabs[number][len(geometry.slabs[number]) // 2] for number in order),
        mask=scan.mask if failure.truth else None,
    )
    label = vocabulary("rsna")[0]
    folder.mkdir(parents=True, exist_ok=True)
    image = write_failure(folder, failure, maps, (label.key, label.name), ATTRIBUTION)
    return {
        "file": image.file,
        "scan": failure.name,
        "label": label.key,
        "probability": round(float(np.clip(image.probability, 0, 1)), 3),
        "truth": failure.truth,
        "text": image.caption,
    }
