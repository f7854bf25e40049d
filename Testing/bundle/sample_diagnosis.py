"""Diagnoses made up for the output's tests: an ellipsoid head with a bright subdural rim, and maps of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scripts.diagnosis import AttributionMap, Diagnosis, Finding, ModelIdentity, Refusal, SliceResult
from scripts.explanation.lesion_volumes import LesionSettings, measure_lesions
from scripts.explanation.lesions import LesionReading
from scripts.intake.study import CTStudy, NotEvaluableError, Provenance, QualityWarning
from scripts.labels import RSNA
from scripts.volume_calibration import VolumeBand, VolumeCalibration

MODEL = ModelIdentity(
    name="ICHDiagnosis",
    version="0.1.0",
    network="DrCT2, VGG16, 32 slices",
    weights_sha256={"model.pt": "0123456789abcdef" * 4},
    labels=tuple(label.key for label in RSNA),
    trained_on="CT-ICH, 82 scans",
)
ONE_BAND = VolumeBand(from_ml=0.0, low=0.8, high=1.2, scans=10)
POSITIVE = {"any": 0.93, "subdural": 0.87, "intraparenchymal": 0.56, "subarachnoid": 0.31, "epidural": 0.08}
NEGATIVE = {"any": 0.12, "subdural": 0.09, "intraparenchymal": 0.04, "subarachnoid": 0.03, "epidural": 0.004}


def an_affine(
    directions: NDArray[np.float64] | None = None,
    spacing_mm: tuple[float, float, float] = (0.5, 0.5, 5.0),
    tilt_degrees: float = 0.0,
) -> NDArray[np.float64]:
    """RAS affine whose columns are the directions of column, row and slice; LPS where none are given."""
    affine = np.eye(4)
    affine[:3, :3] = (np.diag([-1.0, -1.0, 1.0]) if directions is None else directions) * np.array(spacing_mm)
    row_direction = affine[:3, 1] / np.linalg.norm(affine[:3, 1])
    affine[:3, 2] += row_direction * spacing_mm[2] * np.tan(np.radians(tilt_degrees))
    affine[:3, 3] = (120.0, 110.0, -40.0)
    return affine


def a_study(
    shape: tuple[int, int, int] = (12, 64, 64),
    affine: NDArray[np.float64] | None = None,
    warnings: tuple[QualityWarning, ...] = (),
    file_axes: tuple[int, int, int] = (0, 1, 2),
    provenance: Provenance | None = None,
    sop_instance_uids: tuple[str, ...] | None = None,
) -> CTStudy:
    """An ellipsoid head: skull around brain, dark ventricles, a bright crescent near the stack's middle."""
    affine = an_affine() if affine is None else affine
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in shape), indexing="ij")
    radius = np.sqrt((x / 0.7) ** 2 + (y / 0.86) ** 2 + (z / 1.15) ** 2)
    hounsfield = np.full(shape, -1000, dtype=np.float32)
    hounsfield[radius < 1] = 20
    hounsfield[radius < 0.95] = 1200
    inside = radius < 0.87
    noise = np.random.default_rng(7).normal(0, 3, shape).astype(np.float32)
    hounsfield[inside] = (32 + 5 * np.sin(9 * x) * np.cos(8 * y) + noise)[inside]
    hounsfield[(np.abs(np.abs(x) - 0.12) < 0.05) & (np.abs(y) < 0.3) & (np.abs(z) < 0.4)] = 6
    hounsfield[inside & (radius > 0.76) & (x > 0.25) & (np.abs(z) < 0.45)] = 68
    positions = np.arange(shape[0], dtype=np.float64) * _step_mm(affine) - 62.5
    return CTStudy(
        voxels=hounsfield.astype(np.int16),
        affine=affine,
        positions_mm=positions,
        provenance=provenance or Provenance(source_name="a study", source_format="phantom", kernel="H31s"),
        warnings=warnings,
        file_axes=file_axes,
        sop_instance_uids=sop_instance_uids,
    )


def a_diagnosis(
    study: CTStudy | None = None,
    probabilities: dict[str, float] | None = None,
    input_slices: tuple[tuple[int, ...], ...] | None = None,
    study_id: str = "study-1",
) -> Diagnosis:
    """A finished run whose attention and attribution maps peak at the bright crescent."""
    study = a_study() if study is None else study
    probabilities = POSITIVE if probabilities is None else probabilities
    bright = (study.voxels > 55) & (study.voxels < 80)
    attention = np.exp(4 * bright.mean(axis=(1, 2)) / max(bright.mean(axis=(1, 2)).max(), 1e-9))
    attention /= attention.sum()
    ranks = {int(index): rank for rank, index in enumerate(np.argsort(-attention, kind="stable")[:5], start=1)}
    return Diagnosis(
        study_id=study_id,
        study=study,
        head=study.voxels > -200,
        findings=tuple(Finding(label, probabilities.get(label.key, 0.02), 0.5) for label in RSNA),
        slices=tuple(
            SliceResult(index, float(position), float(attention[index]), ranks.get(index))
            for index, position in enumerate(study.positions_mm)
        ),
        maps=_maps(study, attention, probabilities),
        input_slices=input_slices or tuple((index,) for index in range(len(study.voxels))),
        model=MODEL,
        operating_point="balanced",
        device="cpu",
        precision="float32",
        mirrored_views=True,
        seconds={"intake": 0.8, "network": 2.4, "explanation": 0.3},
    )


