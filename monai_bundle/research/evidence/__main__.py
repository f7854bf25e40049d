"""``make evidence``: measure everything the report states, and write the report, the model card and the metadata.

Every stage is kept under ``cache/evidence`` and made again only where its inputs changed; an interrupted run goes on
where it stopped. The weights in ``models/`` are not trained here but by ``make train``, from the same predictions.

    python -m research.evidence [--only VARIANT ...] [--until maps|predictions|explanations|outside]
"""

from __future__ import annotations

import argparse
import hashlib
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

from research.metrics.predictions import Predictions
from research.evidence.fold_explanations import explain_folds
from research.evidence.external_test import read_outside
from research.evidence.report import write_report
from research.evidence.variants import (
    CONFIGURATION,
    by_eye,
    fine_tune,
    make_maps,
    predict,
    predict_side_by_side,
    read_variants,
)
from research.training.cross_validation import decisions
from research.training.protocol import Variant
from scripts.operating_points import CALIBRATION_FILE, OPERATING_POINTS_FILE
from scripts.weights import MODEL_FILE

FOLDER = Path("cache/evidence")
PREDICTIONS, NETWORKS = FOLDER / "predictions", FOLDER / "networks"
PICTURES = Path("docs/evidence")
DECISIONS = (CALIBRATION_FILE, OPERATING_POINTS_FILE)
STAGES = ("maps", "predictions", "explanations", "outside", "report")

logger = logging.getLogger(__name__)


@dataclass
class RunLog:
    """How long each stage took; written after every stage, so that an interrupted run keeps what it knows."""

    path: Path
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def opened(cls, path: Path) -> RunLog:
        """Go on with the log of an earlier run."""
        found = json.loads(path.read_text("utf-8"))["stages"] if path.is_file() else []
        return cls(path, {entry["name"]: entry for entry in found})

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[], None]]:
        """Time one stage; what it gives is called where it was only read from the cache: its first time stays then.

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


def kept(path: Path, mark: str, make: Callable[[], Any]) -> bool:
    """Make a JSON file unless it is there with the same mark; return whether it was."""
    mark_path = path.with_suffix(".mark")
    if path.is_file() and mark_path.is_file() and mark_path.read_text("utf-8") == mark:
        return True
    mark_path.unlink(missing_ok=True)
    path.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
    mark_path.write_text(mark, encoding="utf-8")
    return False


def predict_all(log: RunLog, variants: Sequence[Variant], shipped: Variant) -> None:
    """Make the held-out predictions of all variants; the shipped one's networks are kept for the explanations."""
    own_eye, others = by_eye(variants)
    for variant in own_eye:
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


def explain_shipped(shipped: Variant) -> bool:
    """Explain the held-out scans by the shipped variant's networks; return whether that had been done before."""
    predictions = Predictions.from_json(PREDICTIONS / f"{shipped.name}.json")
    calibration, points = decisions(predictions)
    decision = (calibration, points["balanced"][predictions.keys[0]])
    mark = (PREDICTIONS / f"{shipped.name}.mark").read_text("utf-8") + f" {decision}"
    explain = partial(explain_folds, shipped, {}, predictions, decision, NETWORKS, PICTURES)
    return kept(FOLDER / "explanations.json", mark, explain)


def read_elsewhere() -> bool:
    """Read the studies from elsewhere with the bundle's own weights; return whether that had been done before."""
    data = Path(os.environ.get("ICH_DATA", "../../shared/data"))
    read_by = [Path(name).read_bytes() for name in (MODEL_FILE, "configs/inference.json", *DECISIONS)]
    mark = hashlib.sha256(b"".join([*read_by, str(data).encode()])).hexdigest()
    return kept(FOLDER / "outside.json", mark, partial(read_outside, data))


def main(argv: Sequence[str] | None = None) -> None:
    """Run all stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="predictions of these variants alone")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="last stage to run")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = RunLog.opened(FOLDER / "run.json")
    variants = read_variants(json.loads(Path(CONFIGURATION).read_text("utf-8")))
    shipped = variants[0]
    if unknown := sorted(set(arguments.only or ()) - {variant.name for variant in variants}):
        parser.error(f"no such variant: {', '.join(unknown)}; there are {', '.join(each.name for each in variants)}")
    wanted = [variant for variant in variants if not arguments.only or variant.name in arguments.only]
    until = STAGES.index("predictions" if arguments.only else arguments.until)
    with log.stage("maps in front of VGG16's last block") as was_cached:
        if make_maps(shipped, {}):
            was_cached()
    if until >= STAGES.index("predictions"):
        predict_all(log, wanted, shipped)
    for stage, name, run in (
        ("explanations", "explanations", partial(explain_shipped, shipped)),
        ("outside", "studies from elsewhere", read_elsewhere),
    ):
        if until >= STAGES.index(stage):
            with log.stage(name) as was_cached:
                if run():
                    was_cached()
    if until >= STAGES.index("report"):
        write_report(FOLDER)


if __name__ == "__main__":
    main()
