"""The closing tables of the report: what was read, by which model, how."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.diagnosis import Diagnosis, ModelIdentity
from scripts.intake.study import CTStudy

_TOWARDS = {"R": "right", "L": "left", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior"}


@dataclass(frozen=True)
class Row:
    """One line of a table; ``full`` is shown on hovering where ``text`` had to be shortened."""

    name: str
    text: str
    full: str = ""


def millimetres(value: float, decimals: int = 1) -> str:
    """Write a length or position with a true minus sign: ``"−12.5 mm"``."""
    return f"{value:.{decimals}f} mm".replace("-", "−")


def study_rows(study: CTStudy) -> tuple[Row, ...]:
    """Describe the study's geometry and origin."""
    provenance = study.provenance
    column, row, step = study.spacing_mm
    thickness = provenance.slice_thickness_mm
    slices, rows, columns = study.voxels.shape
    return (
        Row("Source", provenance.source_name),
        Row("Format", {"dicom": "DICOM", "nifti": "NIfTI", "nrrd": "NRRD"}.get(provenance.source_format, "Phantom")),
        Row("Stored slices", f"{slices}, each {columns} × {rows} pixels"),
        Row("Spacing", f"{column:.3g} × {row:.3g} mm in plane, {millimetres(step, 2)} between slices"),
        Row("Slice thickness", millimetres(thickness, 2) if thickness is not None else "not stated"),
        Row("Orientation", f"{study.orientation}: {_orientation_words(study.orientation)}"),
        Row("Gantry tilt", f"{study.tilt_degrees:.1f}°"),
        Row("Kernel", provenance.kernel or "not stated"),
        Row("Series UID", provenance.series_uid or "not stated"),
        *(Row("Choice of series" if first else "", line) for first, line in _numbered(provenance.series_choice)),
    )


def model_rows(model: ModelIdentity) -> tuple[Row, ...]:
    """Describe the model."""
    return (
        Row("Model", f"{model.name} {model.version}"),
        Row("Network", model.network),
        Row("Trained on", model.trained_on),
        Row("Labels", ", ".join(label.replace("_", " ") for label in model.labels)),
        *(Row(f"SHA-256 of {name}", f"{digest[:12]}…", digest) for name, digest in model.weights_sha256.items()),
    )


def run_rows(diagnosis: Diagnosis) -> tuple[Row, ...]:
    """Describe the run."""
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in diagnosis.seconds.items() if stage != "total")
    total = diagnosis.seconds.get("total", sum(diagnosis.seconds.values()))
    return (
        Row("Operating point", diagnosis.operating_point),
        Row("Device", f"{diagnosis.device}, {diagnosis.precision}"),
        Row("Time", f"{total:.1f} s ({stages})" if stages else "not measured"),
        Row("Read slices", f"{len(diagnosis.read_slices)} made of {len(diagnosis.slices)} stored slices"),
    )


def _orientation_words(orientation: str) -> str:
    words = [_TOWARDS.get(letter, "unknown") for letter in orientation]
    return f"columns run to the patient's {words[0]}, rows to {words[1]}, slices to {words[2]}"


def _numbered(lines: tuple[str, ...]) -> list[tuple[bool, str]]:
    return [(index == 0, line) for index, line in enumerate(lines)]
