"""CQ500 as it is downloaded: reads by majority, folders of every form, the choice of series, splits by patient."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from cq500_files import FINDINGS, write_reads, write_study

from research.datasets.cq500 import datalist, find_scans
from research.datasets.cq500_reads import read_votes
from scripts.datasets.datalist import LabelledScan
from scripts.intake.study import NotEvaluableError
from scripts.labels import CQ500

KEYS = tuple(label.key for label in CQ500)
VOTES = {0: {"ICH": "111", "SDH": "101"}, 3: {"ICH": "100"}, 12: {"MidlineShift": "011"}, 40: {"ICH": "111"}}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three studies, each folder in another form; study 40 is in the table alone, study 77 is not in it."""
    folder = tmp_path_factory.mktemp("cq500")
    write_study(folder / "CQ500CT0 CQ500CT0", "1.2.826.0.1.3680043.8.498.10")
    write_study(folder / "CQ500-CT-3" / "CQ500CT3 CQ500CT3", "1.2.826.0.1.3680043.8.498.13")
    write_study(folder / "unpacked", "1.2.826.0.1.3680043.8.498.22")
    shutil.make_archive(str(folder / "CQ500-CT-12"), "zip", folder / "unpacked")
    shutil.rmtree(folder / "unpacked")
    (folder / "CQ500CT77").mkdir()
    (folder / "notes").mkdir()
    write_reads(folder / "reads.csv", VOTES)
    return folder


