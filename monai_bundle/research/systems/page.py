"""Writes what ``docs/SYSTEMS.md`` counts and measures, between the page's own lines, and its figure.

    python -m research.systems.page              counts parameters and operations again
    python -m research.systems.page --time 3     and times so many readings of each system [--only NAME ...]
    python -m research.systems.page --kept       counts nothing, takes in what was measured since

What ``make evaluate`` left in the cache replaces what ``docs/systems_measured.json`` holds of a system; what is in
neither is "not yet run". The cache is in no clone, the file is: a page that is written anew loses nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from research.evidence.formatting import with_interval
from research.systems.cost import SLICES, Cost, cost_of
from research.systems.figure import draw
from research.systems.measured import MeasuredSystem, read_measured_systems, renewed, write_measured_systems
from research.systems.saliency_quality import RESULT, tables
from research.systems.training import FOLDER
from scripts.systems import System, systems

PAGE = Path("docs/SYSTEMS.md")
COSTS = Path("docs/systems.json")
FIGURE = Path("docs/systems.svg")
SALIENCY = Path("docs/systems_saliency.json")
NOT_RUN = "not yet run"
MARK = "†"
MOST_NAMED = 5
COLUMNS = (
    *("system", "folds", "scans", "slice AUC any", "blood erased", "AUC any", "key slices, top h", "pointing game"),
    *("input", "trained", "began with"),
)

logger = logging.getLogger(__name__)


def cost_table(costs: Mapping[str, Cost], known: Sequence[System]) -> str:
    """Lay out what every system costs."""
    lines = [f"| system | input | parameters | GFLOP, {SLICES} slices | processor seconds |", "|---|---|---|---|---|"]
    for system in known:
        cost = costs[system.name]
        seconds = NOT_RUN if cost.seconds is None else f"{cost.seconds:.1f}"
        row = (system.name, cost.input, f"{cost.parameters:,}", f"{cost.gflop:,.1f}", seconds)
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def result_table(found: Mapping[str, MeasuredSystem], costs: Mapping[str, Cost], known: Sequence[System]) -> str:
    """Lay out what was measured of every system on held-out patients, and mark those that did not learn."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for system in known:
        each = found.get(system.name)
        if each is None:
            lines.append(f"| {system.name} | {NOT_RUN} |" + " |" * (len(COLUMNS) - 2))
            continue
        metrics = (each.slice_auc, each.erased_blood, each.scan_auc, each.key_slices, each.maps["pointing_game"])
        row = [
            system.name + ("" if each.learnt() else f" {MARK}"),
            ", ".join(str(fold) for fold in each.folds),
            f"{each.scans}, {each.positive} positive",
            *(with_interval(asdict(metric), 2) for metric in metrics),
            *(costs[system.name].input, each.length, each.start),
        ]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join([*lines, "", statement(found)])


def statement(found: Mapping[str, MeasuredSystem]) -> str:
    """Return the sentences below the table: what the mark means, and what chance is."""
    failed = [name for name, each in found.items() if not each.learnt()]
    text = f"{len(found)} measured. In brackets: 95 % intervals, patients resampled."
    heights = _mean([each.slice_auc.random_baseline for each in found.values()])
    pointing = _mean([each.maps["pointing_game"].random_baseline for each in found.values()])
    if heights is not None:
        text += f" A slice's height alone gives a slice AUC of {heights:.2f}."
    if pointing is not None:
        text += f" By chance a map's strongest voxel lies in the haemorrhage in {pointing:.3f} of slices."
    if not failed:
        return text
    named = f": {', '.join(failed)}" if len(failed) <= MOST_NAMED else ""
    return (
        f"{text} {MARK}: the interval of the slice AUC reaches that of the height alone (of the AUC, without an answer "
        f"for slices, .5), so that this network is not shown to have learnt anything of haemorrhage ({len(failed)} of "
        f"{len(found)}){named}."
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


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


def main(argv: Sequence[str] | None = None) -> None:
    """Count, take in what was measured, and write the page and its figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", type=int, default=0, metavar="READINGS", help="time so many readings of each")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="count these alone")
    parser.add_argument("--kept", action="store_true", help="count nothing: the costs are those of docs/systems.json")
    parser.add_argument("--measured", type=Path, default=FOLDER, help="where make evaluate wrote, a folder per system")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    known = systems(".")
    counted = [] if arguments.kept else [each for each in known if each.name in (arguments.only or [each.name])]
    costs = count(known, counted, arguments.time)
    write_measured_systems(renewed(read_measured_systems(), known, arguments.measured))
    # The page states the numbers of the file, rounded as they are there: whoever writes it again writes the same.
    measured = read_measured_systems()
    page = with_table(PAGE.read_text("utf-8"), "costs", cost_table(costs, known))
    page = with_table(page, "saliency", saliency_tables(arguments.measured / RESULT.name))
    _write(PAGE, with_table(page, "results", result_table(measured, costs, known)))
    draw(measured, costs, known, FIGURE)


def saliency_tables(measured: Path) -> str:
    """Return the tables of the saliency network's ablations, of what was measured since or of the kept file."""
    if measured.is_file():
        _write(SALIENCY, measured.read_text("utf-8"))
    return tables(json.loads(SALIENCY.read_text("utf-8"))).strip()


def count(known: Sequence[System], counted: Sequence[System], readings: int) -> dict[str, Cost]:
    """Count some systems again and return the costs of all; each is written at once, so that no time is lost.

    Parameters
    ----------
    known, counted : sequence of System
        All of them, and those that are counted; what was timed before stays where nothing is timed now.
    readings : int
        Timed, of each system that is counted.
    """
    costs = {name: Cost(**content) for name, content in json.loads(COSTS.read_text("utf-8")).items()}
    for system in counted:
        before, found = costs.get(system.name), cost_of(system, readings)
        if not readings and before is not None:
            found = replace(found, seconds=before.seconds, threads=before.threads)
        costs[system.name] = found
        logger.info("%s: %s", system.name, found)
        kept = {each.name: asdict(costs[each.name]) for each in known if each.name in costs}
        _write(COSTS, json.dumps(kept, indent=4) + "\n")
    return costs


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


if __name__ == "__main__":
    main()
