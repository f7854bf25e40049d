"""Gaze maps from a folder: found by the scans' names, refused where they cannot be right, taken to prepared slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from dicom_files import Series, write_series
from marked_phantoms import GRIDS, MARK_HU, a_marked_study, as_nifti
from prepared_groups import a_group

from scripts.cache import Cache
from scripts.datasets.gaze_maps import gaze_files, read_gaze
from scripts.datasets.mask_file import GridMisfitError, on_grid
from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import CTStudy
from scripts.messages import ExpectedError
from scripts.phantom import Haemorrhage, make_phantom
from scripts.training.gaze_groups import gaze_groups
from scripts.training.group_arrays import gaze, prepared_geometry
from scripts.training.saliency_learning import SaliencyLoss
from scripts.training.saliency_losses import BLUR, blurred_mask, true_saliency

torch.set_num_threads(1)


@dataclass(frozen=True)
class Scan:
    """A labelled scan in memory."""

    study: CTStudy
    name: str = "049"

    def read(self) -> CTStudy:
        return self.study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> CTStudy:
    """Return a DICOM study with a tilted gantry: its affine is sheared."""
    folder = tmp_path_factory.mktemp("tilted")
    write_series(folder, Series(step=(0.0, 1.2, 4.8)))
    return read_study(find_studies(folder)[0])


def saved(values: np.ndarray, study: CTStudy, path: Path, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(values.transpose(2, 1, 0), study.affine if affine is None else affine), path)
    return path


def test_files_are_found_by_the_names_of_the_scans_and_others_are_left_out_with_a_warning(tmp_path: Path, caplog):
    for name in ("049.nii.gz", "050.nii", "stranger.nii.gz", "readme.txt"):
        (tmp_path / name).touch()
    found = gaze_files(tmp_path, ["049", "050", "051"])
    assert {name: path.name for name, path in found.items()} == {"049": "049.nii.gz", "050": "050.nii"}
    assert "1 files are of no scan" in caplog.text


def test_a_missing_folder_and_one_without_a_map_of_any_scan_are_named_with_the_remedy(tmp_path: Path):
    with pytest.raises(ExpectedError, match="no such folder of gaze maps") as raised:
        gaze_files(tmp_path / "nowhere", ["049"])
    assert raised.value.code == "training.no_gaze_folder"
    (tmp_path / "49.nii.gz").touch()
    with pytest.raises(ExpectedError, match=r"e\.g\. 049\.nii\.gz"):
        gaze_files(tmp_path, ["049"])


def test_gaze_is_read_on_the_voxels_of_the_scan_whatever_its_unit(study: CTStudy, tmp_path: Path):
    looked = np.zeros(study.voxels.shape, dtype=np.float32)
    looked[3, 10:14, 20:22] = 0.25
    looked[4, 5, 7] = 1200.0
    read = read_gaze(saved(looked, study, tmp_path / "g.nii.gz"), study)
    np.testing.assert_array_equal(read, looked)
    flipped = nib.Nifti1Image(looked.transpose(2, 1, 0)[::-1], study.affine @ _mirrored(looked[0, 0].size))
    nib.save(flipped, tmp_path / "flipped.nii.gz")
    np.testing.assert_array_equal(read_gaze(tmp_path / "flipped.nii.gz", study), looked)


def _mirrored(columns: int) -> np.ndarray:
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirrored[0, 3] = columns - 1
    return mirrored


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, 0.0])
def test_values_that_are_no_gaze_are_refused(study: CTStudy, tmp_path: Path, value: float):
    looked = np.zeros(study.voxels.shape, dtype=np.float32)
    looked[2, 3, 4] = value
    with pytest.raises(ExpectedError, match=r"g\.nii must be one volume of finite values of at least 0") as raised:
        read_gaze(saved(looked, study, tmp_path / "g.nii"), study)
    assert raised.value.code == "training.gaze_values"


def test_a_file_that_is_none_or_lies_elsewhere_is_refused(study: CTStudy, tmp_path: Path):
    (tmp_path / "g.nii").write_bytes(b"no image")
    with pytest.raises(ExpectedError, match="cannot be read"):
        read_gaze(tmp_path / "g.nii", study)
    looked = np.ones(study.voxels.shape, dtype=np.float32)
    beside = study.affine.copy()
    beside[:3, 3] += (0.0, 3.0, 0.0)
    with pytest.raises(ExpectedError, match="position distance_mm 3"):
        read_gaze(saved(looked, study, tmp_path / "beside.nii", beside), study)
    with pytest.raises(ExpectedError, match="voxels found"):
        read_gaze(saved(looked[1:], study, tmp_path / "fewer.nii"), study)
    with pytest.raises(GridMisfitError, match="affine"):
        on_grid(looked.transpose(2, 1, 0), np.diag([1.0, 1.0, 0.0, 1.0]), study)


@pytest.mark.parametrize("name", ["axial", "all flipped", "pixels not square", "tilted", "oblique"])
def test_a_marked_voxel_that_was_looked_at_lies_on_the_prepared_slice_where_the_image_shows_it(
    name: str, tmp_path: Path
):
    grid = GRIDS[name]
    study = a_marked_study(grid, (6, 17, 25), as_nifti)
    looked = np.where(study.voxels == MARK_HU, np.float32(3.0), np.float32(0.0))
    found = gaze(Scan(study), saved(looked, study, tmp_path / "049.nii.gz"), 96)
    _, geometry = prepared_geometry(study)
    image = geometry.resample(study.voxels, 96)
    place = np.unravel_index(int(image.argmax()), image.shape)
    assert found.dtype == np.uint8
    assert (found.max(axis=(1, 2)) > 0).tolist() == [index == place[0] for index in range(len(found))]
    assert found[place] == 255


def test_slices_that_nobody_looked_at_are_empty_in_spite_of_rounding(tmp_path: Path):
    study = make_phantom(GRIDS["oblique"], seed=1).study
    looked = np.zeros(study.voxels.shape, dtype=np.float32)
    looked[5, 12:30, 10:31] = np.random.default_rng(2).random((18, 21)) + 0.5
    found = gaze(Scan(study), saved(looked, study, tmp_path / "049.nii.gz"), 72)
    assert np.count_nonzero(found.any(axis=(1, 2))) == 1


def test_groups_of_scans_with_gaze_carry_it_in_place_of_masks_and_are_made_once(tmp_path: Path):
    phantom = make_phantom(GRIDS["axial"], (Haemorrhage("subdural", "left", 20.0),), seed=1)
    study = phantom.study
    looked = np.zeros(study.voxels.shape, dtype=np.float32)
    looked[4, 15:20, 20:24] = 2.0
    saved(looked, study, tmp_path / "049.nii.gz")
    _, geometry = prepared_geometry(study)
    slices = len(geometry.slabs)
    groups = [
        a_group("scan", 0, (2,), slices=slices, name="049"),
        a_group("scan", 1, (), name="050"),
        a_group("synthetic scan", 0, (2,), slices=slices, name="049"),
    ]
    entries = [{"name": "049", "study": Scan(study)}, {"name": "050", "study": Scan(study, "050")}]
    cache = Cache(tmp_path / "cache")
    (found,) = gaze_groups(groups, entries, tmp_path, cache)
    assert (found.name, found.kind) == ("049", "scan")
    assert torch.equal(found.labels, groups[0].labels)
    assert found.mask_known.sum() == 1
    assert found.mask.max() == 255
    assert found.key != groups[0].key
    gaze_groups(groups, entries, tmp_path, cache)
    assert cache.computed == 1


def test_gaze_is_the_truth_as_it_is_and_masks_are_blurred():
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    mask[:, 0, 10, 12] = 200
    known = torch.tensor([[True], [False]])
    looked, stand_in = true_saliency(mask, known, gaze=True), true_saliency(mask, known, gaze=False)
    assert looked[0].count_nonzero() == 1
    assert not looked[1].any()
    torch.testing.assert_close(stand_in[0], blurred_mask(mask[:1], BLUR * 32)[0])
    logits = torch.zeros(2, 1, 32, 32)
    batch = {"mask": mask, "mask_known": known, "label": torch.zeros(2, 1, 6)}
    of_gaze, of_masks = (SaliencyLoss("saliency", gaze=gaze)(logits, batch) for gaze in (True, False))
    assert of_gaze.item() == pytest.approx(np.log(32 * 32), rel=1e-5)
    assert of_masks < of_gaze
