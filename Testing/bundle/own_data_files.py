"""Writes a user's folder: small studies of several formats, a table of labels, masks; and breaks them by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from dicom_files import Series, head_voxels, write_series

SLICES = 14
STEP_MM = 9.0
VOXELS = head_voxels(SLICES)
NIFTI_AFFINE = np.array([[-3.0, 0, 0, 96], [0, -3.0, 0, 96], [0, 0, STEP_MM, 10], [0, 0, 0, 1]])
TABLE = """study,any,subdural,epidural,patient,mask
alpha,1,1,0,P1,masks/alpha.nii.gz
beta,0,,,P2,
gamma,1,,1,P3,
delta,0,0,0,P4,
epsilon,1,1,,P1,
zeta,0,,,P6,
"""
"""Three studies with blood, of two patients; ``alpha`` and ``epsilon`` are one patient's."""
SLICE_TABLE = """study,slice,any,subdural
alpha,3,1,1
alpha,4,1,0
epsilon,14,1,1
gamma,2,1,0
"""


def write_own_data(folder: Path) -> Path:
    """Write DICOM folders, a NIfTI file, one in a folder of its own and one upside down, and the table beside them."""
    studies = folder / "studies"
    for number, name in enumerate(("alpha", "beta", "delta")):
        uid = f"1.2.826.0.1.3680043.8.498.{number + 1}"
        write_series(studies / name, Series(VOXELS, step=(0.0, 0.0, STEP_MM), study_uid=uid))
    write_volume(studies / "gamma.nii.gz", VOXELS)
    upside_down = NIFTI_AFFINE @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, SLICES - 1], [0, 0, 0, 1]])
    write_volume(studies / "epsilon" / "ct.nii.gz", VOXELS[::-1], upside_down)
    write_volume(studies / "zeta" / "head.nii", VOXELS)
    write_volume(folder / "masks" / "alpha.nii.gz", blood().astype(np.uint8))
    (folder / "labels.csv").write_text(TABLE, encoding="utf-8")
    return folder


def write_volume(path: Path, by_slice: np.ndarray, affine: np.ndarray = NIFTI_AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ascontiguousarray(by_slice.transpose(2, 1, 0)), affine), path)
    return path


def blood() -> np.ndarray:
    """Return a mask in the third and fourth slice from the feet."""
    mask = np.zeros(VOXELS.shape, dtype=bool)
    mask[2:4, 20:30, 25:45] = True
    return mask


def replaced(table: str, changes: Mapping[str, str] | Sequence[tuple[str, str]]) -> str:
    for old, new in dict(changes).items():
        assert old in table
        table = table.replace(old, new)
    return table
