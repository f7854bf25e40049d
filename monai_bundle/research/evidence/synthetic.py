"""Reads the synthetic scans by the network of their host's fold, and measures sensitivity by volume, subtype, contrast.

    python -m research.evidence.synthetic --models 'cache/folds/{fold}.pt'
    python -m research.evidence.synthetic --build-only     make the scans, which needs no network

What was made and what was read is cached: an interrupted run goes on where it stopped, and another network reads the
same scans. Writes ``synthetic.json``, and ``synthetic_volumes.csv`` from which the limits of measured volumes are made:
``python -m research.metrics.volume_calibration``.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from research.evidence.measured_file import jsonable
from research.evidence.network_reading import FoldReaders, NetworkReader
from research.evidence.synthetic_set import VERSION, Host, MadeScan, PlannedScan, plan_scans
from research.metrics.attribution_quality import Measured
from research.metrics.confidence import RESAMPLES
from research.metrics.contrast_sensitivity import sensitivity_by_contrast
from research.metrics.lesion_contrast import LesionContrast
from research.metrics.lesion_quality import LesionQuality, VolumePair, lesion_quality, summarise, volume_errors
from research.metrics.random_baseline import by_patient
from research.metrics.volume_sensitivity import (
    SPECIFICITY,
    ScoredScan,
    sensitivities,
    sensitivity_by_subtype,
    sensitivity_by_volume,
    synthetic_auc,
)
from scripts.cache import Cache, files_key
from scripts.datasets.ct_ich import datalist
from scripts.labels import LESION_GROUPS, RSNA, TOTAL_GROUP

OUTPUT = Path("cache/evidence")
FOLDS = 5
LABELS = tuple(label.key for label in RSNA)
GROUP_OF = {subtype: group.key for group in LESION_GROUPS for subtype in group.labels}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadScan:
    """A synthetic scan and what its fold's network computed of it.

    Attributes
    ----------
    name, host, fold, kind, subtype
        As planned.
    volume_ml : float
        That was placed.
    pattern : str or None
        How the haemorrhage lies, or what resembles it.
    logits : dict
        Label to logit of the scan.
    volumes_ml : dict
        Group to measured volume; empty without a lesion decoder.
    quality : dict or None
        ``per_slice`` and ``per_scan`` of the lesion map, each measure to ``value`` and ``random_baseline``.
    slices : int
        Slices with haemorrhage.
    contrast : LesionContrast or None
        Of the haemorrhage to the brain near it; None without haemorrhage, and where it cannot be measured.
    """

    name: str
    host: str
    fold: int
    kind: str
    subtype: str | None
    volume_ml: float
    pattern: str | None
    logits: dict[str, float]
    volumes_ml: dict[str, float]
    quality: dict[str, dict[str, dict[str, float]]] | None
    slices: int
    contrast: LesionContrast | None = None


def read_scan(plan: PlannedScan, host: Host, made: MadeScan, reader: NetworkReader) -> ReadScan:
    """Read one synthetic scan, and measure its lesion map."""
    reading = reader.read(made.study(host.study))
    mask = made.mask(host.study)
    quality = None
    if reading.lesions is not None and mask.any():
        found = lesion_quality(reading.lesions.probability, mask, reading.head)
        quality = {
            scale: {name: asdict(measured) for name, measured in getattr(found, scale).items()}
            for scale in ("per_slice", "per_scan")
        }
    logits = dict(zip(reader.labels, reading.logits.tolist(), strict=True))
    shown = int(mask.any(axis=(1, 2)).sum())
    return ReadScan(
        *(plan.name, plan.host, plan.fold, plan.kind, plan.subtype, made.volume_ml, made.pattern),
        *(logits, reading.volumes_ml, quality, shown),
    )


def read_all(
    plans: Sequence[PlannedScan], entries: Sequence[Mapping[str, Any]], readers: FoldReaders | None, cache: Cache
) -> Iterator[ReadScan | None]:
    """Make and read every planned scan; None where a host has no place for what was planned, or nothing is read.

    Parameters
    ----------
    plans : sequence of PlannedScan
        Host by host.
    entries : sequence of mapping
        The datalist of the hosts.
    readers : FoldReaders or None
        None makes the scans alone.
    cache : Cache
        Of made scans, their contrast and readings.
    """
    scans = {entry["name"]: entry["study"] for entry in entries}
    host: Host | None = None
    for plan in plans:
        if host is None or host.scan is not scans[plan.host]:
            host = Host(scans[plan.host], cache)
        made = host.made(plan)
        contrast = None if made is None else host.contrast(plan, made)
        if made is None or readers is None:
            yield None
            continue
        reader = readers(plan.fold)
        key = [VERSION, plan, files_key(host.scan.files), reader.key]
        read = cache.get("synthetic_readings", key, partial(read_scan, plan, host, made, reader))
        # Outside the cached reading: what a network read keeps its key, however contrast is measured.
        yield replace(read, contrast=contrast)


def scored(scans: Sequence[ReadScan]) -> list[ScoredScan]:
    """Return what the sensitivity is measured from."""
    return [ScoredScan(scan.host, scan.logits, scan.subtype, scan.volume_ml, scan.contrast) for scan in scans]


def volume_pairs(scans: Sequence[ReadScan]) -> list[VolumePair]:
    """Return predicted and true volume of each haemorrhage: in total, and of its group."""
    pairs = []
    for scan in scans:
        if scan.subtype is None or not scan.volumes_ml:
            continue
        for group in (TOTAL_GROUP, GROUP_OF[scan.subtype]):
            pairs.append(VolumePair(scan.name, scan.host, group, scan.volume_ml, scan.volumes_ml[group]))
    return pairs


def compartments(scan: ReadScan) -> list[VolumePair]:
    """Return predicted and true volume of every group that has blood or is found to; in total for every scan."""
    true = dict.fromkeys(scan.volumes_ml, 0.0)
    if scan.subtype is not None and true:
        true |= {TOTAL_GROUP: scan.volume_ml, GROUP_OF[scan.subtype]: scan.volume_ml}
    return [
        VolumePair(scan.name, scan.host, group, true[group], predicted)
        for group, predicted in scan.volumes_ml.items()
        if group == TOTAL_GROUP or true[group] or predicted
    ]


def write_volumes(pairs: Sequence[VolumePair], path: Path) -> None:
    """Write the table that ``research.metrics.volume_calibration`` reads."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("scan", "group", "measured_ml", "true_ml"))
        rows.writerows((pair.name, pair.group, f"{pair.predicted_ml:.3f}", f"{pair.true_ml:.3f}") for pair in pairs)


