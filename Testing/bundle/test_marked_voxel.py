"""A voxel marked in the patient lands in the map of a file on disk where the patient has it, within one voxel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from marked_phantoms import GRIDS, Write, a_marked_study, as_dicom, as_nifti, check_places, geometry_of, places_of
from nibabel import Nifti1Image

from scripts.diagnosis import AttributionMap
from scripts.explanation.lesions import read_lesions
from scripts.explanation.maps import as_stored_map
from scripts.explanation.saliency import saliency_map
from scripts.intake.study import AIR_HU, CTStudy
from scripts.networks.study_network import StudyOutput
from scripts.output.map_files import map_image, volume_image
from scripts.phantom import Grid
from scripts.reading_geometry import ReadingGeometry

torch.set_num_threads(1)

SIZE = 224
SUBTYPE = 3


def map_of_brightness(study: CTStudy, geometry: ReadingGeometry) -> Nifti1Image:
    """Each image's brightness as an attribution map, in the file that would be written."""
    stored = geometry.resample_back(geometry.resample(study.voxels, SIZE) - AIR_HU)
    voxels = np.where(stored >= stored.max() - 1e-3, 255, 0).astype(np.uint8)
    return map_image(AttributionMap("attention", None, voxels, 1.0), study)


def lesion_of_brightness(study: CTStudy, geometry: ReadingGeometry) -> Nifti1Image:
    """The brightest pixel as lesion of one subtype, in the file that would be written."""
    images = geometry.resample(study.voxels, SIZE)
    logits = torch.full((len(images), 6, SIZE, SIZE), -9.0)
    logits[:, 0] = torch.where(images >= images.max() - 1e-3, 9.0, -9.0)
    logits[:, SUBTYPE] = logits[:, 0] - 1
    lesions = read_lesions(an_output(lesion_logits=logits), geometry, np.ones(study.voxels.shape, dtype=bool))
    strongest = lesions.probability == lesions.probability.max()
    assert set(lesions.subtypes[strongest].tolist()) == {SUBTYPE}
    return volume_image(strongest.astype(np.uint8), study, "lesion.nii.gz", "lesion")


def lesion_without_subtypes(study: CTStudy, geometry: ReadingGeometry) -> Nifti1Image:
    """The brightest pixel as haemorrhage of no stated subtype, as RADnet finds it, in the file to be written."""
    images = geometry.resample(study.voxels, SIZE)
    logits = torch.where(images >= images.max() - 1e-3, 9.0, -9.0)[:, None]
    lesions = read_lesions(an_output(lesion_logits=logits), geometry, np.ones(study.voxels.shape, dtype=bool))
    assert lesions.subtypes is None
    strongest = lesions.probability == lesions.probability.max()
    return volume_image(strongest.astype(np.uint8), study, "lesion.nii.gz", "lesion")


def saliency_of_brightness(study: CTStudy, geometry: ReadingGeometry) -> Nifti1Image:
    """The brightest pixel as the place where a reader is expected to look, in the file that would be written."""
    images = geometry.resample(study.voxels, SIZE)
    logits = torch.where(images >= images.max() - 1e-3, 9.0, 0.0)[:, None]
    values = saliency_map(an_output(saliency_logits=logits), geometry)
    stored = as_stored_map(values, np.ones(study.voxels.shape, dtype=bool))
    strongest = np.where(stored.voxels == 255, np.uint8(255), np.uint8(0))
    return map_image(AttributionMap("saliency_masks", None, strongest, stored.scale), study)


def an_output(**pixels: torch.Tensor) -> StudyOutput:
    nothing = torch.zeros(0)
    return StudyOutput(nothing, nothing, nothing, nothing, nothing, **pixels)


MAPS = {
    "attribution": map_of_brightness,
    "lesion": lesion_of_brightness,
    "lesion without subtypes": lesion_without_subtypes,
    "saliency": saliency_of_brightness,
}


def check(kind: str, grid: Grid, mark: tuple[int, int, int], write: Write) -> None:
    study = a_marked_study(grid, mark, write)
    geometry = geometry_of(study)
    image = MAPS[kind](study, geometry)
    found = places_of(np.argwhere(np.asanyarray(image.dataobj)), image.affine)
    check_places(found, grid, mark, max(len(slab) for slab in geometry.slabs) * study.spacing_mm[2])


@pytest.mark.parametrize("kind", list(MAPS))
@pytest.mark.parametrize("write", [as_dicom, as_nifti])
@pytest.mark.parametrize("name", list(GRIDS))
def test_a_marked_voxel_lands_where_the_patient_has_it(name: str, write: Write, kind: str):
    grid = GRIDS[name]
    check(kind, grid, (grid.shape[0] // 4, 9, 27), write)


@settings(max_examples=40)
@given(
    kind=st.sampled_from(list(MAPS)),
    write=st.sampled_from((as_dicom, as_nifti)),
    spacing=st.tuples(st.floats(0.6, 1.2), st.floats(0.6, 1.2), st.floats(0.8, 6.0)),
    tilt=st.floats(-25, 25),
    rotation=st.tuples(st.floats(-15, 15), st.floats(-15, 15), st.floats(-180, 180)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    mark=st.tuples(st.integers(0, 12), st.integers(0, 31), st.integers(0, 35)),
)
def test_wherever_the_mark_and_however_the_slices_lie(
    kind: str,
    write: Write,
    spacing: tuple[float, float, float],
    tilt: float,
    rotation: tuple[float, float, float],
    flips: tuple[bool, bool, bool],
    mark: tuple[int, int, int],
):
    grid = Grid((13, 32, 36), spacing, tilt_degrees=tilt, rotation_degrees=rotation, flips=flips)
    check(kind, grid, mark, write)
