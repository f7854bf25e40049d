"""Masks drawn on a study's grid: turned back however the axes lie, refused when they lie elsewhere."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import Series, write_series
from nibabel.orientations import apply_orientation, inv_ornt_aff

from scripts.datasets.mask_file import read_mask
from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import CTStudy, NotEvaluableError


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> CTStudy:
    """Return a DICOM study with a tilted gantry: its affine is sheared."""
    folder = tmp_path_factory.mktemp("tilted")
    write_series(folder, Series(step=(0.0, 1.2, 4.8)))
    return read_study(find_studies(folder)[0])


@pytest.fixture(scope="module")
def truth(study: CTStudy) -> np.ndarray:
    """Return a mask that no turn leaves as it is."""
    mask = np.zeros(study.voxels.shape, dtype=bool)
    mask[2:5, 10:30, 20:24] = mask[20, 5, 60] = True
    return mask


def save(mask: np.ndarray, affine: np.ndarray, path: Path) -> Path:
    nib.save(nib.Nifti1Image(mask.transpose(2, 1, 0).astype(np.uint8), affine), path)
    return path


@pytest.mark.parametrize("axes", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("signs", list(product([1, -1], repeat=3)), ids=str)
def test_axes_in_any_order_and_direction_are_turned_back(
    study: CTStudy, truth: np.ndarray, tmp_path: Path, axes: tuple[int, ...], signs: tuple[int, ...]
):
    turn = np.array(list(zip(axes, signs, strict=True)), dtype=float)
    by_column = truth.transpose(2, 1, 0)
    turned = apply_orientation(by_column.astype(np.uint8), turn)
    nib.save(nib.Nifti1Image(turned, study.affine @ inv_ornt_aff(turn, by_column.shape)), tmp_path / "mask.nii.gz")
    assert (read_mask(tmp_path / "mask.nii.gz", study) == truth).all()


def test_a_mask_that_lies_beside_the_study_is_refused(study: CTStudy, truth: np.ndarray, tmp_path: Path):
    affine = study.affine.copy()
    affine[:3, 3] += (0.0, 2.0, 0.0)
    with pytest.raises(NotEvaluableError, match=r"mask m\.nii lies 2\.0 mm beside the study") as raised:
        read_mask(save(truth, affine, tmp_path / "m.nii"), study)
    assert raised.value.code == "bad_mask"


def test_a_mask_without_the_studys_tilt_is_refused(study: CTStudy, truth: np.ndarray, tmp_path: Path):
    affine = study.affine.copy()
    affine[:2, 2] = 0
    with pytest.raises(NotEvaluableError, match="beside the study"):
        read_mask(save(truth, affine, tmp_path / "m.nii"), study)


def test_a_mask_of_other_voxels_is_refused_with_both_sizes(study: CTStudy, truth: np.ndarray, tmp_path: Path):
    with pytest.raises(NotEvaluableError, match="has 64 x 64 x 23 voxels, the study 64 x 64 x 24"):
        read_mask(save(truth[:-1], study.affine, tmp_path / "m.nii"), study)


def test_an_empty_mask_is_empty(study: CTStudy, truth: np.ndarray, tmp_path: Path):
    assert not read_mask(save(np.zeros_like(truth), study.affine, tmp_path / "m.nii"), study).any()


@pytest.mark.parametrize("content", [None, b"", b"no volume at all"])
def test_a_mask_that_cannot_be_read_is_named_without_its_folder(study: CTStudy, tmp_path: Path, content: bytes | None):
    path = tmp_path / "m.nii"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NotEvaluableError, match=r"^mask m\.nii cannot be read") as raised:
        read_mask(path, study)
    assert str(tmp_path) not in str(raised.value)


def test_a_truncated_mask_is_named(study: CTStudy, truth: np.ndarray, tmp_path: Path):
    path = save(truth, study.affine, tmp_path / "m.nii.gz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(NotEvaluableError, match=r"mask m\.nii\.gz cannot be read"):
        read_mask(path, study)


def test_a_mask_of_four_dimensions_is_refused(study: CTStudy, tmp_path: Path):
    nib.save(nib.Nifti1Image(np.zeros((64, 64, 24, 2), np.uint8), study.affine), tmp_path / "m.nii")
    with pytest.raises(NotEvaluableError, match="no single volume"):
        read_mask(tmp_path / "m.nii", study)
