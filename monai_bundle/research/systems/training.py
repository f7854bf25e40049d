"""One system's training, stage after stage, each kept under everything that decides it; a cut-off one goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import joblib

from research.training.protocol import (
    HEADS,
    PREPARED,
    SLICES,
    STUDIES,
    data_key,
    prepared,
    settings_of,
)
from scripts.cache import files_key
from scripts.datasets.gaze_maps import gaze_files
from scripts.messages import ExpectedError
from scripts.networks.saliency_multitask import Stage
from scripts.systems import SHIPPED_CONFIGURATION, System, systems
from scripts.weights import note_file

SYSTEMS = "configs/train_systems.json"
SEQUENCES = "configs/train_sequences.json"
SALIENCY = "configs/train_saliency.json"
GAZE = "configs/train_gaze.json"
MEMBERS = "members"
STAGES: dict[str, tuple[str, ...]] = {
    "heads": (HEADS,),
    "slices": (HEADS, PREPARED, SYSTEMS),
    "sequences": (HEADS, PREPARED, SYSTEMS, SEQUENCES),
    **dict.fromkeys(get_args(Stage), (HEADS, PREPARED, SYSTEMS, SALIENCY)),
    MEMBERS: (),
}
"""Configurations of each stage that a system's ``system#stages`` may name, laid over one another, its own last.

An ensemble has no configuration of training: :mod:`research.systems.ensembles` puts its trained members together.
"""
ON_SLICES, ON_SCANS = {SYSTEMS, SLICES}, {SEQUENCES, STUDIES}
"""Configurations whose trainings count batches of slices, and those laid over them that go through whole scans."""
FOLDER = Path("cache/systems")
SHIPPED_STAGES = ("slices", "heads")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SystemTraining:
    """How systems are trained here.

    Attributes
    ----------
    overrides : mapping
        Keys of every configuration, such as data folders, the cache and the size of the images.
    folder : Path
        Gets a folder per system, with the weights of every stage and fold.
    """

    overrides: Mapping[str, Any]
    folder: Path = FOLDER

    def trained(self, system: System, validation_fold: int | None) -> Path:
        """Return the weights of a system that has not seen one fold, trained where they are not there yet.

        Parameters
        ----------
        system : System
            Not the shipped one.
        validation_fold : int or None
            Its patients are not seen; None trains on all.
        """
        return self.trained_in(system, validation_fold, stages_of(system))

    def trained_in(self, system: System, validation_fold: int | None, stages: Sequence[str]) -> Path:
        """Return the weights of a system after some stages, which need not be its own; see :meth:`trained`."""
        start: Path | None = None
        for stage in stages:
            start = self._stage(system, stage, validation_fold, start)
        if start is None:
            raise ExpectedError("training.no_stages", name=system.name)
        return start

    def datalist(self, system: System) -> list[dict[str, Any]]:
        """Return the scans that folds are made of, with the labels that the system knows, fold by fold."""
        # The shipped network's own file is one of reading, which would lay another datalist over that of training.
        own = [] if is_shipped(system) else [system.configuration]
        workflow = prepared([HEADS, *own], self.overrides_of(HEADS), initialize=False)
        entries: list[dict[str, Any]] = workflow.parser.get_parsed_content("datalist")
        return sorted(entries, key=lambda entry: (entry["fold"], entry["name"]))

    def overrides_of(self, configuration: str) -> dict[str, Any]:
        """Return the overrides whose keys a configuration has."""
        known = json.loads(Path(configuration).read_text("utf-8"))
        return {key: value for key, value in self.overrides.items() if key.split("#")[0] in known}

    def _stage(self, system: System, stage: str, validation_fold: int | None, start: Path | None) -> Path:
        files = files_of(system, stage, self.overrides)
        overrides = {**self.overrides, "validation_fold": validation_fold}
        if SALIENCY in files:
            # Four stages by one configuration.
            overrides["saliency_stage"] = stage
        elsewhere = {key: value for key, value in overrides.items() if not key.startswith("cache")}
        decisive: list[Any] = [settings_of(*files), elsewhere, data_key(files, overrides), start and start.name]
        if GAZE in files:
            decisive.append(files_key(gaze_files(overrides["gaze_dir"], data_names(files, overrides)).values()))
        key = joblib.hash(decisive)
        path = self.folder / system.name / f"{stage}-{validation_fold}-{key[:16]}.pt"
        if path.is_file():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        logger.info("%s: training %s without fold %s", system.name, stage, validation_fold)
        run = {"output_dir": str(path.parent), "model_path": str(partial), "resume": True}
        if start is not None:
            run["start_from"] = str(start.absolute())
        workflow = prepared(files, {**overrides, **run})
        workflow.run()
        workflow.finalize()
        if note_file(partial).is_file():
            note_file(partial).replace(note_file(path))
        partial.replace(path)
        return path


@dataclass(frozen=True)
class KeptTraining(SystemTraining):
    """Weights that lie in a folder, whatever configuration trained them: the newest are taken, nothing is trained."""

    def trained(self, system: System, validation_fold: int | None) -> Path:
        """Return the weights of a system that has not seen one fold.

        Raises
        ------
        ExpectedError
            ``training.not_trained`` where the folder has none.
        """
        found = fold_weights(system, validation_fold, self.folder)
        if found is None:
            raise ExpectedError("training.not_trained", name=system.name, fold=validation_fold, folder=self.folder.name)
        return found


def training_length(system: System, overrides: Mapping[str, Any], stated: Mapping[str, int] | None = None) -> str:
    """Return how long a system is trained: steps on batches of slices, epochs over whole scans, added up over stages.

    Parameters
    ----------
    system : System
        An ensemble is trained no further than its members; the shipped one is stated as ``make train`` trains it.
    overrides : mapping
        Keys of training that were set otherwise.
    stated : mapping, optional
        Stage to epochs, as the notes beside its weights state them: weights may have been trained with other keys than
        these. A stage without a note is named as unknown.
    """
    stages = [] if is_shipped(system) else stages_of(system)
    if MEMBERS in stages:
        return "as its members"
    files = [(*STAGES[stage], system.configuration) for stage in stages]
    if is_shipped(system):
        files = [(HEADS, PREPARED, SLICES), (HEADS, PREPARED, STUDIES)]
    steps = epochs = 0
    unknown = [] if stated is None else [stage for stage in stages if stage not in stated]
    for stage, names in zip(stages or SHIPPED_STAGES, files, strict=True):
        if stage in unknown:
            continue
        each = {**merged_configurations(names), **overrides}
        count = int(each["epochs"] if stated is None or not stages else stated[stage])
        if ON_SLICES & set(names) and not ON_SCANS & set(names):
            steps += count * int(each["steps_per_epoch"])
        else:
            epochs += count
    parts = [f"{steps:,} steps"] if steps else []
    parts += [f"{epochs} epochs of scans"] if epochs else []
    return ", ".join([*parts, *(f"{stage}: not known" for stage in unknown)])


def stated_epochs(system: System, weights: Path) -> dict[str, int] | None:
    """Return the epochs of each stage as the newest notes beside some weights state them; None without any note.

    Parameters
    ----------
    system : System
        Its stages name the files.
    weights : Path
        Of its last stage, ``<stage>-<fold>-<key>.pt``.
    """
    if is_shipped(system):
        return None
    found: dict[str, int] = {}
    for stage in stages_of(system):
        name = weights.name.replace(stages_of(system)[-1], stage, 1).rpartition("-")[0]
        notes = list(weights.parent.glob(f"{name}-*.json"))
        if notes:
            newest = max(notes, key=lambda note: note.stat().st_mtime)
            epochs = json.loads(newest.read_text("utf-8")).get("epochs")
            found |= {stage: int(epochs)} if epochs is not None else {}
    return found or None


def merged_configurations(names: Sequence[str]) -> dict[str, Any]:
    """Return the top keys of configurations, later ones laid over earlier ones."""
    merged: dict[str, Any] = {}
    for name in names:
        merged |= json.loads(Path(name).read_text("utf-8"))
    return merged


def fold_weights(system: System, fold: int | None, folder: Path = FOLDER) -> Path | None:
    """Return the newest weights of a system's last stage that have not seen one fold; None where there are none."""
    found = (folder / system.name).glob(f"{stages_of(system)[-1]}-{fold}-*.pt")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def files_of(system: System, stage: str, overrides: Mapping[str, Any]) -> list[str]:
    """Return the configurations of one stage, later ones laid over earlier ones; gaze maps need one of their own."""
    files = [*STAGES[stage]]
    if SALIENCY in files and overrides.get("gaze_dir") is not None:
        files.append(GAZE)
    return [*files, system.configuration]


