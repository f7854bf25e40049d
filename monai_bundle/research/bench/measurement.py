"""Measures one path in a process of its own: ``python -m research.bench.measurement`` writes a JSON file."""

from __future__ import annotations

import argparse
import copy
import json
import logging
import resource
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scripts.exit_status import install_handlers
from scripts.networks.backbone import Backbone
from scripts.networks.study_network import StudyNetwork
from scripts.output.folder import RESULT_FILE
from scripts.study_evaluator import StudyEvaluator

BUNDLE_ROOT = Path(__file__).resolve().parents[2]
FUSED = "scripts.networks.inference_form.fuse_for_inference"
MATRIX = 1536
"""Rows of the square matrices whose product gives the processor's peak: large enough to leave the cache's overhead."""

logger = logging.getLogger(__name__)


def evaluator_of(path: str, study: Path, output: Path, explained_labels: int | None) -> StudyEvaluator:
    """Build the bundle's own engine for one study.

    The reference only has another inferer, no slices at high resolution and a network that is not fused. VGG16 is the
    paper's network at its sizes, with random weights: they take as long as trained ones.

    Parameters
    ----------
    path : {"ours", "vgg16", "reference"}
        Which path.
    study, output : Path
        The CT, and where the result folder goes.
    explained_labels : int or None
        How many labels the reference implementation explains; None for all.
    """
    parser = ConfigParser()
    files = ["inference.json", "vgg16.json"] if path == "vgg16" else ["inference.json"]
    parser.read_config([str(BUNDLE_ROOT / "configs" / file) for file in files])
    parser.update({"bundle_root": str(BUNDLE_ROOT), "dataset_dir": str(study), "output_dir": str(output)})
    if path == "reference":
        parser["inferer"] = {
            "_target_": "research.bench.reference_implementation.ReferenceInferer",
            "explained_labels": explained_labels,
        }
        parser["image_sizes"] = {"image": "@image_size"}
        parser["initialize"] = [
            step for step in parser["initialize"] if not (isinstance(step, dict) and step["_target_"] == FUSED)
        ]
    if path == "vgg16":
        parser["backbone"] = {**parser["backbone"], "pretrained": False, "fetch": False}
    parser.get_parsed_content("initialize")
    evaluator: StudyEvaluator = parser.get_parsed_content("evaluator")
    evaluator.logger.setLevel(logging.WARNING)
    return evaluator


def measure(evaluator: StudyEvaluator, repeats: int) -> dict[str, Any]:
    """Evaluate the study: each stage's time (s, median) and forward GFLOP, the process's memory (GB) and the peak."""
    runs, processor = [], []
    read = count_slices(evaluator)
    for _ in range(repeats):
        evaluator.progress.finished = 0
        since = time.process_time()
        evaluator.run()
        processor.append(time.process_time() - since)
        if evaluator.failures:
            sys.exit(1)
        if evaluator.refusals:
            logger.error("the study is not evaluable: %s; choose another one", evaluator.refusals[0].reason)
            sys.exit(1)
        runs.append(evaluator.progress.times())
    result = json.loads((evaluator.output_dir / evaluator.diagnoses[0] / RESULT_FILE).read_text(encoding="utf-8"))
    held = peak_gb()
    gflop: defaultdict[str, float] = defaultdict(float)
    # A copy: the layers that are counted below count as well.
    for (stage, *shape), count in dict(read).items():
        gflop[stage] += count / repeats * gflop_of(evaluator.study_network, shape)
    return {
        "processor_seconds": statistics.median(processor),
        "gflop": dict(gflop),
        "peak_gflop_per_second": measured_peak(next(evaluator.study_network.parameters()).device, result["precision"]),
        "seconds": {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]},
        "labels": len(evaluator.reader.labels),
        "peak_gb": held,
        "threads": torch.get_num_threads(),
        "device": result["device"],
        "precision": result["precision"],
    }


def count_slices(evaluator: StudyEvaluator) -> Counter[tuple[Any, ...]]:
    """Count from now on the slices that the backbone reads, by stage and shape (stage, channels, height, width)."""
    read = Counter[tuple[Any, ...]]()

    def count(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        read[(evaluator.progress.stage, *inputs[0].shape[1:])] += len(inputs[0])

    backbone: Backbone = evaluator.study_network.backbone
    backbone.features[0].register_forward_pre_hook(count)
    return read


def gflop_of(network: StudyNetwork, shape: Sequence[int]) -> float:
    """Return the operations (10^9, a multiplication and an addition are two) of one slice through the images' part.

    That is the backbone and, where there is one, the lesion decoder; nothing is computed.
    """
    backbone: Backbone = copy.deepcopy(network.backbone).to("meta")
    decoder: nn.Module | None = copy.deepcopy(getattr(network, "lesion_decoder", None))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        levels = backbone.levels(torch.empty(1, *shape, device="meta"))
        if decoder is not None:
            decoder.to("meta")(levels)
    return float(counter.get_total_flops()) / 1e9


def measured_peak(device: torch.device, precision: str) -> float:
    """Return the operations per second (10^9) of a product of large matrices in a number format: the best of ten."""
    matrix = torch.rand(MATRIX, MATRIX, device=device, dtype=getattr(torch, precision))
    best = float("inf")
    for _ in range(10):
        since = time.perf_counter()
        matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - since)
    return 2 * MATRIX**3 / best / 1e9


def peak_gb() -> float:
    """Return the largest resident set of this process so far; getrusage(2) counts KiB, on macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m research.bench.measurement", description=__doc__.splitlines()[0])
    parser.add_argument("path", choices=("ours", "vgg16", "reference"))
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
