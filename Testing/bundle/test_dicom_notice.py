"""A study that was not evaluated has a notice that says so: in its study, of its patient and no other."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from dicom_output_cases import complaints, write_series
from printed_text import text_of
from pydicom.dataset import Dataset
from pydicom.uid import UID
from sample_diagnosis import MODEL, a_refusal

from scripts.dicom_node.notices import NO_RESULT, SEVERAL_PATIENTS, notice_of
from scripts.dicom_node.settings import NodeSettings
from scripts.dicom_node.study_queue import QueuedStudy, State
from scripts.dicom_output.export import write_files
from scripts.dicom_output.not_evaluated import NotEvaluated, notices
from scripts.dicom_output.request import DicomOutputError
from scripts.messages import Translation
from scripts.output.result import write_refusal_folder
from scripts.phantom import Grid

GRID = Grid((4, 32, 32), (2.0, 2.0, 5.0))
NAME = "Müller^Jürgen=ミュラー^ユルゲン"
REFUSAL = NotEvaluated(
    code="too_few_slices",
    reason="4 slices, at least 12 needed",
    remedies=("Read the scan in the usual way.", "Send all slices."),
    model_name="ICHDiagnosis DrCT2",
    version="0.7.0",
    written=datetime(2026, 1, 2, 3, 4, 5),
)
ENGLISH = Translation()


def as_a_patient(number: int, dataset: Dataset) -> None:
    dataset.SpecificCharacterSet = ["ISO_IR 192"]
    dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = NAME, "4711", "ACC-1"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(write_series(tmp_path_factory.mktemp("series"), GRID, as_a_patient).iterdir())


def edited(files: list[Path], folder: Path, **values: str) -> list[Path]:
    """Copies of images with other values."""
    for file in files:
        dataset = pydicom.dcmread(file)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(folder / file.name)
    return [folder / file.name for file in files]


def read(content: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(content))


def test_the_notice_says_that_nothing_was_read_why_and_what_to_do(series: list[Path], tmp_path: Path):
    (content,) = notices(REFUSAL, series, ENGLISH).values()
    text = text_of(read(content), tmp_path)
    for words in (
        "NOT EVALUATED",
        "The network has not read this study",
        "no evidence for or against haemorrhage",
        "4 slices, at least 12 needed",
        "1. Read the scan in the usual way. 2. Send all slices.",
        "4 images of 1 series were received",
        "too_few_slices",
        "ICHDiagnosis DrCT2 0.7.0",
        "Research use only",
    ):
        assert words in text
    assert not [words for words in ("Müller", "4711", "ACC-1") if words in text]


def test_the_notice_lies_in_the_study_refers_to_its_images_and_is_valid(series: list[Path], tmp_path: Path):
    files = notices(REFUSAL, series, ENGLISH)
    write_files(files, tmp_path)
    notice, images = read(files["not_evaluated_1.dcm"]), [pydicom.dcmread(file) for file in series]
    assert notice.StudyInstanceUID == images[0].StudyInstanceUID
    assert (str(notice.PatientName), notice.PatientID, notice.AccessionNumber) == (NAME, "4711", "ACC-1")
    named = [reference.ReferencedSOPInstanceUID for reference in notice.SourceInstanceSequence]
    assert named == [image.SOPInstanceUID for image in images]
    for title in (notice.SeriesDescription, notice.DocumentTitle):
        assert title.startswith("NOT EVALUATED")
        assert "research use only" in title
    assert (notice.ContentDate, notice.ContentTime, notice.VerificationFlag) == ("20260102", "030405", "UNVERIFIED")
    written = [tmp_path / "not_evaluated_1.dcm"]
    assert complaints("dciodvfy", written, "Error") == complaints("dciodvfy", written, "Warning") == []


def test_the_same_refusal_is_the_same_object_and_another_one_is_not(series: list[Path]):
    first = notices(REFUSAL, series, ENGLISH)
    assert notices(REFUSAL, series, ENGLISH) == first
    (later,) = notices(replace(REFUSAL, written=datetime(2026, 1, 3)), series, ENGLISH).values()
    assert read(later).SOPInstanceUID != read(first["not_evaluated_1.dcm"]).SOPInstanceUID


def test_of_several_patients_in_one_study_each_has_a_notice_of_its_own(series: list[Path], tmp_path: Path):
    other = edited(series[2:], tmp_path, PatientID="0815", PatientName="Anders")
    found = [read(content) for content in notices(REFUSAL, [*series[:2], *other], ENGLISH).values()]
    assert [(each.PatientID, len(each.SourceInstanceSequence)) for each in found] == [("0815", 2), ("4711", 2)]
    assert len({each.SOPInstanceUID for each in found}) == 2


def test_images_that_cannot_be_read_or_named_are_left_out(series: list[Path], tmp_path: Path):
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(b"no DICOM")
    (unnamed,) = edited(series[:1], tmp_path, SOPInstanceUID="ID_1f6d1e8aeb")
    (content,) = notices(REFUSAL, [damaged, unnamed, *series[1:]], ENGLISH).values()
    assert len(read(content).SourceInstanceSequence) == 3
    with pytest.raises(DicomOutputError, match=r"damaged\.dcm: its header cannot be read"):
        notices(REFUSAL, [damaged], ENGLISH)


def test_a_study_without_a_valid_identifier_has_none(series: list[Path], tmp_path: Path):
    assert not UID("ID_1f6d1e8aeb").is_valid
    with pytest.raises(DicomOutputError, match="StudyInstanceUID of the original images is missing or no valid UID"):
        notices(REFUSAL, edited(series, tmp_path, StudyInstanceUID="ID_1f6d1e8aeb"), ENGLISH)


def test_the_node_states_the_reason_that_the_result_states(series: list[Path], tmp_path: Path):
    result = write_refusal_folder(a_refusal(), tmp_path / "results")
    study = QueuedStudy("key", State.SENDING, 4, 0, 1767323045.0, None, State.NOT_EVALUABLE, "too_few_slices")
    settings = NodeSettings(tmp_path)
    (file,) = notice_of(study, settings)(result, series, tmp_path / "notice")
    text = text_of(pydicom.dcmread(file), tmp_path)
    for words in ("7 slices, at least 12 needed", "1. Read the scan in the usual way", MODEL.network, MODEL.version):
        assert words in text

    # The folder may still hold what an earlier reading found.
    mixed = replace(study, cause=SEVERAL_PATIENTS)
    (file,) = notice_of(mixed, settings)(result, series, tmp_path / "mixed")
    assert "images of several patients or studies have one Study Instance UID" in text_of(
        pydicom.dcmread(file), tmp_path
    )
    for folder in (result, tmp_path / "absent"):
        none = replace(study, cause=NO_RESULT)
        (file,) = notice_of(none, settings)(folder, series, tmp_path / folder.name)
        assert "the analysis ended without a result" in text_of(pydicom.dcmread(file), tmp_path)
