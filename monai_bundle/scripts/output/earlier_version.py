"""Results of schema version 1, which a reader of version 2 still opens."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from scripts.diagnosis import Finding
from scripts.labels import VOCABULARIES
from scripts.output.folder import EARLIER_SCHEMAS, RESULT_SCHEMA
from scripts.output.impression import impression


def brought_up_to_date(document: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a ``result.json`` of any version as version 2.

    Parameters
    ----------
    document : dict
        Content that keeps ``docs/result.schema.json`` or ``docs/result.schema-1.json``.

    Returns
    -------
    dict
        Content that keeps ``docs/result.schema.json``; of version 2 the same object. Version 1 kept neither the
        impression, which is composed from its findings, nor SOP Instance UIDs.
    """
    if document["schema"] not in EARLIER_SCHEMAS:
        return document
    evaluated = document["status"] == "evaluated"
    study = {**document["study"], "quality": [_warning(warning) for warning in document["study"]["quality"]]}
    return {
        **document,
        "schema": RESULT_SCHEMA,
        "impression": asdict(impression(_findings(document["findings"]))) if evaluated else None,
        "study": study,
        "findings": [_finding(finding) for finding in document["findings"]],
        "slices": [_slice(entry) for entry in document["slices"]],
    }


def _findings(entries: list[dict[str, Any]]) -> list[Finding]:
    labels = {label.key: label for vocabulary in VOCABULARIES.values() for label in vocabulary}
    return [Finding(labels[entry["key"]], entry["probability"], entry["threshold"]) for entry in entries]


def _finding(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in entry.items() if key != "threshold_chosen"}
    return {**kept, "default_threshold": not entry.get("threshold_chosen", True)}


def _slice(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "read"} | {"sop_instance_uid": None}


def _warning(entry: dict[str, Any]) -> dict[str, Any]:
    return {"code": entry["name"], "message": entry["message"]}