def with_slice_labels(diagnosis: Diagnosis) -> Diagnosis:
    """The same run by a network with a slice classifier, which is surest where the bright crescent is largest.

    Original slices of one input slice share a value; the first and the last slice hold no brain and were not read.
    """
    bright = ((diagnosis.study.voxels > 55) & (diagnosis.study.voxels < 80)).sum(axis=(1, 2))
    shares = np.zeros(len(bright))
    for slab in diagnosis.input_slices:
        shares[list(slab)] = bright[list(slab)].mean()
    certain = 0.97 * shares / shares.max()
    weights = {"any": 1.0, "subdural": 0.9}
    labelled = tuple(
        replace(entry, probabilities={label.key: float(weights.get(label.key, 0.1) * value) for label in RSNA})
        if 0 < entry.index < len(bright) - 1
        else entry
        for entry, value in zip(diagnosis.slices, certain, strict=True)
    )
    return replace(diagnosis, slices=labelled)


def with_lesions(diagnosis: Diagnosis, calibration: VolumeCalibration | None = None) -> Diagnosis:
    """The same run by a network with a lesion decoder: the bright crescent is subdural blood."""
    bright = (diagnosis.study.voxels > 55) & (diagnosis.study.voxels < 80)
    head = diagnosis.study.voxels > -200
    reading = LesionReading(
        np.where(bright, 230, np.where(head, 20, 0)).astype(np.uint8), np.where(head, 5, 0).astype(np.uint8)
    )
    settings = LesionSettings(smallest_ml=0.05, calibration=calibration or VolumeCalibration())
    return replace(diagnosis, lesions=measure_lesions(reading, diagnosis.study, RSNA, settings))


def with_lesions_of_no_subtype(diagnosis: Diagnosis) -> Diagnosis:
    """The same run by a network that finds haemorrhage in pixels without its subtype, as RADnet does."""
    bright = (diagnosis.study.voxels > 55) & (diagnosis.study.voxels < 80)
    reading = LesionReading(np.where(bright, 230, 0).astype(np.uint8), None)
    settings = LesionSettings(smallest_ml=0.05, calibration=VolumeCalibration(bands={"total": [ONE_BAND]}))
    return replace(diagnosis, lesions=measure_lesions(reading, diagnosis.study, RSNA, settings))


def with_saliency(diagnosis: Diagnosis, kind: str = "saliency_masks") -> Diagnosis:
    """The same run by a network that predicts where a reader looks: at the bright crescent."""
    bright = (diagnosis.study.voxels > 55) & (diagnosis.study.voxels < 80)
    saliency = AttributionMap(kind, None, np.where(bright, np.uint8(200), np.uint8(0)), 35.0)
    return replace(diagnosis, maps=(*diagnosis.maps, saliency))


def a_refusal() -> Refusal:
    """A study of seven slices."""
    return Refusal(
        study_id="study-2",
        source_name="seven slices",
        code="too_few_slices",
        reason=NotEvaluableError("too_few_slices", slices=7, least=12).message,
        model=MODEL,
    )


def a_marked_map(study: CTStudy, voxel: tuple[int, int, int]) -> AttributionMap:
    """A map of zeros with 255 at one (slice, row, column)."""
    voxels = np.zeros(study.voxels.shape, dtype=np.uint8)
    voxels[voxel] = 255
    return AttributionMap("gradcam", RSNA[5], voxels, 2.0)


def _step_mm(affine: NDArray[np.float64]) -> float:
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return abs(float(affine[:3, 2] @ normal)) / float(np.linalg.norm(normal))


def _maps(
    study: CTStudy, attention: NDArray[np.float64], probabilities: dict[str, float]
) -> tuple[AttributionMap, ...]:
    head = study.voxels > -200
    values_255 = np.round(255 * attention / attention.max())
    rows, columns = study.voxels.shape[1:]
    x = np.linspace(-1, 1, columns, dtype=np.float32)
    y = np.linspace(-1, 1, rows, dtype=np.float32)
    maps = [
        AttributionMap("attention", None, (head * values_255[:, None, None]).astype(np.uint8), float(attention.max()))
    ]
    for turn, label in enumerate(RSNA):
        centre_x, centre_y = 0.55 * np.cos(turn), 0.55 * np.sin(turn)
        blob = np.exp(-((x[None, :] - centre_x) ** 2 + (y[:, None] - centre_y) ** 2) / 0.06)
        values = 255 * blob[None] * (attention / attention.max()).astype(np.float32)[:, None, None] * head
        maps.append(AttributionMap("gradcam", label, values.astype(np.uint8), 5 * probabilities.get(label.key, 0.02)))
    return tuple(maps)
