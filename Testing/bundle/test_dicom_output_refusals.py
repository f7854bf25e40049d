"""What cannot become DICOM objects is named in one line, without a word about the patient; nothing is left behind."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
import torch
from dicom_output_cases import SHAPE, a_crescent, a_result, read_back, write_series
from pydicom.dataset import Dataset
from sample_diagnosis import MODEL, a_diagnosis, a_refusal
from torch import nn

from scripts.calibration import identity
from scripts.diagnosis import Diagnosis
from scripts.dicom_output import __main__ as command
from scripts.dicom_output import export, request
from scripts.dicom_output.export import dicom_files
from scripts.dicom_output.finished_result import FinishedResult, read_finished
from scripts.dicom_output.report_figures import figures_of
from scripts.dicom_output.request import DicomOutputError, require_packages
from scripts.inferer import StudyReading
from scripts.intake.discovery import StudySource, find_studies
from scripts.labels import RSNA
from scripts.output.result import write_refusal_folder, write_result_folder
from scripts.phantom import Grid
from scripts.progress import Progress
from scripts.settings import SettingError, is_on
from scripts.study_evaluator import Reader, StudyEvaluator

GRID = Grid(SHAPE, (2.0, 2.0, 5.0))
PATIENT = ("Mustermann", "Erika", "4711", "19500102")


def as_a_patient(_: int, dataset: Dataset) -> None:
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Mustermann^Erika", "MRN-4711", "19500102"
    # No value that the standard knows, and one that no date is.
    dataset.PatientSex, dataset.PatientAge = "Q", "geboren 19500102"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(tmp_path_factory.mktemp("series"), GRID, as_a_patient)


@pytest.fixture(scope="module")
def result(series: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedResult:
    return a_result(tmp_path_factory.mktemp("results"), a_crescent(read_back(series)[1]))


def copy_of(result: FinishedResult, folder: Path) -> Path:
    return Path(shutil.copytree(result.folder, folder / "study"))


def changed(series: Path, folder: Path, **values: Any) -> StudySource:
    """The series with other values in each file; None removes an attribute."""
    for path in sorted(series.iterdir()):
        dataset = pydicom.dcmread(path)
        for keyword, value in values.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        folder.mkdir(exist_ok=True)
        dataset.save_as(folder / path.name)
    return find_studies(folder)[0]


def code_of(result: FinishedResult, source: StudySource) -> str:
    with pytest.raises(DicomOutputError) as caught:
        dicom_files(result, source.headers)
    assert "\n" not in str(caught.value)
    return caught.value.code.removeprefix("dicom_output.")


def test_a_series_that_lacks_a_slice_is_refused(result: FinishedResult, series: Path):
    (source,) = find_studies(series)
    assert code_of(result, replace(source, headers=source.headers[1:])) == "instances_missing"


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_images_without_an_identifier_are_refused(result: FinishedResult, series: Path, tmp_path: Path, keyword: str):
    assert code_of(result, changed(series, tmp_path / "changed", **{keyword: None})) == "invalid_uid"


def test_images_whose_identifiers_are_none_are_refused(result: FinishedResult, series: Path, tmp_path: Path):
    """RSNA 2019's headers hold texts such as these."""
    source = changed(series, tmp_path / "changed", SeriesInstanceUID="ID_1f6d1e8aeb")
    assert code_of(result, source) == "invalid_uid"


def test_images_of_several_series_are_refused(result: FinishedResult, series: Path, tmp_path: Path):
    source = changed(series, tmp_path / "changed")
    first = pydicom.dcmread(tmp_path / "changed" / "slice_0001.dcm")
    first.SeriesInstanceUID = f"{first.SeriesInstanceUID}"[:60] + ".9"
    first.save_as(tmp_path / "changed" / "slice_0001.dcm")
    source = find_studies(tmp_path / "changed")[0]
    assert code_of(result, source) == "several"


def test_images_that_were_moved_since_are_refused(result: FinishedResult, series: Path, tmp_path: Path):
    assert (
        code_of(result, changed(series, tmp_path / "changed", ImagePositionPatient=[0.0, 0.0, 99.0])) == "other_series"
    )


def test_images_of_another_size_are_refused(result: FinishedResult, series: Path, tmp_path: Path):
    folder = copy_of(result, tmp_path)
    document = json.loads((folder / "result.json").read_text("utf-8"))
    document["study"]["shape"][0] += 1
    (folder / "result.json").write_text(json.dumps(document), "utf-8")
    assert code_of(read_finished(folder), find_studies(series)[0]) == "other_series"


@pytest.mark.parametrize("name", ["lesion.nii.gz", "gradcam_any.nii.gz", "report.html"])
def test_a_result_whose_file_is_missing_or_cut_off_is_refused(
    result: FinishedResult, series: Path, tmp_path: Path, name: str
):
    folder = copy_of(result, tmp_path)
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.unlink()
    assert code_of(read_finished(folder), find_studies(series)[0]) == "damaged_result"


def test_a_folder_without_a_result_a_refused_study_and_a_volume_file_have_nothing_to_export(tmp_path: Path):
    refused = write_refusal_folder(a_refusal(), tmp_path)
    volume = write_result_folder(a_diagnosis(), tmp_path)
    for folder, code in ((tmp_path, "no_result"), (refused, "not_evaluated"), (volume, "no_dicom")):
        with pytest.raises(DicomOutputError) as caught:
            read_finished(folder)
        assert caught.value.code == f"dicom_output.{code}"


