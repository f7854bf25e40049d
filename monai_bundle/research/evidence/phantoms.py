"""Reads the phantoms by one network at its operating point, as a user's study is read, and counts what is found.

    python -m research.evidence.phantoms [--model models/model.pt]
    python -m research.evidence.phantoms --build-only     draw the phantoms, which needs no network

Writes ``phantoms.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from research.evidence.measured_file import jsonable
from research.evidence.network_reading import NetworkReader
from research.evidence.phantom_set import VERSION, DrawnPhantom, PlannedPhantom, drawn, plan_phantoms
from research.metrics.confidence import proportion_interval
from research.metrics.lesion_quality import lesion_quality
from scripts.cache import Cache
from scripts.labels import TOTAL_GROUP
from scripts.operating_points import DEFAULT_THRESHOLD, calibration, thresholds
from scripts.weights import MODEL_FILE

OUTPUT = Path("cache/evidence")
OPERATING_POINT = "balanced"
FOUND_FROM_ML = 10.0
"""Volume from which every subtype is to be found; a phantom asked for so much has a little less or more."""
_TOLERANCE = 0.9


@dataclass(frozen=True)
class ReadPhantom:
    """A phantom and what the network finds in it.

    Attributes
    ----------
    name : str
        Of the phantom.
    subtype : str or None
        Of its haemorrhage.
    asked_ml, volume_ml, predicted_ml : float or None
        Volume asked for, of the mask, and of the lesion map (None without a lesion decoder).
    logits : dict
        Label to logit.
    dice, inside_minus_outside : float or None
        Of the lesion map, per scan; None without blood or lesion decoder.
    """

    name: str
    subtype: str | None
    asked_ml: float
    volume_ml: float
    predicted_ml: float | None
    logits: dict[str, float]
    dice: float | None
    inside_minus_outside: float | None


def read_phantom(plan: PlannedPhantom, phantom: DrawnPhantom, reader: NetworkReader) -> ReadPhantom:
    """Read one phantom."""
    reading = reader.read(phantom.study)
    blood, quality = phantom.blood, None
    if reading.lesions is not None and blood.any():
        quality = lesion_quality(reading.lesions.probability, blood, reading.head).per_scan
    return ReadPhantom(
        plan.name,
        plan.subtype,
        plan.volume_ml,
        phantom.volume_ml,
        reading.volumes_ml.get(TOTAL_GROUP),
        dict(zip(reader.labels, reading.logits.tolist(), strict=True)),
        None if quality is None else quality["dice"].value,
        None if quality is None else quality["inside_minus_outside"].value,
    )


def phantom_metrics(
    phantoms: Sequence[ReadPhantom], probabilities: Sequence[Mapping[str, float]], limits: Mapping[str, float]
) -> dict[str, Any]:
    """Count what is found.

    Parameters
    ----------
    phantoms : sequence of ReadPhantom
        With and without blood.
    probabilities : sequence of dict
        Label to calibrated probability of each.
    limits : dict
        Label to threshold.

    Returns
    -------
    dict
        ``subtypes`` (subtype to ``rows``, one per phantom, and how many are found of all from 10 ml on), ``found`` (of
        all those, by any and by their own label, with Wilson's interval), ``specificity`` (phantoms without blood in
        which no label is positive, likewise), ``negatives`` (how many, which have a positive label, and the largest
        probability of any haemorrhage).
    """
    rows = [_row(phantom, values, limits) for phantom, values in zip(phantoms, probabilities, strict=True)]
    bleeding, negatives = ([row for row in rows if (row["subtype"] is None) == none] for none in (False, True))
    large = [row for row in bleeding if row["volume_ml"] >= _TOLERANCE * FOUND_FROM_ML]
    silent = sum(not row["positive"] for row in negatives)
    return {
        "operating_point": OPERATING_POINT,
        "from_ml": FOUND_FROM_ML,
        "found": {name: proportion_interval(sum(row[name] for row in large), len(large)) for name in ("any", "own")},
        "specificity": proportion_interval(silent, len(negatives)),
        "subtypes": {
            subtype: {
                "from_ml": sum(row["subtype"] == subtype for row in large),
                "any_found": sum(row["any"] for row in large if row["subtype"] == subtype),
                "own_found": sum(row["own"] for row in large if row["subtype"] == subtype),
                "rows": [row for row in bleeding if row["subtype"] == subtype],
            }
            for subtype in dict.fromkeys(row["subtype"] for row in bleeding)
        },
        "negatives": {
            "phantoms": len(negatives),
            "largest_any": max((row["any_probability"] for row in negatives), default=None),
            "positive": {row["name"]: row["positive"] for row in negatives if row["positive"]},
        },
    }


def _row(phantom: ReadPhantom, probabilities: Mapping[str, float], limits: Mapping[str, float]) -> dict[str, Any]:
    positive = [key for key, value in probabilities.items() if value >= limits[key]]
    return {
        "name": phantom.name,
        "subtype": phantom.subtype,
        "volume_ml": phantom.volume_ml,
        "predicted_ml": phantom.predicted_ml,
        "any_probability": probabilities["any"],
        "own_probability": None if phantom.subtype is None else probabilities[phantom.subtype],
        "any": "any" in positive,
        "own": phantom.subtype in positive,
        "positive": positive,
        "dice": phantom.dice,
        "inside_minus_outside": phantom.inside_minus_outside,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Draw, read and measure the phantoms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL_FILE, help="weights of the network")
    parser.add_argument("--build-only", action="store_true", help="draw the phantoms and read none")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the result and the cache")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    reader = None if arguments.build_only else NetworkReader(arguments.model)
    cache, read = Cache(arguments.output / "cache"), []
    for plan in tqdm(plan_phantoms()):
        phantom = drawn(plan, cache)
        if reader is not None:
            read.append(
                cache.get("phantom_readings", [VERSION, plan, reader.key], partial(read_phantom, plan, phantom, reader))
            )
    if reader is not None:
        write(read, reader.labels, arguments.output)


def write(phantoms: Sequence[ReadPhantom], labels: Sequence[str], folder: Path, bundle_root: Path = Path()) -> None:
    """Write the metrics at the bundle's operating point, with the phantoms behind them."""
    fit, stated = calibration(bundle_root, labels), thresholds(bundle_root, OPERATING_POINT, labels)
    limits = {key: DEFAULT_THRESHOLD if limit is None else limit for key, limit in zip(labels, stated, strict=True)}
    logits = [[phantom.logits[key] for key in labels] for phantom in phantoms]
    probabilities = [dict(zip(labels, row, strict=True)) for row in fit.apply(logits).tolist()]
    content = {"metrics": phantom_metrics(phantoms, probabilities, limits), "phantoms": list(phantoms)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "phantoms.json").write_text(json.dumps(jsonable(content), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
