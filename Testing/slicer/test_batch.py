"""Many studies, one after the other: what is found, the table, what is resumed and what is not, failures, cancel."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import slicer

from batch_cases import finished, of_volumes
from ICHDiagnosisLib.analysis import CannotStartError, PackagesMissingError
from ICHDiagnosisLib.batch.batch import Batch
from ICHDiagnosisLib.batch.studies import StudyOnDisk, loaded_volumes, studies_in_folder
from ICHDiagnosisLib.batch.table import StudyStatus, output_folders
from ICHDiagnosisLib.bundle.run import BundleRun, RunSettings
from ICHDiagnosisLib.install.requirements import MissingPackage, Requirement
from ICHDiagnosisLib.logic import AnalysisLogic
from logic_cases import BUNDLE, left_in
from logic_cases import Database as DICOMDatabase
from reading_runner import ReadingRunner
from scene_cases import GEOMETRIES, a_ct

# What is found


def test_folders_volume_files_and_zips_are_entries_and_nothing_else(studies: Path, tmp_path: Path):
    (studies / "results").mkdir()
    (studies / "z.ZIP").touch()
    found = studies_in_folder(studies, studies / "results")
    assert [study.name for study in found] == ["a.nrrd", "b two", "c.nrrd", "z.ZIP"]
    assert studies_in_folder(tmp_path / "studies" / ".hidden", tmp_path) == ()


@pytest.mark.parametrize("name", ["IM0001", "slice.dcm"])
def test_a_folder_that_holds_dicom_files_is_one_entry(name: str, studies: Path, tmp_path: Path):
    (studies / name).write_bytes(b"\0" * 128 + b"DICM")
    assert studies_in_folder(studies, tmp_path) == (StudyOnDisk(studies),)


def test_entries_of_one_name_get_folders_of_their_own(tmp_path: Path):
    folders = output_folders(["CT", "ct", "CT", "a/b", "..", "a:b"], tmp_path)
    assert [folder.name for folder in folders] == ["CT", "ct (2)", "CT (3)", "a_b", "study", "a_b (2)"]
    assert all(folder.parent == tmp_path for folder in folders)


# A batch of a folder


def test_every_study_of_a_folder_gets_its_row_with_results_or_the_reason(studies, a_batch, settings, temporary):
    recorded = []
    runner = ReadingRunner()
    batch = a_batch(runner, record=lambda result, name, _place: recorded.append((result.evaluated, name)))
    batch.start(studies_in_folder(studies, settings.output_folder), settings)
    assert [row.status for row in batch.rows] == [StudyStatus.WAITING] * 3
    update = finished(batch)
    assert [row.status for row in update.rows] == [
        StudyStatus.EVALUATED,
        StudyStatus.EVALUATED,
        StudyStatus.NOT_EVALUABLE,
    ]
    assert [len(row.results) for row in update.rows] == [1, 2, 1]
    assert "every voxel is 0" in update.rows[2].reason
    assert [request.dataset_dir for request in runner.requests] == [
        studies / name for name in ("a.nrrd", "b two", "c.nrrd")
    ]
    assert all((row.output_dir / "run.log").is_file() for row in update.rows)
    assert recorded == [(True, "a.nrrd"), (True, "b two"), (True, "b two"), (False, "c.nrrd")]
    assert not batch.running
    assert left_in(temporary) == []


def test_progress_counts_studies_and_what_is_done_of_the_one_at_hand(studies, a_batch, settings):
    batch = a_batch(ReadingRunner())
    batch.start(studies_in_folder(studies, settings.output_folder), settings)
    first = batch.poll()
    assert (first.running, first.fraction) == (True, 0.0)
    assert [row.status for row in first.rows] == [StudyStatus.RUNNING, StudyStatus.WAITING, StudyStatus.WAITING]
    second = batch.poll()
    assert (second.stage, second.fraction, second.lines) == (
        "Classifying every slice",
        pytest.approx(0.2 / 3),
        ("reading",),
    )
    assert batch.poll().fraction == pytest.approx(1 / 3)


def test_a_failure_is_stated_in_its_row_and_the_rest_goes_on(studies, a_batch, settings):
    batch = a_batch(ReadingRunner([(1, ("ERROR a.nrrd: the model is broken",)), (0, ()), (0, ())]))
    batch.start(studies_in_folder(studies, settings.output_folder)[:2], settings)
    rows = finished(batch).rows
    assert [row.status for row in rows] == [StudyStatus.FAILED, StudyStatus.EVALUATED]
    assert "the model is broken" in rows[0].reason


def test_a_study_that_disappears_fails_and_the_rest_goes_on(a_batch, settings):
    volumes = of_volumes(2)
    batch = a_batch(ReadingRunner())
    batch.start(volumes, settings)
    slicer.mrmlScene.RemoveNode(volumes[0].volume_node)
    rows = finished(batch).rows
    assert [row.status for row in rows] == [StudyStatus.FAILED, StudyStatus.EVALUATED]
    assert rows[0].reason == "The volume is no longer in the scene."


# Volumes of the scene


def test_the_row_of_a_result_that_does_not_fit_its_volume_states_that(a_batch, settings):
    volumes = of_volumes(1)
    move = lambda _request: volumes[0].volume_node.SetOrigin(90.0, 0.0, 0.0)  # noqa: E731
    batch = a_batch(ReadingRunner(before_ending=move))
    batch.start(volumes, settings)
    (row,) = finished(batch).rows
    assert row.status is StudyStatus.FAILED
    assert "belongs to another volume" in row.reason


# Cancel, close, refusals


def test_cancel_ends_the_study_at_hand_and_leaves_the_rest(studies, a_batch, settings, temporary):
    runner = ReadingRunner()
    batch = a_batch(runner)
    batch.start(studies_in_folder(studies, settings.output_folder), settings)
    while batch.rows[1].status is not StudyStatus.RUNNING:
        batch.poll()
    batch.cancel()
    rows = finished(batch).rows
    assert [row.status for row in rows] == [StudyStatus.EVALUATED, StudyStatus.CANCELLED, StudyStatus.CANCELLED]
    assert len(runner.requests) == 2
    assert left_in(temporary) == []
    assert not batch.poll().finished


def test_cancel_before_the_first_study_starts_nothing(studies, a_batch, settings):
    runner = ReadingRunner()
    batch = a_batch(runner)
    batch.start(studies_in_folder(studies, settings.output_folder), settings)
    batch.cancel()
    rows = finished(batch).rows
    assert [row.status for row in rows] == [StudyStatus.CANCELLED] * 3
    assert runner.requests == []


def test_close_ends_everything_and_shows_it(studies, a_batch, settings, temporary):
    batch = a_batch(ReadingRunner())
    batch.start(studies_in_folder(studies, settings.output_folder), settings)
    batch.poll()
    batch.close()
    assert not batch.running
    assert [row.status for row in batch.rows] == [StudyStatus.CANCELLED] * 3
    assert left_in(temporary) == []
    batch.close()


def test_a_batch_and_an_analysis_exclude_each_other(settings, temporary):
    run = BundleRun(ReadingRunner(), Path(sys.executable), BUNDLE, temporary)
    batch, analysis = Batch(run, tuple), AnalysisLogic(run, tuple)
    volumes = of_volumes(2)
    analysis.start(volumes[0].volume_node, settings)
    with pytest.raises(CannotStartError, match="is running"):
        batch.start(volumes, settings)
    analysis.close()
    batch.start(volumes, settings)
    batch.poll()
    with pytest.raises(CannotStartError, match="is running"):
        analysis.start(volumes[0].volume_node, settings)
    batch.close()
    assert not run.running


def test_what_is_missing_is_stated_before_a_batch_starts(a_batch, settings: RunSettings, tmp_path, temporary):
    batch = a_batch(ReadingRunner())
    with pytest.raises(CannotStartError, match="no studies"):
        batch.start((), settings)
    with pytest.raises(CannotStartError, match="folder for the results"):
        batch.start(of_volumes(1), replace(settings, output_folder=Path("results")))
    missing = (MissingPackage(Requirement("monai", "1.6"), None),)
    with pytest.raises(PackagesMissingError):
        a_batch(ReadingRunner(), find_missing=lambda: missing).start(of_volumes(1), settings)
    empty = Batch(BundleRun(ReadingRunner(), Path(sys.executable), tmp_path, temporary), tuple)
    with pytest.raises(CannotStartError, match=r"metadata\.json cannot be read"):
        empty.start(of_volumes(1), settings)
    assert not batch.running


def test_every_status_has_a_text_of_its_own():
    texts = [status.label() for status in StudyStatus]
    assert len(set(texts)) == len(texts)
    assert all(texts)


def test_original_files_of_loaded_volumes_can_be_declined(a_batch, settings, tmp_path):
    ct = a_ct(GEOMETRIES["oblique"])
    (study,) = loaded_volumes([ct], DICOMDatabase({}), use_original_files=False)
    assert (study.use_original_files, study.name) == (False, "CT")
    assert study.write(tmp_path).name == "volume.nrrd"
