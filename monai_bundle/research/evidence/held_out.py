"""Reads CT-ICH's scans, each by the network of the fold that has not seen it, as a user's study is read.

    python -m research.evidence.held_out --models 'cache/folds/{fold}.pt' --title 'DrCT2, EfficientNet-Lite0'

Writes ``predictions/shipped.json`` (what every metric of scans, slices and key slices is measured from),
``lesion_maps.json`` (lesion maps against the annotations), ``held_out_volumes.csv`` (predicted and true volumes) and
``attribution_values.json`` (largest values of attribution maps, what their scale is chosen from).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from research.evidence.measured_file import jsonable
from research.evidence.network_reading import FoldReaders, NetworkReader, NetworkReading
from research.evidence.synthetic import FOLDS, LABELS, OUTPUT, write_volumes
from research.metrics.attribution_quality import Measured, mask_of_label
from research.metrics.confidence import RESAMPLES
from research.metrics.lesion_quality import LesionQuality, VolumePair, lesion_quality, summarise, volume_errors
from research.metrics.predictions import Predictions, ScanPrediction
from research.metrics.random_baseline import by_patient
from scripts.cache import Cache, files_key
from scripts.datasets.ct_ich import datalist
from scripts.datasets.datalist import LabelledScan
from scripts.intake.study import CTStudy
from scripts.labels import TOTAL_GROUP

SHIPPED = "shipped"
ATTRIBUTION_VALUES = "attribution_values.json"
_VERSION = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOutReading:
    """What is kept of one scan that a network has not seen.

    Attributes
    ----------
    prediction : ScanPrediction
        Labels, logits, attention, slices.
    qualities : dict
        Label that the scan shows to the quality of the lesion map of any haemorrhage, against the mask on the slices
        that show the label; empty without mask or lesion decoder.
    true_ml, predicted_ml : float or None
        Volume of the mask and of the lesion map; None without one of them.
    largest : dict
        Label that the scan shows to the largest value of its attribution map, in logits.
    """

    prediction: ScanPrediction
    qualities: dict[str, LesionQuality]
    true_ml: float | None
    predicted_ml: float | None
    largest: dict[str, float] = field(default_factory=dict)


def read_entry(entry: Mapping[str, Any], reader: NetworkReader) -> HeldOutReading:
    """Read one scan of a datalist."""
    scan: LabelledScan = entry["study"]
    study = scan.read()
    shown = [key for key, label in zip(reader.labels, entry["label"], strict=True) if label == 1]
    reading = reader.read(study, shown)
    mask = scan.mask(study) if entry["label"][0] == 1 else np.zeros(study.voxels.shape, dtype=bool)
    qualities = {}
    if reading.lesions is not None and mask is not None:
        for column, key in enumerate(reader.labels):
            of_label = mask_of_label(mask, entry["slice_labels"][:, column] == 1)
            if of_label.any():
                qualities[key] = lesion_quality(reading.lesions.probability, of_label, reading.head)
    measured = mask is not None and reading.lesions is not None
    return HeldOutReading(
        prediction(entry, reading),
        qualities,
        float(mask.sum()) * _voxel_ml(study) if mask is not None and measured else None,
        reading.volumes_ml[TOTAL_GROUP] if measured else None,
        reading.largest,
    )


def prediction(entry: Mapping[str, Any], reading: NetworkReading) -> ScanPrediction:
    """Return a scan's labels and predictions, on its original slices."""
    scan = entry["study"]
    group: dict[str, str | float] = {"slices": float(len(reading.slice_attention))}
    if scan.age_years is not None:
        group["age"] = float(scan.age_years)
    if scan.sex is not None:
        group["sex"] = str(scan.sex)
    return ScanPrediction(
        name=entry["name"],
        patient=entry["patient"],
        fold=int(entry["fold"]),
        labels=np.asarray(entry["label"], dtype=np.float64),
        logits=reading.logits,
        slice_attention=reading.slice_attention,
        slice_labels=entry["slice_labels"],
        slice_logits=reading.slice_logits,
        key_slices=reading.key_slices,
        group=group,
    )


def _voxel_ml(study: CTStudy) -> float:
    return abs(float(np.linalg.det(study.affine[:3, :3]))) / 1000.0