@pytest.mark.parametrize(("value", "on"), [(True, True), ("true", True), ("False", False), (False, False)])
def test_the_switch_is_what_the_command_line_says(value: object, on: bool):
    assert is_on("dicom_output", value) is on


def test_a_switch_that_is_neither_on_nor_off_is_named():
    with pytest.raises(SettingError, match="dicom_output must be true or false, not maybe"):
        is_on("dicom_output", "maybe")


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch):
    require_packages()
    monkeypatch.setattr(request, "find_spec", lambda module: None if module == "highdicom" else object())
    with pytest.raises(DicomOutputError, match="pip install highdicom, or set dicom_output to false"):
        require_packages()


def test_a_fault_that_nobody_foresaw_says_where_and_not_what(result, series, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object) -> None:
        raise RuntimeError("Mustermann^Erika")

    monkeypatch.setattr(export, "findings_report", fails)
    with pytest.raises(DicomOutputError, match=r"RuntimeError in test_dicom_output_refusals\.py, line") as caught:
        dicom_files(result, find_studies(series)[0].headers)
    assert "Mustermann" not in str(caught.value)


# From the command line


def test_the_command_writes_all_objects_beside_the_result_and_again_in_their_place(
    result: FinishedResult, series: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog
):
    folder = copy_of(result, tmp_path)
    caplog.set_level(logging.DEBUG)
    assert command.main([str(folder), str(series)]) == 0
    names = sorted(path.name for path in (folder / "dicom").iterdir())
    assert {"findings.dcm", "lesions.dcm", "report.dcm", "key_slices.dcm"} <= set(names)
    assert command.main([str(folder), str(series)]) == 0
    assert sorted(path.name for path in (folder / "dicom").iterdir()) == names
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    said = "".join([caplog.text, *capfd.readouterr()])
    assert f"{len(names)} DICOM objects in dicom" in said
    assert not [word for word in PATIENT if word in said]
    found = pydicom.dcmread(folder / "dicom" / "lesions.dcm")
    assert (str(found.PatientName), found.PatientSex) == ("Mustermann^Erika", "Q")


def test_objects_inside_a_result_are_no_study_of_their_own(result: FinishedResult, series: Path, tmp_path: Path):
    shutil.copytree(series, tmp_path / "series")
    folder = copy_of(result, tmp_path)
    shutil.copytree(series, folder / "dicom")
    (source,) = find_studies(tmp_path)
    assert len(source.headers) == SHAPE[0]


def test_a_folder_with_other_files_is_left_as_it_is(result: FinishedResult, series: Path, tmp_path: Path, caplog):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert command.main([str(result.folder), str(series), "--output", str(tmp_path / "mine")]) == 1
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    assert len(caplog.records) == 1


def test_a_command_that_is_cancelled_ends_with_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def cancelled(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "export", cancelled)
    assert command.main([str(tmp_path), str(tmp_path)]) == 130


# Within a run


class MadeUpEvaluator(StudyEvaluator):
    """Writes a diagnosis that is made up instead of read; folders, notes and counts are the evaluator's own."""

    def __init__(self, entries: Sequence[dict[str, Any]], output_dir: Path) -> None:
        scale = identity([label.key for label in RSNA])
        super().__init__(
            device=torch.device("cpu"),
            val_data_loader=entries,
            network=nn.Identity(),
            inferer=lambda *_, **__: None,
            reader=Reader(MODEL, RSNA, "balanced", (0.5,) * len(RSNA), scale, dicom_output=True),
            output_dir=output_dir,
            progress=Progress(studies=len(entries)),
        )

    def _diagnosis(self, study_id: str, entry: dict[str, Any], reading: StudyReading) -> Diagnosis:
        return replace(entry["diagnosis"], study_id=study_id)


def test_a_run_adds_the_objects_to_the_result_and_notes_where_there_is_no_dicom(series: Path, tmp_path: Path, caplog):
    source, study = read_back(series)
    volume = StudySource("volume", "volume.nii.gz", tmp_path / "volume.nii.gz")
    entries = [
        {"source": replace(source, study_id="from dicom"), "diagnosis": a_crescent(study)},
        {"source": volume, "diagnosis": a_diagnosis()},
    ]
    evaluator = MadeUpEvaluator(entries, tmp_path / "results")
    evaluator.run()
    assert (evaluator.diagnoses, evaluator.failures) == (["from dicom", "volume"], [])
    written = {path.name for path in (tmp_path / "results" / "from dicom" / "dicom").iterdir()}
    assert {"findings.dcm", "lesions.dcm", "report.dcm"} <= written
    assert (tmp_path / "results" / "volume" / "result.json").is_file()
    assert not (tmp_path / "results" / "volume" / "dicom").exists()
    notes = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert notes == [
        "volume: no DICOM objects: the study was not read from DICOM: there are no images that objects could refer to"
    ]
    text = (tmp_path / "results" / "from dicom" / "result.json").read_text("utf-8") + caplog.text
    assert not [word for word in PATIENT if word in text]


def test_figures_without_a_whole_image_are_left_out_of_the_printed_report():
    broken = '<section id="key-slices"><figure class="key"><img src="data:image/jpeg;base64,?"></figure></section>'
    assert figures_of(broken) == []
    assert figures_of('<img src="data:image/jpeg;base64,AAAA"><figure class="tile"></figure>') == []
