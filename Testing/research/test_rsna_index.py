"""The index of RSNA's loose files: what is read, what is kept from an earlier run, and what damaged files become."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from rsna_files import GRID, THREE_PATIENTS, RSNASeries, write_rsna

from research.datasets.rsna import find_scans
from research.datasets.rsna_headers import FileState, slice_header
from research.datasets.rsna_index import FAILED, IndexReport, index_folder, main
from research.datasets.rsna_store import open_store
from scripts.intake.dicom_header import scan_headers
from scripts.intake.file_location import FileLocation
from scripts.intake.study import IntakeError

SLICES = GRID.shape[0]
ONE = RSNASeries("ID_1f6d1e8aeb", "ID_aaaa0001")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_rsna(tmp_path / "rsna", [ONE]) / "stage_2_train"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def faults(index: Path) -> dict[str, str | None]:
    with open_store(index) as store:
        return {row.state.name: row.fault for row in store.faults()}


def file_of(images: Path, number: int) -> Path:
    return images / f"{ONE.names[number]}.dcm"


def test_the_index_gives_back_the_headers_that_the_intake_reads(tmp_path: Path, index: Path):
    images = write_rsna(tmp_path / "rsna") / "stage_2_train"
    index_folder(images, index, processes=1)
    with open_store(index) as store:
        assert store.is_complete
        kept = [slice_header(row, images) for rows in store.series() for row in rows]
        patients = {row.series_uid: row.patient for rows in store.series() for row in rows}
    read = scan_headers(FileLocation(path) for path in images.iterdir())
    # Which files are one patient's is numbered anew in each run; the index knows patients by themselves.
    assert set(kept) == {replace(header, patient_group=None) for header in read.headers}
    assert len(kept) == 4 * SLICES - 1
    assert patients == {series.series_uid: series.patient for series in THREE_PATIENTS}


def test_two_processes_make_the_same_index_as_one(images: Path, index: Path, tmp_path: Path):
    index_folder(images, index, processes=1)
    report = index_folder(images, tmp_path / "other.sqlite", processes=2, files_at_once=2)
    assert report == IndexReport(files=SLICES, read=SLICES, gone=0, damaged=0)
    with open_store(index) as one, open_store(tmp_path / "other.sqlite") as other:
        assert list(one.series()) == list(other.series())


def test_a_second_run_reads_nothing(images: Path, index: Path):
    index_folder(images, index, processes=1)
    assert index_folder(images, index, processes=1) == IndexReport(files=SLICES, read=0, gone=0, damaged=0)


def test_only_changed_and_new_files_are_read_again_and_gone_ones_are_forgotten(images: Path, index: Path):
    write_rsna(images.parent / "other", [RSNASeries("ID_2b2b2b2b2b", "ID_bbbb0002")])
    index_folder(images, index, processes=1)
    dataset = pydicom.dcmread(file_of(images, 3), force=True)
    dataset.PatientID = "ID_zzzz9999"
    dataset.save_as(file_of(images, 3))
    os.utime(file_of(images, 4), ns=(0, 0))
    file_of(images, 5).unlink()
    new = next((images.parent / "other" / "stage_2_train").iterdir())
    new.rename(images / new.name)
    assert index_folder(images, index, processes=1) == IndexReport(files=SLICES, read=3, gone=1, damaged=0)
    with open_store(index) as store:
        patients = {row.state.name: row.patient for rows in store.series() for row in rows}
    assert patients[file_of(images, 3).name] == "ID_zzzz9999"
    assert patients[new.name] == "ID_bbbb0002"
    assert file_of(images, 5).name not in patients


def test_damaged_files_are_kept_with_their_reason_and_stop_nothing(images: Path, index: Path):
    file_of(images, 0).write_bytes(file_of(images, 0).read_bytes()[:200])
    file_of(images, 1).write_bytes(b"no DICOM at all")
    file_of(images, 2).write_bytes(b"")
    whole = file_of(images, 3).read_bytes()
    (images / "ID_6431af929.dcm").write_bytes(whole[: len(whole) // 3])
    report = index_folder(images, index, processes=1)
    assert report == IndexReport(files=SLICES + 1, read=SLICES + 1, gone=0, damaged=4)
    found = faults(index)
    assert found["ID_6431af929.dcm"] == "is cut off in its image; copy it again"
    assert found[file_of(images, 1).name] == "is no DICOM file or lost its beginning; copy it again"
    assert set(found) == {file_of(images, number).name for number in (0, 1, 2)} | {"ID_6431af929.dcm"}


def test_the_known_corrupt_file_is_left_out_even_where_it_looks_whole(images: Path, index: Path):
    file_of(images, 3).rename(images / "ID_6431af929.dcm")
    index_folder(images, index, processes=1)
    assert faults(index) == {"ID_6431af929.dcm": "is known to be corrupt in every copy of the dataset"}


def test_a_file_that_names_no_patient_is_left_out(images: Path, index: Path):
    dataset = pydicom.dcmread(file_of(images, 3), force=True)
    dataset.PatientID = ""
    dataset.save_as(file_of(images, 3))
    index_folder(images, index, processes=1)
    assert faults(index) == {file_of(images, 3).name: "names no patient, so that its fold is unknown"}


def test_a_damaged_file_that_was_copied_again_is_read_again(images: Path, index: Path):
    whole = file_of(images, 3).read_bytes()
    file_of(images, 3).write_bytes(whole[:300])
    assert index_folder(images, index, processes=1).damaged == 1
    file_of(images, 3).write_bytes(whole)
    assert index_folder(images, index, processes=1) == IndexReport(files=SLICES, read=1, gone=0, damaged=0)


def test_other_files_of_the_folder_are_passed_over(images: Path, index: Path):
    (images / "readme.txt").write_text("not a slice")
    (images / ".ID_0.dcm.part").write_text("not yet a slice")
    assert index_folder(images, index, processes=1).files == SLICES


def test_a_run_that_was_killed_goes_on_where_it_stopped(images: Path, index: Path):
    links, targets = images.parent / "links", images.parent / "targets"
    links.mkdir()
    targets.mkdir()
    for number in range(3000):
        target = targets / f"ID_{number:09x}.dcm"
        target.symlink_to(file_of(images, number % SLICES))
        (links / target.name).symlink_to(target)
    # A pipe that nobody writes to, late in the order of the folder: there the run waits to be killed.
    pipe = targets / [entry.name for entry in os.scandir(links)][2900]
    pipe.unlink()
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "research.datasets.rsna_index", links, "--index", index, "--processes", "1"]
    bundle = Path(__file__).resolve().parents[2] / "monai_bundle"
    with subprocess.Popen(command, cwd=bundle, stderr=subprocess.DEVNULL) as process:
        # 360 kB are the first commit: whatever lies beyond is of the second, so that the first one is whole.
        while process.poll() is None and bytes_in(index) < 370_000:
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    pipe.unlink()
    pipe.symlink_to(file_of(images, 0))
    kept = rows_in(index)
    assert 0 < kept < 3000
    with pytest.raises(IntakeError, match="the last run was interrupted"):
        find_scans(links, images.parent / "stage_2_train.csv", index)
    assert index_folder(links, index, processes=1) == IndexReport(files=3000, read=3000 - kept, gone=0, damaged=0)


def bytes_in(index: Path) -> int:
    return index.stat().st_size if index.is_file() else 0


def rows_in(index: Path) -> int:
    with open_store(index) as store:
        return store.files


def test_two_runs_at_the_same_time_cannot_write_to_one_index(images: Path, index: Path):
    with open_store(index, create=True) as store:
        store.compare([FileState("ID_0.dcm", 1, 1)])
        with pytest.raises(IntakeError, match="database is locked"):
            index_folder(images, index, processes=1)


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path):
    # Once before, so that neither pays for what is loaded with the first run.
    peak_bytes(tmp_path / "first", 10)
    assert peak_bytes(tmp_path / "many", 6_000) < 1.5 * peak_bytes(tmp_path / "few", 1_500)


def peak_bytes(folder: Path, files: int) -> int:
    folder.mkdir()
    for number in range(files):
        (folder / f"ID_{number:09x}.dcm").touch()
    tracemalloc.start()
    try:
        assert index_folder(folder, folder / "index.sqlite", processes=1).damaged == files
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_a_folder_without_slices_is_refused_and_the_index_stays_as_it_was(
    images: Path, index: Path, tmp_path: Path, folder: str
):
    (tmp_path / "empty").mkdir()
    index_folder(images, index, processes=1)
    with pytest.raises(IntakeError, match=folder):
        index_folder(tmp_path / folder, index, processes=1)
    with open_store(index) as store:
        assert store.is_complete
        assert store.files == SLICES


def test_a_file_that_is_no_index_is_refused_and_not_overwritten(images: Path, index: Path):
    index.write_text("my diary\n" * 200)
    with pytest.raises(IntakeError, match=r"index.sqlite: cannot be used as an index"):
        index_folder(images, index, processes=1)
    assert index.read_text().startswith("my diary")


def test_another_database_is_refused(images: Path, index: Path):
    with sqlite3.connect(index) as connection:
        connection.execute("CREATE TABLE diary (entry TEXT)")
    with pytest.raises(IntakeError, match="no index of version 1"):
        index_folder(images, index, processes=1)


def test_the_command_indexes_and_says_what_it_did(images: Path, index: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    assert main([str(images), "--index", str(index), "--processes", "1"]) == 0
    assert caplog.messages == [f"index.sqlite: {SLICES} files: {SLICES} read, 0 unchanged, 0 gone; 0 damaged"]


def test_the_command_ends_in_one_line_where_it_cannot_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert main([str(tmp_path / "absent"), "--index", str(tmp_path / "index.sqlite")]) == FAILED
    assert len(caplog.messages) == 1
    assert "absent: cannot be listed" in caplog.messages[0]
    assert str(tmp_path) not in caplog.messages[0]


def test_the_rate_is_measured_without_leaving_anything(ich_data: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    assert main([str(ich_data / "rsna-series-iph-ivh"), "--measure", "100", "--processes", "1"]) == 0
    assert "100 files in" in caplog.text
    assert "870000 files at this rate" in caplog.text
