"""``make systems`` and ``make evaluate``: train, measure and install the systems of the field on one footing.

    python -m research.systems                                    all systems, one fold each, then install them
    python -m research.systems --system radnet --folds 0 1 2 3 4  one system on all folds
    python -m research.systems --system radnet --only-metrics     measure, install nothing
    python -m research.systems --install-fold 0                   install what was trained without fold 0, train no more
    python -m research.systems --trained cache/systems            measure and install what lies there, train nothing
    python -m research.systems --system shipped --weights 'cache/folds/{fold}.pt'    the shipped network beside them
    python -m research.systems --system radnet --set epochs 2     another setting; its value is read as JSON

What was trained or read before is not made again; an interrupted training goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from research.metrics.predictions import Predictions
from research.systems.ensembles import EnsembleTraining
from research.systems.evaluation import evaluate
from research.systems.installing import install
from research.systems.training import (
    FOLDER,
    MEMBERS,
    KeptTraining,
    SystemTraining,
    fold_weights,
    published_system,
    published_systems,
    shipped_system,
    stages_of,
    stated_epochs,
    training_length,
)
from research.training.cross_validation import table
from scripts.messages import ExpectedError
from scripts.systems import System

OF_READING = ("image_size", "high_res_size", "device", "windows", "slab_mm", "crop_margin", "field_mm")
"""Settings of a training that reading must share; with them goes all that is below ``network_def`` and ``backbone``."""

SHIPPED = "shipped"
"""Name of the bundle's own network among the systems."""

logger = logging.getLogger(__name__)


def of_reading(overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a training that its weights must be read with."""
    shared = {key: value for key, value in overrides.items() if key.split("#")[0] in (*OF_READING, "network_def")}
    return shared | {key: value for key, value in overrides.items() if key.split("#")[0] == "backbone"}


def training_of(
    system: System, folds: Sequence[int], overrides: dict[str, Any], kept: Path | None = None
) -> SystemTraining:
    """Return how a system comes to its weights: trained itself, put together from trained members, or kept.

    Parameters
    ----------
    system, folds, overrides
        See :func:`run`.
    kept : Path, optional
        Folder with trained weights, a folder per system; nothing is trained then.
    """
    if MEMBERS in stages_of(system):
        shared = of_reading(overrides)
        return EnsembleTraining(overrides, kept or FOLDER, tuple(folds), shared, kept=kept is not None)
    return SystemTraining(overrides) if kept is None else KeptTraining(overrides, kept)


def run(
    system: System,
    folds: Sequence[int],
    overrides: dict[str, Any],
    only_metrics: bool,
    install_fold: int | None = None,
    kept: Path | None = None,
) -> dict[str, Any]:
    """Train, measure and, unless only metrics are wanted, install one system; return what was measured.

    Parameters
    ----------
    system : System
        Not the shipped one.
    folds : sequence of int
        Held out in turn.
    overrides : dict
        Keys of training and reading.
    only_metrics : bool
        Whether nothing is installed.
    install_fold : int, optional
        One of the folds: the network that has not seen it is installed, in the place of one that is trained on all.
    kept : Path, optional
        See :func:`training_of`.
    """
    training = training_of(system, folds, overrides, kept)
    weights = {fold: training.trained(system, fold) for fold in folds}
    found = measure(system, training, weights)
    if of_reading(overrides).keys() - {"device"}:
        logger.info("%s is not installed: other settings of reading belong into %s", system.name, system.configuration)
    elif not only_metrics:
        chosen = training.trained(system, None) if install_fold is None else weights[install_fold]
        predictions = Predictions.from_json(FOLDER / system.name / "predictions.json")
        installed = install(
            *(system, chosen, predictions, {found["map_method"]: found["largest"]}, install_fold),
            trained_on=next(iter(found["trained"].values())),
        )
        logger.info("%s is installed: %s", system.name, installed)
    return found


def measure(system: System, training: SystemTraining, weights: Mapping[int, Path]) -> dict[str, Any]:
    """Read held-out scans by the weights of their folds, and print what was measured."""
    overrides = dict(training.overrides)
    length = training_length(system, overrides, stated_epochs(system, next(iter(weights.values()))))
    found = evaluate(
        system, training.datalist(system), weights, FOLDER / system.name, of_reading(overrides), length=length
    )
    sys.stdout.write(f"{system.title}\n{table(found['metrics'])}\n")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run one system or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", help="its name; all, if not given")
    parser.add_argument("--folds", type=int, nargs="+", default=[0], help="held out in turn (default: 0)")
    parser.add_argument("--only-metrics", action="store_true", help="install nothing")
    parser.add_argument("--install-fold", type=int, help="install the network that has not seen this fold")
    parser.add_argument(
        "--weights", help="read by these weights, {fold} in place of the number; train and install none"
    )
    parser.add_argument("--trained", type=Path, metavar="FOLDER", help="read by the newest weights there; train none")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="of training")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    overrides = {key: json.loads(value) for key, value in arguments.set}
    if arguments.install_fold is not None and arguments.install_fold not in arguments.folds:
        parser.error(f"--install-fold {arguments.install_fold} is none of --folds: its network is not measured")
    if (arguments.system == SHIPPED) > (arguments.weights is not None):
        parser.error("the shipped network is trained by make train: --weights names the weights of its folds")
    if arguments.trained is not None and arguments.install_fold is None and not arguments.only_metrics:
        parser.error("--trained installs the network of a fold: name it (--install-fold), or measure (--only-metrics)")
    if arguments.weights is not None:
        if arguments.system is None:
            parser.error("--weights belongs to --system")
        _measure_weights(arguments.system, arguments.weights, arguments.folds, overrides)
        return
    chosen = [published_system(arguments.system)] if arguments.system else published_systems()
    if arguments.trained is not None and arguments.system is None:
        chosen = _kept(chosen, arguments.folds, arguments.trained)
    failed = []
    for system in chosen:
        try:
            run(
                *(system, arguments.folds, overrides, arguments.only_metrics, arguments.install_fold),
                kept=arguments.trained,
            )
        except ExpectedError as error:
            # The next one may well have what this one lacks.
            logger.error("%s: %s", system.name, error)
            failed.append(system.name)
    if failed:
        sys.exit(1)


def _kept(known: Sequence[System], folds: Sequence[int], folder: Path) -> list[System]:
    """Return the systems whose weights of all folds are there, and ensembles, which are put together from those."""
    found = []
    for system in known:
        missing = [fold for fold in folds if fold_weights(system, fold, folder) is None]
        if not missing or MEMBERS in stages_of(system):
            found.append(system)
        else:
            logger.info(
                "%s", ExpectedError("training.not_trained", name=system.name, fold=missing[0], folder=folder.name)
            )
    return found


def _measure_weights(name: str, weights: str, folds: Sequence[int], overrides: dict[str, Any]) -> None:
    system = shipped_system() if name == SHIPPED else published_system(name)
    try:
        measure(system, SystemTraining(overrides), {fold: Path(weights.format(fold=fold)) for fold in folds})
    except ExpectedError as error:
        logger.error("%s: %s", name, error)
        sys.exit(1)


if __name__ == "__main__":
    main()
