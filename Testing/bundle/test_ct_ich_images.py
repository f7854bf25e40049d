"""CT-ICH's images: Hounsfield units from two 8-bit windows, masks of blood, damaged files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ct_ich_files import TEN_PATIENTS, CTICHTree, Patient, write_ct_ich, write_images
from numpy.typing import NDArray
from PIL import Image

from scripts.datasets.ct_ich import CTICHScan, find_scans
from scripts.datasets.ct_ich_images import ImageStack
from scripts.intake.head import head_mask
from scripts.intake.study import NotEvaluableError
from scripts.labels import RSNA

KEYS = tuple(label.key for label in RSNA)
KINDS = KEYS[1:]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> CTICHTree:
    return write_ct_ich(tmp_path_factory.mktemp("ct-ich"), TEN_PATIENTS)


@pytest.fixture
def one_patient(tmp_path: Path) -> CTICHTree:
    return write_ct_ich(tmp_path, [Patient(49)], slices=3, size=64)


def images_of(scan: CTICHScan) -> ImageStack:
    assert isinstance(scan.source, ImageStack)
    return scan.source


def scans_by_number(folder: Path) -> dict[int, CTICHScan]:
    return {int(scan.patient): scan for scan in find_scans(folder)}


def test_hounsfield_units_inside_the_brain_window_are_those_of_the_phantom(tree: CTICHTree):
    read = scans_by_number(tree.folder)[49].read().voxels
    true = tree.phantoms[49].voxels
    flat = np.abs(np.gradient(true.astype(np.float32), axis=(1, 2))).max(axis=0) < 15
    inside = (true > 0) & (true < 90) & flat
    assert inside.sum() > 3000
    error = read[inside].astype(np.float64) - true[inside]
    assert abs(error.mean()) < 0.5
    assert np.abs(error).mean() < 3
    # Beside the skull the bone image decides, in steps of 12.5 HU.
    assert np.quantile(np.abs(error), 0.99) < 3200 / 255


def test_bone_and_air_come_from_the_wide_window(tmp_path: Path):
    tree = write_ct_ich(tmp_path, [Patient(49)], slices=2, size=384)
    read = find_scans(tree.folder)[0].read().voxels
    true = tree.phantoms[49].voxels
    bone, air = true > 400, true < -990
    assert bone.sum() > 5000
    error = np.abs(read[bone].astype(np.float64) - true[bone])
    assert np.median(error) < 2 * 3200 / 255
    # Beside sharp edges JPEG's ringing enters the brain window.
    assert (read[bone] > 100).mean() > 0.8
    # 8 bit end at -900 HU.
    assert np.median(read[air]) == -900
    assert (read[air] < -800).mean() > 0.98


def test_blood_stays_brighter_than_brain_and_below_bone(tree: CTICHTree):
    read = scans_by_number(tree.folder)[51].read().voxels
    blood = tree.phantoms[51].masks["intraparenchymal"]
    assert 55 < np.median(read[blood]) < 75


@pytest.mark.parametrize("hounsfield", [-15, 0, 40, 80, 96, 101, 150, 400, 1500])
def test_an_even_slice_keeps_its_value_across_the_ends_of_both_windows(tmp_path: Path, hounsfield: int):
    tree = write_ct_ich(tmp_path / "made", [Patient(49)], slices=2, size=32)
    phantom = replace(tree.phantoms[49], voxels=np.full_like(tree.phantoms[49].voxels, hounsfield))
    folder = tmp_path / "even" / "Patients_CT" / "049"
    write_images(folder, phantom)
    read = replace(images_of(find_scans(tree.folder)[0]), folder=folder).read().voxels
    step = 3200 / 255
    tolerance = 1 if -18 < hounsfield < 98 else step
    assert np.abs(read.astype(np.float64) - hounsfield).max() <= tolerance


def test_slices_run_from_the_feet_upwards_in_radiological_convention(tree: CTICHTree):
    study = scans_by_number(tree.folder)[49].read()
    assert study.orientation == "LPS"
    assert (np.diff(study.positions_mm) > 0).all()
    assert study.spacing_mm[2] == 5.0


def test_the_head_is_found_in_what_was_read(tree: CTICHTree):
    study = scans_by_number(tree.folder)[50].read()
    assert head_mask(study.voxels, study.spacing_mm).any(axis=(1, 2)).all()


def test_masks_are_not_taken_for_slices(tree: CTICHTree):
    assert list((tree.folder / "Patients_CT" / "049" / "brain").glob("*_HGE_Seg.jpg"))
    assert len(scans_by_number(tree.folder)[49].source.numbers) == 10


def test_an_image_that_vanished_is_named(one_patient: CTICHTree):
    scan = find_scans(one_patient.folder)[0]
    (images_of(scan).folder / "bone" / "2.jpg").unlink()
    with pytest.raises(NotEvaluableError, match=r"049: slice 2 .*No such file") as raised:
        scan.read()
    assert raised.value.code == "missing_slice"


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_damaged_image_is_named(one_patient: CTICHTree, content: bytes):
    scan = find_scans(one_patient.folder)[0]
    (images_of(scan).folder / "brain" / "3.jpg").write_bytes(content)
    with pytest.raises(NotEvaluableError, match=r"049: slice 3 .*damaged"):
        scan.read()


def test_a_truncated_image_is_named(one_patient: CTICHTree):
    scan = find_scans(one_patient.folder)[0]
    image = images_of(scan).folder / "brain" / "2.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    with pytest.raises(NotEvaluableError, match=r"049: slice 2 .*damaged"):
        scan.read()


def test_images_of_two_sizes_are_refused(one_patient: CTICHTree, tmp_path: Path):
    other = write_ct_ich(tmp_path / "other", [Patient(49)], slices=3, size=48)
    for window in ("brain", "bone"):
        source = other.folder / "Patients_CT" / "049" / window / "1.jpg"
        source.replace(one_patient.folder / "Patients_CT" / "049" / window / "1.jpg")
    with pytest.raises(NotEvaluableError, match="different sizes"):
        find_scans(one_patient.folder)[0].read()


def test_windows_of_two_sizes_are_refused(one_patient: CTICHTree, tmp_path: Path):
    other = write_ct_ich(tmp_path / "other", [Patient(49)], slices=3, size=48)
    source = other.folder / "Patients_CT" / "049" / "bone" / "1.jpg"
    source.replace(one_patient.folder / "Patients_CT" / "049" / "bone" / "1.jpg")
    with pytest.raises(NotEvaluableError, match="different sizes"):
        find_scans(one_patient.folder)[0].read()


def test_a_real_scan_reads_as_a_head(ich_data: Path):
    scan = scans_by_number(ich_data / "ct-ich")[84]
    study = replace(images_of(scan), numbers=images_of(scan).numbers[12:16]).read()
    assert study.voxels.shape == (4, 650, 650)
    head = head_mask(study.voxels, study.spacing_mm)
    assert 0.2 < head.mean() < 0.8
    soft = study.voxels[head & (study.voxels > 0) & (study.voxels < 90)]
    assert 20 < np.median(soft) < 45
    assert (study.voxels > 500).sum() > 1000


def test_beside_the_skull_ringing_is_not_taken_for_soft_tissue(tmp_path: Path):
    tree = write_ct_ich(tmp_path, [Patient(49)], slices=2, size=384)
    source = images_of(find_scans(tree.folder)[0])
    read, true = source.read().voxels, tree.phantoms[49].voxels
    bone = true > 400
    brain = np.stack([grey(source.folder / "brain" / f"{number}.jpg") for number in source.numbers])
    ringing = bone & (brain > 3) & (brain < 252)
    assert ringing.mean() > 0.001
    assert np.median(read[ringing]) > 300
    assert (read[bone] <= 100).mean() < 0.01


def grey(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def test_the_mask_is_the_mask_of_all_blood_on_the_studys_grid(tree: CTICHTree):
    scan = scans_by_number(tree.folder)[104]
    study = scan.read()
    mask = scan.mask(study)
    true = np.logical_or.reduce(list(tree.phantoms[104].masks.values()))
    assert mask.shape == study.voxels.shape
    assert mask.dtype == bool
    # JPEG moves the edge of a mask by less than a pixel.
    assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.98
    assert (mask.any(axis=(1, 2)) == true.any(axis=(1, 2))).all()


def test_a_scan_without_blood_has_an_empty_mask(tree: CTICHTree):
    scan = scans_by_number(tree.folder)[50]
    assert not scan.mask(scan.read()).any()


def test_the_mask_of_a_slice_that_is_left_out_is_left_out_too(tree: CTICHTree):
    scan = scans_by_number(tree.folder)[102]
    true = tree.phantoms[102].masks["subdural"].any(axis=(1, 2))
    assert true[4]
    assert (scan.mask(scan.read()).any(axis=(1, 2)) == np.delete(true, 4)).all()


def test_every_file_that_is_read_is_listed_and_no_other(tree: CTICHTree):
    scan = scans_by_number(tree.folder)[102]
    folder = tree.folder / "Patients_CT" / "102"
    unpaired = {folder / "brain" / "5.jpg", folder / "brain" / "5_HGE_Seg.jpg"}
    assert set(scan.files) == set(folder.rglob("*.jpg")) - unpaired


@pytest.mark.parametrize("damage", ["no image", "another size"])
def test_a_bad_mask_is_named(one_patient: CTICHTree, damage: str):
    scan = find_scans(one_patient.folder)[0]
    mask = images_of(scan).folder / "brain" / "2_HGE_Seg.jpg"
    if damage == "no image":
        mask.write_bytes(b"no image")
    else:
        Image.new("L", (30, 30)).save(mask)
    with pytest.raises(
        NotEvaluableError, match=r"049: mask 2_HGE_Seg\.jpg (cannot be read|has another size)"
    ) as raised:
        scan.mask(scan.read())
    assert raised.value.code == "bad_mask"


def test_real_bone_reads_as_bone(ich_data: Path):
    source = images_of(scans_by_number(ich_data / "ct-ich")[84])
    middle = replace(source, numbers=source.numbers[12:16])
    read = middle.read().voxels
    wide = (
        np.stack([grey(source.folder / "bone" / f"{number}.jpg") for number in middle.numbers]) * (3200 / 255) - 900.0
    )
    bone = wide > 400
    assert bone.sum() > 10_000
    assert read[bone].min() > 200


def test_every_real_mask_lies_on_a_slice_that_the_table_calls_positive(ich_data: Path):
    scan = scans_by_number(ich_data / "ct-ich")[51]
    study = scan.read()
    positive = scan.mask(study).any(axis=(1, 2))
    assert positive.sum() == 19
    assert (positive == scan.slice_labels["any"]).all()
    assert 40 < np.median(study.voxels[scan.mask(study)]) < 90
