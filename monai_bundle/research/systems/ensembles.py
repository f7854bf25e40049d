"""Ensembles of trained systems: their members trained and measured, the best of them chosen, their weights joined."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import torch

from research.metrics.predictions import Predictions
from research.systems.ensemble_search import best_ensemble
from research.systems.evaluation import evaluate
from research.systems.training import SystemTraining, published_system
from scripts.messages import ExpectedError
from scripts.networks.slice_ensemble import TWELVE, assembled_state, members_file
from scripts.systems import System
from scripts.weights import note_file, read_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EnsembleTraining(SystemTraining):
    """How an ensemble comes to its weights.

    Attributes
    ----------
    folds : tuple of int
        Held out in turn: two or more, as the members of one fold are chosen on the others.
    of_reading : mapping
        Overrides with which members read.
    """

    folds: tuple[int, ...] = ()
    of_reading: Mapping[str, Any] = field(default_factory=dict)

    def trained(self, system: System, validation_fold: int | None) -> Path:
        """Return the weights of an ensemble of members that have not seen one fold and were not chosen on it.

        Raises
        ------
        ExpectedError
            ``training.ensemble_folds`` where no other fold can choose the members.
        """
        others = [fold for fold in self.folds if fold != validation_fold]
        if len(self.folds) < 2:
            raise ExpectedError("training.ensemble_folds", name=system.name)
        members, score = best_ensemble(self.candidates, others)
        alone = SystemTraining(self.overrides, self.folder)
        files = [alone.trained(published_system(name), validation_fold) for name in members.names]
        key = joblib.hash([members, [file.name for file in files]])
        path = self.folder / system.name / f"members-{validation_fold}-{key[:16]}.pt"
        if path.is_file():
            return path
        logger.info(
            "%s without fold %s: %s of %s (AUC %.3f where chosen)",
            *(system.name, validation_fold, members.rule, ", ".join(members.names), score),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(assembled_state([read_state(".", str(file), None) for file in files]), partial)
        members.write(members_file(path))
        if note_file(files[0]).is_file():
            note_file(path).write_bytes(note_file(files[0]).read_bytes())
        partial.replace(path)
        return path

    @cached_property
    def candidates(self) -> dict[str, Predictions]:
        """Held-out predictions of every system that may become a member, each measured as a system of its own."""
        alone, found = SystemTraining(self.overrides, self.folder), {}
        for name in TWELVE:
            member = published_system(name)
            weights = {fold: alone.trained(member, fold) for fold in self.folds}
            folder = self.folder / name
            evaluate(member, alone.datalist(member), weights, folder, self.of_reading)
            found[name] = Predictions.from_json(folder / "predictions.json")
        return found
