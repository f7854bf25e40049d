"""The files of a run of the evidence, made up and seeded: predictions of several ways to train, and the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from research.evidence.held_out import HeldOutReading, lesion_metrics
from research.evidence.measured_file import jsonable
from research.evidence.phantoms import ReadPhantom, phantom_metrics
from research.evidence.plan import Plan, PlannedTable
from research.evidence.synthetic import GROUP_OF, ReadScan, synthetic_metrics
from research.metrics.attribution_quality import MEASURES, Measured
from research.metrics.lesion_contrast import LesionContrast
from research.metrics.lesion_quality import MEASURES as LESION_MEASURES
from research.metrics.lesion_quality import LesionQuality
from research.metrics.predictions import Predictions, ScanPrediction
from research.metrics.random_baseline import MeanMetric
from research.training.protocol import Variant

KEYS = ("any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
SHIPPED, WEAK, NO_SLICES = "shipped", "weak", "no_slices"

PLAN = Plan(
    SHIPPED,
    (
        Variant(SHIPPED, "Made up, good"),
        Variant(WEAK, "Made up, weak"),
        Variant(NO_SLICES, "Made up, scan labels only"),
        Variant("never_run", "Never run"),
    ),
    (
        PlannedTable("labels", (NO_SLICES, WEAK, SHIPPED, "never_run"), SHIPPED),
        PlannedTable("seeds", (SHIPPED, WEAK), None, repetitions=True),
    ),
)


def made_up(title: str, skill: float, slice_classifier: bool = True, scans: int = 60, seed: int = 0) -> Predictions:
    """Return predictions whose logits, for scans and slices, are ``skill`` apart; epidural is never positive."""
    truth, noise = np.random.default_rng(7), np.random.default_rng(seed + 100)
    found = []
    for number in range(scans):
        slices = int(truth.integers(10, 16))
        kinds = truth.random(len(KEYS)) < (0, 0, 0.45, 0.15, 0.2, 0.3)
        start, length = int(truth.integers(2, 6)), int(truth.integers(1, 5))
        shown = np.zeros((slices, len(KEYS)))
        shown[start : start + length] = kinds & (number % 2 == 0)
        shown[:, 0] = shown.any(axis=1)
        labels = shown.max(axis=0)
        slice_logits = skill * (2 * shown - 1) + noise.normal(size=shown.shape)
        attention = np.exp(slice_logits[:, 0]) / np.exp(slice_logits[:, 0]).sum()
        age, sex = float(truth.integers(3, 90)), "female" if truth.random() < 0.5 else "male"
        found.append(
            ScanPrediction(
                name=f"{number:03d}",
                patient=f"patient {number // 2 * 2 if number % 10 == 1 else number}",
                fold=number // 2 % 5,
                labels=labels,
                logits=skill * (2 * labels - 1) + noise.normal(size=len(KEYS)) - 0.5,
                slice_attention=attention,
                slice_labels=shown,
                slice_logits=slice_logits if slice_classifier else np.zeros_like(shown),
                key_slices=tuple(np.argsort(-attention)[:4].tolist()),
                group={"slices": float(slices), "age": float("nan") if number % 7 == 0 else age, "sex": sex},
            )
        )
    return Predictions(KEYS, tuple(found), title, f"{scans} made-up scans, 5 folds by patient")


def write_run(folder: Path, complete: bool = True) -> Path:
    """Write a run's folder; without the optional files if it is not ``complete``."""
    predictions = folder / "predictions"
    predictions.mkdir(parents=True)
    made_up("good", 1.2).to_json(predictions / f"{SHIPPED}.json")
    made_up("weak", 0.3, seed=1).to_json(predictions / f"{WEAK}.json")
    made_up("no slices", 0.6, slice_classifier=False, seed=2).to_json(predictions / f"{NO_SLICES}.json")
    for name, content in optional_files().items() if complete else ():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def optional_files() -> dict[str, object]:
    """Return what the parts of a run beside the predictions write, as they write it."""
    return {
        "explanations": {
            "quality": {method: _quality(shift) for method, shift in (("gradcam", 0.0), ("gradcam++", 0.05))},
            "sanity_check": {
                "gradcam": [
                    _stage("fusion", 0.61, 0.7, changed=False),
                    _stage("primary", None, None, changed=True),
                ],
                "gradcam++": [_stage("fusion", 0.44, 0.6, changed=True)],
            },
            "sanity_scans": 3,
            "maps": 41,
            "failures": [
                {
                    "file": "false_negative_any_004.png",
                    "scan": "004",
                    "label": "any",
                    "probability": 0.031,
                    "truth": True,
                    "text": "False negative: Any intracranial haemorrhage, probability 3 %, scan 004. Made up.",
                }
            ],
        },
        "external_test": [
            {
                "study": "Series from elsewhere",
                "truth": "intraparenchymal haemorrhage",
                "truth_positive": True,
                "findings": dict.fromkeys(KEYS, 0.123) | {"any": 0.871},
                "any_threshold": 0.4321,
                "positive": True,
                "key_slices_labelled_positive": "5 of 5",
                "note": None,
            },
            {"study": "Localizer", "truth": "nothing", "truth_positive": False, "findings": None, "note": "refused"},
        ],
        "run": {
            "stages": [
                {"name": "predictions of shipped (1/3)", "seconds": 601.5, "cached": False},
                {"name": "external test", "seconds": 42.0, "cached": True},
            ],
            "machine": "2 processor cores, made up",
            "versions": {"monai": "1.6.1", "torch": "2.13.0"},
        },
        "lesion_maps": {"metrics": jsonable(lesion_metrics(held_out_readings(), 20)), "scans": []},
        "synthetic": {"metrics": jsonable(synthetic_metrics(read_scans(), 20)), "scans": []},
        "phantoms": {"metrics": jsonable(made_up_phantom_metrics()), "phantoms": []},
    }


