"""Measures one path in a process of its own: ``python -m research.bench.measurement`` writes a JSON file."""

from __future__ import annotations

import argparse
import json
import logging
import resource
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from scripts.exit_status import install_handlers
from scripts.output.folder import RESULT_FILE
from scripts.study_evaluator import StudyEvaluator

BUNDLE_ROOT = Path(__file__).resolve().parents[2]

logger = logging.getLogger(__name__)


def evaluator_of(path: str, study: Path, output: Path, explained_labels: int | None) -> StudyEvaluator:
    """Build the bundle's own engine for one study; the reference only has another inferer, and no slices at 512.

    Parameters
    ----------
    path : {"ours", "reference"}
        Which path.
    study, output : Path
        The CT, and where the result folder goes.
    explained_labels : int or None
        How many labels the reference implementation explains; None for all.
    """
    parser = ConfigParser()
    parser.read_config(str(BUNDLE_ROOT / "configs" / "inference.json"))
    parser.update({"bundle_root": str(BUNDLE_ROOT), "dataset_dir": str(study), "output_dir": str(output)})
    if path == "reference":
        parser["inferer"] = {
            "_target_": "research.bench.reference_implementation.ReferenceInferer",
            "explained_labels": explained_labels,
        }
        parser["image_sizes"] = {"image": "@image_size"}
    parser.get_parsed_content("initialize")
    evaluator: StudyEvaluator = parser.get_parsed_content("evaluator")
    evaluator.logger.setLevel(logging.WARNING)
    return evaluator


def measure(evaluator: StudyEvaluator, repeats: int) -> dict[str, Any]:
    """Evaluate the study and say how long each stage took (s, median) and how much memory the process held (GB)."""
    runs = []
    for _ in range(repeats):
        evaluator.progress.finished = 0
        evaluator.run()
        if evaluator.failures:
            sys.exit(1)
        if evaluator.refusals:
            logger.error("the study is not evaluable: %s; choose another one", evaluator.refusals[0].reason)
            sys.exit(1)
        runs.append(evaluator.progress.times())
    result = json.loads((evaluator.output_dir / evaluator.diagnoses[0] / RESULT_FILE).read_text(encoding="utf-8"))
    return {
        "seconds": {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]},
        "labels": len(evaluator.reader.labels),
        "peak_gb": peak_gb(),
        "threads": torch.get_num_threads(),
        "device": result["device"],
        "precision": result["precision"],
    }


def peak_gb() -> float:
    """Return the largest resident set of this process so far; getrusage(2) counts KiB, on macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m research.bench.measurement", description=__doc__.splitlines()[0])
    parser.add_argument("path", choices=("ours", "reference"))
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--explained-labels", type=int)
    parser.add_argument("--output", type=Path, required=True, help="folder for the result folder")
    parser.add_argument("--measured", type=Path, required=True, help="JSON file to write")
    chosen = parser.parse_args(arguments)
    evaluator = evaluator_of(chosen.path, chosen.study, chosen.output, chosen.explained_labels)
    if evaluator.progress.studies != 1:
        logger.error("%d studies found in %s; name one", evaluator.progress.studies, chosen.study.name)
        sys.exit(1)
    chosen.measured.write_text(json.dumps(measure(evaluator, chosen.repeats)), encoding="utf-8")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    install_handlers()
    main()
