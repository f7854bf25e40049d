"""Writes the tables of ``docs/SYSTEMS.md`` that are counted or measured, between the page's own lines.

    python -m research.systems.page              counts parameters and operations again
    python -m research.systems.page --time 3     and times so many readings of each system, on a quiet machine

What was measured of a system is taken from ``cache/systems/<name>/evaluation.json``, where ``make evaluate`` put it; a
system without that file is "not yet run".
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from research.systems.cost import SLICES, Cost, cost_of
from research.systems.training import FOLDER, published_systems
from scripts.systems import System, systems

PAGE = Path("docs/SYSTEMS.md")
COSTS = Path("docs/systems.json")
NOT_RUN = "not yet run"

logger = logging.getLogger(__name__)


def cost_table(costs: Mapping[str, Cost], known: Sequence[System]) -> str:
    """Lay out what every system costs."""
    lines = [f"| system | input | parameters | GFLOP, {SLICES} slices | seconds |", "|---|---|---|---|---|"]
    for system in known:
        cost = costs[system.name]
        seconds = NOT_RUN if cost.seconds is None else f"{cost.seconds:.1f} on {cost.threads} threads"
        row = (system.name, cost.input, f"{cost.parameters:,}", f"{cost.gflop:,.1f}", seconds)
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def result_table(found: Mapping[str, Mapping[str, Any]], known: Sequence[System]) -> str:
    """Lay out what was measured of every system on held-out patients."""
    columns = ("system", "folds", "scans", "AUC any", "slice AUC any", "key slices, top h", "pointing game", "weights")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for system in known:
        content = found.get(system.name)
        if content is None:
            lines.append(f"| {system.name} | {NOT_RUN} | | | | | | |")
            continue
        metrics = content["metrics"]
        pointing = content["map_quality"]["overall"]["per_slice"]["pointing_game"]["value"]
        values = (metrics["labels"]["any"]["auc"], metrics["slice_auc"], metrics["key_slices_top_h"], pointing)
        numbers = ["-" if value is None else f"{value:.3f}" for value in values]
        folds = ", ".join(str(fold) for fold in content["folds"])
        made_of = next(iter(content["trained"].values()))
        row = (system.name, folds, str(content["scans"]), *numbers, made_of)
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def with_table(page: str, name: str, table: str) -> str:
    """Put a table between the page's lines of that name.

    Raises
    ------
    ValueError
        If the page has no such lines.
    """
    begin, end = f"<!-- {name}: written by research.systems.page -->", f"<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"docs/SYSTEMS.md has no lines of {name}")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def measured() -> dict[str, dict[str, Any]]:
    """Return what was measured, by the system's name."""
    files = {system.name: FOLDER / system.name / "evaluation.json" for system in published_systems()}
    return {name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.is_file()}


def main(argv: Sequence[str] | None = None) -> None:
    """Count, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", type=int, default=0, metavar="READINGS", help="time so many readings of each")
    parser.add_argument("--kept", action="store_true", help="count nothing: the costs are those of docs/systems.json")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    known = systems(".")
    costs: dict[str, Cost] = {}
    if arguments.kept:
        costs = {name: Cost(**content) for name, content in json.loads(COSTS.read_text("utf-8")).items()}
    for system in known if not arguments.kept else []:
        costs[system.name] = cost_of(system, arguments.time)
        logger.info("%s: %s", system.name, costs[system.name])
    COSTS.write_text(json.dumps({name: asdict(cost) for name, cost in costs.items()}, indent=4) + "\n", "utf-8")
    page = PAGE.read_text("utf-8")
    page = with_table(page, "costs", cost_table(costs, known))
    page = with_table(page, "results", result_table(measured(), known))
    PAGE.write_text(page, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
