"""From the files of a run to one dictionary: computing alone, no page and no plot."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research.evidence.drct2_tables import drct2_tables, read_published
from research.evidence.measured_file import FORMAT, jsonable
from research.evidence.plan import Plan, read_plan
from research.evidence.shipped_metrics import shipped_metrics
from research.evidence.tables import measured_table, variant_row
from research.evidence.targets import read_earlier, read_tried, targets_reached
from research.metrics.confidence import RESAMPLES
from research.metrics.predictions import Predictions, ensemble

OPTIONAL = ("explanations", "external_test", "run")
WITH_METRICS = ("lesion_maps", "synthetic", "phantoms")
"""Files of which the pages need ``metrics`` alone."""

PUBLISHED_MAP_QUALITY = {"diff_gradcam": 0.186, "effective_heat_ratio_auc": 0.0243}
"""Quoted: Qiu et al. (arXiv 2308.15172: VGG16, chest X-rays)."""

logger = logging.getLogger(__name__)


def measure(folder: Path, plan: Plan | None = None, count: int = RESAMPLES) -> dict[str, Any]:
    """Measure everything that the report states.

    Parameters
    ----------
    folder : Path
        Holds ``predictions/<variant>.json`` and, where they were made, ``explanations.json``, ``external_test.json``,
        ``run.json``, ``lesion_maps.json``, ``synthetic.json`` and ``phantoms.json``. A variant without a file is not
        measured in its tables; a table of which only one row is measured is left out.
    plan : Plan, optional
        ``plan.json`` by default.
    count : int
        Resamples of each interval.

    Returns
    -------
    dict
        Plain JSON.

    Raises
    ------
    ValueError
        If the shipped variant has no predictions, or a file does not fit.
    """
    plan = plan or read_plan()
    titles = plan.titles
    found = {name: read for name in titles if (read := _predictions(folder, name)) is not None}
    for name, members in plan.ensembles.items():
        if all(member in found for member in members):
            found[name] = ensemble([found[member] for member in members], titles[name])
    if plan.shipped not in found:
        raise ValueError(f"{plan.shipped}: no predictions of the shipped variant")
    rows = {}
    for name, predictions in found.items():
        logger.info("measuring %s", name)
        rows[name] = variant_row(predictions, count)
    measured = {
        "schema": FORMAT,
        "shipped": {"name": plan.shipped, "title": titles[plan.shipped], "row": rows[plan.shipped]}
        | shipped_metrics(found[plan.shipped], count),
        "resamples": count,
        "drct2": drct2_tables(found, count, plan.shipped),
        "published": {"drct2": read_published(), "map_quality": PUBLISHED_MAP_QUALITY},
        "titles": titles,
        "rows": rows,
        "tables": [
            measured_table(table, rows, found, count)
            for table in plan.tables
            if sum(name in rows for name in table.rows) > 1
        ],
        **{name: _optional(folder / f"{name}.json") for name in OPTIONAL},
        **{name: _metrics(folder / f"{name}.json") for name in WITH_METRICS},
    }
    plain = {name: jsonable(part) for name, part in measured.items()}
    return plain | with_targets(plain)


def with_targets(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that set measured ones beside what was aimed at: ``targets`` and ``tried``."""
    return {"targets": targets_reached(measured, read_earlier()), "tried": read_tried()}


def _predictions(folder: Path, name: str) -> Predictions | None:
    path = folder / "predictions" / f"{name}.json"
    return Predictions.from_json(path) if path.is_file() else None


def _optional(path: Path) -> object:
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def _metrics(path: Path) -> object:
    return json.loads(path.read_text("utf-8"))["metrics"] if path.is_file() else None
