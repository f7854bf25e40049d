"""The CT-ICH dataset: which scans there are, labels per slice and scan, age and sex, folds by patient."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ct_ich_files import COLUMNS, TEN_PATIENTS, CTICHTree, Patient, write_ct_ich

from scripts.datasets.ct_ich import CTICHScan, datalist, find_scans
from scripts.datasets.datalist import ReadLabelledStudyd
from scripts.labels import RSNA

KEYS = tuple(label.key for label in RSNA)
KINDS = KEYS[1:]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> CTICHTree:
    return write_ct_ich(tmp_path_factory.mktemp("ct-ich"), TEN_PATIENTS)


@pytest.fixture
def one_patient(tmp_path: Path) -> CTICHTree:
    return write_ct_ich(tmp_path, [Patient(49)], slices=3, size=64)


def scans_by_number(folder: Path) -> dict[int, CTICHScan]:
    return {int(scan.patient): scan for scan in find_scans(folder)}


def test_every_patient_with_a_folder_is_found_in_order_and_the_others_are_left_out(tree: CTICHTree):
    assert [scan.patient for scan in find_scans(tree.folder)] == [f"{p.number:03d}" for p in TEN_PATIENTS]


def test_slice_numbers_are_sorted_as_numbers(tree: CTICHTree):
    assert scans_by_number(tree.folder)[49].source.numbers == tuple(range(1, 11))


def test_a_table_in_another_order_gives_the_same_scans(tree: CTICHTree, tmp_path: Path):
    lines = (tree.folder / "hemorrhage_diagnosis.csv").read_text("utf-8-sig").splitlines()
    shuffled = [lines[0], *np.random.default_rng(3).permutation(lines[1:])]
    (tmp_path / "hemorrhage_diagnosis.csv").write_text("\n".join(shuffled), encoding="utf-8-sig")
    (tmp_path / "Patients_CT").symlink_to(tree.folder / "Patients_CT")
    for first, second in zip(find_scans(tree.folder), find_scans(tmp_path), strict=True):
        assert first.source.numbers == second.source.numbers
        assert all((first.slice_labels[key] == second.slice_labels[key]).all() for key in KEYS)


def test_a_slice_without_its_bone_image_is_left_out_together_with_its_label(tree: CTICHTree):
    patient = next(p for p in TEN_PATIENTS if p.number == 102)
    scan = scans_by_number(tree.folder)[102]
    kept = np.arange(1, 11) != 5
    assert scan.source.numbers == (1, 2, 3, 4, 6, 7, 8, 9, 10)
    assert (scan.slice_labels["subdural"] == tree.positive_slices(patient, "subdural")[kept]).all()
    assert scan.read().voxels.shape[0] == len(scan.slice_labels["any"]) == 9


def test_slice_labels_are_the_tables(tree: CTICHTree):
    for patient in TEN_PATIENTS:
        scan = scans_by_number(tree.folder)[patient.number]
        stored = np.array(scan.source.numbers) - 1
        for key in KEYS:
            assert (scan.slice_labels[key] == tree.positive_slices(patient, key)[stored]).all(), (patient, key)


def test_a_scan_shows_what_any_of_its_slices_shows(tree: CTICHTree):
    for patient in TEN_PATIENTS:
        labels = scans_by_number(tree.folder)[patient.number].labels
        assert {kind for kind in KINDS if labels[kind]} == set(patient.kinds)
        assert labels["any"] == bool(patient.kinds)


def test_the_datalist_follows_the_vocabularys_order(tree: CTICHTree):
    entries = datalist(tree.folder, KEYS, folds=3)
    by_name = {entry["name"]: entry for entry in entries}
    assert by_name["104"]["label"] == [1, 1, 0, 0, 0, 1]
    assert by_name["051"]["label"] == [1, 0, 1, 1, 0, 0]
    for entry in entries:
        assert entry["slice_labels"].shape == (len(entry["study"].source.numbers), 6)
        assert entry["slice_labels"].any(axis=0).astype(int).tolist() == entry["label"]
    turned = datalist(tree.folder, KEYS[::-1], folds=3)
    assert [entry["label"][::-1] for entry in turned] == [entry["label"] for entry in entries]


def test_the_map_transform_puts_the_study_in_the_scans_place(tree: CTICHTree):
    entry = datalist(tree.folder, KEYS, folds=2)[0]
    read = ReadLabelledStudyd("study", with_mask=True)(entry)
    assert read["study"].provenance.source_name == "049"
    assert read["mask"].any()
    assert isinstance(entry["study"], CTICHScan)


def test_a_missing_table_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"hemorrhage_diagnosis\.csv"):
        find_scans(tmp_path)


def write_demographics(path: Path, *rows: str) -> None:
    header = '"Patient Number","Age\n(years)","Gender","Intraventricular","Note"'
    path.write_text("\n".join([header, *rows]), encoding="utf-8")


def test_age_and_sex_are_read_where_the_release_states_them(one_patient: CTICHTree):
    table = one_patient.folder / "patient_demographics.csv"
    write_demographics(table, '48,35,"Male",,', '49,0.583333333,"Female",,"Special case, two weeks later"')
    scan = find_scans(one_patient.folder)[0]
    assert (scan.age_years, scan.sex) == (0.583333333, "female")
    write_demographics(table, "49,,,,")
    scan = find_scans(one_patient.folder)[0]
    assert (scan.age_years, scan.sex) == (None, None)
    table.unlink()
    scan = find_scans(one_patient.folder)[0]
    assert (scan.age_years, scan.sex) == (None, None)


def test_the_real_release_holds_what_its_readme_states(ich_data: Path):
    scans = find_scans(ich_data / "ct-ich")
    assert len(scans) == 82
    assert (scans[0].patient, scans[-1].patient) == ("049", "130")
    of_scans = {key: sum(scan.labels[key] for scan in scans) for key in KEYS}
    assert list(of_scans.values()) == [36, 21, 16, 5, 7, 4]
    of_slices = {key: sum(int(scan.slice_labels[key].sum()) for scan in scans) for key in KEYS}
    assert list(of_slices.values()) == [318, 173, 73, 24, 18, 56]


def test_the_real_release_lacks_the_bone_image_of_one_slice_without_blood(ich_data: Path):
    with (ich_data / "ct-ich" / "hemorrhage_diagnosis.csv").open(encoding="utf-8-sig", newline="") as table:
        rows = list(csv.DictReader(table))
    scans = scans_by_number(ich_data / "ct-ich")
    listed = [row for row in rows if int(row["PatientNumber"]) in scans]
    missing = [row for row in listed if int(row["SliceNumber"]) not in scans[int(row["PatientNumber"])].source.numbers]
    assert len(listed) == 2501
    assert [(row["PatientNumber"], row["SliceNumber"]) for row in missing] == [("84", "36")]
    assert not any(row[column] == "1" for row in missing for column in COLUMNS)


def test_positive_patients_of_the_real_release_are_spread_over_the_folds(ich_data: Path):
    scans = find_scans(ich_data / "ct-ich")
    folds = np.array([entry["fold"] for entry in datalist(ich_data / "ct-ich", KEYS, folds=5)])
    assert sorted(Counter(folds.tolist()).values()) == [16, 16, 16, 17, 17]
    positive = folds[[scan.labels["any"] for scan in scans]]
    assert sorted(Counter(positive.tolist()).values()) == [7, 7, 7, 7, 8]


def test_every_patient_of_the_real_release_has_an_age_and_a_sex(ich_data: Path):
    scans = find_scans(ich_data / "ct-ich")
    assert Counter(scan.sex for scan in scans) == {"male": 46, "female": 36}
    ages = [scan.age_years for scan in scans]
    assert min(ages) < 0.01
    assert max(ages) == 72
