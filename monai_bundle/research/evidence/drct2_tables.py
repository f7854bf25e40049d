"""DrCT2's tables 2 to 6 and figures 6 and 7 from our predictions, in the paper's form, chance beside each.

Wang, Fu, Li, Pei, Medical Physics 2022 (doi 10.1002/mp.15871), section VI.A. ``drct2_published.json`` holds the paper's
own numbers and which of our variants stands beside each of its rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research.evidence.shipped_metrics import held_out
from research.metrics.confidence import RESAMPLES
from research.metrics.interpretive_tasks import attended_scans, interpretive_tasks
from research.metrics.picked_slices import picked_per_label, picked_positions
from research.metrics.predictions import Predictions
from research.metrics.random_baseline import MeanMetric, by_patient
from research.metrics.thresholded_scores import thresholded_scores

PUBLISHED = Path(__file__).with_name("drct2_published.json")
ANY, SHIPPED, DRCT1 = "any", "shipped", "drct1"


def read_published(path: Path = PUBLISHED) -> dict[str, Any]:
    """Return the paper's numbers.

    Returns
    -------
    dict
        ``tables`` (2 to 4: rows of ``model``, ``what``, ``variant`` and, by data set, precision, recall and F1),
        ``key_slices`` (figure 6: choice, then number of key slices, to our variant), ``tasks`` (table 5) and ``picked``
        (table 6), both with the network under our variant's name.
    """
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def drct2_tables(found: Mapping[str, Predictions], count: int = RESAMPLES, shipped: str = SHIPPED) -> dict[str, Any]:
    """Measure what the paper's tables and figures state, of the variants that were run.

    Parameters
    ----------
    found : mapping
        Variant to its held-out predictions; one that was not run is absent, and has no number.
    count : int
        Resamples of each interval.
    shipped : str
        The variant that stands for DrCT2.

    Returns
    -------
    dict
        ``scores`` (variant to macro precision, recall and F1 at the balanced point, thresholds from the other folds),
        ``f1_by_key_slices`` (figure 6: choice to pairs of number and F1), ``tasks`` and ``picked`` (tables 5 and 6:
        variant to its rows), ``tasks_predicted_positive`` (table 5 of DrCT2 without false negatives) and
        ``picked_positions`` (figure 7).
    """
    published = read_published()
    wanted = {row["variant"] for table in published["tables"] for row in table["rows"]}
    wanted |= {name for variants in published["key_slices"].values() for name in variants.values()}
    scores = {name: _scores(found[name], count) for name in sorted(wanted & set(found))}
    networks = [name for name in (DRCT1, shipped) if name in found]
    interval, column = by_patient(count), found[shipped].keys.index(ANY)
    scans = attended_scans(found[shipped], ANY, held_out(found[shipped]).thresholded[:, column] == 1)
    return {
        "scores": scores,
        "f1_by_key_slices": {
            choice: [[int(number), scores[name]["f1"]] for number, name in variants.items() if name in scores]
            for choice, variants in published["key_slices"].items()
        },
        "tasks": {name: interpretive_tasks(attended_scans(found[name], ANY), interval=interval) for name in networks},
        "tasks_predicted_positive": interpretive_tasks(scans, predicted_positive_only=True, interval=interval),
        "picked": {name: picked_per_label(found[name], count) for name in networks},
        "picked_positions": picked_positions(scans),
    }


def _scores(predictions: Predictions, count: int) -> dict[str, MeanMetric]:
    thresholded = held_out(predictions).thresholded
    return thresholded_scores(thresholded, predictions.labels, predictions.patients, count)
