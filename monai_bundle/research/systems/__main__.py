"""``make systems`` and ``make evaluate``: train, measure and install the systems of the field on one footing.

    python -m research.systems                                    all systems, one fold each, then install them
    python -m research.systems --system radnet --folds 0 1 2 3 4  one system on all folds
    python -m research.systems --system radnet --only-metrics     measure, install nothing
    python -m research.systems --system radnet --set epochs 2     another setting; its value is read as JSON

What was trained or read before is not made again; an interrupted training goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from research.metrics.predictions import Predictions
from research.systems.ensembles import EnsembleTraining
from research.systems.evaluation import evaluate
from research.systems.installing import install
from research.systems.training import (
    FOLDER,
    MEMBERS,
    SystemTraining,
    published_system,
    published_systems,
    stages_of,
)
from research.training.cross_validation import table
from scripts.messages import ExpectedError
from scripts.systems import System

OF_READING = ("image_size", "high_res_size", "device", "windows", "slab_mm", "crop_margin", "field_mm")
"""Settings of a training that reading must share; with them goes all that is below ``network_def`` and ``backbone``."""

logger = logging.getLogger(__name__)


def of_reading(overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a training that its weights must be read with."""
    shared = {key: value for key, value in overrides.items() if key.split("#")[0] in (*OF_READING, "network_def")}
    return shared | {key: value for key, value in overrides.items() if key.split("#")[0] == "backbone"}


def training_of(system: System, folds: Sequence[int], overrides: dict[str, Any]) -> SystemTraining:
    """Return how a system comes to its weights: trained itself, or put together from trained members."""
    if MEMBERS in stages_of(system):
        return EnsembleTraining(overrides, folds=tuple(folds), of_reading=of_reading(overrides))
    return SystemTraining(overrides)


def run(system: System, folds: Sequence[int], overrides: dict[str, Any], only_metrics: bool) -> dict[str, Any]:
    """Train, measure and, unless only metrics are wanted, install one system; return what was measured."""
    training = training_of(system, folds, overrides)
    weights = {fold: training.trained(system, fold) for fold in folds}
    folder = FOLDER / system.name
    entries = training.datalist(system)
    found = evaluate(system, entries, weights, folder, of_reading(overrides))
    sys.stdout.write(f"{system.title}\n{table(found['metrics'])}\n")
    if of_reading(overrides).keys() - {"device"}:
        logger.info("%s is not installed: other settings of reading belong into %s", system.name, system.configuration)
    elif not only_metrics:
        predictions = Predictions.from_json(folder / "predictions.json")
        installed = install(system, training.trained(system, None), predictions)
        logger.info("%s is installed: %s", system.name, installed)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run one system or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", help="its name; all, if not given")
    parser.add_argument("--folds", type=int, nargs="+", default=[0], help="held out in turn (default: 0)")
    parser.add_argument("--only-metrics", action="store_true", help="install nothing")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="of training")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    overrides = {key: json.loads(value) for key, value in arguments.set}
    chosen = [published_system(arguments.system)] if arguments.system else published_systems()
    failed = []
    for system in chosen:
        if arguments.system is None and MEMBERS in stages_of(system) and len(arguments.folds) < 2:
            logger.warning("%s", ExpectedError("training.ensemble_folds", name=system.name))
            continue
        try:
            run(system, arguments.folds, overrides, arguments.only_metrics)
        except ExpectedError as error:
            # The next one may well have what this one lacks.
            logger.error("%s: %s", system.name, error)
            failed.append(system.name)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
