"""What the phantom writes: DICOM, NIfTI, masks and the image for the project's page, also from the command line."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from phantom_cases import TINY
from PIL import Image

from scripts.phantom import Grid, Haemorrhage, Phantom, make_phantom, write_dicom_series, write_masks, write_nifti
from scripts.phantom.__main__ import main
from scripts.phantom.montage import write_montage


@pytest.mark.parametrize(
    "grid",
    [
        TINY,
        Grid((6, 50, 40), (3.5, 4.5, 12.0), tilt_degrees=18.5, rotation_degrees=(4.0, -12.0, 25.0)),
        Grid((6, 50, 40), (3.5, 4.5, 12.0), flips=(True, False, True), centre_mm=(5.0, 3.0, -1000.0)),
    ],
)
def test_dicom_series_reads_back_with_the_same_voxels_and_positions(grid: Grid, tmp_path) -> None:
    phantom = make_phantom(grid, seed=9)
    for index, path in enumerate(write_dicom_series(phantom, tmp_path / "série 1")):
        slice_read = pydicom.dcmread(path)
        hounsfield = slice_read.pixel_array.astype(int) * int(slice_read.RescaleSlope) + int(
            slice_read.RescaleIntercept
        )
        assert np.array_equal(hounsfield, phantom.voxels[index])
        along_row, down_column = np.array(slice_read.ImageOrientationPatient, dtype=float).reshape(2, 3)
        row_mm, column_mm = map(float, slice_read.PixelSpacing)
        last = (
            np.array(slice_read.ImagePositionPatient, dtype=float)
            + along_row * column_mm * (grid.shape[2] - 1)
            + down_column * row_mm * (grid.shape[1] - 1)
        )
        expected = phantom.affine @ (grid.shape[2] - 1, grid.shape[1] - 1, index, 1)
        assert last * (-1, -1, 1) == pytest.approx(expected[:3], abs=1e-4)
        assert float(slice_read.GantryDetectorTilt) == pytest.approx(grid.tilt_degrees)
        assert slice_read.PatientName == "PHANTOM^ICH"
        assert slice_read.SOPClassUID == pydicom.uid.CTImageStorage


def test_dicom_identifiers_follow_from_the_phantom(tmp_path) -> None:
    def identifiers(phantom: Phantom, name: str) -> list[tuple[str, str]]:
        files = [pydicom.dcmread(path) for path in write_dicom_series(phantom, tmp_path / name)]
        return [(file.SeriesInstanceUID, file.SOPInstanceUID) for file in files]

    first = identifiers(make_phantom(TINY, seed=1), "first")
    assert first == identifiers(make_phantom(TINY, seed=1), "again")
    other = identifiers(make_phantom(TINY, seed=2), "other")
    assert len({uid for pair in first + other for uid in pair}) == 2 * (TINY.shape[0] + 1)
    assert all(pydicom.uid.UID(uid).is_valid for pair in first for uid in pair)


def test_nifti_and_masks_overlay_voxel_on_voxel(tmp_path) -> None:
    grid = Grid((8, 60, 70), (3.0, 3.4, 15.0), tilt_degrees=10.0, rotation_degrees=(0.0, 5.0, 8.0))
    phantom = make_phantom(grid, [Haemorrhage("epidural", "right", 30.0)])
    image = nib.Nifti1Image.from_filename(write_nifti(phantom, tmp_path / "ct.nii.gz"))
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), phantom.voxels)
    assert image.affine == pytest.approx(phantom.affine, abs=1e-4)
    (mask_path,) = write_masks(phantom, tmp_path)
    mask = nib.Nifti1Image.from_filename(mask_path)
    assert mask_path.name == "truth_epidural.nii.gz"
    assert np.array_equal(np.asarray(mask.dataobj).transpose(2, 1, 0) == 1, phantom.masks["epidural"])
    assert mask.affine == pytest.approx(phantom.affine, abs=1e-4)


@pytest.mark.parametrize("form", ["dicom", "nifti"])
def test_command_line_writes_ct_and_truth(tmp_path, form: str) -> None:
    arguments = ["--output", str(tmp_path / "out"), "--haemorrhage", "subdural", "--haemorrhage", "intraparenchymal"]
    assert main([*arguments, "--format", form, "--seed", "3", "--slices", "10", "--pixels", "64"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"truth_subdural.nii.gz", "truth_intraparenchymal.nii.gz", "ct" if form == "dicom" else "ct.nii.gz"}


def test_command_line_reports_what_cannot_be_made_in_one_line(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = ["--output", str(tmp_path), "--haemorrhage", "intraventricular", "--side", "both", "--volume", "150"]
    assert main([*arguments, "--slices", "4", "--pixels", "32"]) == 1
    assert "does not fit into this head" in caplog.records[-1].getMessage()
    assert list(tmp_path.iterdir()) == []


def test_montage_is_a_small_image(tmp_path) -> None:
    image = np.asarray(Image.open(write_montage(tmp_path / "montage.png", pixels=32)).convert("L"))
    assert image.shape == (8 * 32, 8 * 26)
    assert image.max() == 255
    assert image.min() == 0
    in_the_readme = Path(__file__).parents[2] / "Resources" / "phantom_montage.png"
    assert in_the_readme.stat().st_size < 300_000
