"""The result folder: result.json, one file per map and the report, whole or not at all."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from scripts.diagnosis import RESEARCH_USE_ONLY, AttributionMap, Diagnosis, Finding, ModelIdentity, Refusal, SliceResult
from scripts.intake.study import CTStudy
from scripts.output.folder import RESULT_FILE, RESULT_SCHEMA, OutputError, whole_folder, write_file
from scripts.output.maps import map_file
from scripts.output.report import render_refusal_report, render_report

REPORT_FILE = "report.html"
SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "result.schema.json"

Document = dict[str, Any]


def result_document(diagnosis: Diagnosis) -> Document:
    """Say in plain values what one run found (docs/result.schema.json, status ``evaluated``).

    Parameters
    ----------
    diagnosis : Diagnosis
        What was found, with its evidence.

    Returns
    -------
    dict
        JSON values only; probabilities and attention 0..1, positions in mm.

    Raises
    ------
    OutputError
        If it breaks the schema: a NaN, a probability above 1, no finding, two maps with one file name.
    """
    described, stored = len(diagnosis.slices), len(diagnosis.study.voxels)
    if described != stored:
        raise OutputError(f"{described} slices described, {stored} stored; report this as a fault")
    return _checked(
        {
            "schema": RESULT_SCHEMA,
            "status": "evaluated",
            "reason": None,
            "study": _study(diagnosis.study, diagnosis.study.provenance.source_name),
            "model": _model(diagnosis.model),
            "operating_point": diagnosis.operating_point,
            "findings": [_finding(finding) for finding in diagnosis.findings],
            "slices": [_slice(evidence) for evidence in diagnosis.slices],
            "maps": [_map(evidence) for evidence in diagnosis.maps],
            "device": diagnosis.device,
            "precision": diagnosis.precision,
            "seconds": {stage: float(seconds) for stage, seconds in diagnosis.seconds.items()},
        }
    )


def refusal_document(refusal: Refusal) -> Document:
    """Say in plain values why a study was not read (docs/result.schema.json, status ``not_evaluable``).

    Raises
    ------
    OutputError
        If it breaks the schema.
    """
    return _checked(
        {
            "schema": RESULT_SCHEMA,
            "status": "not_evaluable",
            "reason": {"code": refusal.code, "message": refusal.reason},
            "study": _study(refusal.study, refusal.source_name),
            "model": _model(refusal.model),
            "operating_point": None,
            "findings": [],
            "slices": [],
            "maps": [],
            "device": None,
            "precision": None,
            "seconds": {},
        }
    )


def write_result_folder(diagnosis: Diagnosis, output_dir: Path) -> Path:
    """Write ``result.json``, the maps and ``report.html``; the folder of an earlier run is replaced.

    Parameters
    ----------
    diagnosis : Diagnosis
        What was found; its study id names the folder.
    output_dir : Path
        Made when missing.

    Returns
    -------
    Path
        The result folder.

    Raises
    ------
    OutputError
        If the result breaks the schema, something else stands in its place or the disk refuses.
    """
    document, report = result_document(diagnosis), render_report(diagnosis)
    with whole_folder(output_dir, diagnosis.study_id) as folder:
        for evidence in diagnosis.maps:
            write_file(folder / evidence.file_name, map_file(evidence, diagnosis.study))
        _write_texts(folder, document, report)
    return output_dir / diagnosis.study_id


def write_refusal_folder(refusal: Refusal, output_dir: Path) -> Path:
    """Write ``result.json`` and ``report.html`` of a study that is not evaluable; see :func:`write_result_folder`."""
    document, report = refusal_document(refusal), render_refusal_report(refusal)
    with whole_folder(output_dir, refusal.study_id) as folder:
        _write_texts(folder, document, report)
    return output_dir / refusal.study_id


def _write_texts(folder: Path, document: Document, report: str) -> None:
    text = json.dumps(document, indent=4, ensure_ascii=False, allow_nan=False)
    # A file name that is no UTF-8 reaches us with lone surrogates: JSON can escape them, HTML cannot.
    write_file(folder / RESULT_FILE, f"{text}\n".encode(errors="backslashreplace"))
    write_file(folder / REPORT_FILE, report.encode(errors="replace"))


def _study(study: CTStudy | None, source_name: str) -> Document:
    provenance = study.provenance if study else None
    return {
        # Whatever a reader passes on, no folder above the study may become known.
        "source_name": re.split(r"[\\/]", source_name.rstrip("\\/"))[-1],
        "source_format": provenance.source_format if provenance else None,
        "study_uid": provenance.study_uid if provenance else None,
        "series_uid": provenance.series_uid if provenance else None,
        "slices": len(study.voxels) if study else None,
        "shape": list(study.in_file_order(study.voxels).shape) if study else None,
        "spacing_mm": list(study.spacing_mm) if study else None,
        "orientation": study.orientation if study else None,
        "tilt_degrees": study.tilt_degrees if study else None,
        "kernel": provenance.kernel if provenance else None,
        "slice_thickness_mm": provenance.slice_thickness_mm if provenance else None,
        "series_choice": list(provenance.series_choice) if provenance else [],
        "quality": [asdict(warning) for warning in study.warnings] if study else [],
    }


def _model(model: ModelIdentity) -> Document:
    return {**asdict(model), "labels": list(model.labels), "notice": RESEARCH_USE_ONLY}


def _finding(finding: Finding) -> Document:
    label = finding.label
    return {
        "key": label.key,
        "name": label.name,
        "code": {"finding": asdict(label.finding), "region": asdict(label.region)},
        "colour": list(label.colour),
        "probability": float(finding.probability),
        "threshold": float(finding.threshold),
        "threshold_chosen": bool(finding.threshold_chosen),
        "positive": bool(finding.positive),
    }


def _slice(evidence: SliceResult) -> Document:
    return {
        "index": int(evidence.index),
        "position_mm": float(evidence.position_mm),
        "attention": float(evidence.attention),
        "key_rank": None if evidence.key_rank is None else int(evidence.key_rank),
        "read": bool(evidence.read),
    }


def _map(evidence: AttributionMap) -> Document:
    return {
        "kind": evidence.kind,
        "label": evidence.label.key if evidence.label else None,
        "file": evidence.file_name,
        "scale": float(evidence.scale),
    }


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def _checked(document: Document) -> Document:
    """Return the document, or refuse it: a reader may trust whatever was written."""
    for place, value in _leaves(document, "result"):
        if isinstance(value, float) and not math.isfinite(value):
            raise OutputError(f"{place} is {value}, no number; nothing was written, report this as a fault")
    for fault in _validator().iter_errors(document):
        raise OutputError(f"{fault.json_path} breaks the result schema: {fault.message.splitlines()[0]:.200}")
    for name, count in Counter(entry["file"] for entry in document["maps"]).items():
        if count > 1:
            raise OutputError(f"{count} maps would share the file {name}; keep one map per label")
    return document


def _leaves(value: object, place: str) -> list[tuple[str, object]]:
    """List every plain value of nested lists and dictionaries with its place."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{place}.{key}")]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in _leaves(inner, f"{place}[{index}]")]
    return [(place, value)]