def synthetic_metrics(scans: Sequence[ReadScan], count: int = RESAMPLES) -> dict[str, Any]:
    """Measure all synthetic scans.

    Parameters
    ----------
    scans : sequence of ReadScan
        With and without haemorrhage.
    count : int
        Resamples of each interval.

    Returns
    -------
    dict
        ``scans`` (how many of each kind), ``specificity``, ``auc`` per label, ``sensitivity`` by volume, ``subtypes``
        (subtype to its sensitivity by volume, by the score of any and by its own), ``contrast`` (sensitivity by
        contrast, of all and of subdural alone), ``false_positive`` (proportion of hosts and of mimics above the
        threshold), ``lesion`` (``all`` and each subtype), ``volumes`` (per group).
    """
    marks, interval = scored(scans), by_patient(count)
    shown: dict[str, list[tuple[str, LesionQuality]]] = {"all": []}
    for scan in scans:
        if scan.subtype is not None and scan.quality is not None:
            for key in ("all", scan.subtype):
                shown.setdefault(key, []).append((scan.host, _quality(scan)))
    pairs = volume_pairs(scans)
    groups = list(dict.fromkeys(pair.group for pair in pairs))
    return {
        "scans": {kind: sum(scan.kind == kind for scan in scans) for kind in ("haemorrhage", "host", "mimic")},
        "hosts": len({scan.host for scan in scans}),
        "specificity": SPECIFICITY,
        "auc": synthetic_auc(marks, count),
        "sensitivity": sensitivity_by_volume(marks, count=count),
        "subtypes": sensitivity_by_subtype(marks, count=count),
        "contrast": sensitivity_by_contrast(marks, count=count),
        "false_positive": _false_positives(scans, count),
        "lesion": {key: summarise(found, interval) for key, found in shown.items()},
        "volumes": {
            group: volume_errors([pair for pair in pairs if pair.group == group], interval) for group in groups
        },
    }


def _quality(scan: ReadScan) -> LesionQuality:
    assert scan.quality is not None
    scales = {
        scale: {name: Measured(**measured) for name, measured in found.items()} for scale, found in scan.quality.items()
    }
    return LesionQuality(scales["per_slice"], scales["per_scan"], scan.slices)


def _false_positives(scans: Sequence[ReadScan], count: int) -> dict[str, Any]:
    """Return how often hosts and mimics lie above the threshold that both together choose."""
    found = {}
    negatives = [scan for scan in scans if scan.subtype is None]
    for kind in ("host", "mimic"):
        # The kind takes the place of the positives; the threshold is that of all negatives.
        marks = scored(negatives)
        marks += [ScoredScan(scan.host, scan.logits, kind) for scan in negatives if scan.kind == kind]
        found[kind] = sensitivities(marks, {kind: lambda _: True}, "any", count=count)[kind]
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Make, read and measure the synthetic scans."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", help="weights of each fold's network, {fold} in the place of its number")
    parser.add_argument("--build-only", action="store_true", help="make the scans and read none")
    parser.add_argument("--hosts-per-fold", type=int, help="fewer hosts than there are")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the results and the cache")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    if arguments.models is None and not arguments.build_only:
        parser.error("--models is needed to read; --build-only makes the scans without reading them")
    readers = None if arguments.build_only else FoldReaders(arguments.models)
    if readers is not None and (missing := readers.missing(range(FOLDS))):
        parser.error(f"no such file: {', '.join(missing)}")
    data = Path(os.environ.get("ICH_DATA", "../../shared/data"))
    entries = datalist(data / "ct-ich", LABELS, FOLDS)
    plans = plan_scans(entries, arguments.hosts_per_fold)
    found = list(tqdm(read_all(plans, entries, readers, Cache(arguments.output / "cache")), total=len(plans)))
    scans = [scan for scan in found if scan is not None]
    if readers is None:
        return
    logger.info("%d scans read; %d planned ones have no place in their host", len(scans), len(plans) - len(scans))
    write(scans, readers.held_out, len(plans) - len(scans), arguments.output)


def write(scans: Sequence[ReadScan], held_out: bool, not_made: int, folder: Path, count: int = RESAMPLES) -> None:
    """Write the metrics with the scans behind them, and the volumes."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "held_out": held_out,
        "not_made": not_made,
        "metrics": synthetic_metrics(scans, count),
        "scans": list(scans),
    }
    (folder / "synthetic.json").write_text(json.dumps(jsonable(content), indent=1) + "\n", encoding="utf-8")
    write_volumes([pair for scan in scans for pair in compartments(scan)], folder / "synthetic_volumes.csv")


if __name__ == "__main__":
    main()
