"""Puts a trained and measured system into the bundle, where inference and the module find it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from research.metrics.predictions import Predictions
from research.training.cross_validation import decisions, stated_points
from scripts.explanation.methods import METHODS
from scripts.networks.slice_ensemble import members_file
from scripts.systems import System
from scripts.weights import note_file


def install(system: System, weights: Path, predictions: Predictions) -> Path:
    """Copy a system's weights into the bundle, with what held-out patients tell of thresholds and calibration.

    Parameters
    ----------
    system : System
        Says where its weights belong.
    weights : Path
        Trained on all patients.
    predictions : Predictions
        Of held-out patients.

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
    # Each map on its own scale: none was measured.
    _write(target.with_name("attribution_scale.json"), dict.fromkeys(METHODS))
    for beside in (note_file, members_file):
        if beside(weights).is_file():
            shutil.copyfile(beside(weights), beside(target))
    partial = target.with_suffix(".partial")
    shutil.copyfile(weights, partial)
    partial.replace(target)
    return target


def _write(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    partial.replace(path)
