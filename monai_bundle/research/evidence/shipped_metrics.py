"""Everything that is measured of the shipped way to train, on held-out patients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from research.evidence.tables import ANY, NO_SLICE_LOGITS, slice_auc
from research.metrics.attention_by_height import attention_by_height
from research.metrics.calibration import platt_where_it_helps
from research.metrics.class_counts import class_counts
from research.metrics.classification import FEW, ClassificationMetrics, classification_metrics
from research.metrics.confidence import RESAMPLES, auc_interval, proportion_interval
from research.metrics.curves import average_precision_interval, precision_recall, roc
from research.metrics.eval_metrics import eval_metrics
from research.metrics.interpretive_tasks import attended_scans, slice_detection
from research.metrics.operating_points import AchievedPoint, achieved_points
from research.metrics.predictions import Predictions, ScanPrediction
from research.metrics.random_baseline import by_patient
from research.metrics.reliability import reliability
from research.metrics.subgroups import UNKNOWN, groups_of, subgroup_metrics

BALANCED = "balanced"

BAND_RESAMPLES = 500
"""Of the band of a curve, fewer than of an interval: each is a curve of its own."""

SIZES = (5, 10)
"""Numbers of positive slices at which a haemorrhage counts as larger."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Probabilities and predicted labels, each fold by what is fitted and chosen on all others.

    Attributes
    ----------
    raw : ndarray, shape (scans, labels)
        Probabilities of the plain sigmoid.
    calibrated : ndarray, shape (scans, labels)
        Of the calibration fitted on the other folds.
    points : dict
        Operating point to label to what it reaches.
    thresholded : ndarray, shape (scans, labels)
        1 where the calibrated probability reaches the balanced threshold chosen on the other folds, else 0.
    uncalibrated : dict
        Label to the reason why the bundle does not calibrate it, by all folds.
    """

    raw: Floats
    calibrated: Floats
    points: dict[str, dict[str, AchievedPoint]]
    thresholded: Floats
    uncalibrated: dict[str, str]


def held_out(predictions: Predictions) -> HeldOut:
    """Calibrate each fold and threshold its probabilities by what is fitted and chosen on all others."""
    logits, labels, folds, keys = predictions.logits, predictions.labels, predictions.folds, predictions.keys
    calibrated = np.empty_like(logits, dtype=np.float64)
    for fold in np.unique(folds):
        here, rest = folds == fold, folds != fold
        fit = platt_where_it_helps(logits[rest], labels[rest], keys, folds[rest])
        calibrated[here] = fit(logits[rest], labels[rest], keys).apply(logits[here])
    points = achieved_points(logits, labels, keys, folds, platt_where_it_helps, FEW)
    cuts = [[points[BALANCED][key].fold_thresholds[int(fold)] for key in keys] for fold in folds]
    thresholded = (calibrated >= np.array(cuts)).astype(np.float64)
    remarks = platt_where_it_helps(logits, labels, keys, folds)(logits, labels, keys).remarks
    return HeldOut(expit(logits), calibrated, points, thresholded, remarks)


def shipped_metrics(predictions: Predictions, count: int = RESAMPLES) -> dict[str, Any]:
    """Return all metrics of one way to train.

    Parameters
    ----------
    predictions : Predictions
        Of held-out patients, in three folds or more.
    count : int
        Resamples of each interval.
    """
    found = held_out(predictions)
    return {
        "protocol": predictions.protocol,
        "data": data_summary(predictions),
        "scans": scan_metrics(predictions, found, count),
        "uncalibrated": found.uncalibrated,
        "folds": fold_metrics(predictions),
        "sizes": size_metrics(predictions, found),
        "slices": slice_metrics(predictions, count),
        "operating_points": found.points,
        "attention": slice_detection(attended_scans(predictions, ANY), interval=by_patient(count)),
        "attention_by_height": attention_by_height(attended_scans(predictions, ANY)),
        "subgroups": subgroups(predictions, found, count),
        "eval_metrics": eval_metrics(predictions),
    }


def data_summary(predictions: Predictions) -> dict[str, Any]:
    """Count scans, slices and patients, and describe the patients as far as the data do."""
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


def scan_metrics(predictions: Predictions, found: HeldOut, count: int = RESAMPLES) -> dict[str, Any]:
    """Return classification of scans: of the raw, the calibrated and the thresholded probabilities."""
    labels, keys, patients = predictions.labels, predictions.keys, predictions.patients
    raw, calibrated = (classification_metrics(each, labels, keys) for each in (found.raw, found.calibrated))
    thresholded = classification_metrics(found.thresholded, labels, keys)
    columns = list(enumerate(keys))
    return {
        "raw": raw,
        "calibrated": _calibrated_part(calibrated),
        "thresholded": _thresholded_part(thresholded),
        "average_precision": {
            key: average_precision_interval(labels[:, column], found.raw[:, column], patients, count)
            for column, key in columns
        },
        "roc": {
            key: roc(
                labels[:, column],
                found.raw[:, column],
                patients,
                count,
                band_count=min(count, BAND_RESAMPLES) if key == ANY else 0,
            )
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


def fold_metrics(predictions: Predictions) -> list[dict[str, Any]]:
    """Return the AUC of any haemorrhage within each fold, whose scans one and the same network has read."""
    column, found = predictions.keys.index(ANY), []
    for fold in np.unique(predictions.folds):
        here = predictions.folds == fold
        labels, logits = predictions.labels[here, column], predictions.logits[here, column]
        area = auc_interval(labels, logits, predictions.patients[here], 1)
        found.append({"fold": int(fold), "counts": str(class_counts(labels)), "auc": area.estimate})
    return found


def size_metrics(predictions: Predictions, found: HeldOut) -> list[dict[str, Any]]:
    """Return the sensitivity for any haemorrhage at the balanced point, by the number of slices that show it."""
    column = predictions.keys.index(ANY)
    names = [*(f"{low} to {high - 1}" for low, high in pairwise((1, *SIZES))), f"{SIZES[-1]} and more"]
    scans = pd.DataFrame(
        {
            "slices": [_positive_slices(scan, column) for scan in predictions.scans],
            "true_positive": found.thresholded[:, column] == 1,
        }
    )[predictions.labels[:, column] == 1]
    bands = pd.cut(scans["slices"], [1, *SIZES, np.inf], right=False, labels=names)
    metrics = []
    for name, members in scans["true_positive"].groupby(bands, observed=False):
        true_positive, total = int(members.sum()), len(members)
        sensitivity = proportion_interval(true_positive, total)
        metrics.append({"slices": name, "true_positive": true_positive, "scans": total, "sensitivity": sensitivity})
    return metrics


def _positive_slices(scan: ScanPrediction, column: int) -> float:
    return np.nan if scan.slice_labels is None else float((scan.slice_labels[:, column] == 1).sum())


def slice_metrics(predictions: Predictions, count: int = RESAMPLES) -> dict[str, Any]:
    """Return the classification of single slices, patients resampled with all their slices."""
    if not predictions.has_slice_logits:
        return {"reason": NO_SLICE_LOGITS}
    labels, logits, patients = predictions.slice_level()
    metrics = classification_metrics(expit(logits), labels, predictions.keys)
    column = predictions.keys.index(ANY)
    return {
        "slices": len(labels),
        "auc": {key: slice_auc(predictions, key, count) for key in predictions.keys},
        "metrics": metrics.labels,
        "macro": metrics.macro,
        "roc": roc(labels[:, column], logits[:, column], patients, count),
    }


def subgroups(predictions: Predictions, found: HeldOut, count: int = RESAMPLES) -> dict[str, Any]:
    """Return metrics per property, subgroup and label; sensitivity and specificity are those at the balanced point."""
    labels, keys, patients, groups = (
        predictions.labels,
        predictions.keys,
        predictions.patients.tolist(),
        groups_of(predictions),
    )
    ranked = subgroup_metrics(found.raw, labels, keys, patients, groups, count=count)
    thresholded = subgroup_metrics(found.thresholded, labels, keys, patients, groups, count=1)
    return {
        name: {
            value: {
                key: replace(
                    metrics,
                    sensitivity=thresholded[name][value][key].sensitivity,
                    specificity=thresholded[name][value][key].specificity,
                )
                for key, metrics in by_label.items()
            }
            for value, by_label in sorted(members.items(), key=_place)
        }
        for name, members in ranked.items()
    }


def _calibrated_part(metrics: ClassificationMetrics) -> dict[str, Any]:
    names = ("log_loss", "brier", "expected_calibration_error")
    return {
        "labels": {key: {name: getattr(label, name) for name in names} for key, label in metrics.labels.items()},
        "macro": {name: metrics.macro[name] for name in names},
        "weighted_log_loss": metrics.weighted_log_loss,
    }


def _thresholded_part(metrics: ClassificationMetrics) -> dict[str, Any]:
    names = ("precision", "recall", "specificity", "f1")
    return {
        "labels": {
            key: {name: getattr(label, name) for name in names} | {"remark": label.remark}
            for key, label in metrics.labels.items()
        },
        "macro": {name: metrics.macro[name] for name in names},
    }


def _place(member: tuple[str, object]) -> tuple[bool, bool, str]:
    """Bands from the lowest to the highest, what is unknown last."""
    name = member[0]
    return name == UNKNOWN, not name.startswith("under "), name
