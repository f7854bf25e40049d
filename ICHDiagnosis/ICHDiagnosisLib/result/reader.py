"""Result folder -> plain dataclasses. Standard library only, so that it runs in any Slicer and in any process.

The contract is ``monai_bundle/docs/result.schema.json``, version 1. This reader checks everything that the rest of the
module relies on and refuses the folder otherwise; fields that it does not know are ignored.
"""

from __future__ import annotations

import json
from pathlib import Path

from .content import Code, Finding, Model, Notice, OriginalSlice, Result, ResultError, ResultMap, Study
from .json_fields import FieldError, Fields

__all__ = [
    "Code",
    "Finding",
    "Model",
    "Notice",
    "OriginalSlice",
    "Result",
    "ResultError",
    "ResultMap",
    "Study",
    "parse_result",
    "read_result",
]

SCHEMA = "ich-diagnosis-result/1"
WHOLE_SCAN_KINDS = ("attention", "feature_attention")
MAP_KINDS = (*WHOLE_SCAN_KINDS, "gradcam", "gradcam++", "slice_gradcam")


def read_result(folder: str | Path) -> Result:
    """Read a result folder.

    Parameters
    ----------
    folder : path
        The folder of one study, as the bundle left it.

    Raises
    ------
    ResultError
        If the folder is missing, half-written, of another schema, inconsistent, or names files outside itself.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ResultError(f"there is no result folder {folder.name!r}")
    try:
        document = (folder / "result.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ResultError(
            f"{folder.name!r} holds no result.json: the analysis did not finish, or it is no result"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError(f"result.json in {folder.name!r} cannot be read: {error}") from error
    result = parse_result(document, folder)
    for evidence in result.maps:
        result.map_path(evidence)
    return result


def parse_result(document: str, folder: Path | None = None) -> Result:
    """Turn the text of a ``result.json`` into dataclasses.

    Raises
    ------
    ResultError
        If the text is no result of schema version 1, or contradicts itself.
    """
    try:
        root = json.loads(document, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ResultError(f"result.json is half-written or damaged: {error}") from error
    if not isinstance(root, dict) or root.get("schema") != SCHEMA:
        found = root.get("schema") if isinstance(root, dict) else type(root).__name__
        raise ResultError(f"result.json is of schema {found!r}; this version reads {SCHEMA!r}")
    try:
        result = _result(Fields(root, "result"), document, folder)
    except FieldError as error:
        raise ResultError(str(error)) from error
    _check_consistency(result)
    return result


def _result(fields: Fields, document: str, folder: Path | None) -> Result:
    status = fields.text("status")
    if status not in ("evaluated", "not_evaluable"):
        raise FieldError(f"result.status is {status!r}, not 'evaluated' or 'not_evaluable'")
    return Result(
        reason=None if status == "evaluated" else _notice(fields.child("reason"), "code"),
        study=_study(fields.child("study")),
        model=_model(fields.child("model")),
        operating_point=fields.optional_text("operating_point"),
        findings=tuple(_finding(child) for child in fields.children("findings")),
        slices=tuple(_slice_evidence(child) for child in fields.children("slices")),
        maps=tuple(_evidence_map(child) for child in fields.children("maps")),
        device=fields.optional_text("device"),
        precision=fields.optional_text("precision"),
        seconds=fields.child("seconds").numbers(),
        document=document,
        folder=folder,
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _notice(fields: Fields, name_key: str) -> Notice:
    return Notice(fields.text(name_key), fields.text("message"))


def _code(fields: Fields) -> Code:
    return Code(fields.text("scheme"), fields.text("value"), fields.text("meaning"))


def _study(fields: Fields) -> Study:
    return Study(
        source_name=fields.text("source_name"),
        source_format=fields.optional_text("source_format"),
        study_uid=fields.optional_text("study_uid"),
        series_uid=fields.optional_text("series_uid"),
        slices=fields.optional_integer("slices", low=0),
        shape=fields.three("shape", int),
        spacing_mm=fields.three("spacing_mm", int, float),
        orientation=fields.optional_text("orientation"),
        tilt_degrees=fields.optional_number("tilt_degrees"),
        kernel=fields.optional_text("kernel"),
        slice_thickness_mm=fields.optional_number("slice_thickness_mm"),
        series_choice=fields.texts("series_choice"),
        quality=tuple(_notice(child, "name") for child in fields.children("quality")),
    )


def _model(fields: Fields) -> Model:
    return Model(
        name=fields.text("name"),
        version=fields.text("version"),
        network=fields.text("network"),
        weights_sha256=fields.child("weights_sha256").all_texts(),
        labels=fields.texts("labels"),
        trained_on=fields.text("trained_on"),
        notice=fields.text("notice"),
    )


def _finding(fields: Fields) -> Finding:
    colour = fields.three("colour", int)
    if colour is None or not all(0 <= channel <= 255 for channel in colour):
        raise FieldError("the colour of a finding must be three whole numbers in 0..255")
    return Finding(
        key=fields.text("key"),
        name=fields.text("name"),
        finding=_code(fields.child("code").child("finding")),
        region=_code(fields.child("code").child("region")),
        colour=colour,
        probability=fields.number("probability", 0, 1),
        threshold=fields.number("threshold", 0, 1),
        positive=fields.boolean("positive"),
        threshold_chosen=fields.boolean_or("threshold_chosen", True),
    )


def _slice_evidence(fields: Fields) -> OriginalSlice:
    return OriginalSlice(
        index=fields.integer("index", low=0),
        position_mm=fields.number("position_mm"),
        attention=fields.number("attention", 0, 1),
        key_rank=fields.optional_integer("key_rank", low=1),
        read=fields.boolean("read"),
    )


def _evidence_map(fields: Fields) -> ResultMap:
    kind = fields.text("kind")
    if kind not in MAP_KINDS:
        raise FieldError(f"a map is of unknown kind {kind!r}")
    return ResultMap(kind, fields.optional_text("label"), fields.text("file"), fields.number("scale"))


def _check_consistency(result: Result) -> None:
    """Refuse a document whose parts contradict each other."""
    if not result.evaluated:
        if result.findings or result.slices or result.maps:
            raise ResultError("a study that was not evaluated must have no findings, slices or maps")
        return
    if not (result.findings and result.slices and result.maps and result.study.shape):
        raise ResultError("an evaluated study must have findings, slices, maps and a shape")
    keys = [finding.key for finding in result.findings]
    if len(set(keys)) != len(keys):
        raise ResultError("two findings have the same key")
    if [s.index for s in result.slices] != list(range(len(result.slices))) or len(result.slices) != result.study.slices:
        raise ResultError("the slices are not one per stored slice, in order")
    ranks = [s.key_rank for s in result.slices if s.key_rank is not None]
    if len(set(ranks)) != len(ranks):
        raise ResultError("two key slices have the same rank")
    if len(result.slices) not in result.study.shape:
        raise ResultError("the number of slices does not fit the shape of the maps")
    if any((evidence.kind in WHOLE_SCAN_KINDS) != (evidence.label is None) for evidence in result.maps):
        raise ResultError("attention has no label, and every Grad-CAM has one")
    labels = [evidence.label or evidence.kind for evidence in result.maps]
    if len(set(labels)) != len(labels) or not set(labels) <= {*WHOLE_SCAN_KINDS, *keys}:
        raise ResultError("there must be at most one map per finding, and none of anything else")
