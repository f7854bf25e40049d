"""The few metrics that describe the weights in ``configs/metadata.json`` (MONAI's ``eval_metrics``): the one place.

Training and the evidence report both take them from here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scipy.special import expit
from sklearn.metrics import roc_auc_score

from research.metrics.class_counts import known
from research.metrics.classification import FEW, LabelMetrics, classification_metrics
from research.metrics.interpretive_tasks import attended_scans, interpretive_tasks
from research.metrics.predictions import Predictions

DECIMALS = 3


def eval_metrics(predictions: Predictions) -> dict[str, Any]:
    """Return the metrics of held-out patients, to three decimals.

    Returns
    -------
    dict
        ``protocol``; ``labels``, each with ``positive`` and ``negative`` (counts), ``auc`` and ``average_precision``
        (None where a class is missing) and ``remark`` (why a metric is missing or weak, else None); ``slice_auc``,
        ``key_slices_top_h`` and ``key_slices_top_h_random_baseline`` for the first label, None where slices are not
        labelled or the network has no slice classifier.
    """
    metrics = classification_metrics(expit(predictions.logits), predictions.labels, predictions.keys)
    top_h = interpretive_tasks(attended_scans(predictions, predictions.keys[0]))["comprehensive"]
    return {
        "protocol": predictions.protocol,
        "labels": {key: _stated(label) for key, label in metrics.labels.items()},
        "slice_auc": _rounded(_slice_auc(predictions)),
        "key_slices_top_h": _rounded(top_h.value),
        "key_slices_top_h_random_baseline": _rounded(top_h.random_baseline),
    }


def write_eval_metrics(metrics: Mapping[str, Any], metadata: Path) -> None:
    """Replace ``eval_metrics`` of a bundle's metadata file, and leave its other keys as they are."""
    content = json.loads(metadata.read_text("utf-8")) | {"eval_metrics": metrics}
    metadata.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8", newline="\n")


def _slice_auc(predictions: Predictions) -> float | None:
    if not predictions.has_slice_logits or all(scan.slice_labels is None for scan in predictions.scans):
        return None
    labels, logits, _ = predictions.slice_level()
    truth, predicted = known(labels[:, 0], logits[:, 0])
    return float(roc_auc_score(truth, predicted)) if 0 < truth.sum() < len(truth) else None


def _stated(label: LabelMetrics) -> dict[str, Any]:
    few = min(label.positive, label.negative) < FEW
    return {
        "positive": label.positive,
        "negative": label.negative,
        "auc": _rounded(label.auc),
        "average_precision": _rounded(label.average_precision),
        "remark": f"only {label.positive} positive, {label.negative} negative" if few else None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)
