"""Result folder -> plain dataclasses. Standard library only, so that it runs in any Slicer and in any process.

The contract is the bundle's ``result.schema.json``, version 2; version 1 is still read (``earlier_version.py``). This
reader checks everything that the rest of the module relies on and refuses the folder otherwise; fields that it does not
know are ignored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import earlier_version
from .content import (
    Certainty,
    Considered,
    Finding,
    Impression,
    Model,
    Notice,
    OriginalSlice,
    Result,
    ResultError,
    ResultMap,
    Study,
)
from .json_fields import FieldError, Fields
from .lesions import Code, LesionGroup, Lesions, LesionVolume

SCHEMA = "ich-diagnosis-result/2"
SALIENCY_KINDS = ("saliency", "saliency_masks", "saliency_gaze")
"""Where a reader is expected to look: learned from what is not stated, readers' masks in place of gaze, or gaze."""
WHOLE_SCAN_KINDS = ("attention", "feature_attention", *SALIENCY_KINDS)
"""Maps without a label. Every other kind is an attribution map of one label: the bundle may add methods."""


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
        raise ResultError("result.no_folder", folder=folder.name)
    try:
        document = (folder / "result.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ResultError("result.no_document", folder=folder.name) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError("result.unreadable", folder=folder.name, error=error) from error
    result = parse_result(document, folder)
    for result_map in result.maps:
        result.map_path(result_map)
    if result.lesions is not None:
        result.file_path(result.lesions.file)
        result.file_path(result.lesions.subtypes_file)
    return result


def parse_result(document: str, folder: Path | None = None) -> Result:
    """Turn the text of a ``result.json`` into dataclasses.

    Raises
    ------
    ResultError
        If the text is no result of schema version 1 or 2, or contradicts itself.
    """
    try:
        root = json.loads(document, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ResultError("result.damaged", error=error) from error
    result = _result(Fields(_of_this_version(root), "result"), document, folder)
    _check_consistency(result)
    return result


def _of_this_version(root: object) -> dict[str, Any]:
    """Return a document with the fields of the present version, or refuse it."""
    if isinstance(root, dict) and root.get("schema") == SCHEMA:
        return root
    if isinstance(root, dict) and root.get("schema") == earlier_version.SCHEMA:
        return earlier_version.brought_up_to_date(root)
    found = root.get("schema") if isinstance(root, dict) else type(root).__name__
    raise ResultError("result.other_schema", found=found, known=SCHEMA)


def _result(fields: Fields, document: str, folder: Path | None) -> Result:
    status = fields.text("status")
    if status not in ("evaluated", "not_evaluable"):
        raise FieldError("result.unknown_status", status=status)
    evaluated = status == "evaluated"
    return Result(
        reason=None if evaluated else _notice(fields.child("reason")),
        impression=_impression(fields.child("impression")) if evaluated else None,
        study=_study(fields.child("study")),
        model=_model(fields.child("model")),
        operating_point=fields.optional_text("operating_point"),
        findings=tuple(_finding(child) for child in fields.children("findings")),
        slices=tuple(_original_slice(child) for child in fields.children("slices")),
        maps=tuple(_result_map(child) for child in fields.children("maps")),
        device=fields.optional_text("device"),
        precision=fields.optional_text("precision"),
        seconds=fields.child("seconds").numbers(),
        document=document,
        mirrored_views=fields.boolean_if_stated("mirrored_views"),
        lesions=_lesions(fields),
        folder=folder,
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _notice(fields: Fields) -> Notice:
    return Notice(fields.text("code"), fields.text("message"))


def _impression(fields: Fields) -> Impression:
    certainty = fields.text("certainty")
    if certainty not in [known.value for known in Certainty]:
        raise FieldError("result.unknown_certainty", certainty=certainty)
    return Impression(fields.text("code"), fields.text("text"), Certainty(certainty), fields.text("caution"))


def _code(fields: Fields) -> Code:
    return Code(fields.text("scheme"), fields.text("value"), fields.text("meaning"))


def _study(fields: Fields) -> Study:
    return Study(
        source_name=fields.text("source_name"),
        study_uid=fields.optional_text("study_uid"),
        series_uid=fields.optional_text("series_uid"),
        slices=fields.optional_integer("slices", low=0),
        shape=fields.three_integers("shape"),
        orientation=fields.optional_text("orientation"),
        quality=tuple(_notice(child) for child in fields.children("quality")),
        considered=tuple(_considered(child) for child in fields.optional_children("considered")),
    )


def _considered(fields: Fields) -> Considered:
    return Considered(fields.text("item"), fields.text("outcome"), fields.text("reason"))


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


def _colour(fields: Fields) -> tuple[int, int, int]:
    colour = fields.three_integers("colour")
    if colour is None or not all(0 <= channel <= 255 for channel in colour):
        raise FieldError("result.colour")
    return colour


def _finding(fields: Fields) -> Finding:
    modifier = fields.child("code").optional_child("region_modifier")
    return Finding(
        key=fields.text("key"),
        name=fields.text("name"),
        finding=_code(fields.child("code").child("finding")),
        region=_code(fields.child("code").child("region")),
        colour=_colour(fields),
        probability=fields.number("probability", 0, 1),
        threshold=fields.number("threshold", 0, 1),
        positive=fields.boolean("positive"),
        default_threshold=fields.boolean("default_threshold"),
        region_modifier=None if modifier is None else _code(modifier),
    )


def _original_slice(fields: Fields) -> OriginalSlice:
    of_labels = fields.optional_child("probabilities")
    return OriginalSlice(
        index=fields.integer("index", low=0),
        position_mm=fields.number("position_mm"),
        attention=fields.number("attention", 0, 1),
        key_rank=fields.optional_integer("key_rank", low=1),
        sop_instance_uid=fields.optional_text("sop_instance_uid"),
        probabilities=None if of_labels is None else of_labels.numbers(high=1),
    )


def _result_map(fields: Fields) -> ResultMap:
    return ResultMap(fields.text("kind"), fields.optional_text("label"), fields.text("file"))


def _lesions(root: Fields) -> Lesions | None:
    """Return the lesions; results of networks without a lesion decoder, and earlier ones, have none."""
    fields = root.optional_child("lesions")
    if fields is None:
        return None
    return Lesions(
        file=fields.text("file"),
        subtypes_file=fields.text("subtypes_file"),
        level=fields.number("level", 0, 1),
        spacing_assumed=fields.boolean("spacing_assumed"),
        stated=fields.boolean("stated"),
        volumes=tuple(_lesion_volume(child) for child in fields.children("volumes")),
        groups=tuple(_lesion_group(child) for child in fields.children("groups")),
        volumes_left_out=fields.text_if_stated("volumes_left_out"),
    )


def _lesion_volume(fields: Fields) -> LesionVolume:
    limits = [fields.optional_number(key, 0) for key in ("low_ml", "high_ml")]
    return LesionVolume(fields.text("group"), fields.number("ml", 0), *limits)


def _lesion_group(fields: Fields) -> LesionGroup:
    return LesionGroup(
        key=fields.text("key"),
        name=fields.text("name"),
        labels=fields.texts("labels"),
        finding=_code(fields.child("code").child("finding")),
        region=_code(fields.child("code").child("region")),
        colour=_colour(fields),
    )


def _check_lesions(lesions: Lesions) -> None:
    """Refuse volumes of groups that the result does not explain, or of one group twice."""
    measured = [volume.group for volume in lesions.volumes]
    known = ["total", *(group.key for group in lesions.groups)]
    if len(set(measured)) != len(measured) or len(set(known)) != len(known) or not set(measured) <= set(known):
        raise ResultError("result.lesion_groups")


def _check_consistency(result: Result) -> None:
    """Refuse a document whose parts contradict each other."""
    if not result.evaluated:
        if result.findings or result.slices or result.maps:
            raise ResultError("result.refusal_with_findings")
        return
    if result.lesions is not None:
        _check_lesions(result.lesions)
    if not (result.findings and result.slices and result.maps and result.study.shape):
        raise ResultError("result.incomplete")
    keys = [finding.key for finding in result.findings]
    if len(set(keys)) != len(keys):
        raise ResultError("result.same_finding_twice")
    if [s.index for s in result.slices] != list(range(len(result.slices))) or len(result.slices) != result.study.slices:
        raise ResultError("result.slices_out_of_order")
    ranks = [s.key_rank for s in result.slices if s.key_rank is not None]
    if len(set(ranks)) != len(ranks):
        raise ResultError("result.same_rank_twice")
    if any(s.probabilities is not None and set(s.probabilities) != set(keys) for s in result.slices):
        raise ResultError("result.slice_labels")
    if len(result.slices) not in result.study.shape:
        raise ResultError("result.slices_and_shape")
    if any((found.kind in WHOLE_SCAN_KINDS) != (found.label is None) for found in result.maps):
        raise ResultError("result.map_labels")
    labels = [found.label or found.kind for found in result.maps]
    if len(set(labels)) != len(labels) or not set(labels) <= {*WHOLE_SCAN_KINDS, *keys}:
        raise ResultError("result.map_of_nothing")
