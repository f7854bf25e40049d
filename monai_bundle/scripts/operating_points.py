"""What becomes of a logit: calibrated probability, and the threshold from which it counts as positive, per label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.calibration import Calibration
from scripts.settings import SettingError

DEFAULT_THRESHOLD = 0.5
"""Threshold of a label that too few patients had or lacked for one to be chosen; the file has null for it."""

OPERATING_POINTS_FILE = "configs/operating_points.json"
CALIBRATION_FILE = "configs/calibration.json"


def thresholds(
    bundle_root: str | Path, name: str, labels: Sequence[str], file: str = OPERATING_POINTS_FILE
) -> tuple[float | None, ...]:
    """Return the threshold of each label at one operating point; None where none was chosen.

    Raises
    ------
    SettingError
        If the file cannot be read, or the operating point is unknown or does not name every label.
    """
    points = _read(bundle_root, file)
    if name not in points:
        raise SettingError("settings.operating_point", name=repr(name), known=", ".join(points))
    missing = [label for label in labels if label not in points[name]]
    if missing:
        raise SettingError("settings.thresholds", name=repr(name), labels=", ".join(missing))
    stated = [points[name][label] for label in labels]
    return tuple(None if threshold is None else float(threshold) for threshold in stated)


def calibration(bundle_root: str | Path, labels: Sequence[str], file: str = CALIBRATION_FILE) -> Calibration:
    """Return the calibration of each label.

    Raises
    ------
    SettingError
        If the file cannot be read or does not name every label.
    """
    content = _read(bundle_root, file)
    try:
        places = [list(content["keys"]).index(label) for label in labels]
        lines = {name: [float(content[name][place]) for place in places] for name in ("slope", "offset")}
        return Calibration.from_dict({"keys": labels, "remarks": {}, **lines})
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SettingError("settings.calibration", file=file, labels=", ".join(labels)) from error


def _read(bundle_root: str | Path, file: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((Path(bundle_root) / file).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError("settings.unreadable_file", file=file, fault=type(error).__name__) from error
    return content
