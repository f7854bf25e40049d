"""What was aimed at, what the last version reached, what this one reaches: data, and where each metric is found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research.evidence.formatting import target_met

FOLDER = Path(__file__).parent
TARGETS, TRIED, EARLIER = (FOLDER / name for name in ("targets.json", "tried.json", "earlier_0_4.json"))


def read_earlier(path: Path = EARLIER) -> dict[str, Any]:
    """Return what the last version's evidence measured: the line to beat, and its ablations.

    Returns
    -------
    dict
        ``version``, ``title``, ``row``, ``attribution`` (Grad-CAM of any haemorrhage), ``external_test``, and
        ``titles``, ``rows`` and ``tables`` of its ablations.
    """
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def read_tried(path: Path = TRIED) -> list[dict[str, Any]]:
    """Return what was tried on the way, in order.

    Returns
    -------
    list of dict
        ``what``, ``outcome``, and ``outer_folds_read``: how often held-out scans were looked at for it.

    Raises
    ------
    ValueError
        If an entry lacks one of these, or has another.
    """
    content: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    for entry in content:
        if set(entry) != {"what", "outcome", "outer_folds_read"}:
            raise ValueError(f"{path.name}: an entry has {', '.join(sorted(entry))}")
    return content


def targets_reached(
    measured: Mapping[str, Any], earlier: Mapping[str, Any], path: Path = TARGETS
) -> list[dict[str, Any]]:
    """Return every target with what is reached.

    Parameters
    ----------
    measured : mapping
        Plain metrics of this version, see :func:`~research.evidence.measure.measure`.
    earlier : mapping
        From :func:`read_earlier`.
    path : Path
        A JSON list; each entry has ``key``, ``title``, ``target`` and, as places in the two mappings or null,
        ``reached`` and ``earlier``.

    Returns
    -------
    list of dict
        ``key``, ``title``, ``target``, ``reached`` and ``earlier`` (metrics, None where not measured), ``met`` (text).

    Raises
    ------
    ValueError
        If a place names a metric that the measured parts do not have.
    """
    rows = []
    for entry in json.loads(path.read_text("utf-8")):
        reached, before = _at(measured, entry["reached"]), _at(earlier, entry["earlier"])
        rows.append(
            {
                **{name: entry[name] for name in ("key", "title", "target")},
                "reached": reached,
                "earlier": before,
                "met": "not measured" if reached is None else target_met(reached, entry["target"]),
            }
        )
    return rows


def _at(content: Mapping[str, Any], place: str | None) -> dict[str, Any] | None:
    """Return the metric at a place; None where its part was not measured at all."""
    if place is None:
        return None
    part, *keys = place.split(".")
    found: Any = content.get(part)
    for key in keys:
        if found is None:
            return None
        if key not in found:
            raise ValueError(f"no metric {place}")
        found = found[key]
    return dict(found)
