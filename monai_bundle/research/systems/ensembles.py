"""Ensembles of trained systems: their members trained and measured, the best of them chosen, their weights joined."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import torch

from research.metrics.predictions import Predictions
from research.systems.ensemble_search import best_ensemble
from research.systems.evaluation import evaluate
from research.systems.training import FOLDER, KeptTraining, SystemTraining, published_system
from scripts.messages import ExpectedError
from scripts.networks.slice_ensemble import TWELVE, EnsembleMembers, assembled_state, members_file
from scripts.systems import System
from scripts.weights import note_file, read_state

NOT_SEARCHED = "not searched: one fold alone was held out"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EnsembleTraining(SystemTraining):
    """How an ensemble comes to its weights.

    Attributes
    ----------
    folds : tuple of int
        Held out in turn; the members of one fold are chosen on the others. With a single fold, on which nothing may be
        chosen, all members are averaged.
    of_reading : mapping
        Overrides with which members read.
    kept : bool
        Whether members are taken from the folder, those that are there, and none is trained; what is put together
        lies in the cache.
    """

    folds: tuple[int, ...] = ()
    of_reading: Mapping[str, Any] = field(default_factory=dict)
    kept: bool = False

    def trained(self, system: System, validation_fold: int | None) -> Path:
        """Return the weights of an ensemble of members that have not seen one fold and were not chosen on it."""
        members = self._chosen([fold for fold in self.folds if fold != validation_fold])
        files = [self.alone.trained(published_system(name), validation_fold) for name in members.names]
        key = joblib.hash([members, [file.name for file in files]])
        path = (FOLDER if self.kept else self.folder) / system.name / f"members-{validation_fold}-{key[:16]}.pt"
        if path.is_file():
            return path
        logger.info(
            "%s without fold %s: %s of %s", system.name, validation_fold, members.rule, ", ".join(members.names)
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(assembled_state([read_state(".", str(file), None) for file in files]), partial)
        members.write(members_file(path))
        if note := members_note(members.names, files):
            note_file(path).write_text(json.dumps(note, indent=4) + "\n", encoding="utf-8")
        partial.replace(path)
        return path

    @cached_property
    def alone(self) -> SystemTraining:
        """How members come to their weights."""
        return (KeptTraining if self.kept else SystemTraining)(self.overrides, self.folder)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Who may become a member: all, or those whose weights of all folds are there.

        Raises
        ------
        ExpectedError
            ``training.not_trained`` where there is none.
        """
        if not self.kept:
            return TWELVE
        missing = {name: error for name in TWELVE if (error := self._missing(name)) is not None}
        for error in missing.values():
            logger.warning("%s", error)
        if len(missing) == len(TWELVE):
            raise next(iter(missing.values()))
        return tuple(name for name in TWELVE if name not in missing)

    @cached_property
    def candidates(self) -> dict[str, Predictions]:
        """Held-out predictions of every system that may become a member, each measured as a system of its own."""
        found = {}
        for name in self.names:
            member = published_system(name)
            weights = {fold: self.alone.trained(member, fold) for fold in self.folds}
            folder = FOLDER / name if self.kept else self.folder / name
            evaluate(member, self.datalist(member), weights, folder, self.of_reading)
            found[name] = Predictions.from_json(folder / "predictions.json")
        return found

    def _chosen(self, others: Sequence[int]) -> EnsembleMembers:
        if len(self.folds) < 2:
            return EnsembleMembers(self.names, "average", (1.0,) * len(self.names), NOT_SEARCHED)
        members, score = best_ensemble(self.candidates, others)
        logger.info("AUC %.3f where the members were chosen", score)
        return members

    def _missing(self, name: str) -> ExpectedError | None:
        try:
            for fold in self.folds:
                self.alone.trained(published_system(name), fold)
        except ExpectedError as error:
            return error
        return None


def members_note(names: Sequence[str], files: Sequence[Path]) -> dict[str, str]:
    """Return what the members of an ensemble were trained on and began with, each stated once, with who it holds for.

    Parameters
    ----------
    names : sequence of str
        Members.
    files : sequence of Path
        Their weights, in that order; a member without a note is named as unknown.

    Returns
    -------
    dict
        ``trained_on`` and ``start``, as a training's own note has them; empty where no member has a note.
    """
    notes = [json.loads(note_file(file).read_text("utf-8")) if note_file(file).is_file() else {} for file in files]
    return {
        key: _each_once(names, [str(note.get(key, "not known")) for note in notes])
        for key in ("trained_on", "start")
        if any(notes)
    }


def _each_once(names: Sequence[str], texts: Sequence[str]) -> str:
    if len(set(texts)) == 1:
        return texts[0]
    holders = {text: [name for name, own in zip(names, texts, strict=True) if own == text] for text in texts}
    return "; ".join(f"{', '.join(each)}: {text}" for text, each in holders.items())
