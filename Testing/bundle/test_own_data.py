"""A user's own data: studies of every format found by name, slices counted from the feet, masks, and the check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from own_data_files import NIFTI_AFFINE, SLICE_TABLE, SLICES, TABLE, blood, replaced, write_own_data, write_volume

from scripts.cache import Cache
from scripts.datasets.datalist import ReadLabelledStudyd
from scripts.datasets.own_data import datalist, main, read_own_data
from scripts.datasets.own_studies import OwnScan
from scripts.datasets.own_tables import TableError
from scripts.intake.study import IntakeError
from scripts.labels import RSNA

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
KEYS = tuple(label.key for label in RSNA)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_own_data(tmp_path_factory.mktemp("own"))
    read(folder)
    return folder


def read(folder: Path, table: str | None = None, slices: str | None = None):
    """Read the written folder with other tables; what a study showed is remembered."""
    beside = folder / "labels.csv"
    if table is not None:
        beside = folder / "other.csv"
        beside.write_text(table, encoding="utf-8")
    slice_file = folder / "of_slices.csv" if slices else None
    if slice_file:
        slice_file.write_text(slices or "", encoding="utf-8")
    return read_own_data(folder / "studies", beside, KEYS, slice_file, Cache(folder / "cache"))


def faults_of(folder: Path, table: str, slices: str | None = None) -> tuple[str, ...]:
    with pytest.raises(TableError) as raised:
        read(folder, table, slices)
    return raised.value.faults


def by_name(folder: Path, **tables: str) -> dict[str, OwnScan]:
    return {scan.source.path.relative_to(folder / "studies").parts[0]: scan for scan in read(folder, **tables).scans}


def test_studies_of_every_format_are_found_by_the_name_in_the_table(own: Path):
    data = read(own)
    assert [scan.name for scan in data.scans] == ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    assert not data.refused
    assert not data.warnings
    for scan in data.scans:
        assert len(scan.read().voxels) == SLICES
    labels = {scan.name: scan.labels for scan in data.scans}
    assert labels["gamma"] == {"any": True, "epidural": True}
    assert labels["beta"] == dict.fromkeys(KEYS, False)


@pytest.mark.parametrize("name", ["zeta", "zeta/head.nii", "head.nii", "zeta/", "zeta\\head.nii"])
def test_a_study_may_be_named_by_folder_file_or_path(own: Path, name: str):
    data = read(own, replaced(TABLE, {"zeta,": f"{name},"}))
    assert data.scans[-1].source.path.name == "head.nii"


def test_the_entries_keep_a_patients_studies_together(own: Path):
    entries = datalist(own / "studies", own / "labels.csv", KEYS, folds=2, cache=Cache(own / "cache"))
    folds = {entry["name"]: entry["fold"] for entry in entries}
    assert folds["alpha"] == folds["epsilon"]
    assert set(folds.values()) == {0, 1}
    labels = next(entry["label"] for entry in entries if entry["name"] == "gamma")
    np.testing.assert_array_equal(labels, [1, 1, np.nan, np.nan, np.nan, np.nan])


def test_slices_count_from_the_feet_whichever_way_the_study_is_stored(own: Path):
    scans = by_name(own, slices=SLICE_TABLE)
    assert np.flatnonzero(scans["alpha"].slice_labels["any"]).tolist() == [2, 3]
    assert np.flatnonzero(scans["alpha"].slice_labels["subdural"]).tolist() == [2]
    upside_down = scans["epsilon"].read()
    assert upside_down.affine[2, 2] < 0
    shown = np.flatnonzero(scans["epsilon"].slice_labels["subdural"])
    heights = [(upside_down.affine @ [0, 0, index, 1])[2] for index in range(SLICES)]
    assert shown.tolist() == [int(np.argmax(heights))]


def test_studies_without_blood_have_empty_slices_and_others_that_are_not_listed_have_none(own: Path):
    table = SLICE_TABLE.replace("gamma,2,1,0\n", "")
    scans = by_name(own, slices=table)
    assert scans["gamma.nii.gz"].slice_labels is None
    assert not scans["beta"].slice_labels["any"].any()
    assert set(scans["beta"].slice_labels) == {"any", "subdural"}


def test_any_of_a_slice_follows_from_the_kinds_when_all_of_them_are_columns(own: Path):
    kinds = ",".join(KEYS[1:])
    scans = by_name(own, slices=f"study,slice,{kinds}\nalpha,5,0,0,0,0,1\n")
    assert np.flatnonzero(scans["alpha"].slice_labels["any"]).tolist() == [4]


def test_the_mask_is_read_on_the_studys_voxels(own: Path):
    scan = read(own).scans[0]
    entry = ReadLabelledStudyd("study", with_mask=True)({"study": scan})
    assert (entry["mask"] == blood()).all()
    assert scan.mask_file in scan.files
    assert read(own).scans[1].mask(read(own).scans[1].read()) is None


def test_a_mask_beside_its_study_is_no_study(tmp_path: Path):
    write_own_data(tmp_path)
    mask = tmp_path / "studies" / "zeta" / "mask.nii.gz"
    write_volume(mask, np.zeros_like(blood(), dtype=np.uint8))
    data = read(tmp_path, replaced(TABLE, {"zeta,0,,,P6,": "zeta,0,,,P6,zeta/mask.nii.gz"}))
    assert data.scans[-1].source.path.name == "head.nii"
    assert data.scans[-1].mask_file == mask
    assert not data.warnings


def test_every_fault_against_the_folder_is_named_at_once(own: Path):
    table = replaced(
        TABLE,
        {"beta,0": "betta,0", "gamma,": "nowhere,", "masks/alpha": "masks/alhpa", "zeta,0": "epsilon/ct.nii.gz,0"},
    )
    faults = faults_of(own, table)
    assert len(faults) == 4
    assert "other.csv, row 2: mask 'masks/alhpa.nii.gz' not found; give its path from the folder of the table" in faults
    assert "other.csv, row 3: study 'betta' is not in the folder; did you mean 'beta'?" in faults
    assert "other.csv, row 4: study 'nowhere' is not in the folder" in faults
    assert "other.csv, row 7: 'epsilon/ct.nii.gz' is the same study as 'epsilon' in other.csv, row 6" in faults


def test_a_name_of_two_studies_is_refused_with_both(tmp_path: Path):
    write_own_data(tmp_path)
    write_volume(tmp_path / "studies" / "zeta" / "later.nii", blood().astype(np.int16))
    faults = faults_of(tmp_path, TABLE)
    assert faults == ("other.csv, row 7: 'zeta' names 2 studies; write one of 'zeta_head', 'zeta_later'",)


def test_slices_that_contradict_the_study_or_its_length_are_named(own: Path):
    slices = "study,slice,any,subdural\nalpha,15,1,1\ngamma,1,1,0\ndelta,2,1,1\nepsilon,1,1,0\n"
    faults = faults_of(own, TABLE, slices)
    assert "of_slices.csv, row 2: slice 15, but 'alpha' has 14 slices" in faults
    assert "of_slices.csv, row 4: subdural is 1, but 0 for the whole study in other.csv, row 5" in faults
    assert "other.csv, row 6: subdural is 1, but no slice of the study shows it in the table of slices" in faults


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("shape", "mask alpha.nii.gz has 63 x 64 x 14 voxels, the study 64 x 64 x 14"),
        ("place", "mask alpha.nii.gz lies 20.0 mm beside the study"),
        ("damage", "mask alpha.nii.gz cannot be read"),
    ],
)
def test_a_mask_on_another_grid_is_a_fault_of_its_row(tmp_path: Path, change: str, fault: str):
    write_own_data(tmp_path)
    mask, affine = blood().astype(np.uint8), NIFTI_AFFINE.copy()
    if change == "shape":
        mask = mask[:, :, 1:]
    affine[2, 3] += 20 if change == "place" else 0
    path = write_volume(tmp_path / "masks" / "alpha.nii.gz", mask, affine)
    if change == "damage":
        path.write_bytes(b"nothing")
    table = "study,any,mask\nalpha,1,masks/alpha.nii.gz\nbeta,0,\n"
    faults = faults_of(tmp_path, table)
    assert len(faults) == 1
    assert faults[0].startswith(f"other.csv, row 2: {fault}")


def test_a_study_that_cannot_be_read_is_left_out_with_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_own_data(tmp_path)
    (tmp_path / "studies" / "gamma.nii.gz").write_bytes(b"no volume")
    data = read(tmp_path)
    assert [scan.name for scan in data.scans] == ["alpha", "beta", "delta", "epsilon", "zeta"]
    assert data.refused[0][0] == "gamma"
    assert "labels.csv: gamma is left out: gamma.nii.gz: cut off" in caplog.text


def test_when_no_study_can_be_read_there_is_nothing_to_train_with(tmp_path: Path):
    write_own_data(tmp_path)
    (tmp_path / "studies" / "gamma.nii.gz").write_bytes(b"no volume")
    with pytest.raises(ValueError, match=r"none of 1 scans can be read; the first: gamma\.nii\.gz"):
        read(tmp_path, "study,any\ngamma,1\n")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    (tmp_path / "labels.csv").write_text(TABLE.replace("masks/alpha.nii.gz", ""), encoding="utf-8")
    with pytest.raises(IntakeError, match="studies: no such file or folder"):
        read(tmp_path)


def check(own: Path, *further: str) -> list[str]:
    return [str(own / "studies"), str(own / "labels.csv"), "--cache", str(own / "cache"), *further]


def test_the_check_shows_counts_folds_and_what_is_thin(own: Path, capsys: pytest.CaptureFixture[str]):
    assert main(check(own, "--folds", "3")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "6 studies of 5 patients; slices labelled in 0, masks in 1"
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["any"] == ["3", "3", "0"]
    assert rows["subdural"] == ["2", "3", "1"]
    assert sum(int(rows[fold][0]) for fold in "012") == 6
    assert any(line.endswith("any: 2 positive patients for 3 folds; its metrics will mean little") for line in lines)


def test_the_check_lists_what_is_not_evaluable_and_not_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_own_data(tmp_path)
    (tmp_path / "studies" / "gamma.nii.gz").write_bytes(b"no volume")
    (tmp_path / "labels.csv").write_text(TABLE.replace("zeta,0,,,P6,\n", ""), encoding="utf-8")
    assert main(check(tmp_path, "--folds", "2")) == 0
    shown = capsys.readouterr().out
    assert "not evaluable, left out (1):\n  gamma: gamma.nii.gz: cut off" in shown
    assert "1 studies of the folder are not in labels.csv: zeta" in shown


def test_the_check_ends_with_1_and_the_faults_where_something_must_be_corrected(tmp_path: Path):
    """As a user runs it: in a process of its own, from the bundle's folder."""
    write_own_data(tmp_path)
    (tmp_path / "labels.csv").write_text(replaced(TABLE, {"beta,0": "betta,2"}), encoding="utf-8")
    command = [sys.executable, "-m", "scripts.datasets.own_data", *check(tmp_path)]
    run = subprocess.run(command, cwd=BUNDLE, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout.splitlines() == [
        "2 faults to correct:",
        "  labels.csv, row 3: any is '2', not 0, 1 or empty",
        "  labels.csv, row 3: study 'betta' is not in the folder; did you mean 'beta'?",
    ]
    assert "Traceback" not in run.stderr


def test_more_folds_than_patients_end_the_check_with_1(own: Path, capsys: pytest.CaptureFixture[str]):
    assert main(check(own, "--folds", "6")) == 1
    assert "6 folds of 5 patients" in capsys.readouterr().out