def lesion_metrics(readings: Sequence[HeldOutReading], count: int = RESAMPLES) -> dict[str, Any]:
    """Measure the lesion maps of all scans.

    Returns
    -------
    dict
        ``quality`` (label to ``per_slice`` and ``per_scan``, see :func:`~research.metrics.lesion_quality.summarise`),
        ``volumes`` of scans with haemorrhage, ``false_ml`` (mean volume that is found in scans without any), and
        ``maps``, the number of annotated scans. ``quality`` is empty without a lesion decoder.
    """
    interval = by_patient(count)
    found: dict[str, list[tuple[str, LesionQuality]]] = {}
    for reading in readings:
        for key, quality in reading.qualities.items():
            found.setdefault(key, []).append((reading.prediction.patient, quality))
    pairs = volume_pairs(readings)
    negative = [
        VolumePair(each.prediction.name, each.prediction.patient, TOTAL_GROUP, 0.0, each.predicted_ml)
        for each in readings
        if each.prediction.labels[0] == 0 and each.predicted_ml is not None
    ]
    return {
        "quality": {key: summarise(found[key], interval) for key in LABELS if key in found},
        "volumes": volume_errors(pairs, interval),
        "false_ml": volume_errors(negative, interval)["error_ml"],
        "maps": len(found.get("any", ())),
    }


def volume_pairs(readings: Sequence[HeldOutReading]) -> list[VolumePair]:
    """Return predicted and true volume of each scan whose haemorrhage is annotated."""
    return [
        VolumePair(each.prediction.name, each.prediction.patient, TOTAL_GROUP, each.true_ml, each.predicted_ml)
        for each in readings
        if each.true_ml and each.predicted_ml is not None
    ]


def per_scan_rows(readings: Sequence[HeldOutReading]) -> list[dict[str, Any]]:
    """Return one row for each annotated scan: its lesion map's measures and volumes."""
    return [
        {
            "scan": each.prediction.name,
            "fold": each.prediction.fold,
            "true_ml": each.true_ml,
            "predicted_ml": each.predicted_ml,
            **{
                f"{scale}_{name}": measured.value
                for scale in ("per_slice", "per_scan")
                for name, measured in _scale(each.qualities["any"], scale).items()
            },
        }
        for each in readings
        if "any" in each.qualities
    ]


def _scale(quality: LesionQuality, scale: str) -> dict[str, Measured]:
    found: dict[str, Measured] = getattr(quality, scale)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Read all scans of CT-ICH and write what was computed and measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, help="weights of each fold's network, {fold} in place of its number")
    parser.add_argument("--title", required=True, help="how the network is called on the pages")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)), help="those that have a network")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the results and the cache")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    readers = FoldReaders(arguments.models)
    if missing := readers.missing(arguments.folds):
        parser.error(f"no such file: {', '.join(missing)}")
    if not readers.held_out:
        parser.error("--models names one network for all folds: it has seen the scans that it would read")
    entries = [entry for entry in held_out_entries() if entry["fold"] in arguments.folds]
    readings = read_entries(entries, readers, Cache(arguments.output / "cache"))
    values = {
        readers(arguments.folds[0]).inferer.method: [value for each in readings for value in each.largest.values()]
    }
    (arguments.output / ATTRIBUTION_VALUES).write_text(json.dumps(values) + "\n", encoding="utf-8")
    write(readings, arguments.title, arguments.output)


def held_out_entries() -> list[dict[str, Any]]:
    """Return CT-ICH's datalist, fold by fold."""
    data = Path(os.environ.get("ICH_DATA", "../../shared/data"))
    return sorted(datalist(data / "ct-ich", LABELS, FOLDS), key=lambda entry: (entry["fold"], entry["name"]))


def read_entries(entries: Sequence[Mapping[str, Any]], readers: FoldReaders, cache: Cache) -> list[HeldOutReading]:
    """Read every scan by its fold's network, or take the reading from the cache."""
    readings = []
    for entry in tqdm(entries, unit="scan"):
        reader = readers(int(entry["fold"]))
        key = [_VERSION, entry["name"], entry["fold"], entry["label"], files_key(entry["study"].files), reader.key]
        # What is kept of attribution maps, their largest values, depends on how labels are explained.
        key.append(reader.inferer.method)
        readings.append(cache.get("held_out", key, partial(read_entry, entry, reader)))
    return readings


def write(readings: Sequence[HeldOutReading], title: str, folder: Path, count: int = RESAMPLES) -> None:
    """Write predictions, volumes and, where there is a lesion decoder, lesion metrics."""
    folds = len({each.prediction.fold for each in readings})
    protocol = f"{len(readings)} scans, cross-validation by patient in {folds} folds, held-out patients pooled"
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    Predictions(LABELS, tuple(each.prediction for each in readings), title, protocol).to_json(
        folder / "predictions" / f"{SHIPPED}.json"
    )
    metrics = lesion_metrics(readings, count)
    content = {"metrics": metrics, "scans": per_scan_rows(readings)}
    path = folder / "lesion_maps.json"
    # A network without a lesion decoder has no lesion maps, and must not be given those of another.
    path.unlink(missing_ok=True)
    if metrics["quality"]:
        path.write_text(json.dumps(jsonable(content), indent=1) + "\n", encoding="utf-8")
    write_volumes(volume_pairs(readings), folder / "held_out_volumes.csv")


if __name__ == "__main__":
    main()
