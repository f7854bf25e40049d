"""The settings that inference needs of a training of one's own: its files, and how its slices were read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.messages import ExpectedError

INFERENCE_FILE = "inference.json"

SHARED = (
    *("label_vocabulary", "sub_stack_size", "image_size", "high_res_size", "image_sizes", "slab_mm", "crop_margin"),
    *("windows", "backbone", "network_def"),
)
"""Keys that train.json and inference.json both have: weights that learnt with others read wrongly without a word."""


def inference_settings(heads: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a configuration to lay over ``configs/inference.json``.

    Parameters
    ----------
    heads : mapping
        Overrides of ``configs/train.json`` that the weights were trained with; parts of a key stand behind ``#``.
    folder : Path
        Holds ``model.pt``, ``operating_points.json`` and ``calibration.json``; from the bundle's folder, or absolute.

    Raises
    ------
    ExpectedError
        ``training.unknown_to_inference`` if something was changed that inference could not be told.
    """
    lost = {key for key in heads if key.startswith("train#preprocessing") or key == "network_def"}
    if lost:
        settings = ", ".join(SHARED[:-1])
        raise ExpectedError("training.unknown_to_inference", keys=", ".join(sorted(lost)), settings=settings)
    files = {
        "model_file": "model.pt",
        "operating_points_file": "operating_points.json",
        "calibration_file": "calibration.json",
    }
    changed = {key: value for key, value in heads.items() if key.split("#")[0] in SHARED}
    return {key: (folder / name).as_posix() for key, name in files.items()} | changed
