"""A batch that is run again: what was made before is used, what has changed in any way is made anew."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import slicer

from batch_cases import finished, of_volumes
from ICHDiagnosisLib.batch import record as batch_record
from ICHDiagnosisLib.batch.studies import studies_in_folder
from ICHDiagnosisLib.batch.table import BatchRow, StudyStatus
from ICHDiagnosisLib.scene.layers import shown_result
from reading_runner import ReadingRunner


def run_twice(batch_maker, between, studies, settings, second_settings=None) -> tuple[list[str], tuple[BatchRow, ...]]:
    """Run a folder, change something, run it again; return what the second batch had to read, and its table."""
    first = batch_maker(ReadingRunner())
    first.start(studies_in_folder(studies, settings.output_folder), settings)
    between(finished(first).rows)
    runner = ReadingRunner()
    second = batch_maker(runner)
    second.start(studies_in_folder(studies, settings.output_folder), second_settings or settings)
    rows = finished(second).rows
    return [request.dataset_dir.name for request in runner.requests], rows


def test_a_second_batch_repeats_nothing_that_is_there_and_unchanged(studies, a_batch, settings):
    read, rows = run_twice(a_batch, lambda rows: None, studies, settings)
    assert read == []
    assert all(row.made_before for row in rows)
    assert [row.status for row in rows] == [StudyStatus.EVALUATED, StudyStatus.EVALUATED, StudyStatus.NOT_EVALUABLE]
    assert [len(row.results) for row in rows] == [1, 2, 1]


def test_another_device_gives_no_other_results_but_another_operating_point_does(studies, a_batch, settings):
    read, _ = run_twice(a_batch, lambda rows: None, studies, settings, replace(settings, device="cuda"))
    assert read == []
    read, _ = run_twice(a_batch, lambda rows: None, studies, settings, replace(settings, operating_point="sensitive"))
    assert read == ["a.nrrd", "b two", "c.nrrd"]


def touch(studies: Path, rows: tuple[BatchRow, ...]) -> None:
    os.utime(studies / "b two" / "second.nrrd", (1, 1))


def lose_a_result(studies: Path, rows: tuple[BatchRow, ...]) -> None:
    shutil.rmtree(rows[1].results[1].folder)


def lose_a_map(studies: Path, rows: tuple[BatchRow, ...]) -> None:
    (rows[1].results[0].folder / "gradcam_any.nii.gz").unlink()


def lose_the_record(studies: Path, rows: tuple[BatchRow, ...]) -> None:
    (rows[1].output_dir / batch_record.FILE_NAME).unlink()


def damage_the_record(studies: Path, rows: tuple[BatchRow, ...]) -> None:
    (rows[1].output_dir / batch_record.FILE_NAME).write_text("[1")


def record_another_model(studies: Path, rows: tuple[BatchRow, ...]) -> None:
    file = rows[1].output_dir / batch_record.FILE_NAME
    content = json.loads(file.read_text(encoding="utf-8"))
    content["weights_sha256"]["models/model.pt"] = "0" * 64
    file.write_text(json.dumps(content), encoding="utf-8")


def empty_the_record(studies: Path, rows: tuple[BatchRow, ...]) -> None:
    file = rows[1].output_dir / batch_record.FILE_NAME
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | {"results": None}), encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [touch, lose_a_result, lose_a_map, lose_the_record, damage_the_record, record_another_model, empty_the_record],
)
def test_what_has_changed_is_read_again_and_nothing_else(change, studies, a_batch, settings):
    read, rows = run_twice(a_batch, lambda rows: change(studies, rows), studies, settings)
    assert read == ["b two"]
    assert [row.made_before for row in rows] == [True, False, True]
    assert [row.status for row in rows][:2] == [StudyStatus.EVALUATED] * 2


def test_an_interrupted_repetition_is_not_taken_for_complete(studies, a_batch, settings):
    def interrupt(rows: tuple[BatchRow, ...]) -> None:
        touch(studies, rows)
        batch = a_batch(ReadingRunner())
        batch.start(studies_in_folder(studies, settings.output_folder)[1:2], settings)
        batch.poll()
        batch.close()
        shutil.copystat(studies / "b two" / "first.nrrd", studies / "b two" / "second.nrrd")

    shutil.copystat(studies / "b two" / "first.nrrd", studies / "b two" / "second.nrrd")
    read, _ = run_twice(a_batch, interrupt, studies, settings)
    assert read == ["b two"]


def test_a_result_whose_study_has_gone_is_no_longer_counted(studies, a_batch, settings):
    read, rows = run_twice(a_batch, lambda rows: (studies / "b two" / "first.nrrd").unlink(), studies, settings)
    assert read == ["b two"]
    assert [result.folder.name for result in rows[1].results] == ["second"]
    third = a_batch(ReadingRunner())
    third.start(studies_in_folder(studies, settings.output_folder), settings)
    assert all(row.made_before for row in finished(third).rows)


def test_results_of_loaded_volumes_are_put_on_the_scene_and_found_again_as_long_as_the_voxels_stay(a_batch, settings):
    volumes = of_volumes(2)
    for expected in (["volume.nrrd"], ["volume.nrrd"]), ():
        runner = ReadingRunner()
        batch = a_batch(runner)
        batch.start(volumes, settings)
        rows = finished(batch).rows
        assert [row.status for row in rows] == [StudyStatus.EVALUATED] * 2
        assert runner.given == list(expected)
        assert all(shown_result(volume.volume_node) is not None for volume in volumes)
    slicer.util.arrayFromVolume(volumes[1].volume_node)[3] += 1
    runner = ReadingRunner()
    batch = a_batch(runner)
    batch.start(volumes, settings)
    assert [row.made_before for row in finished(batch).rows] == [True, False]


def test_the_record_of_an_earlier_version_is_read_under_its_names_then(studies, a_batch, settings, caplog):
    def rename(rows: tuple[BatchRow, ...]) -> None:
        for row in rows:
            file = row.output_dir / batch_record.FILE_NAME
            content = json.loads(file.read_text(encoding="utf-8"))
            for then, now in batch_record._EARLIER_NAMES.items():
                content[then] = content.pop(now)
            file.write_text(json.dumps(content), encoding="utf-8")

    read, rows = run_twice(a_batch, rename, studies, settings)
    assert read == []
    assert all(row.made_before for row in rows)
    assert "batch.json was written by an earlier version" in caplog.text
