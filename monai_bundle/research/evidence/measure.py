"""From the files of a run to one dictionary: computing alone, no page and no picture."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from research.metrics.confidence import RESAMPLES
from research.metrics.predictions import Predictions, together
from research.evidence.measured_file import FORMAT, jsonable
from research.evidence.plan import Plan, read_plan
from research.evidence.published import QUOTED, TARGETS
from research.evidence.shipped_metrics import shipped_figures
from research.evidence.tables import measured_table, variant_row

OPTIONAL = ("explanations", "outside", "run")

logger = logging.getLogger(__name__)


def measure(folder: Path, plan: Plan | None = None, count: int = RESAMPLES) -> dict[str, Any]:
    """Measure everything that the report states.

    Parameters
    ----------
    folder : Path
        Holds ``predictions/<variant>.json`` and, where they were made, ``explanations.json``, ``outside.json`` and
        ``run.json``. A variant without a file stands in its tables as not measured.
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
    found = {name: read for name in plan.titles if (read := _predictions(folder, name)) is not None}
    for name, members in plan.ensembles.items():
        if all(member in found for member in members):
            found[name] = together([found[member] for member in members], plan.titles[name])
    if plan.shipped not in found:
        raise ValueError(f"{plan.shipped}: no predictions of the shipped variant")
    rows = {}
    for name, predictions in found.items():
        logger.info("measuring %s", name)
        rows[name] = variant_row(predictions, count)
    measured = {
        "schema": FORMAT,
        "shipped": {"name": plan.shipped, "title": plan.titles[plan.shipped], "row": rows[plan.shipped]}
        | shipped_figures(found[plan.shipped], count),
        "resamples": count,
        "targets": TARGETS,
        "published": QUOTED,
        "remarks": plan.remarks,
        "sources": plan.sources,
        "titles": plan.titles,
        "rows": rows,
        "tables": [measured_table(table, rows, found, count) for table in plan.tables],
        **{name: _optional(folder / f"{name}.json") for name in OPTIONAL},
    }
    return {name: jsonable(part) for name, part in measured.items()}


def _predictions(folder: Path, name: str) -> Predictions | None:
    path = folder / "predictions" / f"{name}.json"
    return Predictions.from_json(path) if path.is_file() else None


def _optional(path: Path) -> object:
    return json.loads(path.read_text("utf-8")) if path.is_file() else None
