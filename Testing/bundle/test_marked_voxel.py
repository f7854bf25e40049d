"""A voxel marked in the patient lands in the map of a file on disk where the patient has it, within one voxel."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scripts.diagnosis import AttributionMap
from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import AIR_HU, CTStudy
from scripts.output.map_files import map_image
from scripts.phantom import Grid, Phantom, write_dicom_series, write_nifti
from scripts.reading_geometry import ReadingGeometry, head_centred_crop, slabs_of

torch.set_num_threads(1)

SIZE = 224
TISSUE_HU, MARK_HU = 30, 2000
Write = Callable[[Phantom, Path], object]

AXIAL = Grid((13, 40, 44), (1.0, 1.0, 5.0))
GRIDS = {
    "axial": AXIAL,
    "oblique": Grid((13, 40, 44), (1.0, 1.0, 5.0), rotation_degrees=(12.0, -9.0, 25.0)),
    "turned by a right angle": Grid((13, 40, 44), (1.0, 1.0, 5.0), rotation_degrees=(0.0, 0.0, 90.0)),
    "columns flipped": Grid((13, 40, 44), (1.0, 1.0, 5.0), flips=(True, False, False)),
    "rows flipped": Grid((13, 40, 44), (1.0, 1.0, 5.0), flips=(False, True, False)),
    "slices flipped": Grid((13, 40, 44), (1.0, 1.0, 5.0), flips=(False, False, True)),
    "all flipped": Grid((13, 40, 44), (1.0, 1.0, 5.0), flips=(True, True, True)),
    "tilted": Grid((13, 40, 44), (1.0, 1.0, 5.0), tilt_degrees=22.0),
    "tilted the other way and flipped": Grid(
        (13, 40, 44), (1.0, 1.0, 5.0), tilt_degrees=-22.0, flips=(False, False, True)
    ),
    "pixels not square": Grid((13, 40, 44), (0.7, 1.2, 5.0)),
    "thin slices": Grid((40, 40, 44), (1.0, 1.0, 0.9)),
    "thin slices, tilted": Grid((40, 40, 44), (1.0, 1.0, 1.25), tilt_degrees=15.0),
}


def a_marked_phantom(grid: Grid, mark: tuple[int, int, int]) -> Phantom:
    voxels = np.full(grid.shape, TISSUE_HU, dtype=np.int16)
    voxels[mark] = MARK_HU
    return Phantom(voxels, grid, {}, 0, ())


def as_dicom(phantom: Phantom, folder: Path) -> None:
    write_dicom_series(phantom, folder)


def as_nifti(phantom: Phantom, folder: Path) -> None:
    write_nifti(phantom, folder / "head.nii")


def map_of_brightness(study: CTStudy) -> tuple[NDArray[np.float64], float]:
    """Read the study, take each image's brightness as its map, and bring it into the file that would be written.

    Returns the patient coordinates (RAS, mm) of the brightest voxels, and the thickness of the thickest slab in mm.
    """
    head = np.ones(study.voxels.shape, dtype=bool)
    geometry = ReadingGeometry(head_centred_crop(study, head, 1.1), slabs_of(study, 5.0), study.voxels.shape)
    stored = geometry.resample_back(geometry.resample(study.voxels, SIZE) - AIR_HU)
    voxels = np.where(stored >= stored.max() - 1e-3, 255, 0).astype(np.uint8)
    image = map_image(AttributionMap("attention", None, voxels, 1.0), study)
    index = np.argwhere(np.asanyarray(image.dataobj))
    slab_mm = max(len(slab) for slab in geometry.slabs) * study.spacing_mm[2]
    return index @ image.affine[:3, :3].T + image.affine[:3, 3], slab_mm


def check(grid: Grid, mark: tuple[int, int, int], write: Write) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(a_marked_phantom(grid, mark), Path(folder))
        (source,) = find_studies(folder)
        study = read_study(source)
    found, slab_mm = map_of_brightness(study)
    marked = grid.affine[:3, :3] @ mark[::-1] + grid.affine[:3, 3]
    # In the oblique axes of the grid: voxels along column and row, mm along the slice normal.
    along = np.linalg.solve(grid.affine[:3, :3], (found - marked).T).T
    assert np.abs(along[:, :2]).max() <= 1.01
    assert np.abs(along[:, 2]).max() * grid.spacing[2] < slab_mm
    assert np.abs(along[:, 2]).min() < 0.01


@pytest.mark.parametrize("write", [as_dicom, as_nifti])
@pytest.mark.parametrize("name", list(GRIDS))
def test_a_marked_voxel_lands_where_the_patient_has_it(name: str, write: Write):
    grid = GRIDS[name]
    check(grid, (grid.shape[0] // 4, 9, 27), write)


@settings(max_examples=25)
@given(
    write=st.sampled_from((as_dicom, as_nifti)),
    spacing=st.tuples(st.floats(0.6, 1.2), st.floats(0.6, 1.2), st.floats(0.8, 6.0)),
    tilt=st.floats(-25, 25),
    rotation=st.tuples(st.floats(-15, 15), st.floats(-15, 15), st.floats(-180, 180)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    mark=st.tuples(st.integers(0, 12), st.integers(0, 31), st.integers(0, 35)),
)
def test_wherever_the_mark_and_however_the_slices_lie(
    write: Write,
    spacing: tuple[float, float, float],
    tilt: float,
    rotation: tuple[float, float, float],
    flips: tuple[bool, bool, bool],
    mark: tuple[int, int, int],
):
    grid = Grid((13, 32, 36), spacing, tilt_degrees=tilt, rotation_degrees=rotation, flips=flips)
    check(grid, mark, write)
