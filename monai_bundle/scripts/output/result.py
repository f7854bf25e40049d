"""The result folder: result.json, one file per map and the report, whole or not at all."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from scripts.diagnosis import (
    AttributionMap,
    Diagnosis,
    Finding,
    Lesions,
    LesionVolume,
    ModelIdentity,
    Refusal,
    SliceResult,
)
from scripts.intake.study import CTStudy
from scripts.labels import Label
from scripts.messages import ENGLISH, Translation
from scripts.output.folder import RESULT_FILE, RESULT_SCHEMA, OutputError, whole_folder, write_file
from scripts.output.impression import impression, label_name
from scripts.output.map_files import LESION_FILE, LESION_SUBTYPES_FILE, lesion_files, map_file
from scripts.output.report import render_refusal_report, render_report
from scripts.output.thumbnail import THUMBNAIL_FILE, thumbnail
from scripts.output.what_was_read import considered_of, considered_series

REPORT_FILE = "report.html"
SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "result.schema.json"

Document = dict[str, Any]

_COMPRESSING = 2
"""Maps that are compressed at once; each holds a copy of the volume."""


def result_document(diagnosis: Diagnosis, language: str = ENGLISH) -> Document:
    """State in plain values what one run found (docs/result.schema.json, status ``evaluated``).

    Parameters
    ----------
    diagnosis : Diagnosis
        What was found.
    language : str
        Language of the texts; names of codes, labels and stages are the same in every language.

    Returns
    -------
    dict
        JSON values only; probabilities and attention 0..1, positions in mm.

    Raises
    ------
    OutputError
        If it breaks the schema: a NaN, a probability above 1, no finding, two maps with one file name.
    """
    translation = Translation(language)
    described, stored = len(diagnosis.slices), len(diagnosis.study.voxels)
    if described != stored:
        raise OutputError("slices_differ", described=described, stored=stored)
    return _checked(
        {
            "schema": RESULT_SCHEMA,
            "status": "evaluated",
            "reason": None,
            "impression": asdict(impression(diagnosis.findings, translation, diagnosis.lesions)),
            "study": _study(diagnosis, translation),
            "model": _model(diagnosis.model, translation),
            "operating_point": diagnosis.operating_point,
            **({"prevalence": diagnosis.prevalence} if diagnosis.prevalence else {}),
            "findings": [_finding(finding, translation) for finding in diagnosis.findings],
            "slices": [_slice(entry, diagnosis.study) for entry in diagnosis.slices],
            "maps": [_map(entry) for entry in diagnosis.maps],
            "lesions": _lesions(diagnosis, diagnosis.lesions, translation) if diagnosis.lesions else None,
            "device": diagnosis.device,
            "precision": diagnosis.precision,
            "mirrored_views": diagnosis.mirrored_views,
            "seconds": {stage: float(seconds) for stage, seconds in diagnosis.seconds.items()},
        }
    )


def refusal_document(refusal: Refusal, language: str = ENGLISH) -> Document:
    """State in plain values why a study was not read (docs/result.schema.json, status ``not_evaluable``).

    Raises
    ------
    OutputError
        If it breaks the schema.
    """
    translation = Translation(language)
    return _checked(
        {
            "schema": RESULT_SCHEMA,
            "status": "not_evaluable",
            "reason": {"code": refusal.code, "message": refusal.reason.text(translation)},
            "impression": None,
            "study": _unread_study(refusal, translation),
            "model": _model(refusal.model, translation),
            "operating_point": None,
            "findings": [],
            "slices": [],
            "maps": [],
            "device": None,
            "precision": None,
            "mirrored_views": None,
            "seconds": {},
        }
    )


def write_result_folder(
    diagnosis: Diagnosis,
    output_dir: Path,
    language: str = ENGLISH,
    add_further: Callable[[Path], None] | None = None,
) -> Path:
    """Write ``result.json``, the maps, ``report.html`` and a thumbnail; the folder of an earlier run is replaced.

    Parameters
    ----------
    diagnosis : Diagnosis
        What was found; its study id names the folder.
    output_dir : Path
        Made when missing.
    language : str
        Language of the report and of the texts in ``result.json``.
    add_further : callable, optional
        Puts further files into the folder, which holds all others and is not yet in its place.

    Returns
    -------
    Path
        The result folder.

    Raises
    ------
    OutputError
        If the result breaks the schema, something else has its name or the disk refuses.
    """
    with whole_folder(output_dir, diagnosis.study_id) as folder, ThreadPoolExecutor(_COMPRESSING) as pool:
        # zlib lets other threads run: maps are compressed while the report is drawn.
        maps = {each.file_name: pool.submit(map_file, each, diagnosis.study) for each in diagnosis.maps}
        lesions = None if diagnosis.lesions is None else pool.submit(lesion_files, diagnosis.lesions, diagnosis.study)
        document, report = result_document(diagnosis, language), render_report(diagnosis, language)
        for name, content in maps.items():
            write_file(folder / name, content.result())
        for name, encoded in ({} if lesions is None else lesions.result()).items():
            write_file(folder / name, encoded)
        write_file(folder / THUMBNAIL_FILE, thumbnail(diagnosis))
        _write_texts(folder, document, report)
        if add_further is not None:
            add_further(folder)
    return output_dir / diagnosis.study_id


def write_refusal_folder(refusal: Refusal, output_dir: Path, language: str = ENGLISH) -> Path:
    """Write ``result.json`` and ``report.html`` of a study that is not evaluable; see :func:`write_result_folder`."""
    with whole_folder(output_dir, refusal.study_id) as folder:
        document, report = refusal_document(refusal, language), render_refusal_report(refusal, language)
        _write_texts(folder, document, report)
    return output_dir / refusal.study_id


def _write_texts(folder: Path, document: Document, report: str) -> None:
    text = json.dumps(document, indent=4, ensure_ascii=False, allow_nan=False)
    # A file name that is no UTF-8 reaches us with lone surrogates: JSON can escape them, HTML cannot.
    write_file(folder / RESULT_FILE, f"{text}\n".encode(errors="backslashreplace"))
    write_file(folder / REPORT_FILE, report.encode(errors="replace"))


def _study(diagnosis: Diagnosis, translation: Translation) -> Document:
    study = diagnosis.study
    provenance = study.provenance
    considered = considered_of(study, diagnosis.input_slices, translation)
    return {
        "source_name": _last_part(provenance.source_name),
        "source_format": provenance.source_format,
        "study_uid": provenance.study_uid,
        "series_uid": provenance.series_uid,
        "slices": len(study.voxels),
        "shape": list(study.in_file_order(study.voxels).shape),
        "spacing_mm": list(study.spacing_mm),
        "orientation": study.orientation,
        "tilt_degrees": study.tilt_degrees,
        "kernel": provenance.kernel,
        "slice_thickness_mm": provenance.slice_thickness_mm,
        "series_choice": [sentence.text(translation) for sentence in provenance.series_choice],
        "considered": [asdict(line) for line in considered],
        "quality": [{"code": warning.code, "message": warning.text(translation)} for warning in study.warnings],
    }


def _unread_study(refusal: Refusal, translation: Translation) -> Document:
    return {
        "source_name": _last_part(refusal.source_name),
        "source_format": None,
        "study_uid": None,
        "series_uid": None,
        "slices": None,
        "shape": None,
        "spacing_mm": None,
        "orientation": None,
        "tilt_degrees": None,
        "kernel": None,
        "slice_thickness_mm": None,
        "series_choice": [sentence.text(translation) for sentence in refusal.series_choice],
        "considered": [asdict(line) for line in considered_series(refusal.series_choice, translation)],
        "quality": [],
    }


def _last_part(source_name: str) -> str:
    """Return the last part of a path: whatever a reader passes on, no folder above the study may become known."""
    return re.split(r"[\\/]", source_name.rstrip("\\/"))[-1]


def _model(model: ModelIdentity, translation: Translation) -> Document:
    return {**asdict(model), "labels": list(model.labels), "notice": translation("report.notice")}


def _finding(finding: Finding, translation: Translation) -> Document:
    label = finding.label
    return {
        "key": label.key,
        "name": label_name(label, translation),
        "code": _coded(label),
        "colour": list(label.colour),
        "probability": float(finding.probability),
        "threshold": float(finding.threshold),
        "default_threshold": bool(finding.default_threshold),
        "positive": bool(finding.positive),
    }


def _coded(label: Label) -> Document:
    modifier = {} if label.region_modifier is None else {"region_modifier": asdict(label.region_modifier)}
    return {"finding": asdict(label.finding), "region": asdict(label.region), **modifier}


def _slice(entry: SliceResult, study: CTStudy) -> Document:
    uids = study.sop_instance_uids
    return {
        "index": int(entry.index),
        "position_mm": float(entry.position_mm),
        "attention": float(entry.attention),
        "key_rank": None if entry.key_rank is None else int(entry.key_rank),
        "probabilities": entry.probabilities,
        "sop_instance_uid": (uids[entry.index] or None) if uids else None,
    }


def _map(attribution: AttributionMap) -> Document:
    return {
        "kind": attribution.kind,
        "label": attribution.label.key if attribution.label else None,
        "file": attribution.file_name,
        "scale": float(attribution.scale),
        "fixed_scale": bool(attribution.fixed_scale),
        "largest": None if attribution.largest is None else float(attribution.largest),
    }


def _lesions(diagnosis: Diagnosis, lesions: Lesions, translation: Translation) -> Document:
    return {
        "file": LESION_FILE,
        "subtypes_file": LESION_SUBTYPES_FILE,
        "threshold": float(lesions.threshold),
        "smallest_ml": float(lesions.smallest_ml),
        "level": float(lesions.level),
        "spacing_assumed": bool(lesions.spacing_assumed),
        "stated": diagnosis.stated_lesions is not None,
        "volumes": [_lesion_volume(volume) for volume in lesions.volumes],
        **({} if lesions.measurable else {"volumes_left_out": translation("lesions.not_measurable")}),
        "groups": [
            {
                "key": group.key,
                "name": translation(f"compartment.{group.key}"),
                "labels": list(group.labels),
                "code": {"finding": asdict(group.finding), "region": asdict(group.region)},
                "colour": list(group.colour),
            }
            for group in lesions.groups
        ],
    }


def _lesion_volume(volume: LesionVolume) -> Document:
    return {
        "group": volume.group,
        "ml": float(volume.ml),
        "low_ml": None if volume.low_ml is None else float(volume.low_ml),
        "high_ml": None if volume.high_ml is None else float(volume.high_ml),
        "mask_ml": None if volume.mask_ml is None else float(volume.mask_ml),
    }


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def _checked(document: Document) -> Document:
    """Return the document, or refuse it: a reader may trust whatever was written."""
    for place, value in _leaves(document, "result"):
        if isinstance(value, float) and not math.isfinite(value):
            raise OutputError("not_finite", place=place, value=value)
    for fault in _validator().iter_errors(document):
        raise OutputError("schema", place=fault.json_path, fault=fault.message.splitlines()[0][:200])
    for name, count in Counter(entry["file"] for entry in document["maps"]).items():
        if count > 1:
            raise OutputError("same_file", count=count, file=name)
    return document


def _leaves(value: object, place: str) -> list[tuple[str, object]]:
    """List every plain value of nested lists and dictionaries with its place."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{place}.{key}")]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in _leaves(inner, f"{place}[{index}]")]
    return [(place, value)]
