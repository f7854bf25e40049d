"""The closing tables of the report: what was read, by which model, how."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.diagnosis import Diagnosis, ModelIdentity
from scripts.intake.study import CTStudy
from scripts.messages import Message, Translation
from scripts.output.slice_images import millimetres

_FORMATS = {"dicom": "DICOM", "nifti": "NIfTI", "nrrd": "NRRD"}
_DIRECTIONS = "RLAPSI"


@dataclass(frozen=True)
class Row:
    """One line of a table; ``full`` is shown on hovering where ``text`` had to be shortened."""

    name: str
    text: str
    full: str = ""


def study_rows(study: CTStudy, translate: Translation) -> tuple[Row, ...]:
    """Describe the study's geometry and origin."""
    provenance = study.provenance
    column_mm, row_mm, slice_mm = study.spacing_mm
    thickness = provenance.slice_thickness_mm
    slices, rows, columns = study.voxels.shape
    not_stated = translate("report.not_stated")
    spacing = {"column_mm": column_mm, "row_mm": row_mm, "slice_mm": millimetres(slice_mm, 2)}
    return (
        Row(translate("report.source"), provenance.source_name),
        Row(translate("report.format"), _FORMATS.get(provenance.source_format, translate("report.phantom"))),
        Row(
            translate("report.original_slices"),
            translate("report.slices_and_pixels", slices=slices, columns=columns, rows=rows),
        ),
        Row(translate("report.spacing"), translate("report.spacing_values", **spacing)),
        Row(translate("report.thickness"), not_stated if thickness is None else millimetres(thickness, 2)),
        Row(translate("report.orientation"), _orientation(study.orientation, translate)),
        Row(translate("report.tilt"), f"{study.tilt_degrees:.1f}°"),
        Row(translate("report.kernel"), provenance.kernel or not_stated),
        Row(translate("report.series_uid"), provenance.series_uid or not_stated),
    )


def model_rows(model: ModelIdentity, translate: Translation) -> tuple[Row, ...]:
    """Describe the model."""
    return (
        Row(translate("report.model"), f"{model.name} {model.version}"),
        Row(translate("report.network"), model.network),
        Row(translate("report.trained_on"), model.trained_on),
        Row(translate("report.labels"), ", ".join(label.replace("_", " ") for label in model.labels)),
        *(
            Row(translate("report.checksum", file=file), f"{digest[:12]}…", digest)
            for file, digest in model.weights_sha256.items()
        ),
    )


def run_rows(diagnosis: Diagnosis, translate: Translation) -> tuple[Row, ...]:
    """Describe the run."""
    inputs = {"inputs": len(diagnosis.input_slices), "originals": len(diagnosis.slices)}
    return (
        Row(translate("report.operating_point"), diagnosis.operating_point),
        Row(translate("report.prevalence"), _prevalence(diagnosis.prevalence, translate)),
        Row(translate("report.device"), f"{diagnosis.device}, {diagnosis.precision}"),
        Row(translate("report.views"), _views(diagnosis.mirrored_views, translate)),
        Row(translate("report.time"), _time(diagnosis.seconds, translate)),
        Row(translate("report.input_slices"), translate("report.input_of_original", **inputs)),
    )


def _prevalence(stated: dict[str, float], translate: Translation) -> str:
    if not stated:
        return translate("report.prevalence_of_calibration")
    return ", ".join(f"{key.replace('_', ' ')} {100 * value:.3g} %" for key, value in stated.items())


def _views(mirrored: bool, translate: Translation) -> str:
    return translate("report.both_sides" if mirrored else "report.one_side")


def _time(seconds: dict[str, float], translate: Translation) -> str:
    if not seconds:
        return translate("report.not_measured")
    stages = tuple(Message("report.stage", stage=stage, seconds=spent) for stage, spent in seconds.items())
    return translate("report.seconds", seconds=sum(seconds.values()), stages=stages)


def _orientation(orientation: str, translate: Translation) -> str:
    columns, rows, slices = (
        translate(f"report.towards_{letter}" if letter in _DIRECTIONS else "report.towards_unknown")
        for letter in orientation
    )
    return translate("report.orientation_values", orientation=orientation, columns=columns, rows=rows, slices=slices)
