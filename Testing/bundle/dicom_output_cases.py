"""Series on disk, results made up for them, and what their DICOM objects say when they are read back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from sample_diagnosis import a_diagnosis, a_study, with_lesions

from scripts.diagnosis import Diagnosis, Lesions, LesionVolume
from scripts.dicom_output.finished_result import FinishedResult, read_finished
from scripts.dicom_output.identity import Identity
from scripts.dicom_output.source_series import find_source
from scripts.intake.discovery import StudySource, find_studies, read_study
from scripts.intake.study import CTStudy
from scripts.labels import RSNA
from scripts.output.result import write_result_folder
from scripts.phantom import Grid, Phantom, write_dicom_series

SHAPE = (12, 40, 44)
Edit = Callable[[int, Dataset], None]


def write_series(folder: Path, grid: Grid, edit: Edit | None = None, voxels: NDArray[np.int16] | None = None) -> Path:
    """Write a head on a grid as DICOM; ``edit(number, dataset)`` changes each file afterwards."""
    voxels = a_study(grid.shape).voxels.copy() if voxels is None else voxels
    for number, path in enumerate(write_dicom_series(Phantom(voxels, grid, {}, 0, ()), folder)):
        if edit is not None:
            dataset = pydicom.dcmread(path)
            edit(number, dataset)
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.save_as(path)
    return folder


def read_back(folder: Path) -> tuple[StudySource, CTStudy]:
    (source,) = find_studies(folder)
    return source, read_study(source)


def a_result(folder: Path, diagnosis: Diagnosis) -> FinishedResult:
    return read_finished(write_result_folder(diagnosis, folder))


def with_marks(study: CTStudy, marks: Sequence[tuple[int, int, int]]) -> Diagnosis:
    """A run that found blood in single voxels (slice, row, column), and evidence of it in the same ones."""
    stored = np.zeros(study.voxels.shape, dtype=np.uint8)
    for place, mark in enumerate(marks):
        stored[mark] = 255 - place
    keys = [label.key for label in RSNA]
    subtypes = np.where(stored > 0, keys.index("subdural"), 0).astype(np.uint8)
    volumes = (LesionVolume("total", 1.5, 1.0, 2.5, 1.5), LesionVolume("extra_axial", 1.5, None, None, 1.5))
    diagnosis = a_diagnosis(study)
    maps = [replace(each, voxels=stored if each.label else each.voxels) for each in diagnosis.maps]
    lesions = Lesions(stored, subtypes, 0.5, 0.0, 0.9, volumes)
    return replace(diagnosis, maps=tuple(maps), lesions=lesions)


def identity_of(folder: Path, source: StudySource, diagnosis: Diagnosis) -> Identity:
    result = a_result(folder, diagnosis)
    return Identity(result, find_source(result, source.headers))


def a_crescent(study: CTStudy) -> Diagnosis:
    """A subdural crescent that was found, with its volumes."""
    return with_lesions(a_diagnosis(study))


def places_of_frames(image: Dataset, values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Patient coordinates (RAS, mm) of every pixel above 0, from each frame's own plane (PS3.3 C.7.6.2.1.1)."""
    shared, found = image.SharedFunctionalGroupsSequence[0], []
    for frame, pixels in zip(image.PerFrameFunctionalGroupsSequence, values, strict=True):
        orientation = (frame if "PlaneOrientationSequence" in frame else shared).PlaneOrientationSequence[0]
        measures = (frame if "PixelMeasuresSequence" in frame else shared).PixelMeasuresSequence[0]
        cosines = np.array(orientation.ImageOrientationPatient, dtype=np.float64)
        row_mm, column_mm = (float(value) for value in measures.PixelSpacing)
        corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
        for row, column in np.argwhere(pixels):
            found.append(corner + cosines[:3] * column_mm * column + cosines[3:] * row_mm * row)
    return np.array(found).reshape(-1, 3) * (-1, -1, 1)


def floats_of(image: Dataset) -> NDArray[np.float32]:
    """The values of a parametric map, shape (frames, rows, columns)."""
    return np.frombuffer(image.FloatPixelData, dtype="<f4").reshape(-1, image.Rows, image.Columns)


def complaints(tool: str, files: Sequence[Path], kind: str) -> list[str]:
    """What dicom3tools say of files, of one kind: ``Error`` or ``Warning``."""
    options = ["-new"] if tool == "dciodvfy" else []
    said = subprocess.run([tool, *options, *map(str, files)], capture_output=True, text=True, check=False).stderr
    assert said is not None
    return [line for line in said.splitlines() if line.startswith(kind)]
