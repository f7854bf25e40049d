"""The ablations: one row per way to train, tested against another on the same patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from research.evidence.plan import PlannedTable
from research.metrics.classification import classification_metrics, rsna_weights, scan_losses
from research.metrics.comparison import Comparison, delong, paired_bootstrap, paired_t_test
from research.metrics.confidence import LEVEL, RESAMPLES, Interval, auc_interval
from research.metrics.interpretive_tasks import attended_scans, interpretive_tasks, top_h_proportions
from research.metrics.predictions import Predictions, ScanPrediction
from research.metrics.random_baseline import by_patient

ANY = "any"
NO_SLICE_LOGITS = "no slice classifier"

Row = dict[str, Any]


def slice_auc(predictions: Predictions, key: str = ANY, count: int = RESAMPLES) -> Interval:
    """Return the AUC over single slices, patients resampled with all their slices."""
    if not predictions.has_slice_logits:
        return Interval(None, None, None, LEVEL, 0, NO_SLICE_LOGITS)
    labels, logits, patients = predictions.slice_level()
    column = predictions.keys.index(key)
    return auc_interval(labels[:, column], logits[:, column], patients, count)


def variant_row(predictions: Predictions, count: int = RESAMPLES) -> Row:
    """Return the few metrics by which ways to train are compared.

    Parameters
    ----------
    predictions : Predictions
        Of held-out patients.
    count : int
        Resamples of each interval.
    """
    column = predictions.keys.index(ANY)
    metrics = classification_metrics(expit(predictions.logits), predictions.labels, predictions.keys)
    tasks = interpretive_tasks(attended_scans(predictions, ANY), interval=by_patient(count))
    return {
        "scans": len(predictions.scans),
        "scan_auc": auc_interval(
            predictions.labels[:, column], predictions.logits[:, column], predictions.patients, count
        ),
        "macro_auc": metrics.macro["auc"],
        "average_precision": metrics.labels[ANY].average_precision,
        "log_loss": metrics.weighted_log_loss,
        "slice_auc": slice_auc(predictions, ANY, count),
        "top_h": tasks["comprehensive"],
    }


def comparison(predictions: Predictions, against: Predictions, count: int = RESAMPLES) -> dict[str, Any]:
    """Test one way to train against another.

    Returns
    -------
    dict
        ``delong`` and ``bootstrap`` (AUC of scans), ``slices`` (AUC of slices, bootstrap by patient; None where one of
        the two has no slice classifier), ``t_test`` (log loss of each patient, RSNA's weights) and ``top_h`` (t-test of
        each patient's proportion of positive slices among the h with most attention); or ``reason`` alone where the two
        have not the same scans.
    """
    others = {scan.name: scan for scan in against.scans}
    if set(others) != {scan.name for scan in predictions.scans} or predictions.keys != against.keys:
        return {"reason": "not measured on the same scans and labels"}
    second = Predictions(
        against.keys, tuple(others[scan.name] for scan in predictions.scans), against.model, against.protocol
    )
    column, patients = predictions.keys.index(ANY), predictions.patients
    labels, pair = predictions.labels[:, column], (predictions.logits[:, column], second.logits[:, column])
    weights = list(rsna_weights(predictions.keys).values())
    losses = [scan_losses(expit(each.logits), each.labels, weights) for each in (predictions, second)]
    return {
        "delong": delong(labels, *pair),
        "bootstrap": paired_bootstrap(labels, *pair, patients, count=count),
        "slices": _slices_compared(predictions, second, count),
        "t_test": paired_t_test(losses[0], losses[1], patients),
        "top_h": _top_h_compared(predictions, second),
    }


def measured_table(
    table: PlannedTable, rows: Mapping[str, Row], found: Mapping[str, Predictions], count: int = RESAMPLES
) -> dict[str, Any]:
    """Return a planned table with what is known of its rows.

    Parameters
    ----------
    table : PlannedTable
        Which.
    rows : mapping
        Variant to its row; a variant that was not run is absent.
    found : mapping
        Variant to its predictions.
    count : int
        Resamples of each test.
    """
    tested = [name for name in table.rows if name in found and name != table.against]
    comparisons = {}
    if table.against is not None and table.against in found:
        comparisons = {name: comparison(found[name], found[table.against], count) for name in tested}
    repeated = _repetitions([rows[name] for name in table.rows if name in rows]) if table.repetitions else None
    return {**asdict(table), "comparisons": comparisons, "repetitions": repeated}


def _top_h_compared(first: Predictions, second: Predictions) -> Comparison | None:
    one, other = (top_h_proportions(attended_scans(each, ANY)) for each in (first, second))
    if not one or set(one) != set(other):
        return None
    patients = {scan.name: scan.patient for scan in first.scans}
    return paired_t_test(list(one.values()), [other[name] for name in one], [patients[name] for name in one])


def _slices_compared(first: Predictions, second: Predictions, count: int) -> Comparison | None:
    if not (first.has_slice_logits and second.has_slice_logits):
        return None
    pairs = [
        (one.slice_labels, one.slice_logits, other.slice_logits, [one.patient] * len(one.slice_attention))
        for one, other in zip(first.scans, second.scans, strict=True)
        if one.slice_labels is not None and _same_slices(one, other)
    ]
    labels, one, other, patients = (np.concatenate(part) for part in zip(*pairs, strict=True))
    column = first.keys.index(ANY)
    return paired_bootstrap(labels[:, column], one[:, column], other[:, column], patients, count=count)


def _same_slices(one: ScanPrediction, other: ScanPrediction) -> bool:
    return (
        one.slice_logits is not None
        and other.slice_logits is not None
        and one.slice_logits.shape == other.slice_logits.shape
    )


def _repetitions(rows: list[Row]) -> dict[str, Any] | None:
    """Mean and standard deviation of repetitions; None for fewer than two."""
    if len(rows) < 2:
        return None
    values = pd.DataFrame(
        [
            {
                "scan_auc": row["scan_auc"].estimate,
                "macro_auc": row["macro_auc"].value,
                "average_precision": row["average_precision"],
                "slice_auc": row["slice_auc"].estimate,
                "top_h": row["top_h"].value,
            }
            for row in rows
        ],
        dtype=np.float64,
    )
    return {
        str(name): {"mean": float(column.mean(skipna=False)), "standard_deviation": float(column.std(skipna=False))}
        for name, column in values.items()
    }
