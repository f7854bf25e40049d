"""Every system on one footing: CT-ICH's folds, the same patients and metrics, read as a user's study is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from research.evidence.explanations import HeldOutScan, Quality, as_plain, label_map, load_scan
from research.evidence.held_out import prediction
from research.evidence.measured_file import jsonable
from research.evidence.network_reading import CONFIGURATION, NetworkReader, NetworkReading
from research.metrics.attribution_quality import MapQuality, map_quality, mask_of_label, summarise_labels
from research.metrics.eval_metrics import eval_metrics
from research.metrics.predictions import Predictions, ScanPrediction
from research.metrics.random_baseline import MeanMetric, by_patient, mean_metric, missing
from research.metrics.slice_height import auc_by_height, positive_by_height
from research.systems.erased_blood import without_blood
from scripts.cache import Cache, files_key
from scripts.networks.study_network import StudyOutput
from scripts.systems import System
from scripts.weights import note_file

_VERSION = 1
_NEVER_DRAWN = {"attribution_scale_file": "configs/attribution_scale.json"}
"""Maps are measured on each scan's own scale: a system that was never installed has none of its own."""


@dataclass(frozen=True)
class SystemReading:
    """What is kept of one scan that a system has not seen.

    Attributes
    ----------
    prediction : ScanPrediction
        As of every network.
    qualities : dict
        Label that the scan shows to the quality of its attribution map, by the system's own method.
    seconds : float
        Wall time from the files to logits, without maps (s).
    largest : tuple of float
        Largest value of each of these maps, in logits; empty in readings that were kept without it.
    """

    prediction: ScanPrediction
    qualities: dict[str, MapQuality]
    seconds: float
    # An immutable default is the class's own, which readings that were kept without it fall back to.
    largest: tuple[float, ...] = ()


def reader_of(system: System, weights: Path, overrides: Mapping[str, Any]) -> NetworkReader:
    """Return a system with the weights of one fold, reading as inference does."""
    return NetworkReader(
        str(weights.absolute()), {**_NEVER_DRAWN, **overrides}, configuration=[CONFIGURATION, system.configuration]
    )


def read_entry(entry: Mapping[str, Any], reader: NetworkReader) -> SystemReading:
    """Read one scan of a datalist and measure the maps of what it shows."""
    start = time.perf_counter()
    scan = load_scan(entry, reader)
    output = reader.pass_with_graph(scan.inputs)
    seconds = time.perf_counter() - start
    reading = NetworkReading(output.detached(), scan.inputs["geometry"], scan.head, None, {})
    maps = list(_maps(scan, output, reader))
    qualities = {key: quality for key, quality, _ in maps}
    return SystemReading(
        prediction(entry, reading), qualities, round(seconds, 3), tuple(largest for *_, largest in maps)
    )


def _maps(scan: HeldOutScan, output: StudyOutput, reader: NetworkReader) -> Iterator[tuple[str, MapQuality, float]]:
    """Yield label, quality and largest value of the map of each label that the scan shows."""
    if scan.mask is None or not output.feature_maps:
        return
    for column, key in enumerate(reader.labels):
        if scan.label[column] == 1:
            stored = label_map(output, scan, reader.inferer.method, column)
            mask = mask_of_label(scan.mask, scan.slice_labels[:, column] == 1)
            yield key, map_quality(stored.voxels, mask, scan.head), stored.largest


def erased_change(entry: Mapping[str, Any], reader: NetworkReader, before: ScanPrediction) -> float | None:
    """Read a scan without its blood; return by how much the logits of any haemorrhage change where it was.

    Parameters
    ----------
    entry : mapping
        Of a datalist.
    reader : NetworkReader
        Gave ``before``.
    before : ScanPrediction
        Of the scan as it is.

    Returns
    -------
    float or None
        Mean over the slices with a mask; None without mask or slice logits.
    """
    scan = load_scan(entry, reader)
    if scan.mask is None or not scan.mask.any() or before.slice_logits is None or not _answers_for_slices(before):
        return None
    inputs = reader.inputs(without_blood(scan.study, scan.mask, scan.head))
    output = reader.pass_with_graph(inputs).detached()
    after = NetworkReading(output, inputs["geometry"], inputs["head"], None, {}).slice_logits
    affected = scan.mask.any(axis=(1, 2))
    return float((after - before.slice_logits)[affected, reader.labels.index("any")].mean())


def _answers_for_slices(found: ScanPrediction) -> bool:
    return found.slice_logits is not None and float(np.ptp(found.slice_logits[:, 0])) > 0


