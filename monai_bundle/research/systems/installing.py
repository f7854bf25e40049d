"""Puts a trained and measured system into the bundle, where inference and the module find it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research.metrics.attribution_scale import chosen_scales
from research.metrics.predictions import Predictions
from research.training.cross_validation import decisions, stated_points
from scripts.explanation.methods import METHODS
from scripts.networks.slice_ensemble import members_file
from scripts.systems import System
from scripts.weights import note_file

FEWEST_MAPS = 15
"""Maps that a fixed scale needs here: a fold of CT-ICH has nineteen, one for each label that a scan shows."""


def install(
    system: System,
    weights: Path,
    predictions: Predictions,
    largest: Mapping[str, Sequence[float]],
    without_fold: int | None = None,
    trained_on: str | None = None,
) -> Path:
    """Copy a system's weights into the bundle, with what held-out patients tell of thresholds, calibration and maps.

    Parameters
    ----------
    system : System
        Says where its weights belong.
    weights : Path
        Trained on all patients, or on all but a fold.
    predictions : Predictions
        Of held-out patients.
    largest : mapping
        Explanation method to the largest values of held-out maps, in logits. Fewer than :data:`FEWEST_MAPS` leave
        each map on its own scan's scale.
    without_fold : int, optional
        Whose patients the weights have not seen: the note beside them, and so every result, says it.
    trained_on : str, optional
        What the weights were made of, where no note lies beside them. The installed note also names the labels that no
        scan states, which results then leave out.

    Returns
    -------
    Path
        The weights in the bundle; they appear last, so that a system that is there is whole.

    Raises
    ------
    ValueError
        If a probability is no number.
    """
    calibration, points = decisions(predictions)
    target = Path(system.model_file)
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target.with_name("operating_points.json"), stated_points(points, predictions))
    _write(target.with_name("calibration.json"), asdict(calibration))
    _write(
        target.with_name("attribution_scale.json"), {**dict.fromkeys(METHODS), **chosen_scales(largest, FEWEST_MAPS)}
    )
    if members_file(weights).is_file():
        shutil.copyfile(members_file(weights), members_file(target))
    note = _note(weights, predictions, without_fold, trained_on)
    if note:
        _write(note_file(target), note)
    partial = target.with_suffix(".partial")
    shutil.copyfile(weights, partial)
    partial.replace(target)
    return target


def _note(weights: Path, predictions: Predictions, without_fold: int | None, trained_on: str | None) -> dict[str, Any]:
    """Return the note to be installed beside weights; empty where nothing is known of them."""
    note: dict[str, Any] = {} if trained_on is None else {"trained_on": trained_on}
    if note_file(weights).is_file():
        note = json.loads(note_file(weights).read_text("utf-8"))
    if not note:
        return {}
    stated = [note["trained_on"]]
    if without_fold is not None:
        stated.append(f"without fold {without_fold}")
        note["without_fold"] = without_fold
    unstated = [key for key, labels in zip(predictions.keys, predictions.labels.T, strict=True) if not _known(labels)]
    if unstated:
        stated.append(f"no scan states {', '.join(unstated)}, not answered")
        note["labels_without_training"] = unstated
    return note | {"trained_on": "; ".join(stated)}


def _known(labels: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(labels).any())


def _write(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    partial.replace(path)