def test_folders_of_every_form_are_found_in_the_order_of_their_numbers(tree: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    assert [scan.name for scan in find_scans(tree)] == ["CQ500CT0", "CQ500CT3", "CQ500CT12"]
    assert "3 studies; 1 of the table have no folder" in caplog.text
    assert "1 folders are not in the table of reads" in caplog.text


def test_two_of_three_readers_decide(tree: Path):
    labels = {scan.name: {key for key, shown in scan.labels.items() if shown} for scan in find_scans(tree)}
    assert labels == {"CQ500CT0": {"any", "subdural"}, "CQ500CT3": set(), "CQ500CT12": {"midline_shift"}}
    assert all(set(scan.labels) == set(KEYS) for scan in find_scans(tree))


def test_the_intakes_rules_choose_the_thick_soft_tissue_series(tree: Path):
    for scan in find_scans(tree):
        study = scan.read()
        assert len(study.voxels) == 14
        assert study.provenance.kernel == "H31s"
        assert len(study.provenance.series_choice) == 4
        assert scan.slice_labels is None
        labelled: LabelledScan = scan
        assert labelled.mask(study) is None


def test_the_files_of_a_scan_are_those_of_its_whole_study(tree: Path):
    scans = find_scans(tree)
    assert len(scans[0].files) == 2 + 14 + 28 + 14
    assert [path.name for path in scans[2].files] == ["CQ500-CT-12.zip"]


def test_every_series_can_be_a_scan_of_its_own_and_localizers_never_are(tree: Path):
    scans = find_scans(tree, series="all")
    assert [scan.name for scan in scans[:3]] == ["CQ500CT0_series1", "CQ500CT0_series2", "CQ500CT0_series3"]
    assert len(scans) == 9
    assert [len(scan.read().voxels) for scan in scans[:3]] == [14, 28, 14]
    assert {scan.read().provenance.kernel for scan in scans[2:3]} == {"H70h"}
    assert len(scans[1].files) == 28


def test_folds_keep_all_series_of_a_patient_together_and_say_what_the_other_split_would_do(
    tree: Path, caplog: pytest.LogCaptureFixture
):
    entries = datalist(tree, KEYS, folds=3, series="all")
    for patient in ("CQ500CT0", "CQ500CT3", "CQ500CT12"):
        assert len({entry["fold"] for entry in entries if entry["patient"] == patient}) == 1
    assert "folds by series would leak patients, these keep them whole" in caplog.text


def test_a_split_by_series_must_be_asked_for_and_is_warned_of(tree: Path, caplog: pytest.LogCaptureFixture):
    entries = datalist(tree, KEYS, folds=9, series="all", split="series")
    assert sorted(entry["fold"] for entry in entries) == list(range(9))
    assert "this leaks patients from training into the test" in caplog.text


@pytest.mark.parametrize("wrong", [{"series": "thin"}, {"split": "study"}])
def test_a_choice_that_does_not_exist_is_refused(tree: Path, wrong: dict[str, str]):
    with pytest.raises(ValueError, match="choose"):
        datalist(tree, KEYS, **wrong)


def test_the_datalist_follows_the_vocabulary_and_its_rsna_part(tree: Path):
    entries = {entry["name"]: entry for entry in datalist(tree, KEYS, folds=2)}
    assert entries["CQ500CT0"]["label"] == [1, 0, 0, 1, 0, 0, 0, 0, 0]
    assert entries["CQ500CT12"]["label"] == [0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert entries["CQ500CT0"]["slice_labels"] is None


def test_a_study_that_cannot_be_read_is_left_out_with_its_reason(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    copy = tmp_path / "cq500"
    shutil.copytree(tree, copy)
    (copy / "CQ500-CT-12.zip").write_bytes(b"no archive")
    bone_only = copy / "CQ500-CT-3" / "CQ500CT3 CQ500CT3" / "Unknown Study"
    for name in ("CT Plain", "CT PLAIN THIN", "CT Bone"):
        shutil.rmtree(bone_only / name)
    with pytest.raises(ValueError, match="2 folds of 1 patients"):
        datalist(copy, KEYS, folds=2)
    assert "CQ500CT3 is left out: CQ500CT3: holds only localizer images" in caplog.text
    assert "CQ500CT12 is left out: CQ500-CT-12.zip: damaged zip archive" in caplog.text
    assert str(tmp_path) not in caplog.text


def test_images_of_several_study_uids_in_one_folder_are_one_study(tmp_path: Path):
    write_study(tmp_path / "CQ500CT1", "1.2.3")
    write_study(tmp_path / "CQ500CT1" / "second", "1.2.4")
    write_reads(tmp_path / "reads.csv", {1: {}})
    assert len(find_scans(tmp_path)[0].read().provenance.series_choice) == 8


def test_a_missing_folder_table_or_study_is_named(tmp_path: Path):
    votes = write_reads(tmp_path / "votes.csv", VOTES)
    with pytest.raises(FileNotFoundError, match=r"no reads\.csv"):
        find_scans(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        find_scans(tmp_path / "nowhere", reads=votes)
    with pytest.raises(FileNotFoundError, match="no folder CQ500CT<number>"):
        find_scans(tmp_path, reads=votes)


def test_a_study_that_lies_there_twice_is_refused(tmp_path: Path):
    for name in ("CQ500CT0", "CQ500CT0 CQ500CT0"):
        (tmp_path / name).mkdir()
    write_reads(tmp_path / "reads.csv", VOTES)
    with pytest.raises(ValueError, match="CQ500CT0 and CQ500CT0 CQ500CT0 are the same study"):
        find_scans(tmp_path)


def test_an_empty_study_is_refused_when_it_is_read(tmp_path: Path):
    (tmp_path / "CQ500CT0").mkdir()
    write_reads(tmp_path / "reads.csv", VOTES)
    with pytest.raises(NotEvaluableError, match="CQ500CT0: empty folder"):
        find_scans(tmp_path)[0].read()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("R2:SDH", "R2:subdural"), "no column R2:SDH"),
        (("CQ500-CT-3,", "CQ500-CT-x,"), "row 3: name 'CQ500-CT-x'"),
        (("CQ500-CT-3,", "CQ500-CT-0,"), "row 3: CQ500-CT-0 comes twice"),
        (("CQ500-CT-0,B1,1", "CQ500-CT-0,B1,2"), "row 2: votes '2', '1', '1' for ICH"),
    ],
)
def test_a_table_that_is_not_the_releases_is_refused_by_row(tmp_path: Path, change: tuple[str, str], message: str):
    path = write_reads(tmp_path / "reads.csv", VOTES)
    path.write_text(path.read_text("utf-8").replace(*change), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_votes(path)


def test_the_real_reads_give_the_published_counts(ich_data: Path):
    votes = read_votes(ich_data / "labels" / "cq500_reads.csv")
    assert len(votes) == 491
    counts = {key: sum(labels[key] for labels in votes.values()) for key in KEYS}
    assert counts == {
        "any": 205,
        "intraparenchymal": 134,
        "intraventricular": 28,
        "subdural": 53,
        "epidural": 13,
        "subarachnoid": 60,
        "calvarial_fracture": 34,
        "mass_effect": 127,
        "midline_shift": 65,
    }


def test_the_written_table_has_the_real_ones_columns(ich_data: Path, tmp_path: Path):
    real = (ich_data / "labels" / "cq500_reads.csv").read_text("utf-8-sig").splitlines()[0]
    assert write_reads(tmp_path / "reads.csv", VOTES).read_text("utf-8").splitlines()[0] == real
    assert len(FINDINGS) == 14
