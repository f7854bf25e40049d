"""``make evidence``: measure everything the report states, and write the report, the model card and the metadata.

Every stage is kept under ``cache/evidence`` and made again only where its inputs changed; an interrupted run goes on
where it stopped. The weights in ``models/`` are not trained here but by ``make train``, from the same predictions.

    python -m scripts.evidence [--only VARIANT ...] [--until predictions|explanations|outside]
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

from scripts.evidence.fold_explanations import explain_folds
from scripts.evidence.outside import read_outside
from scripts.evidence.report import write_report
from scripts.evidence.variants import CONFIGURATION, make_maps, predict, read_variants
from scripts.operating_points import CALIBRATION_FILE
from scripts.training.cross_validation import decisions
from scripts.weights import MODEL_FILE

FOLDER = Path("cache/evidence")
PICTURES = Path("docs/evidence")
STAGES = ("predictions", "explanations", "outside", "report")

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
        """Time one stage; what it gives is called where it was only read from the cache: its first time stays then."""
        cached = []
        start = time.perf_counter()
        logger.info("%s ...", name)
        yield lambda: cached.append(True)
        if not cached or name not in self.stages:
            self.stages[name] = {"name": name, "seconds": round(time.perf_counter() - start, 1), "cached": bool(cached)}
        # Another process may be at other variants.
        self.stages = RunLog.opened(self.path).stages | self.stages
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
    configuration = json.loads(Path(CONFIGURATION).read_text("utf-8"))
    variants = read_variants(configuration)
    shipped, networks = variants[0], FOLDER / "networks"
    with log.stage("maps in front of VGG16's last block"):
        make_maps(shipped, {})
    for number, variant in enumerate(variants, start=1):
        if arguments.only and variant.name not in arguments.only:
            continue
        logger.info("variant %d of %d", number, len(variants))
        with log.stage(f"predictions of {variant.name}") as was_cached:
            predictions, cached = predict(variant, {}, FOLDER / "predictions", networks if variant is shipped else None)
            if cached:
                was_cached()
            if variant is shipped:
                of_shipped = predictions
    if arguments.only or arguments.until == "predictions":
        return
    with log.stage("explanations") as was_cached:
        calibration, points = decisions(of_shipped)
        decision = (calibration, points["balanced"][of_shipped.keys[0]])
        mark = (FOLDER / "predictions" / f"{shipped.name}.mark").read_text("utf-8")
        explain = partial(explain_folds, shipped, {}, of_shipped, decision, networks, PICTURES)
        if kept(FOLDER / "explanations.json", mark, explain):
            was_cached()
    if arguments.until == "explanations":
        return
    with log.stage("studies from elsewhere") as was_cached:
        data = Path(os.environ.get("ICH_DATA", "../../shared/data"))
        read_by = [Path(name).read_bytes() for name in (MODEL_FILE, "configs/inference.json", CALIBRATION_FILE)]
        mark = hashlib.sha256(b"".join([*read_by, str(data).encode()])).hexdigest()
        if kept(FOLDER / "outside.json", mark, partial(read_outside, data)):
            was_cached()
    if arguments.until == "report":
        write_report(FOLDER)


if __name__ == "__main__":
    main()
