"""CT-ICH's NIfTI release: volumes, masks and tables in the names and forms of PhysioNet 1.3.1."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.datasets.ct_ich import CTICHScan, datalist, find_scans
from scripts.intake.study import NotEvaluableError
from scripts.labels import RSNA
from scripts.phantom import Grid, Haemorrhage, Phantom, make_phantom

KEYS = tuple(label.key for label in RSNA)
COLUMNS = ("Intraventricular", "Intraparenchymal", "Subarachnoid", "Epidural", "Subdural")
GRID = Grid((8, 64, 64), (3.6, 3.6, 18.0))


@dataclass(frozen=True)
class Release:
    """A written folder and its truth, by patient."""

    folder: Path
    phantoms: dict[int, Phantom]

    def scan(self, patient: int) -> CTICHScan:
        return {int(scan.patient): scan for scan in find_scans(self.folder)}[patient]


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """Write two patients with volumes and one (59) without, as the release leaves out 59 to 65."""
    phantoms = {
        49: make_phantom(GRID, [Haemorrhage("epidural", "left", 25.0)], seed=1),
        50: make_phantom(GRID, [], seed=2),
    }
    for patient, phantom in phantoms.items():
        save(phantom.voxels.astype(np.int16), phantom.affine, tmp_path / "ct_scans" / f"{patient:03d}.nii")
        blood = np.logical_or.reduce([*phantom.masks.values(), np.zeros(phantom.voxels.shape, dtype=bool)])
        save(blood.astype(np.uint8) * 255, phantom.affine, tmp_path / "masks" / f"{patient:03d}.nii")
    write_tables(tmp_path, phantoms, described=8)
    return Release(tmp_path, phantoms)


def save(by_slice: np.ndarray, affine: np.ndarray, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(by_slice.transpose(2, 1, 0), affine), path)


def write_tables(folder: Path, phantoms: dict[int, Phantom], described: int) -> None:
    with (folder / "hemorrhage_diagnosis_raw_ct.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["PatientNumber", "SliceNumber", *COLUMNS, "No_Hemorrhage", "Fracture_Yes_No"])
        for patient in (*phantoms, 59):
            masks = phantoms[patient].masks if patient in phantoms else {}
            shown = {kind: mask.any(axis=(1, 2)) for kind, mask in masks.items()}
            for index in range(described):
                kinds = [int(index < 8 and name.lower() in shown and shown[name.lower()][index]) for name in COLUMNS]
                writer.writerow([patient, index + 1, *kinds, int(not any(kinds)), 0])
    # The second line of headings and the capital letter are the release's.
    (folder / "Patient_demographics.csv").write_text(
        'Patient Number,"Age\n(years)",Gender,Hemorrhage type based on the radiologists diagnosis ,,,,,Fracture,Note1\n'
        ",,,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,(yes 1/no 0),\n"
        "49,35,Male,,,,1,,1,\n50,0.583333333,Female,,,,,,,\n",
        encoding="utf-8",
    )


def test_the_release_is_recognised_and_patients_without_a_volume_are_left_out(release: Release):
    scans = find_scans(release.folder)
    assert [scan.name for scan in scans] == ["049", "050"]
    assert [(scan.age_years, scan.sex) for scan in scans] == [(35, "male"), (0.583333333, "female")]
    assert [scan.labels["epidural"] for scan in scans] == [True, False]


def test_voxels_labels_and_mask_fit_slice_by_slice(release: Release):
    scan, phantom = release.scan(49), release.phantoms[49]
    study = scan.read()
    assert (study.voxels == phantom.voxels).all()
    np.testing.assert_allclose(study.affine, phantom.affine, atol=1e-4)
    mask = scan.mask(study)
    assert (mask == phantom.masks["epidural"]).all()
    assert (scan.slice_labels["epidural"] == mask.any(axis=(1, 2))).all()


def test_a_patient_without_blood_has_an_empty_mask(release: Release):
    scan = release.scan(50)
    assert not scan.mask(scan.read()).any()


def test_masks_of_ones_are_read_like_masks_of_255(release: Release):
    phantom = release.phantoms[49]
    save(phantom.masks["epidural"].astype(np.uint8), phantom.affine, release.folder / "masks" / "049.nii")
    scan = release.scan(49)
    assert (scan.mask(scan.read()) == phantom.masks["epidural"]).all()


@pytest.mark.parametrize("described", [6, 10])
def test_slices_that_only_table_or_volume_knows_are_left_out(release: Release, described: int):
    write_tables(release.folder, release.phantoms, described)
    entry = datalist(release.folder, KEYS, folds=2)[0]
    scan = entry["study"]
    study = scan.read()
    both = min(described, 8)
    assert study.voxels.shape[0] == len(entry["slice_labels"]) == len(scan.mask(study)) == both
    assert (study.voxels == release.phantoms[49].voxels[:both]).all()


def test_slices_in_the_middle_that_the_table_lacks_move_the_origin(release: Release):
    table = release.folder / "hemorrhage_diagnosis_raw_ct.csv"
    rows = [line for line in table.read_text("utf-8").splitlines() if not line.startswith(("49,1,", "49,2,", "49,5,"))]
    table.write_text("\n".join(rows), encoding="utf-8")
    scan, phantom = release.scan(49), release.phantoms[49]
    study = scan.read()
    kept = [2, 3, 5, 6, 7]
    assert scan.source.numbers == (3, 4, 6, 7, 8)
    assert (study.voxels == phantom.voxels[kept]).all()
    for index in (0, 4):
        expected = phantom.affine @ [0, 0, kept[index], 1]
        np.testing.assert_allclose(study.affine @ [0, 0, index, 1], expected, atol=1e-3)
    assert (scan.mask(study) == phantom.masks["epidural"][kept]).all()


def test_a_mask_of_other_voxels_is_refused(release: Release):
    phantom = release.phantoms[49]
    save(phantom.masks["epidural"][:, 1:].astype(np.uint8), phantom.affine, release.folder / "masks" / "049.nii")
    scan = release.scan(49)
    with pytest.raises(NotEvaluableError, match=r"mask 049\.nii has other voxels") as raised:
        scan.mask(scan.read())
    assert raised.value.code == "bad_mask"


def test_a_patient_without_a_mask_has_none(release: Release):
    (release.folder / "masks" / "050.nii").unlink()
    scan = release.scan(50)
    assert scan.mask(scan.read()) is None
    assert [path.name for path in scan.files] == ["050.nii"]


def test_a_damaged_volume_is_listed_and_refused_by_name_when_it_is_read(release: Release):
    (release.folder / "ct_scans" / "050.nii").write_bytes(b"no volume")
    assert len(find_scans(release.folder)) == 2
    with pytest.raises(NotEvaluableError, match=r"050\.nii: cut off"):
        release.scan(50).read()


def test_slices_along_another_axis_are_refused_because_labels_count_along_the_third(release: Release):
    phantom = release.phantoms[49]
    turned = phantom.affine[:, [2, 1, 0, 3]]
    path = release.folder / "ct_scans" / "049.nii"
    nib.save(nib.Nifti1Image(phantom.voxels, turned), path)
    with pytest.raises(NotEvaluableError, match=r"049\.nii: slices lie along axis 1"):
        release.scan(49).read()


def test_where_both_releases_lie_in_one_folder_the_volumes_are_read(release: Release):
    (release.folder / "hemorrhage_diagnosis.csv").write_text("PatientNumber,SliceNumber\n", encoding="utf-8")
    assert release.scan(49).files[0].name == "049.nii"
