"""Numbers measured once per network and kept in files: thresholds, calibrations, the scale of attribution maps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.calibration import Calibration
from scripts.settings import SettingError
from scripts.volume_calibration import VolumeCalibration

DEFAULT_THRESHOLD = 0.5
"""Threshold of a label that too few patients had or lacked for one to be chosen; the file has null for it."""

OPERATING_POINTS_FILE = "configs/operating_points.json"
CALIBRATION_FILE = "configs/calibration.json"
VOLUME_CALIBRATION_FILE = "configs/volume_calibration.json"
ATTRIBUTION_SCALE_FILE = "configs/attribution_scale.json"


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
        return Calibration.from_dict(content).of_labels(labels)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise SettingError("settings.calibration", file=file, labels=", ".join(labels)) from error


def prevalence_shift(calibration: Calibration, prevalence: Mapping[str, float] | None) -> tuple[float, ...]:
    """Return what the user's prevalence adds to each label's calibrated logit; zeros where none is stated.

    Raises
    ------
    SettingError
        If the prevalence names an unknown label, is not between 0 and 1, or the calibration states none of its own.
    """
    try:
        return calibration.shift_for({key: float(value) for key, value in (prevalence or {}).items()})
    except (AttributeError, TypeError, ValueError) as error:
        raise SettingError(
            "settings.prevalence", labels=", ".join(calibration.keys), stated=repr(prevalence)
        ) from error


def volume_calibration(bundle_root: str | Path, file: str = VOLUME_CALIBRATION_FILE) -> VolumeCalibration:
    """Return the limits of measured lesion volumes.

    Raises
    ------
    SettingError
        If the file cannot be read or states no limits.
    """
    content = _read(bundle_root, file)
    try:
        return VolumeCalibration.from_dict(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SettingError("settings.volume_calibration", file=file) from error


def attribution_scale(bundle_root: str | Path, method: str, file: str = ATTRIBUTION_SCALE_FILE) -> float | None:
    """Return the value, in logits, that the brightest colour of an attribution map stands for in every scan.

    It belongs to one network and one method. None where none was measured: each map then has its own scale.

    Raises
    ------
    SettingError
        If the file cannot be read, or states something else than null or a number above 0.
    """
    stated = _read(bundle_root, file).get(method)
    if stated is None:
        return None
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 < stated < float("inf"):
        raise SettingError("settings.attribution_scale", file=file, method=method)
    return float(stated)


def _read(bundle_root: str | Path, file: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((Path(bundle_root) / file).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError("settings.unreadable_file", file=file, fault=type(error).__name__) from error
    return content
