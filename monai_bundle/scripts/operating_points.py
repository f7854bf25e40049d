"""Operating points: which probability counts as positive, per label."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.settings import SettingError


def thresholds(bundle_root: str | Path, name: str, labels: tuple[str, ...]) -> tuple[float, ...]:
    """Return the threshold of each label at one operating point of ``configs/operating_points.json``.

    Raises
    ------
    SettingError
        If the operating point is unknown or does not name every label.
    """
    points = json.loads((Path(bundle_root) / "configs" / "operating_points.json").read_text("utf-8"))
    if name not in points:
        raise SettingError(f"unknown operating point {name!r}; choose one of {', '.join(points)}")
    missing = [label for label in labels if label not in points[name]]
    if missing:
        raise SettingError(f"operating point {name!r} has no threshold for {', '.join(missing)}")
    return tuple(float(points[name][label]) for label in labels)
