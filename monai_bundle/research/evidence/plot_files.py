"""The plots of the report, drawn from the measured file alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research.metrics.attention_by_height import AttentionByHeight
from research.metrics.classification import FEW
from research.metrics.confidence import Interval
from research.metrics.curves import PrecisionRecallCurve, RocCurve
from research.evidence.plots import plot_attention_by_height, plot_precision_recall, plot_reliability, plot_roc
from research.metrics.reliability import Reliability
from research.evidence.formatting import label_name

NAMES = {
    "roc": "roc_scans.svg",
    "precision_recall": "precision_recall_scans.svg",
    "reliability": "reliability.svg",
    "roc_slices": "roc_slices.svg",
    "attention": "attention_by_height.svg",
}
"""What is drawn, and its file."""


def draw(measured: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw all plots; the same figures give the same files.

    Parameters
    ----------
    measured : mapping
        See :func:`~research.evidence.measure.measure`.
    folder : Path
        Made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shipped, files = measured["shipped"], {key: folder / name for key, name in NAMES.items()}
    scans = shipped["scans"]
    plot_roc({label_name(key): _roc(curve) for key, curve in scans["roc"].items()}, files["roc"], "Scans")
    recalls = {label_name(key): PrecisionRecallCurve(**curve) for key, curve in scans["precision_recall"].items()}
    plot_precision_recall(recalls, files["precision_recall"], "Scans")
    plot_reliability(_reliability(shipped), files["reliability"], "Scans")
    plot_attention_by_height(AttentionByHeight(**shipped["attention_by_height"]), files["attention"])
    if "roc" in shipped["slices"]:
        plot_roc({"any haemorrhage": _roc(shipped["slices"]["roc"])}, files["roc_slices"], "Single slices")
    else:
        files.pop("roc_slices").unlink(missing_ok=True)
    return list(files.values())


def _reliability(shipped: Mapping[str, Any]) -> dict[str, Reliability]:
    """Return the diagram of every label that enough scans show, and of those that calibration changed, the second."""
    diagrams = {}
    for key, found in shipped["scans"]["reliability"].items():
        if shipped["scans"]["raw"]["labels"][key]["positive"] < FEW:
            continue
        diagrams[label_name(key)] = Reliability(**found["before"])
        if found["after"] != found["before"]:
            diagrams[f"{label_name(key)}, calibrated"] = Reliability(**found["after"])
    return diagrams


def _roc(curve: Mapping[str, Any]) -> RocCurve:
    return RocCurve(**{**curve, "auc": Interval(**curve["auc"])})
