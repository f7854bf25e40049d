"""Everything that is measured of the shipped way to train, on patients that its networks have not seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from research.metrics.random_baseline import by_patient
from research.metrics.attention_by_height import attention_by_height
from research.metrics.calibration_choice import platt_where_it_helps
from research.metrics.class_counts import class_counts
from research.metrics.classification import FEW, ClassificationFigures, classification_figures
from research.metrics.confidence import RESAMPLES, auc_interval, proportion_interval
from research.metrics.curves import precision_recall
from research.metrics.interpretive_tasks import (
    attended_scans,
    interpretive_tasks,
    key_slices_per_label,
    slice_detection,
)
from research.metrics.operating_points import AchievedPoint, achieved_points
from research.metrics.predictions import Predictions, ScanPrediction
from research.metrics.reliability import reliability
from research.metrics.eval_metrics import label_figures
from research.metrics.subgroups import UNKNOWN, groups_of, subgroup_figures
from research.evidence.curve_figures import average_precision_interval, roc_with_area
from research.evidence.tables import ANY, SILENT, slice_auc, speaks_of_slices

BALANCED = "balanced"

SIZES = (5, 10)
"""Numbers of positive slices at which a haemorrhage counts as larger."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Decided:
    """What becomes of the logits by decisions that the other folds made.

    Attributes
    ----------
    raw : ndarray, shape (scans, labels)
        Probabilities of the plain sigmoid.
    calibrated : ndarray, shape (scans, labels)
        Of the calibration fitted on the other folds.
    points : dict
        Operating point to label to what it reaches.
    called : ndarray, shape (scans, labels)
        1 where the calibrated probability reaches the balanced threshold chosen on the other folds, else 0.
    uncalibrated : dict
        Label to the reason why the bundle leaves its logits as they are, by all folds.
    """

    raw: Floats
    calibrated: Floats
    points: dict[str, dict[str, AchievedPoint]]
    called: Floats
    uncalibrated: dict[str, str]


def decided(predictions: Predictions) -> Decided:
    """Calibrate each fold, and call its scans, by what is chosen and fitted on all others."""
    logits, labels, folds, keys = predictions.logits, predictions.labels, predictions.folds, predictions.keys
    calibrated = np.empty_like(logits, dtype=np.float64)
    for fold in np.unique(folds):
        here, rest = folds == fold, folds != fold
        fit = platt_where_it_helps(logits[rest], labels[rest], keys, folds[rest])
        calibrated[here] = fit(logits[rest], labels[rest], keys).apply(logits[here])
    points = achieved_points(logits, labels, keys, folds, platt_where_it_helps, FEW)
    cuts = [[points[BALANCED][key].fold_thresholds[int(fold)] for key in keys] for fold in folds]
    called = (calibrated >= np.array(cuts)).astype(np.float64)
    remarks = platt_where_it_helps(logits, labels, keys, folds)(logits, labels, keys).remarks
    return Decided(expit(logits), calibrated, points, called, remarks)


def shipped_figures(predictions: Predictions, count: int = RESAMPLES) -> dict[str, Any]:
    """Return all figures of one way to train.

    Parameters
    ----------
    predictions : Predictions
        Of held-out patients, in three folds or more.
    count : int
        Resamples of each interval.
    """
    found = decided(predictions)
    return {
        "protocol": predictions.protocol,
        "data": data_figures(predictions),
        "scans": scan_figures(predictions, found, count),
        "uncalibrated": found.uncalibrated,
        "folds": fold_figures(predictions),
        "sizes": size_figures(predictions, found),
        "slices": slice_figures(predictions, count),
        "operating_points": found.points,
        "key_slices": key_slice_figures(predictions, found, count),
        "attention_by_height": attention_by_height(attended_scans(predictions, ANY)),
        "subgroups": subgroups(predictions, found, count),
        "eval_metrics": eval_metrics(predictions),
    }


