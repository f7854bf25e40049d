"""Results of schema version 1, which a reader of version 2 still opens. Standard library only.

Version 1 held no impression: a plain count of its positive findings takes that place, and nothing is composed anew.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from ..messages import message
from .content import Certainty, Impression

SCHEMA = "ich-diagnosis-result/1"

_log = logging.getLogger(__name__)


def brought_up_to_date(root: dict[str, Any]) -> dict[str, Any]:
    """Return a ``result.json`` of version 1 with the fields of version 2.

    What is not of the expected type stays as it is, for the reader to refuse by name.
    """
    warn_once()
    findings, study = _objects(root.get("findings")), root.get("study")
    renewed = {
        **root,
        "findings": _each(_finding, root.get("findings")),
        "slices": _each(lambda entry: {**entry, "sop_instance_uid": None}, root.get("slices")),
    }
    if isinstance(study, dict):
        renewed["study"] = {**study, "quality": _each(_warning, study.get("quality"))}
    impression = earlier_impression(sum(finding.get("positive") is True for finding in findings))
    renewed["impression"] = {
        "code": impression.code,
        "text": impression.text,
        "certainty": impression.certainty.value,
        "caution": impression.caution,
    }
    return renewed


def earlier_impression(positive: int) -> Impression:
    """Return what takes the place of an impression where none was written: how many findings were positive."""
    if positive == 0:
        text = message("earlier.no_finding")
    elif positive == 1:
        text = message("earlier.one_finding")
    else:
        text = message("earlier.findings", count=positive)
    certainty = Certainty.POSITIVE if positive else Certainty.NEGATIVE
    return Impression("earlier_version", text, certainty, message("earlier.caution"))


@functools.cache
def warn_once() -> None:
    """Log that such results are on their way out: once, for a scene parses its results again and again."""
    _log.warning("a result of schema %s was opened: the next version will not read it", SCHEMA)


def _objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _each(renew: Callable[[dict[str, Any]], dict[str, Any]], value: object) -> object:
    """Renew every object of a list; what is no list of objects stays as it is."""
    if not isinstance(value, list):
        return value
    return [renew(entry) if isinstance(entry, dict) else entry for entry in value]


def _warning(warning: dict[str, Any]) -> dict[str, Any]:
    """Turn the ``name`` of a quality warning into its ``code``."""
    return {"code" if key == "name" else key: value for key, value in warning.items()}


def _finding(finding: dict[str, Any]) -> dict[str, Any]:
    """Turn ``threshold_chosen`` (true where it is missing) into ``default_threshold``, its contrary."""
    chosen = finding.get("threshold_chosen", True)
    kept = {key: value for key, value in finding.items() if key != "threshold_chosen"}
    return {**kept, "default_threshold": not chosen if isinstance(chosen, bool) else chosen}
