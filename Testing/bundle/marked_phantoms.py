"""Stacks of slices that lie in every way, with one bright voxel, written to disk and read again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import CTStudy
from scripts.phantom import Grid, Phantom, write_dicom_series, write_nifti
from scripts.reading_geometry import ReadingGeometry, head_centred_crop, slabs_of

TISSUE_HU, MARK_HU = 30, 2000
Write = Callable[[Phantom, Path], object]

GRIDS = {
    "axial": Grid((13, 40, 44), (1.0, 1.0, 5.0)),
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


def as_dicom(phantom: Phantom, folder: Path) -> None:
    write_dicom_series(phantom, folder)


def as_nifti(phantom: Phantom, folder: Path) -> None:
    write_nifti(phantom, folder / "head.nii")


def a_marked_study(grid: Grid, mark: tuple[int, int, int], write: Write) -> CTStudy:
    voxels = np.full(grid.shape, TISSUE_HU, dtype=np.int16)
    voxels[mark] = MARK_HU
    with tempfile.TemporaryDirectory() as folder:
        write(Phantom(voxels, grid, {}, 0, ()), Path(folder))
        (source,) = find_studies(folder)
        return read_study(source)


def geometry_of(study: CTStudy) -> ReadingGeometry:
    """The whole matrix is read, with a margin."""
    head = np.ones(study.voxels.shape, dtype=bool)
    return ReadingGeometry(head_centred_crop(study, head, 1.1), slabs_of(study, 5.0), study.voxels.shape)


def places_of(index: NDArray[np.int64], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Patient coordinates (RAS, mm) of a file's voxels (n, 3)."""
    return index @ affine[:3, :3].T + affine[:3, 3]


def check_places(found: NDArray[np.float64], grid: Grid, mark: tuple[int, int, int], slab_mm: float) -> None:
    """What was found lies on the mark, within one voxel in plane and its slab along the normal."""
    marked = grid.affine[:3, :3] @ mark[::-1] + grid.affine[:3, 3]
    # In the oblique axes of the grid: voxels along column and row, mm along the slice normal.
    along = np.linalg.solve(grid.affine[:3, :3], (found - marked).T).T
    assert np.abs(along[:, :2]).max() <= 1.01
    assert np.abs(along[:, 2]).max() * grid.spacing[2] < slab_mm
    assert np.abs(along[:, 2]).min() < 0.01