def data_figures(predictions: Predictions) -> dict[str, Any]:
    """Count scans, slices and patients, and describe the patients as far as the data states it."""
    by_patient = {scan.patient: scan.group for scan in predictions.scans}
    ages = np.array([group["age"] for group in by_patient.values() if isinstance(group.get("age"), int | float)])
    ages = ages[~np.isnan(ages)]
    sexes = [group["sex"] for group in by_patient.values() if isinstance(group.get("sex"), str)]
    slices = [scan.slice_labels for scan in predictions.scans if scan.slice_labels is not None]
    positive_slices = np.nansum(np.concatenate(slices), axis=0) if slices else None
    return {
        "scans": len(predictions.scans),
        "patients": len(by_patient),
        "slices": sum(len(scan.slice_attention) for scan in predictions.scans),
        "folds": len(set(predictions.folds.tolist())),
        "age": {
            "known": len(ages),
            "median": float(np.median(ages)) if ages.size else None,
            "lowest": float(ages.min()) if ages.size else None,
            "highest": float(ages.max()) if ages.size else None,
        },
        "sex": {sex: sexes.count(sex) for sex in sorted(set(sexes))} | {"unknown": len(by_patient) - len(sexes)},
        "labels": {
            key: {
                "scans": class_counts(predictions.labels[:, column]).positive,
                "slices": None if positive_slices is None else int(positive_slices[column]),
            }
            for column, key in enumerate(predictions.keys)
        },
    }


def scan_figures(predictions: Predictions, found: Decided, count: int = RESAMPLES) -> dict[str, Any]:
    """Return classification of scans: the raw probabilities', the calibrated ones', and the calls'."""
    labels, keys, patients = predictions.labels, predictions.keys, predictions.patients
    raw, calibrated = (classification_figures(each, labels, keys) for each in (found.raw, found.calibrated))
    calls = classification_figures(found.called, labels, keys)
    columns = list(enumerate(keys))
    return {
        "raw": raw,
        "calibrated": _calibrated_part(calibrated),
        "calls": _calls_part(calls),
        "average_precision": {
            key: average_precision_interval(labels[:, column], found.raw[:, column], patients, count)
            for column, key in columns
        },
        "roc": {
            key: roc_with_area(labels[:, column], found.raw[:, column], patients, count, band=key == ANY)
            for column, key in columns
        },
        "precision_recall": {key: precision_recall(labels[:, column], found.raw[:, column]) for column, key in columns},
        "reliability": {
            key: {
                "before": reliability(labels[:, column], found.raw[:, column]),
                "after": reliability(labels[:, column], found.calibrated[:, column]),
            }
            for column, key in columns
        },
    }


def fold_figures(predictions: Predictions) -> list[dict[str, Any]]:
    """Return the AUC of any haemorrhage within each fold, whose scans one and the same network has read."""
    column, found = predictions.keys.index(ANY), []
    for fold in np.unique(predictions.folds):
        here = predictions.folds == fold
        labels, logits = predictions.labels[here, column], predictions.logits[here, column]
        area = auc_interval(labels, logits, predictions.patients[here], 1)
        found.append({"fold": int(fold), "counts": str(class_counts(labels)), "auc": area.estimate})
    return found


def size_figures(predictions: Predictions, found: Decided) -> list[dict[str, Any]]:
    """Return how many scans with any haemorrhage are called positive, by the number of slices that show it."""
    column = predictions.keys.index(ANY)
    shown = np.array([_positive_slices(scan, column) for scan in predictions.scans])
    positive, called = predictions.labels[:, column] == 1, found.called[:, column] == 1
    figures = []
    for low, high in pairwise((1, *SIZES, np.inf)):
        here = positive & (shown >= low) & (shown < high)
        hits, scans = int((here & called).sum()), int(here.sum())
        name = f"{low} to {high - 1:g}" if np.isfinite(high) else f"{low} and more"
        figures.append({"slices": name, "found": hits, "scans": scans, "sensitivity": proportion_interval(hits, scans)})
    return figures


def _positive_slices(scan: ScanPrediction, column: int) -> float:
    return np.nan if scan.slice_labels is None else float((scan.slice_labels[:, column] == 1).sum())