def evaluate(
    system: System,
    entries: Sequence[Mapping[str, Any]],
    weights: Mapping[int, Path],
    folder: Path,
    overrides: Mapping[str, Any] | None = None,
    length: str | None = None,
) -> dict[str, Any]:
    """Read the scans of some folds, each by the weights that have not seen them, and write what was measured.

    Parameters
    ----------
    system : System
        What reads.
    entries : sequence of mapping
        Datalist; scans of folds without weights are left out.
    weights : mapping of int to Path
        Fold to the weights of its network.
    folder : Path
        Gets ``predictions.json`` (as of every network) and ``evaluation.json``; its sub-folder ``cache`` is the cache.
    overrides : mapping, optional
        Keys of the configuration, such as the size that the weights were trained at.
    length : str, optional
        How long they were trained, see :func:`~research.systems.training.training_length`.

    Returns
    -------
    dict
        What ``evaluation.json`` holds: ``system``, ``title``, ``folds``, ``scans``, ``trained`` (fold to what its
        weights were made of), ``length``, ``metrics``, ``map_method``, ``map_quality``, ``map_quality_per_scan``
        (of any haemorrhage, means over a scan's slices), ``largest`` (largest values of the measured maps, in
        logits), ``slice_auc_by_height`` (see :mod:`research.metrics.slice_height`, learnt from the patients that are
        not of a scan's fold), ``erased_blood`` (see :func:`erased_change`, mean over scans), ``seconds_per_scan``.
    """
    cache = Cache(folder / "cache")
    readings: list[SystemReading] = []
    changes: list[float | None] = []
    readers: dict[int, NetworkReader] = {}
    chosen = [entry for entry in entries if int(entry["fold"]) in weights]
    for entry in tqdm(chosen, desc=system.name, unit="scan"):
        fold = int(entry["fold"])
        if fold not in readers:
            # One at a time: five networks are no use at once.
            readers = {fold: reader_of(system, weights[fold], overrides or {})}
        reader = readers[fold]
        key = [_VERSION, entry["name"], fold, files_key(entry["study"].files), reader.key, reader.inferer.method]
        reading = cache.get("system_readings", key, partial(read_entry, entry, reader))
        if reading.qualities and not reading.largest:
            # Kept by a version that had no fixed scale of maps to choose.
            reading = cache.get("system_readings", [*key, "largest"], partial(read_entry, entry, reader))
        readings.append(reading)
        changes.append(_change(cache, key, entry, reader, reading))
    reader = next(iter(readers.values()))
    predictions = _predictions(system, readings, reader.labels)
    predictions.to_json(folder / "predictions.json")
    content = {
        "system": system.name,
        "title": system.title,
        "folds": sorted(weights),
        "scans": len(readings),
        "trained": {str(fold): _note(path, reader) for fold, path in sorted(weights.items())},
        "length": length,
        "metrics": eval_metrics(predictions),
        "map_method": reader.inferer.method,
        "map_quality": as_plain(summarise_labels(_by_label(readings), by_patient())),
        "map_quality_per_scan": _per_scan(readings),
        "largest": [value for each in readings for value in each.largest],
        "slice_auc_by_height": slice_auc_by_height(entries, set(weights)),
        "erased_blood": asdict(_mean_change(readings, changes)),
        "seconds_per_scan": sum(each.seconds for each in readings) / len(readings),
    }
    partial_file = folder / "evaluation.partial"
    partial_file.write_text(json.dumps(jsonable(content), indent=1) + "\n", encoding="utf-8")
    partial_file.replace(folder / "evaluation.json")
    return content


def slice_auc_by_height(entries: Sequence[Mapping[str, Any]], folds: set[int]) -> float | None:
    """Return the AUC of any haemorrhage of the slices of some folds, scored by what the other folds tell of heights.

    None where slices are not labelled, or there is no other fold.
    """
    labelled = [(entry, labels) for entry in entries if (labels := _any_of_slices(entry)) is not None]
    found = []
    for fold in sorted(folds):
        others = [labels for entry, labels in labelled if int(entry["fold"]) != fold]
        if not others:
            return None
        shares = positive_by_height(others)
        found += [(entry["patient"], labels, shares) for entry, labels in labelled if int(entry["fold"]) == fold]
    return auc_by_height(found, count=1).estimate if found else None


def _any_of_slices(entry: Mapping[str, Any]) -> NDArray[np.float64] | None:
    if entry.get("slice_labels") is None:
        return None
    labels = np.asarray(entry["slice_labels"], dtype=np.float64)[:, 0]
    return None if np.isnan(labels).all() else labels


def _change(
    cache: Cache, key: list[Any], entry: Mapping[str, Any], reader: NetworkReader, reading: SystemReading
) -> float | None:
    if not reading.qualities or not _answers_for_slices(reading.prediction):
        return None
    return cache.get("erased_blood", key, partial(erased_change, entry, reader, reading.prediction))


def _mean_change(readings: Sequence[SystemReading], changes: Sequence[float | None]) -> MeanMetric:
    known = [
        (value, each.prediction.patient) for each, value in zip(readings, changes, strict=True) if value is not None
    ]
    if not known:
        return missing("no scan with a mask, or no answer for slices")
    values, patients = zip(*known, strict=True)
    return mean_metric(values, [0.0] * len(values), patients, by_patient())


def _predictions(system: System, readings: Sequence[SystemReading], keys: tuple[str, ...]) -> Predictions:
    scans = tuple(each.prediction for each in readings)
    folds = len({scan.fold for scan in scans})
    protocol = f"{len(scans)} scans, cross-validation by patient, {folds} folds held out and pooled"
    return Predictions(keys, scans, system.title, protocol)


def _by_label(readings: Sequence[SystemReading]) -> Quality:
    found: Quality = {}
    for each in readings:
        for key, quality in each.qualities.items():
            found.setdefault(key, []).append((each.prediction.patient, quality))
    return found


def _per_scan(readings: Sequence[SystemReading]) -> dict[str, dict[str, float]]:
    """Return each measured scan's mean over its slices, for comparing systems on the same scans."""
    found = {each.prediction.name: next(iter(each.qualities.values())) for each in readings if each.qualities}
    return {
        name: {measure: measured.value for measure, measured in quality.per_slice.items()}
        for name, quality in found.items()
        if quality.per_slice
    }


def _note(weights: Path, reader: NetworkReader) -> str:
    """Return what weights were made of; trainings on cached features leave no note but what they began with."""
    path = note_file(weights)
    if path.is_file():
        return str(json.loads(path.read_text("utf-8"))["trained_on"])
    return f"scans, from {reader.network.backbone.starts_from()}"
