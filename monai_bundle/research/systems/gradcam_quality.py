"""Quality of Grad-CAM by architecture: VGG, ResNet and vision transformers on one task (Qiu, thesis 2024, chapter 3).

    python -m research.systems.gradcam_quality                              all nine, one fold each
    python -m research.systems.gradcam_quality --only resnet18 vit_small --set image_size 64 --set epochs 1

Each is a system of its own (``configs/gradcam_<name>.json``), trained and read as ``make systems`` does: what was made
before is not made again, and an interrupted run goes on. Writes ``cache/systems/gradcam_quality.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.metrics import accuracy_score, precision_score, recall_score

from research.evidence.formatting import number, p_value, with_interval
from research.evidence.measured_file import jsonable
from research.metrics.confidence import auc_interval
from research.metrics.map_comparison import MapComparison, compare_maps
from research.metrics.predictions import Predictions
from research.systems.__main__ import run
from research.systems.training import FOLDER, published_system
from scripts.operating_points import DEFAULT_THRESHOLD

PREFIX = "gradcam_"
ARCHITECTURES = (
    *("vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "resnet101"),
    *("vit_small", "vit_base", "vit_large"),
)
DIFFERENCE, HEAT_RATIO = "diff_gradcam", "effective_heat_ratio_auc"
SIGNIFICANT = 0.05
RESULT = FOLDER / "gradcam_quality.json"

logger = logging.getLogger(__name__)


def diagnosis(predictions: Predictions) -> dict[str, Any]:
    """Return accuracy, precision, recall and AUC of any haemorrhage on single slices: Qiu's table 3.1."""
    labels, logits, patients = predictions.slice_level()
    column = predictions.keys.index("any")
    return slice_diagnosis(labels[:, column], logits[:, column], patients)


def slice_diagnosis(labels: ArrayLike, logits: ArrayLike, patients: Sequence[str] | NDArray[np.str_]) -> dict[str, Any]:
    """Return accuracy, precision, recall and AUC of one label on single slices.

    The thesis's cases are images, half of them positive; slices are ours, as few of them positive as there are, so that
    ``always_negative``, the accuracy of a network that finds nothing, stands beside the accuracy.

    Parameters
    ----------
    labels, logits : array_like, shape (slices,)
        0, 1 or NaN (left out); and what the network gives.
    patients : sequence of str, shape (slices,)
        Of each slice.
    """
    stated, given, owner = np.asarray(labels, np.float64), np.asarray(logits, np.float64), np.asarray(patients)
    known = ~np.isnan(stated)
    truth, probability = stated[known], expit(given[known])
    found = probability >= DEFAULT_THRESHOLD
    return {
        "slices": len(truth),
        "accuracy": float(accuracy_score(truth, found)),
        "always_negative": float(1 - truth.mean()),
        "precision": float(precision_score(truth, found, zero_division=0)),
        "recall": float(recall_score(truth, found, zero_division=0)),
        "auc": auc_interval(truth, probability, owner[known]),
    }


def compared(evaluations: Mapping[str, Mapping[str, Any]], predictions: Mapping[str, Predictions]) -> dict[str, Any]:
    """Put the architectures beside one another.

    Parameters
    ----------
    evaluations : mapping
        Architecture to what :func:`~research.systems.evaluation.evaluate` returned.
    predictions : mapping
        Architecture to its held-out predictions.

    Returns
    -------
    dict
        ``trained`` (what each began with), ``diagnosis`` (table 3.1), ``difference`` (table 3.2, with its tests) and
        ``heat_ratio`` (figure 3.2), the last two of scans that all have maps of.
    """
    per_scan = {name: found["map_quality_per_scan"] for name, found in evaluations.items()}
    shared = sorted(set.intersection(*(set(scans) for scans in per_scan.values())))

    def measure(key: str) -> MapComparison:
        return compare_maps({name: [scans[scan][key] for scan in shared] for name, scans in per_scan.items()})

    return {
        "trained": {name: next(iter(found["trained"].values())) for name, found in evaluations.items()},
        "diagnosis": {name: diagnosis(predictions[name]) for name in evaluations},
        "difference": measure(DIFFERENCE),
        "heat_ratio": measure(HEAT_RATIO),
    }


def page(found: Mapping[str, Any]) -> str:
    """Write plain results as tables in Markdown: figures of this run, for research use."""
    lines = [
        "# Quality of Grad-CAM by architecture",
        "",
        "Research use only. Slices of held-out patients; maps against readers' masks, each scan once.",
        "",
        "| network | accuracy | always negative | precision | recall | AUC | Diff_GradCAM mean | SD | least | largest "
        "| EHR AUC | began with |",
        "|" + "---|" * 12,
    ]
    for name, row in found["diagnosis"].items():
        spread, ratio = found["difference"]["spreads"][name], found["heat_ratio"]["spreads"][name]
        cells = [
            *(name, number(row["accuracy"]), number(row["always_negative"])),
            *(number(row["precision"]), number(row["recall"]), with_interval(row["auc"])),
            *(number(spread[key]) for key in ("mean", "standard_deviation", "smallest", "largest")),
            *(number(ratio["mean"], 4), found["trained"][name]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for title, key in (("Diff_GradCAM", "difference"), ("EHR AUC", "heat_ratio")):
        lines += ["", f"{title}: {stated_tests(found[key])}"]
    return "\n".join(lines) + "\n"


def stated_tests(comparison: Mapping[str, Any]) -> str:
    """Write the analysis of variance and the pairs that differ."""
    if comparison["p"] is None:
        return f"no analysis of variance ({comparison['remark']})."
    apart = [
        f"{pair['first']} and {pair['second']} ({pair['difference']:+.3f}, p {p_value(pair)})"
        for pair in comparison["pairs"]
        if pair["p"] < SIGNIFICANT
    ]
    pairs = "; ".join(apart) or "none"
    return (
        f"one-way ANOVA F {number(comparison['f'], 2)}, p {p_value(comparison)}; pairs apart by Tukey's test: {pairs}."
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Train, read and compare the architectures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES), help="some of them")
    parser.add_argument("--folds", type=int, nargs="+", default=[0], help="held out in turn (default: 0)")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="of training")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    overrides = {key: json.loads(value) for key, value in arguments.set}
    evaluations, predictions = {}, {}
    for number_of, name in enumerate(arguments.only, 1):
        logger.info("%s (%d of %d)", name, number_of, len(arguments.only))
        system = published_system(PREFIX + name)
        evaluations[name] = run(system, arguments.folds, overrides, only_metrics=True)
        predictions[name] = Predictions.from_json(FOLDER / system.name / "predictions.json")
    found = {name: jsonable(part) for name, part in compared(evaluations, predictions).items()}
    write(RESULT, json.dumps(found, indent=1) + "\n")
    write(RESULT.with_suffix(".md"), page(found))
    logger.info("%s and %s are written", RESULT, RESULT.with_suffix(".md"))


def write(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


if __name__ == "__main__":
    main()