def slice_figures(predictions: Predictions, count: int = RESAMPLES) -> dict[str, Any]:
    """Return what the model says of single slices, patients resampled with all their slices."""
    if not speaks_of_slices(predictions):
        return {"reason": SILENT}
    labels, logits, patients = predictions.slice_level()
    figures = classification_figures(expit(logits), labels, predictions.keys)
    column = predictions.keys.index(ANY)
    return {
        "slices": len(labels),
        "auc": {key: slice_auc(predictions, key, count) for key in predictions.keys},
        "figures": figures.labels,
        "macro": figures.macro,
        "roc": roc_with_area(labels[:, column], logits[:, column], patients, count),
    }


def key_slice_figures(predictions: Predictions, found: Decided, count: int = RESAMPLES) -> dict[str, Any]:
    """Return the interpretive tasks for any haemorrhage and label by label, each beside its chance level."""
    interval, column = by_patient(count), predictions.keys.index(ANY)
    called = {scan.name: bool(found.called[row, column]) for row, scan in enumerate(predictions.scans)}
    scans = [replace(scan, called=called[scan.name]) for scan in attended_scans(predictions, ANY)]
    return {
        "positive_scans": interpretive_tasks(scans, interval=interval),
        "called_scans": interpretive_tasks(scans, called_only=True, interval=interval),
        "detection": slice_detection(scans, interval=interval),
        "labels": key_slices_per_label(predictions, interval=interval),
    }


def subgroups(predictions: Predictions, found: Decided, count: int = RESAMPLES) -> dict[str, Any]:
    """Return figures per property, subgroup and label; sensitivity and specificity are those of the calls."""
    labels, keys, patients, groups = (
        predictions.labels,
        predictions.keys,
        predictions.patients.tolist(),
        groups_of(predictions),
    )
    ranked = subgroup_figures(found.raw, labels, keys, patients, groups, count=count)
    called = subgroup_figures(found.called, labels, keys, patients, groups, count=1)
    return {
        name: {
            value: {
                key: replace(
                    figures,
                    sensitivity=called[name][value][key].sensitivity,
                    specificity=called[name][value][key].specificity,
                )
                for key, figures in by_label.items()
            }
            for value, by_label in sorted(members.items(), key=_place)
        }
        for name, members in ranked.items()
    }


def eval_metrics(predictions: Predictions) -> dict[str, Any]:
    """Return the few figures that stand in ``configs/metadata.json``, to three decimals."""
    top_h = interpretive_tasks(attended_scans(predictions, ANY))["comprehensive"]
    slices = slice_auc(predictions, count=1).estimate
    return {
        "protocol": predictions.protocol,
        "labels": label_figures(expit(predictions.logits), predictions.labels, predictions.keys),
        "slice_auc": None if slices is None else round(slices, 3),
        "key_slices_top_h": None if top_h.value is None else round(top_h.value, 3),
        "key_slices_top_h_chance": None if top_h.chance is None else round(top_h.chance, 3),
    }


def _calibrated_part(figures: ClassificationFigures) -> dict[str, Any]:
    names = ("log_loss", "brier", "expected_calibration_error")
    return {
        "labels": {key: {name: getattr(label, name) for name in names} for key, label in figures.labels.items()},
        "macro": {name: figures.macro[name] for name in names},
        "weighted_log_loss": figures.weighted_log_loss,
    }


def _calls_part(figures: ClassificationFigures) -> dict[str, Any]:
    names = ("precision", "recall", "specificity", "f1")
    return {
        "labels": {
            key: {name: getattr(label, name) for name in names} | {"remark": label.remark}
            for key, label in figures.labels.items()
        },
        "macro": {name: figures.macro[name] for name in names},
    }


def _place(member: tuple[str, object]) -> tuple[bool, bool, str]:
    """Bands from the lowest to the highest, what is unknown last."""
    name = member[0]
    return name == UNKNOWN, not name.startswith("under "), name
