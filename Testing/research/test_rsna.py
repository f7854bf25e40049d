"""RSNA 2019 from loose files to labelled scans: order, alignment of labels and slices, what is left out, folds."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from monai.bundle import ConfigParser
from rsna_files import GRID, KINDS, MARK_HU, THREE_PATIENTS, RSNASeries, marked_head, write_rsna, write_slice

from research.datasets.rsna import LeftOut, RSNAScan, datalist, find_scans
from research.datasets.rsna_index import index_folder
from scripts.datasets.datalist import LabelledScan, ReadLabelledStudyd
from scripts.intake.study import IntakeError, NotEvaluableError
from scripts.labels import RSNA

KEYS = tuple(label.key for label in RSNA)
SLICES = GRID.shape[0]
BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_rsna(tmp_path_factory.mktemp("rsna") / "release")
    index_folder(folder / "stage_2_train", folder / "index.sqlite", processes=1)
    return folder


@pytest.fixture
def spoilt(tmp_path: Path) -> Callable[[Callable[[Path], None]], tuple[list[RSNAScan], list[LeftOut]]]:
    """Write the first series and the second, let the test spoil the images, and find what is left."""

    def spoil_and_find(spoil: Callable[[Path], None]) -> tuple[list[RSNAScan], list[LeftOut]]:
        folder = write_rsna(tmp_path / "spoilt", THREE_PATIENTS[:2])
        spoil(folder / "stage_2_train")
        index_folder(folder / "stage_2_train", folder / "index.sqlite", processes=1)
        return found_in(folder)

    return spoil_and_find


def found_in(folder: Path) -> tuple[list[RSNAScan], list[LeftOut]]:
    return find_scans(folder / "stage_2_train", folder / "stage_2_train.csv", folder / "index.sqlite")


def edit(path: Path, **values: object) -> None:
    dataset = pydicom.dcmread(path, force=True)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def test_every_series_is_a_scan_named_by_its_uid(tree: Path):
    scans, left_out = found_in(tree)
    assert left_out == []
    assert {scan.name: scan.patient for scan in scans} == {each.series_uid: each.patient for each in THREE_PATIENTS}
    protocol: list[LabelledScan] = list(scans)
    assert all(path.is_file() for scan in protocol for path in scan.files)


@pytest.mark.parametrize("series", THREE_PATIENTS, ids=lambda series: series.series_uid)
def test_slices_come_in_order_and_every_label_stands_at_its_own_slice(tree: Path, series: RSNASeries):
    scan = next(scan for scan in found_in(tree)[0] if scan.series_uid == series.series_uid)
    study = scan.read()
    number = study.voxels[:, 0, 0] - MARK_HU
    assert number.tolist() == [index for index in range(SLICES) if index not in series.missing]
    for kind in KINDS:
        assert (scan.slice_labels[kind] == series.truth(kind)[number]).all()
        assert scan.labels[kind] == series.truth(kind)[number].any()
    assert (study.voxels == marked_head(series.seed).voxels[number]).all()
    labelled: LabelledScan = scan
    assert labelled.mask(study) is None


def test_a_missing_slice_is_warned_of(tree: Path):
    scan = next(scan for scan in found_in(tree)[0] if scan.series_uid == "ID_2b2b2b2b2b")
    assert "missing_slices" in {warning.code for warning in scan.read().warnings}


def test_two_series_of_one_patient_share_a_fold(tree: Path):
    entries = datalist(tree, KEYS, folds=3)
    folds = {entry["name"]: entry["fold"] for entry in entries}
    assert folds["ID_1f6d1e8aeb"] == folds["ID_00c0ffee00"]
    assert sorted({entry["patient"]: entry["fold"] for entry in entries}.values()) == [0, 1, 2]


def test_the_datalist_reads_into_studies_that_fit_their_labels(tree: Path):
    entry = next(entry for entry in datalist(tree, KEYS, folds=3) if entry["name"] == "ID_2b2b2b2b2b")
    read = ReadLabelledStudyd("study", with_mask=True)(entry)
    assert read["study"].voxels.shape[0] == len(read["slice_labels"]) == SLICES - 1
    assert entry["label"] == [float(key in ("any", "intraventricular")) for key in KEYS]
    assert read["mask"] is None


def test_the_corrupt_file_is_skipped_with_its_reason_and_its_scan_is_read_without_it(spoilt: Callable):
    def spoil(images: Path) -> None:
        source = images / f"{THREE_PATIENTS[0].names[4]}.dcm"
        (images / "ID_6431af929.dcm").write_bytes(source.read_bytes()[:2000])
        source.unlink()

    scans, left_out = spoilt(spoil)
    damaged = [each for each in left_out if each.code == "damaged_file"]
    assert damaged == [LeftOut("ID_6431af929.dcm", "damaged_file", "is cut off in its image; copy it again")]
    scan = next(scan for scan in scans if scan.series_uid == THREE_PATIENTS[0].series_uid)
    number = scan.read().voxels[:, 0, 0] - MARK_HU
    assert number.tolist() == [index for index in range(SLICES) if index != 4]
    assert (scan.slice_labels["subdural"] == THREE_PATIENTS[0].truth("subdural")[number]).all()


def test_labels_stay_at_their_slices_where_the_intake_drops_one(spoilt: Callable):
    """A slice of another orientation is no part of the stack; those behind it must not move up in the labels."""
    astray = THREE_PATIENTS[0].names[2]

    def spoil(images: Path) -> None:
        edit(images / f"{astray}.dcm", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])

    scans, left_out = spoilt(spoil)
    scan = next(scan for scan in scans if scan.series_uid == THREE_PATIENTS[0].series_uid)
    number = scan.read().voxels[:, 0, 0] - MARK_HU
    assert number.tolist() == [index for index in range(SLICES) if index != 2]
    assert (scan.slice_labels["subdural"] == THREE_PATIENTS[0].truth("subdural")[number]).all()
    assert [(each.name, each.code) for each in left_out] == [(f"{astray}.dcm", "stray_slice")]


def test_a_series_of_two_patients_is_left_out(spoilt: Callable):
    path = THREE_PATIENTS[0].names[2]
    scans, left_out = spoilt(lambda images: edit(images / f"{path}.dcm", PatientID="ID_zzzz9999"))
    assert [scan.series_uid for scan in scans] == [THREE_PATIENTS[1].series_uid]
    assert [(each.name, each.code) for each in left_out] == [(THREE_PATIENTS[0].series_uid, "several_patients")]


def test_of_two_slices_at_one_place_one_is_kept_with_its_labels(spoilt: Callable):
    names = THREE_PATIENTS[0].names

    def spoil(images: Path) -> None:
        position = pydicom.dcmread(images / f"{names[2]}.dcm", force=True).ImagePositionPatient
        edit(images / f"{names[3]}.dcm", ImagePositionPatient=position)

    scans, left_out = spoilt(spoil)
    found = {scan.series_uid: scan for scan in scans}
    kept = found[THREE_PATIENTS[0].series_uid]
    assert len(kept.slices) == len(names) - 1
    assert all(len(shown) == len(kept.slices) for shown in kept.slice_labels.values())
    assert [each.code for each in left_out] == ["stray_slice"]


def test_a_series_that_the_table_does_not_name_is_left_out(spoilt: Callable):
    unknown = replace(THREE_PATIENTS[0], series_uid="ID_eeeeeeeeee")

    def spoil(images: Path) -> None:
        for index, name in enumerate(unknown.names):
            write_slice(images / f"{name}.dcm", unknown, index)

    scans, left_out = spoilt(spoil)
    assert len(scans) == 2
    assert [(each.name, each.code) for each in left_out] == [("ID_eeeeeeeeee", "no_labels")]


def test_slices_of_the_table_that_have_no_file_are_counted(spoilt: Callable):
    scans, left_out = spoilt(lambda images: (images / f"{THREE_PATIENTS[0].names[0]}.dcm").unlink())
    assert [(each.code, each.reason) for each in left_out] == [("missing_files", "names 1 slices that have no file")]
    assert len(scans) == 2


def test_what_is_left_out_is_logged_with_a_count_and_an_example(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    folder = write_rsna(tmp_path / "release")
    for name in THREE_PATIENTS[0].names[:2]:
        (folder / "stage_2_train" / f"{name}.dcm").write_bytes(b"")
    index_folder(folder / "stage_2_train", tmp_path / "elsewhere.sqlite", processes=1)
    datalist(folder, KEYS, folds=3, index=tmp_path / "elsewhere.sqlite")
    assert "RSNA 2019: 4 scans of 3 patients" in caplog.messages
    assert any(line.startswith("left out, damaged_file: 2, for example ID_") for line in caplog.messages)
    assert not any(
        str(tmp_path) in line or series.patient in line for line in caplog.messages for series in THREE_PATIENTS
    )


def test_files_that_changed_after_the_index_are_refused_and_not_mislabelled(tmp_path: Path):
    folder = write_rsna(tmp_path / "release", THREE_PATIENTS[:1])
    index_folder(folder / "stage_2_train", folder / "index.sqlite", processes=1)
    scan = found_in(folder)[0][0]
    low, high = (path.read_bytes() for path in scan.files[:2])
    scan.files[0].write_bytes(high)
    scan.files[1].write_bytes(low)
    with pytest.raises(NotEvaluableError, match="not those that were indexed") as refusal:
        scan.read()
    assert refusal.value.code == "changed_files"
    scan.files[0].unlink()
    with pytest.raises(NotEvaluableError, match="ID_1f6d1e8aeb: ID_") as refusal:
        scan.read()
    assert refusal.value.code == "damaged_file"


def test_a_missing_index_is_refused_with_the_command_that_makes_it(tmp_path: Path):
    folder = write_rsna(tmp_path / "release", THREE_PATIENTS[:1])
    with pytest.raises(IntakeError, match=r"python -m research\.datasets\.rsna_index"):
        found_in(folder)
    assert not (folder / "index.sqlite").exists()


def test_the_configuration_in_the_guide_gives_the_datalist(tree: Path, tmp_path: Path):
    guide = (BUNDLE / "docs" / "datasets_rsna.md").read_text(encoding="utf-8")
    override = json.loads(re.findall(r"```json\n(.*?)```", guide, re.DOTALL)[0])
    override |= {"dataset_dir": str(tree), "folds": 3}
    (tmp_path / "rsna.json").write_text(json.dumps(override), encoding="utf-8")
    parser = ConfigParser()
    parser.read_config([BUNDLE / "configs" / "train.json", tmp_path / "rsna.json"])
    parser.get_parsed_content("imports")
    entries = parser.get_parsed_content("datalist")
    assert sorted(entry["name"] for entry in entries) == sorted(series.series_uid for series in THREE_PATIENTS)
    assert parser.get_parsed_content("sub_stack_size") == 28


@pytest.fixture(scope="module")
def real_scan(ich_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RSNAScan:
    index = tmp_path_factory.mktemp("real") / "index.sqlite"
    index_folder(ich_data / "rsna-series-iph-ivh", index, processes=1)
    table = ich_data / "labels" / "rsna_series_iph_ivh.csv"
    (scan,), left_out = find_scans(ich_data / "rsna-series-iph-ivh", table, index)
    assert left_out == []
    return scan


def test_the_real_series_is_one_scan_with_haemorrhage_in_neighbouring_slices(real_scan: RSNAScan):
    assert len(real_scan.slices) == 36
    assert {key for key, shown in real_scan.labels.items() if shown} == {"any", "intraparenchymal", "intraventricular"}
    # A bleed is one body: in the wrong order its slices would be scattered over the scan.
    positive = np.flatnonzero(real_scan.slice_labels["any"])
    assert np.ptp(positive) + 1 == len(positive) == 11


def test_the_real_series_reads_in_the_order_of_its_labels(real_scan: RSNAScan):
    study = real_scan.read()
    assert study.voxels.shape == (36, 512, 512)
    assert (np.diff(study.positions_mm) > 0).all()
    for index in (0, 17, 35):
        stored = pydicom.dcmread(real_scan.files[index]).pixel_array.astype(np.int32) - 1024
        assert (study.voxels[index] == stored.clip(-1024)).mean() > 0.99
