"""The CT-ICH reader: Hounsfield units from two 8-bit windows, labels per slice and scan, folds by patient."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_ich_files import COLUMNS, TEN_PATIENTS, CTICHTree, Patient, write_ct_ich, write_pictures
from scripts.datasets.ct_ich import CTICHScan, ReadCTICHd, datalist, find_scans, folds_by_patient, read_scan
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


def scans_by_number(folder: Path) -> dict[int, CTICHScan]:
    return {int(scan.patient): scan for scan in find_scans(folder)}


def unread_scans(positive: int, negative: int) -> list[CTICHScan]:
    labels = [True] * positive + [False] * negative
    return [CTICHScan(f"{n:03d}", Path(), (1,), {"any": np.array([label])}) for n, label in enumerate(labels)]


def test_every_patient_with_a_folder_is_found_in_order_and_the_others_are_left_out(tree: CTICHTree):
    assert [scan.patient for scan in find_scans(tree.folder)] == [f"{p.number:03d}" for p in TEN_PATIENTS]


def test_hounsfield_units_inside_the_brain_window_are_those_of_the_phantom(tree: CTICHTree):
    read = read_scan(scans_by_number(tree.folder)[49]).voxels
    true = tree.phantoms[49].voxels
    flat = np.abs(np.gradient(true.astype(np.float32), axis=(1, 2))).max(axis=0) < 15
    inside = (true > 0) & (true < 90) & flat
    assert inside.sum() > 3000
    error = read[inside].astype(np.float64) - true[inside]
    assert abs(error.mean()) < 0.5
    assert np.abs(error).mean() < 3
    assert np.quantile(np.abs(error), 0.99) < 10


def test_bone_and_air_come_from_the_wide_window(tmp_path: Path):
    tree = write_ct_ich(tmp_path, [Patient(49)], slices=2, size=384)
    read = read_scan(find_scans(tree.folder)[0]).voxels
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
    read = read_scan(scans_by_number(tree.folder)[51]).voxels
    blood = tree.phantoms[51].masks["intraparenchymal"]
    assert 55 < np.median(read[blood]) < 75


@pytest.mark.parametrize("hounsfield", [-15, 0, 40, 80, 96, 101, 150, 400, 1500])
def test_an_even_slice_keeps_its_value_across_the_ends_of_both_windows(tmp_path: Path, hounsfield: int):
    tree = write_ct_ich(tmp_path / "made", [Patient(49)], slices=2, size=32)
    phantom = replace(tree.phantoms[49], voxels=np.full_like(tree.phantoms[49].voxels, hounsfield))
    folder = tmp_path / "even" / "Patients_CT" / "049"
    write_pictures(folder, phantom)
    read = read_scan(replace(find_scans(tree.folder)[0], folder=folder)).voxels
    step = 3200 / 255
    tolerance = 1 if -18 < hounsfield < 98 else step
    assert np.abs(read.astype(np.float64) - hounsfield).max() <= tolerance


def test_slices_run_from_the_feet_upwards_in_radiological_convention(tree: CTICHTree):
    study = read_scan(scans_by_number(tree.folder)[49])
    assert study.orientation == "LPS"
    assert (np.diff(study.positions_mm) > 0).all()
    assert study.spacing_mm[2] == 5.0


def test_the_head_is_found_in_what_was_read(tree: CTICHTree):
    study = read_scan(scans_by_number(tree.folder)[50])
    assert head_mask(study.voxels, study.spacing_mm).any(axis=(1, 2)).all()


def test_slice_numbers_are_sorted_as_numbers(tree: CTICHTree):
    assert scans_by_number(tree.folder)[49].numbers == tuple(range(1, 11))


def test_a_table_in_another_order_gives_the_same_scans(tree: CTICHTree, tmp_path: Path):
    lines = (tree.folder / "hemorrhage_diagnosis.csv").read_text("utf-8-sig").splitlines()
    shuffled = [lines[0], *np.random.default_rng(3).permutation(lines[1:])]
    (tmp_path / "hemorrhage_diagnosis.csv").write_text("\n".join(shuffled), encoding="utf-8-sig")
    (tmp_path / "Patients_CT").symlink_to(tree.folder / "Patients_CT")
    for first, second in zip(find_scans(tree.folder), find_scans(tmp_path), strict=True):
        assert first.numbers == second.numbers
        assert all((first.slice_labels[key] == second.slice_labels[key]).all() for key in KEYS)


def test_a_slice_without_its_bone_picture_is_left_out_together_with_its_label(tree: CTICHTree):
    patient = next(p for p in TEN_PATIENTS if p.number == 102)
    scan = scans_by_number(tree.folder)[102]
    kept = np.arange(1, 11) != 5
    assert scan.numbers == (1, 2, 3, 4, 6, 7, 8, 9, 10)
    assert (scan.slice_labels["subdural"] == tree.positive_slices(patient, "subdural")[kept]).all()
    assert read_scan(scan).voxels.shape[0] == len(scan.slice_labels["any"]) == 9


def test_slice_labels_are_the_tables(tree: CTICHTree):
    for patient in TEN_PATIENTS:
        scan = scans_by_number(tree.folder)[patient.number]
        stored = np.array(scan.numbers) - 1
        for key in KEYS:
            assert (scan.slice_labels[key] == tree.positive_slices(patient, key)[stored]).all(), (patient, key)


def test_a_scan_shows_what_any_of_its_slices_shows(tree: CTICHTree):
    for patient in TEN_PATIENTS:
        labels = scans_by_number(tree.folder)[patient.number].labels
        assert {kind for kind in KINDS if labels[kind]} == set(patient.kinds)
        assert labels["any"] == bool(patient.kinds)


def test_masks_are_not_taken_for_slices(tree: CTICHTree):
    assert list((tree.folder / "Patients_CT" / "049" / "brain").glob("*_HGE_Seg.jpg"))
    assert len(scans_by_number(tree.folder)[49].numbers) == 10


def test_the_datalist_follows_the_vocabularys_order(tree: CTICHTree):
    entries = datalist(tree.folder, KEYS, folds=3)
    by_name = {entry["name"]: entry for entry in entries}
    assert by_name["104"]["label"] == [1, 1, 0, 0, 0, 1]
    assert by_name["051"]["label"] == [1, 0, 1, 1, 0, 0]
    for entry in entries:
        assert entry["slice_labels"].shape == (len(entry["study"].numbers), 6)
        assert entry["slice_labels"].any(axis=0).astype(int).tolist() == entry["label"]
    turned = datalist(tree.folder, KEYS[::-1], folds=3)
    assert [entry["label"][::-1] for entry in turned] == [entry["label"] for entry in entries]


def test_the_map_transform_puts_the_study_in_the_scans_place(tree: CTICHTree):
    entry = datalist(tree.folder, KEYS, folds=2)[0]
    read = ReadCTICHd("study")(entry)
    assert read["study"].provenance.source_name == "049"
    assert isinstance(entry["study"], CTICHScan)


@given(positive=st.integers(1, 40), negative=st.integers(1, 60), data=st.data())
def test_folds_share_out_positive_and_negative_patients_evenly(positive: int, negative: int, data: st.DataObject):
    count = data.draw(st.integers(2, min(10, positive + negative)))
    scans = unread_scans(positive, negative)
    folds = folds_by_patient(scans, count)
    for chosen in (folds, folds[:positive], folds[positive:]):
        sizes = np.bincount(chosen, minlength=count)
        assert sizes.sum() == len(chosen)
        assert sizes.max() - sizes.min() <= 1
    assert (folds == folds_by_patient(scans, count)).all()


def test_another_seed_deals_other_folds():
    scans = unread_scans(20, 30)
    assert (folds_by_patient(scans, 5, seed=0) != folds_by_patient(scans, 5, seed=1)).any()


@pytest.mark.parametrize("count", [0, 1, 6])
def test_a_number_of_folds_that_leaves_one_side_empty_is_refused(count: int):
    with pytest.raises(ValueError, match="folds"):
        folds_by_patient(unread_scans(2, 3), count)


def test_a_picture_that_vanished_is_named(one_patient: CTICHTree):
    scan = find_scans(one_patient.folder)[0]
    (scan.folder / "bone" / "2.jpg").unlink()
    with pytest.raises(NotEvaluableError, match=r"049: slice 2 .*No such file") as raised:
        read_scan(scan)
    assert raised.value.code == "missing_slice"


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_damaged_picture_is_named(one_patient: CTICHTree, content: bytes):
    scan = find_scans(one_patient.folder)[0]
    (scan.folder / "brain" / "3.jpg").write_bytes(content)
    with pytest.raises(NotEvaluableError, match=r"049: slice 3 .*damaged"):
        read_scan(scan)


def test_a_truncated_picture_is_named(one_patient: CTICHTree):
    scan = find_scans(one_patient.folder)[0]
    picture = scan.folder / "brain" / "2.jpg"
    picture.write_bytes(picture.read_bytes()[:-200])
    with pytest.raises(NotEvaluableError, match=r"049: slice 2 .*damaged"):
        read_scan(scan)


def test_pictures_of_two_sizes_are_refused(one_patient: CTICHTree, tmp_path: Path):
    other = write_ct_ich(tmp_path / "other", [Patient(49)], slices=3, size=48)
    for window in ("brain", "bone"):
        source = other.folder / "Patients_CT" / "049" / window / "1.jpg"
        source.replace(one_patient.folder / "Patients_CT" / "049" / window / "1.jpg")
    with pytest.raises(NotEvaluableError, match="different sizes"):
        read_scan(find_scans(one_patient.folder)[0])


def test_windows_of_two_sizes_are_refused(one_patient: CTICHTree, tmp_path: Path):
    other = write_ct_ich(tmp_path / "other", [Patient(49)], slices=3, size=48)
    source = other.folder / "Patients_CT" / "049" / "bone" / "1.jpg"
    source.replace(one_patient.folder / "Patients_CT" / "049" / "bone" / "1.jpg")
    with pytest.raises(NotEvaluableError, match="different sizes"):
        read_scan(find_scans(one_patient.folder)[0])


def test_a_missing_table_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"hemorrhage_diagnosis\.csv"):
        find_scans(tmp_path)


def test_the_real_release_holds_what_its_readme_states(ich_data: Path):
    scans = find_scans(ich_data / "ct-ich")
    assert len(scans) == 82
    assert (scans[0].patient, scans[-1].patient) == ("049", "130")
    of_scans = {key: sum(scan.labels[key] for scan in scans) for key in KEYS}
    assert list(of_scans.values()) == [36, 21, 16, 5, 7, 4]
    of_slices = {key: sum(int(scan.slice_labels[key].sum()) for scan in scans) for key in KEYS}
    assert list(of_slices.values()) == [318, 173, 73, 24, 18, 56]


def test_the_real_release_lacks_the_bone_picture_of_one_slice_without_blood(ich_data: Path):
    with (ich_data / "ct-ich" / "hemorrhage_diagnosis.csv").open(encoding="utf-8-sig", newline="") as table:
        rows = list(csv.DictReader(table))
    scans = scans_by_number(ich_data / "ct-ich")
    listed = [row for row in rows if int(row["PatientNumber"]) in scans]
    missing = [row for row in listed if int(row["SliceNumber"]) not in scans[int(row["PatientNumber"])].numbers]
    assert len(listed) == 2501
    assert [(row["PatientNumber"], row["SliceNumber"]) for row in missing] == [("84", "36")]
    assert not any(row[column] == "1" for row in missing for column in COLUMNS)


def test_positive_patients_of_the_real_release_are_spread_over_the_folds(ich_data: Path):
    scans = find_scans(ich_data / "ct-ich")
    folds = folds_by_patient(scans, 5)
    assert sorted(Counter(folds.tolist()).values()) == [16, 16, 16, 17, 17]
    positive = folds[[scan.labels["any"] for scan in scans]]
    assert sorted(Counter(positive.tolist()).values()) == [7, 7, 7, 7, 8]


def test_a_real_scan_reads_as_a_head(ich_data: Path):
    scan = scans_by_number(ich_data / "ct-ich")[84]
    study = read_scan(replace(scan, numbers=scan.numbers[12:16]))
    assert study.voxels.shape == (4, 650, 650)
    head = head_mask(study.voxels, study.spacing_mm)
    assert 0.2 < head.mean() < 0.8
    soft = study.voxels[head & (study.voxels > 0) & (study.voxels < 90)]
    assert 20 < np.median(soft) < 45
    assert (study.voxels > 500).sum() > 1000
