"""Runs the explanations: every positive scan is explained by a network not trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from research.evidence.explanations import (
    HeldOutScan,
    check_sanity,
    load_scan,
    measure_quality,
    no_qualities,
    summary,
)
from research.evidence.failure_images import Failure, FailureMaps, worst_failures, write_failure
from research.evidence.network_reading import FoldReaders
from research.metrics.map_agreement import Agreement
from research.metrics.predictions import Predictions
from scripts.calibration import Calibration
from scripts.explanation.maps import StoredMap
from scripts.explanation.methods import METHODS
from scripts.labels import vocabulary
from scripts.networks.study_network import StudyOutput

ATTRIBUTION = "CT-ICH, Hssayeni et al. 2020, CC BY 4.0. Research use only."
FAILURES = 2


def explain_folds(
    readers: FoldReaders,
    entries: Sequence[Mapping[str, Any]],
    predictions: Predictions,
    decision: tuple[Calibration, float],
    images: Path,
) -> dict[str, Any]:
    """Measure the maps of all positive scans, check the sanity of one scan, and draw the worst failures.

    Parameters
    ----------
    readers : FoldReaders
        The network of each fold.
    entries : sequence of mapping
        Datalist of the scans, fold by fold.
    predictions : Predictions
        Of the same scans.
    decision : (Calibration, float)
        Of the first label: which scans are failures.
    images : Path
        Folder for images of failures.
    """
    failures = _failures(predictions, decision)
    for name in ("false_negative_*.png", "false_positive_*.png"):
        for of_an_earlier_run in images.glob(name):
            of_an_earlier_run.unlink()
    qualities = no_qualities()
    checks: dict[str, list[dict[str, tuple[Agreement, ...]]]] = {}
    drawn = []
    for entry in tqdm(entries, desc="explanations", unit="scan"):
        failure = failures.get(entry["name"])
        if entry["label"][0] != 1 and failure is None:
            continue
        reader = readers(int(entry["fold"]))
        scan = load_scan(entry, reader)
        output, first = measure_quality(scan, reader, qualities)
        if entry["label"][0] == 1 and not checks:
            checks = {method: [check_sanity(scan, reader, method)] for method in METHODS}
        if failure is not None:
            drawn.append(_draw(failure, scan, output, first, images))
    found = summary(qualities, checks)
    return found | {"sanity_scans": min(1, len(checks)), "failures": sorted(drawn, key=lambda e: str(e["file"]))}


def _failures(predictions: Predictions, decision: tuple[Calibration, float]) -> dict[str, Failure]:
    calibration, threshold = decision
    probabilities = calibration.apply(predictions.logits)[:, 0]
    names = [scan.name for scan in predictions.scans]
    false_negative, false_positive = worst_failures(probabilities, predictions.labels[:, 0], names, threshold, FAILURES)
    return {failure.name: failure for failure in (*false_negative, *false_positive)}


def _draw(failure: Failure, scan: HeldOutScan, output: StudyOutput, first: StoredMap, folder: Path) -> dict[str, Any]:
    geometry = scan.inputs["geometry"]
    order = output.slice_attention.argsort(descending=True, stable=True)[:4].tolist()
    maps = FailureMaps(
        study=scan.study,
        head=scan.head,
        attribution_map=first.voxels,
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