def data_names(files: list[str], overrides: Mapping[str, Any]) -> list[str]:
    """Return the names of the scans that a training is made of."""
    parser = prepared(files, overrides, initialize=False).parser
    return [entry["name"] for entry in parser.get_parsed_content("datalist")]


def stages_of(system: System) -> list[str]:
    """Return the names of a system's stages, in their order.

    Raises
    ------
    ExpectedError
        ``training.no_stages`` if its configuration names none, or one that does not exist.
    """
    stated = json.loads(Path(system.configuration).read_text("utf-8"))["system"].get("stages", [])
    if not stated or set(stated) - set(STAGES):
        raise ExpectedError("training.no_stages", name=system.name)
    return list(stated)


def published_system(name: str) -> System:
    """Return one of the bundle's systems by name, the shipped one excepted.

    Raises
    ------
    ExpectedError
        ``training.unknown_system``; it names those that there are.
    """
    found = {system.name: system for system in published_systems()}
    if name not in found:
        raise ExpectedError("training.unknown_system", name=name, known=", ".join(found))
    return found[name]


def published_systems() -> list[System]:
    """Return the bundle's systems, the shipped one excepted, by name."""
    return [system for system in systems(".") if not is_shipped(system)]


def shipped_system() -> System:
    """Return the bundle's own network: it is measured beside the others, but trained by ``make train``."""
    return next(system for system in systems(".") if is_shipped(system))


def is_shipped(system: System) -> bool:
    """Whether a system is the bundle's own network."""
    return system.configuration.endswith(SHIPPED_CONFIGURATION)
