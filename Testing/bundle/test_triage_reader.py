"""One worker of a triage: whole results under their names, nothing read twice, and no fault that is not stated."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from dicom_files import Series, head_voxels, write_series
from small_bundle import CONFIG_FILES, OVERRIDES, write_model, write_small_bundle

from scripts.messages import message
from scripts.triage.study_reader import StudyReader
from scripts.triage.tasks import Outcome, Settings, Task, TriageError
from scripts.worklist.failures import read_failures, write_failure

# MONAI warns of every configuration that it is given, in the name of whoever called it.
pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "monai_bundle")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    write_series(root / "one" / "CT", Series(voxels=head_voxels()))
    for number, name in ((1, "first"), (2, "second")):
        write_series(
            root / "patient" / name,
            Series(voxels=head_voxels(), study_uid=f"1.2.{number}", series_uid=f"1.2.{number}.1"),
        )
    (root / "nothing").mkdir()
    return root


@pytest.fixture(scope="module")
def reader(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyReader:
    """The reader keeps its network; each test has an output folder of its own."""
    prepared = a_reader(bundle, tmp_path_factory.mktemp("first output"))
    prepared.prepare()
    return prepared


def a_reader(bundle: Path, output: Path, *more: tuple[str, str]) -> StudyReader:
    return StudyReader(Settings(output, CONFIG_FILES, (*OVERRIDES, *more)), bundle)


@pytest.fixture
def output(reader: StudyReader, tmp_path: Path) -> Path:
    reader._settings = Settings(tmp_path / "output", CONFIG_FILES, OVERRIDES)
    return tmp_path / "output"


def read(reader: StudyReader, place: Path, output: Path, study: str | None = None, name: str = "a name") -> Outcome:
    outcome = reader.read(Task(name, str(place), study), output / ".triage" / "partial" / "1")
    assert not (output / ".triage" / "partial" / "1").exists()
    return outcome


def test_a_result_is_whole_and_bears_the_name_of_its_task(reader, archive, output):
    assert read(reader, archive / "one", output) == Outcome("evaluated")
    document = json.loads((output / "a name" / "result.json").read_text(encoding="utf-8"))
    assert document["status"] == "evaluated"
    assert "a name" in (output / "a name" / "report.html").read_text(encoding="utf-8")
    assert (output / "a name" / "thumbnail.jpg").is_file()
    assert sorted(path.name for path in output.iterdir()) == [".triage", "a name"]


def test_where_a_study_lies_is_noted_beside_the_results_for_who_opens_it(reader, archive, output):
    read(reader, archive / "one", output)
    read(reader, archive / "nothing" / "gone", output, name="not there")
    (note,) = [json.loads(file.read_text("utf-8")) for file in (output / ".triage" / "places").iterdir()]
    assert note == {"study_id": "a name", "place": str(archive / "one")}
    assert str(archive) not in (output / "a name" / "result.json").read_text("utf-8")
    shutil.rmtree(output / ".triage" / "places")
    assert read(reader, archive / "one", output).before
    assert len(list((output / ".triage" / "places").iterdir())) == 1, "also of a study that was read before"


def test_what_was_read_is_not_read_again_until_input_or_result_changes(reader, archive, output, tmp_path):
    study = shutil.copytree(archive / "one", tmp_path / "study")
    write_failure(output, "a name", "of an earlier attempt")
    assert not read(reader, study, output).before
    assert not read_failures(output)
    assert read(reader, study, output) == Outcome("evaluated", before=True)
    os.utime(next(study.rglob("*.dcm")), (1, 1))
    assert not read(reader, study, output).before
    result = output / "a name" / "result.json"
    result.write_text(result.read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert not read(reader, study, output).before
    shutil.rmtree(output / "a name")
    assert not read(reader, study, output).before
    assert read(reader, study, output).before


def test_other_settings_and_other_weights_read_again(bundle, archive, tmp_path):
    keys = []
    for more in ((), (("operating_point", "high_sensitivity"),)):
        reader = a_reader(bundle, tmp_path, *more)
        reader.prepare()
        keys.append(reader._key)
    write_model(bundle, seed=7)
    again = a_reader(bundle, tmp_path)
    again.prepare()
    write_model(bundle, seed=1)
    assert len({*keys, again._key}) == 3


def test_a_place_with_several_studies_is_told_and_each_can_be_read(reader, archive, output):
    outcome = read(reader, archive / "patient", output)
    assert outcome.status == "several"
    assert outcome.studies == ("first", "second")
    assert not list(output.glob("*"))[1:]
    assert read(reader, archive / "patient", output) == Outcome("several", before=True, studies=("first", "second"))
    assert read(reader, archive / "patient", output, study="second", name="patient_second") == Outcome("evaluated")
    assert read(reader, archive / "patient", output, study="third").reason.text() == message("triage.study_gone")


def test_a_place_without_a_study_is_not_evaluable_and_says_so(reader, archive, output):
    assert read(reader, archive / "nothing", output) == Outcome("not_evaluable")
    document = json.loads((output / "a name" / "result.json").read_text(encoding="utf-8"))
    assert "empty folder" in document["reason"]["message"]
    assert read(reader, archive / "nothing", output).before


def test_a_place_that_is_gone_is_failed_and_leaves_no_result(reader, archive, output):
    outcome = read(reader, archive / "nowhere", output)
    assert outcome.status == "failed"
    assert not outcome.again
    assert not (output / "a name").exists()


def test_something_else_under_the_name_of_the_result_stays_and_is_named(reader, archive, output):
    (output / "a name").mkdir(parents=True)
    (output / "a name" / "letter.txt").write_text("dear", encoding="utf-8")
    outcome = read(reader, archive / "one", output)
    assert outcome.status == "failed"
    assert "is no result of an earlier run" in str(outcome.reason)
    assert (output / "a name" / "letter.txt").read_text(encoding="utf-8") == "dear"


def test_a_fault_of_the_program_is_failed_with_what_the_log_says(reader, archive, output, monkeypatch):
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr("scripts.study_evaluator.write_result_folder", broken)
    outcome = read(reader, archive / "one", output)
    assert outcome.status == "failed"
    assert "unforeseen error" in str(outcome.reason)


def test_a_network_that_cannot_be_loaded_is_said_before_any_study(bundle, tmp_path):
    with pytest.raises(TriageError, match="unknown operating point 'fearless'"):
        a_reader(bundle, tmp_path, ("operating_point", "fearless")).prepare()
