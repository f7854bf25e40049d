"""``make evidence``: measure everything the report states, and write the report, the model card and the metadata.

Every stage is cached under ``cache/evidence`` and computed again only where its inputs changed; an interrupted run
resumes where it stopped. The weights in ``models/`` are trained by ``make train``.

    python -m research.evidence [--only VARIANT ...] [--until STAGE]
    python -m research.evidence --models 'cache/folds/{fold}.pt'     the folds' networks that are there already
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

from research.evidence import held_out, phantoms, synthetic
from research.evidence.external_test import read_external
from research.evidence.fold_explanations import explain_folds
from research.evidence.network_reading import FoldReaders
from research.evidence.plan import read_plan
from research.evidence.predicting import by_features, fine_tune, predict, predict_side_by_side
from research.evidence.report import write_report
from research.metrics.predictions import Predictions
from research.training.cross_validation import decisions
from research.training.protocol import Variant
from scripts.cache import Cache, files_key
from scripts.operating_points import CALIBRATION_FILE, OPERATING_POINTS_FILE
from scripts.weights import MODEL_FILE

FOLDER = Path("cache/evidence")
PREDICTIONS, NETWORKS = FOLDER / "predictions", FOLDER / "networks"
IMAGES = Path("docs/evidence")
DECISIONS = (CALIBRATION_FILE, OPERATING_POINTS_FILE)
STAGES = ("predictions", "held_out", "explanations", "synthetic", "phantoms", "external_test", "report")

logger = logging.getLogger(__name__)


@dataclass
class RunLog:
    """How long each stage took; written after every stage, so that an interrupted run loses nothing."""

    path: Path
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def opened(cls, path: Path) -> RunLog:
        """Continue the log of an earlier run."""
        found = json.loads(path.read_text("utf-8"))["stages"] if path.is_file() else []
        return cls(path, {entry["name"]: entry for entry in found})

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[], None]]:
        """Time one stage; call what it yields where the stage was cached: its first time then stays.

        A stage that is interrupted keeps its time, and the run that finishes it adds its own.
        """
        cached: list[bool] = []
        before = self.stages.get(name, {})
        spent = before["seconds"] if before.get("unfinished") else 0.0
        start = time.perf_counter()
        logger.info("%s ...", name)
        try:
            yield lambda: cached.append(True)
        except BaseException:
            if not before or before.get("unfinished"):
                self._note(name, spent + time.perf_counter() - start, unfinished=True)
            raise
        if not cached or not before or before.get("unfinished"):
            self._note(name, spent + time.perf_counter() - start, cached=bool(cached) and not before)

    def _note(self, name: str, seconds: float, cached: bool = False, unfinished: bool = False) -> None:
        self.stages[name] = {"name": name, "seconds": round(seconds, 1), "cached": cached}
        if unfinished:
            self.stages[name]["unfinished"] = True
        self.path.write_text(json.dumps(self._content(), indent=4) + "\n", encoding="utf-8")

    def _content(self) -> dict[str, Any]:
        machine = f"{os.cpu_count()} processor cores, {platform.machine()}"
        if torch.cuda.is_available():
            machine += f", {torch.cuda.get_device_name()}"
        versions = {"monai": monai.__version__, "torch": torch.__version__.split("+")[0], "numpy": np.__version__}
        return {"stages": list(self.stages.values()), "machine": machine, "versions": versions}


def predict_all(log: RunLog, variants: Sequence[Variant], shipped: Variant) -> None:
    """Predict the held-out scans for all variants; the shipped one's networks are kept for what is read by them."""
    with_own_features, others = by_features(variants)
    for variant in with_own_features:
        if variant.finetuning is not None:
            with log.stage(f"fine-tuning of {variant.name}") as was_cached:
                if fine_tune(variant, {}):
                    was_cached()
        with log.stage(f"features, heads and predictions of {variant.name}") as was_cached:
            if predict(variant, {}, PREDICTIONS, NETWORKS if variant is shipped else None)[1]:
                was_cached()
    if not others:
        return
    with log.stage(f"heads and predictions of {len(others)} more variants, side by side") as was_cached:
        if predict_side_by_side(others, {}, PREDICTIONS):
            was_cached()


def explain_shipped(models: str) -> bool:
    """Explain the held-out scans by the shipped variant's networks; return whether that was cached."""
    predictions = Predictions.from_json(PREDICTIONS / f"{held_out.SHIPPED}.json")
    calibration, points = decisions(predictions)
    decision = (calibration, points["balanced"][predictions.keys[0]])
    readers = FoldReaders(models)
    keys = [readers(fold).key for fold in range(held_out.FOLDS)]
    explain = partial(explain_folds, readers, held_out.held_out_entries(), predictions, decision, IMAGES)
    return cached_json("explanations", [keys, decision], explain)


def run_external_test() -> bool:
    """Read the external studies with the bundle's own weights; return whether that was cached."""
    data = Path(os.environ.get("ICH_DATA", "../../shared/data"))
    inputs = [Path(name) for name in (MODEL_FILE, "configs/inference.json", *DECISIONS)]
    return cached_json("external_test", [files_key(inputs), str(data)], partial(read_external, data))


def cached_json(name: str, key: object, compute: Callable[[], Any]) -> bool:
    """Write ``<name>.json`` from the cache; return whether it was cached."""
    cache = Cache(FOLDER / "cache")
    content = cache.get(name, key, compute)
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return cache.computed == 0


def read_by_folds(log: RunLog, models: str, title: str, until: int) -> None:
    """Run the stages that read with networks which are there: of the folds, and the shipped one."""
    output = ["--output", str(FOLDER)]
    stages: tuple[tuple[str, str, Callable[[], object]], ...] = (
        ("held_out", "held-out scans", lambda: held_out.main(["--models", models, "--title", title, *output])),
        ("explanations", "explanations", lambda: explain_shipped(models)),
        ("synthetic", "synthetic scans", lambda: synthetic.main(["--models", models, *output])),
        ("phantoms", "phantoms", lambda: phantoms.main(output)),
        ("external_test", "external test", run_external_test),
    )
    for stage, name, run in stages:
        if until >= STAGES.index(stage):
            with log.stage(name) as was_cached:
                if run() is True:
                    was_cached()


def main(argv: Sequence[str] | None = None) -> None:
    """Run all stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="predictions of these variants alone")
    parser.add_argument("--models", help="weights of the folds' networks, {fold} for the number; none is trained")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="last stage to run")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = RunLog.opened(FOLDER / "run.json")
    variants = read_plan().variants
    shipped = variants[0]
    if unknown := sorted(set(arguments.only or ()) - {variant.name for variant in variants}):
        parser.error(f"no such variant: {', '.join(unknown)}; there are {', '.join(each.name for each in variants)}")
    wanted = [variant for variant in variants if not arguments.only or variant.name in arguments.only]
    until = STAGES.index("predictions" if arguments.only else arguments.until)
    if arguments.models is None:
        predict_all(log, wanted, shipped)
    read_by_folds(log, arguments.models or str(NETWORKS / "{fold}.pt"), shipped.title, until)
    if until >= STAGES.index("report"):
        write_report(FOLDER)


if __name__ == "__main__":
    main()
