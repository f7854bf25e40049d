"""Studies of a real archive by DICOMweb: listed in pages, narrowed, retrieved as they are stored, and read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from dicom_files import Series, head_voxels, set_value, write_series
from pydicom import dcmread
from small_bundle import CONFIG_FILES, OVERRIDES, write_small_bundle

from scripts.archive_demo.orthanc import Orthanc, free_port
from scripts.intake.discovery import find_studies, read_study
from scripts.triage import archive as triage_archive
from scripts.triage.archive import archive_tasks, retrieve_study
from scripts.triage.sources import find_tasks
from scripts.triage.study_reader import StudyReader
from scripts.triage.tasks import Outcome, Settings, Task, TriageError

USER, PASSWORD = "triage", "secret"
UIDS = ("1.2.826.0.1.1", "1.2.826.0.1.2", "1.2.826.0.1.3")


def store(archive: Orthanc, files: Sequence[Path]) -> None:
    for file in files:
        archive.upload(file.read_bytes())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Three CT studies, one of which has an MR series too, and one study of MR alone; it asks for a password."""
    folder = tmp_path_factory.mktemp("studies")
    orthanc = Orthanc(tmp_path_factory.mktemp("orthanc"), account=(USER, PASSWORD))
    orthanc.start()
    for number, uid in enumerate(UIDS):
        series = Series(head_voxels(), study_uid=uid, series_uid=f"{uid}.1")
        store(orthanc, write_series(folder / uid, series, set_value("StudyDate", f"2026010{number + 1}")))
    for uid in (UIDS[0], "1.2.826.0.1.9"):
        series = Series(head_voxels(slices=2), study_uid=uid, series_uid=f"{uid}.2", modality="MR")
        store(orthanc, write_series(folder / f"{uid} MR", series))
    yield orthanc
    orthanc.stop()


@pytest.fixture(autouse=True)
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "netrc"
    file.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    return file


def test_every_ct_study_is_listed_once(archive, tmp_path):
    tasks = find_tasks(archive.dicomweb_url, tmp_path)
    assert [task.name for task in tasks] == list(UIDS)
    assert [task.place for task in tasks] == [f"{archive.dicomweb_url}/studies/{uid}" for uid in UIDS]


def test_the_address_narrows_the_search(archive):
    tasks = archive_tasks(f"{archive.dicomweb_url}/?StudyDate=20260102-20260131")
    assert [task.name for task in tasks] == list(UIDS[1:])
    with pytest.raises(TriageError, match="lists no study with CT"):
        archive_tasks(f"{archive.dicomweb_url}?StudyDate=19990101")


def test_more_images_of_a_study_change_its_state(archive, tmp_path):
    before = {task.name: task.state for task in archive_tasks(archive.dicomweb_url)}
    more = Series(head_voxels(slices=3), study_uid=UIDS[2], series_uid=f"{UIDS[2]}.7")
    store(archive, write_series(tmp_path / "more", more, set_value("StudyDate", "20260103")))
    after = {task.name: task.state for task in archive_tasks(archive.dicomweb_url)}
    assert {uid: before[uid] == after[uid] for uid in UIDS} == {UIDS[0]: True, UIDS[1]: True, UIDS[2]: False}


def test_a_study_is_retrieved_without_its_other_modalities_and_read_as_it_was_stored(archive, tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    retrieve_study(f"{archive.dicomweb_url}/studies/{UIDS[0]}", folder)
    files = list(folder.rglob("*.dcm"))
    assert len(files) == 24
    assert {dcmread(file).Modality for file in files} == {"CT"}
    (source,) = find_studies(folder)
    assert np.array_equal(read_study(source).voxels, head_voxels())


def test_an_archive_that_refuses_or_is_gone_is_named_without_name_or_password(archive, netrc, tmp_path, monkeypatch):
    netrc.write_text("machine 127.0.0.1 login nobody password wrong\n", encoding="utf-8")
    with pytest.raises(TriageError, match=r"127\.0\.0\.1 does not answer .*HTTP 401") as refused:
        archive_tasks(archive.dicomweb_url)
    assert "wrong" not in str(refused.value)
    monkeypatch.setattr(triage_archive, "Retry", lambda **settings: 0)
    with pytest.raises(TriageError, match="does not answer"):
        retrieve_study(f"http://127.0.0.1:{free_port()}/studies/1.2", tmp_path)


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
def test_a_study_of_the_archive_is_read_and_its_images_do_not_stay(archive, tmp_path, monkeypatch):
    bundle, output = write_small_bundle(tmp_path / "monai_bundle"), tmp_path / "output"
    reader = StudyReader(Settings(output, CONFIG_FILES, OVERRIDES), bundle)
    reader.prepare()
    (task,) = archive_tasks(f"{archive.dicomweb_url}?StudyDate=20260101")
    partial = output / ".triage" / "partial" / "1"
    assert reader.read(task, partial) == Outcome("evaluated")
    assert reader.read(task, partial) == Outcome("evaluated", before=True)
    document = json.loads((output / UIDS[0] / "result.json").read_text(encoding="utf-8"))
    assert (document["study"]["study_uid"], document["study"]["source_name"]) == (UIDS[0], UIDS[0])
    assert not list(output.rglob("*.dcm"))
    monkeypatch.setattr(triage_archive, "Retry", lambda **settings: 0)
    gone = Task("gone", f"http://127.0.0.1:{free_port()}/dicom-web/studies/1.2.3", state="1.2.3 20")
    outcome = reader.read(gone, partial)
    assert (outcome.status, outcome.again) == ("failed", True)
    assert not (output / "gone").exists()


def test_a_password_on_the_command_line_is_refused():
    with pytest.raises(TriageError, match="netrc"):
        archive_tasks("https://user:secret@archive/dicom-web")
