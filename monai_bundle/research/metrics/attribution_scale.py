"""The scale of attribution maps, from results of scans that the network did not learn from.

    python -m research.metrics.attribution_scale results/ --output configs/attribution_scale.json
    python -m research.metrics.attribution_scale cache/evidence/attribution_values.json

Run it once per network and explanation method, on a folder of result folders (``result.json`` states the largest value
of every map; maps of any scale will do), or on what ``research.evidence.held_out`` kept of the scans that each fold's
network has not seen.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.explanation.methods import METHODS

FEWEST = 20
"""Maps of positive findings that a scale needs."""
SHARE = 0.9
"""Of positive findings whose maps stay below the brightest colour."""


def strongest_values(results: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Collect the largest value of every map of a positive finding, by method.

    Parameters
    ----------
    results : iterable of dict
        Content of ``result.json`` files.

    Returns
    -------
    dict
        Method to logits; maps whose largest value nobody kept, or that are 0, are left out.
    """
    found: dict[str, list[float]] = {}
    for result in results:
        positive = {finding["key"] for finding in result["findings"] if finding["positive"]}
        for entry in result["maps"]:
            if entry["kind"] in METHODS and entry["label"] in positive and entry.get("largest"):
                found.setdefault(entry["kind"], []).append(float(entry["largest"]))
    return found


def chosen_scales(values: Mapping[str, Sequence[float]], fewest: int = FEWEST) -> dict[str, float]:
    """Return the scale of each method that has enough maps: the ninth decile of their largest values, two digits.

    One in ten positive findings then reaches the brightest colour; a map with a seventh of that evidence stays dark.
    With a lower scale all of a large haemorrhage's surroundings are as bright as the haemorrhage.
    """
    return {
        method: float(f"{np.quantile(largest, SHARE):.2g}")
        for method, largest in sorted(values.items())
        if len(largest) >= fewest
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write the scales of the methods that the results were explained by; those of others stay as they are."""
    parser = argparse.ArgumentParser(prog="python -m research.metrics.attribution_scale", description=__doc__)
    parser.add_argument("results", type=Path, help="folder of result folders, or a file of values")
    parser.add_argument("--output", type=Path, default=Path("configs/attribution_scale.json"))
    options = parser.parse_args(argv)
    if options.results.is_file():
        values: dict[str, list[float]] = json.loads(options.results.read_text("utf-8"))
    else:
        files = sorted(options.results.glob("*/result.json"))
        values = strongest_values(json.loads(file.read_text("utf-8")) for file in files)
    scales: dict[str, float | None] = dict.fromkeys(METHODS)
    if options.output.is_file():
        scales |= json.loads(options.output.read_text("utf-8"))
    scales |= chosen_scales(values)
    options.output.write_text(f"{json.dumps(scales, indent=4)}\n", encoding="utf-8")
    for method, largest in values.items():
        sys.stdout.write(f"{method}: {len(largest)} maps of positive findings, scale {scales[method]}\n")


if __name__ == "__main__":
    main()