def a_quality(value: float) -> LesionQuality:
    """Return the quality of a lesion map, a little another for each measure."""
    measured = {name: Measured(value - 0.01 * place, 0.02) for place, name in enumerate(LESION_MEASURES)}
    return LesionQuality(measured, measured, 3)


def held_out_readings() -> list[HeldOutReading]:
    """Return readings of sixty made-up scans whose lesion maps were measured."""
    found = []
    for number, scan in enumerate(made_up("good", 1.2).scans):
        shown = [key for key, label in zip(KEYS, scan.labels, strict=True) if label == 1]
        qualities = {key: a_quality(0.4 + 0.005 * number) for key in shown}
        true_ml = 5.0 + number if shown else 0.0
        found.append(HeldOutReading(scan, qualities, true_ml, true_ml * (0.8 + 0.01 * number) + 0.1))
    return found


def read_scans() -> list[ReadScan]:
    """Return ten hosts, each as it is, with a mimic that is rather positive, and with five haemorrhages."""
    generator, found = np.random.default_rng(5), []
    for number in range(10):
        host = f"{number:03d}"
        for kind, level in (("host", -2.0), ("mimic", -1.0)):
            logits = {key: level + float(generator.normal(0, 0.5)) for key in KEYS}
            found.append(ReadScan(f"{host}-{kind}", host, number % 5, kind, None, 0.0, None, logits, {}, None, 0))
        for place, subtype in enumerate(KEYS[1:]):
            volume = (0.6, 3.0, 7.0, 20.0, 50.0)[(place + number) % 5]
            level = -1.5 + 1.5 * np.log10(volume + 1)
            logits = {key: level + float(generator.normal(0, 0.5)) for key in KEYS}
            volumes = dict.fromkeys(("total", *GROUP_OF.values()), 0.0)
            volumes["total"] = volumes[GROUP_OF[subtype]] = volume * float(generator.uniform(0.5, 1.5))
            measures = {name: {"value": 0.5, "random_baseline": 0.01} for name in LESION_MEASURES}
            quality = {"per_slice": measures, "per_scan": measures}
            name = f"{host}-{subtype}"
            scan = ReadScan(name, host, number % 5, "haemorrhage", subtype, volume, "way", logits, volumes, quality, 4)
            found.append(replace(scan, contrast=LesionContrast(6.0 * number - 14.0, 25.0 if number == 9 else 8.0)))
    return found


def read_phantoms() -> list[ReadPhantom]:
    """Return four heads without blood, one of which is positive, and three of each subtype; one subdural is missed."""
    low = dict.fromkeys(KEYS, -3.0)
    found = [
        ReadPhantom(f"negative-{number}", None, 0.0, 0.0, 0.1, low | {"any": 1.0 if number == 3 else -2.0}, None, None)
        for number in range(4)
    ]
    for subtype in KEYS[1:]:
        for volume in (1.0, 10.0, 30.0):
            own = -1.0 if volume < 5 or (subtype, volume) == ("subdural", 10.0) else 2.0
            logits = low | {"any": -0.5 if volume < 5 else 2.0, subtype: own}
            found.append(ReadPhantom(f"{subtype}-{volume:g}", subtype, volume, volume, volume, logits, 0.7, 0.6))
    return found


def made_up_phantom_metrics() -> dict[str, object]:
    """Return the metrics of the made-up phantoms at thresholds of one half."""
    phantoms = read_phantoms()
    probabilities = [{key: float(1 / (1 + np.exp(-value))) for key, value in each.logits.items()} for each in phantoms]
    return phantom_metrics(phantoms, probabilities, dict.fromkeys(KEYS, 0.5))


def _quality(shift: float) -> dict[str, object]:
    def metrics(value: float) -> dict[str, object]:
        return {name: vars(MeanMetric(value + shift, 0.1, value, value + 0.1, 20, 18)) for name in MEASURES}

    missing = {name: vars(MeanMetric(None, None, None, None, 0, 0, "no map")) for name in MEASURES}
    return {
        "any": {"per_slice": metrics(0.21), "per_scan": metrics(0.18)},
        "epidural": {"per_slice": missing, "per_scan": missing},
        "overall": {"per_slice": metrics(0.22), "per_scan": metrics(0.19)},
    }


def _stage(name: str, rank: float | None, similarity: float | None, changed: bool) -> dict[str, object]:
    return {
        "stage": name,
        "rank_correlation": rank,
        "structural_similarity": similarity,
        "maps": 18 if rank is not None else 0,
        "not_compared": 0 if rank is not None else 18,
        "changed": changed,
    }
