"""Metrics of held-out predictions, for a terminal: ``python -m research.metrics my_model/predictions.json``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scipy.special import expit

from research.metrics.classification import classification_metrics
from research.metrics.confidence import auc_interval
from research.metrics.interpretive_tasks import attended_scans, interpretive_tasks
from research.metrics.predictions import Predictions
from research.metrics.random_baseline import MeanMetric, by_patient


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _between(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.2f}-{high:.2f}"


def label_table(predictions: Predictions) -> list[str]:
    """Return one row per label: counts, AUC with its interval by patient, average precision, sensitivity."""
    probabilities, labels = expit(predictions.logits), predictions.labels
    found = classification_metrics(probabilities, labels, predictions.keys)
    rows = [f"{'label':<18}{'pos':>5}{'neg':>5}{'AUC':>7}{'95 % CI':>12}{'AP':>7}{'sens@.90':>10}{'ECE':>7}  remark"]
    for column, (key, row) in enumerate(found.labels.items()):
        area = auc_interval(labels[:, column], probabilities[:, column], predictions.patients)
        sensitivity = row.sensitivity_at_specificity["0.90"]
        rows.append(
            f"{key:<18}{row.positive:>5}{row.negative:>5}{_number(row.auc):>7}{_between(area.low, area.high):>12}"
            f"{_number(row.average_precision):>7}{_number(sensitivity):>10}"
            f"{_number(row.expected_calibration_error):>7}  {row.remark or ''}".rstrip()
        )
    macro = found.macro["auc"]
    return [*rows, f"macro AUC {_number(macro.value)}{f' ({macro.remark})' if macro.remark else ''}"]


def slice_lines(predictions: Predictions) -> list[str]:
    """Return whether slice attention finds the positive slices, beside its random baseline."""
    scans = attended_scans(predictions, predictions.keys[0])
    if not scans:
        return ["no slice labels: whether slice attention finds the positive slices is not known"]
    tasks: dict[str, MeanMetric] = interpretive_tasks(scans, interval=by_patient())
    return [
        f"{name:<14} {_number(metric.value)} (random baseline {_number(metric.random_baseline)}, 95 % CI "
        f"{_between(metric.low, metric.high)}, {metric.scans} scans)"
        for name, metric in tasks.items()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the metrics of one file."""
    parser = argparse.ArgumentParser(prog="python -m research.metrics", description=__doc__)
    parser.add_argument("predictions", type=Path, help="predictions.json of a training")
    predictions = Predictions.from_json(parser.parse_args(argv).predictions)
    lines = [predictions.model, predictions.protocol, "", *label_table(predictions), "", *slice_lines(predictions)]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
