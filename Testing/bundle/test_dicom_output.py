"""The DICOM objects of a result: valid by the standard's checkers, of the same patient, and with all that was found."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicom_output_cases import a_crescent, a_result, complaints, read_back, write_series
from printed_text import text_of
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID
from sample_diagnosis import NEGATIVE, a_diagnosis, with_lesions

from scripts.dicom_output.export import dicom_files, write_files
from scripts.dicom_output.finished_result import FinishedResult
from scripts.dicom_output.structured_report import PRESENCE
from scripts.intake.discovery import StudySource
from scripts.phantom import Grid

GRID = Grid((12, 64, 64), (2.0, 2.0, 5.0), tilt_degrees=18.0)
NAME = "Müller^Jürgen=ミュラー^ユルゲン"
OBJECTS = {
    "attribution_any.dcm",
    "attribution_intraparenchymal.dcm",
    "attribution_subdural.dcm",
    "findings.dcm",
    "key_slices.dcm",
    "lesion_probability.dcm",
    "lesions.dcm",
    "report.dcm",
}
# The checker of 2022 does not yet know QUANTITY, a defined term for maps since 2016 (PS3.3 C.8.32.3.1).
KNOWN_WARNINGS = ("Unrecognized defined term = <QUANTITY>",)
# AccessionNumber is of the study; the checker files it under the series where a document may refer to a request.
KNOWN_DIFFERENCES = ("Different information entities for attribute - Element=<AccessionNumber>",)


def as_a_patient(number: int, dataset: Dataset) -> None:
    dataset.SpecificCharacterSet = ["ISO_IR 192"]
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = NAME, "4711", "19500102"
    dataset.PatientSex, dataset.AccessionNumber, dataset.PatientAge = "M", "ACC-1", "070Y"
    dataset.ReferringPhysicianName, dataset.InstitutionName = "Grün^Ärztin", "Klinik"
    dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "YES", "Names replaced"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> StudySource:
    source, _ = read_back(write_series(tmp_path_factory.mktemp("series"), GRID, as_a_patient))
    return source


@pytest.fixture(scope="module")
def result(series: StudySource, tmp_path_factory: pytest.TempPathFactory) -> FinishedResult:
    _, study = read_back(series.path)
    return a_result(tmp_path_factory.mktemp("results"), a_crescent(study))


@pytest.fixture(scope="module")
def files(result: FinishedResult, series: StudySource) -> dict[str, bytes]:
    return dicom_files(result, series.headers)


@pytest.fixture(scope="module")
def folder(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("objects")
    write_files(files, place)
    return place


@pytest.fixture(scope="module")
def objects(folder: Path) -> dict[str, Dataset]:
    return {path.stem: pydicom.dcmread(path) for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def report(folder: Path) -> hd.sr.MeasurementReport:
    content = hd.sr.srread(folder / "findings.dcm").content
    assert isinstance(content, hd.sr.MeasurementReport)
    return content


def original(series: StudySource, index: int = 0) -> Dataset:
    return pydicom.dcmread(series.headers[index].location.path)


def test_each_object_has_its_file(files: dict[str, bytes]):
    assert set(files) == OBJECTS


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_the_checker_finds_no_error_in_an_object(folder: Path, name: str):
    assert complaints("dciodvfy", [folder / name], "Error") == []
    unknown = complaints("dciodvfy", [folder / name], "Warning")
    assert [line for line in unknown if not line.endswith(KNOWN_WARNINGS)] == []


def test_the_checker_of_checkers_finds_an_error_where_there_is_one(folder: Path, tmp_path: Path):
    broken = pydicom.dcmread(folder / "lesions.dcm")
    del broken.SegmentSequence
    broken.save_as(tmp_path / "broken.dcm")
    assert complaints("dciodvfy", [tmp_path / "broken.dcm"], "Error")


def test_objects_and_images_are_of_one_patient_and_study(folder: Path, series: StudySource):
    files = [*sorted(folder.iterdir()), *(header.location.path for header in series.headers)]
    assert complaints("dcentvfy", files, "Error") == []
    unknown = complaints("dcentvfy", files, "Warning")
    assert [line for line in unknown if not any(known in line for known in KNOWN_DIFFERENCES)] == []


def test_the_patient_is_copied_whole_in_every_script_and_nothing_is_invented(objects: dict[str, Dataset], series):
    source = original(series)
    copied = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID"]
    copied += ["AccessionNumber", "StudyDate", "StudyTime", "StudyID", "ReferringPhysicianName", "StudyDescription"]
    for name, written in objects.items():
        assert {key: str(written[key].value) for key in copied} == {key: str(source[key].value) for key in copied}, name
        assert str(written.PatientName) == NAME
        for absent in ("PatientWeight", "InstitutionName", "OperatorsName", "PatientComments", "IssuerOfPatientID"):
            assert absent not in written


def test_what_was_de_identified_says_so(objects: dict[str, Dataset]):
    for written in objects.values():
        assert (written.PatientIdentityRemoved, written.DeidentificationMethod) == ("YES", "Names replaced")
        assert written.LongitudinalTemporalInformationModified == "REMOVED"


def test_identifiers_are_new_and_valid(objects: dict[str, Dataset], series: StudySource):
    instances = {str(written.SOPInstanceUID) for written in objects.values()}
    source = {str(original(series, index).SOPInstanceUID) for index in range(len(series.headers))}
    assert len(instances) == len(OBJECTS)
    assert not instances & source
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in instances)
    folders = {str(written.SeriesInstanceUID): written.Modality for written in objects.values()}
    assert sorted(folders.values()) == ["DOC", "KO", "OT", "SEG", "SR"]
    assert original(series).SeriesInstanceUID not in folders


def test_the_same_result_gives_the_same_bytes_and_a_new_run_new_objects(result: FinishedResult, series, files):
    assert dicom_files(result, series.headers) == files
    document = result.folder / "result.json"
    before = document.stat().st_mtime
    try:
        os.utime(document, (before + 60, before + 60))
        again = dicom_files(result, series.headers)
    finally:
        os.utime(document, (before, before))
    assert not [name for name in files if uid_of(files[name]) == uid_of(again[name])]


def uid_of(content: bytes) -> str:
    return str(pydicom.dcmread(pydicom.filebase.DicomBytesIO(content)).SOPInstanceUID)


def texts_of(content) -> list[str]:
    """Every text of a content tree, from the root to the leaves."""
    found = [str(item.TextValue) for item in content if "TextValue" in item]
    return found + [text for item in content for text in texts_of(item.get("ContentSequence", ()))]


def numbers_of(group: hd.sr.MeasurementsAndQualitativeEvaluations) -> dict[str, float]:
    return {measured.name.meaning: float(measured.value) for measured in group.get_measurements()}


def test_the_report_states_every_finding_with_probability_threshold_and_presence(report, result: FinishedResult):
    groups = {group.tracking_identifier: group for group in report.get_image_measurement_groups()}
    assert list(groups) == [finding["name"] for finding in result.findings]
    for finding in result.findings:
        group = groups[finding["name"]]
        assert numbers_of(group) == pytest.approx(
            {"Certainty of Finding": 100 * finding["probability"], "Threshold Value": 100 * finding["threshold"]}
        )
        (evaluation,) = group.get_qualitative_evaluations(PRESENCE)
        assert evaluation.value == (codes.cid240.Present if finding["positive"] else codes.cid240.Absent)
        assert group.finding_type.value == finding["code"]["finding"]["value"]
        (site,) = group.finding_sites
        assert site.value.value == finding["code"]["region"]["value"]
        modifier = finding["code"].get("region_modifier", {}).get("value")
        assert (site.topographical_modifier and site.topographical_modifier.value) == modifier


def test_the_report_names_the_model_its_version_and_its_weights(report, objects, result: FinishedResult):
    digest = result.weights_sha256
    text = "\n".join(texts_of(report))
    for words in ("ICHDiagnosis", result.document["model"]["version"], f"weights_sha256={digest}", "balanced"):
        assert words in text
    for written in objects.values():
        assert written.DeviceSerialNumber == digest
        assert written.SoftwareVersions == result.document["model"]["version"]


def test_every_object_says_research_use_only(objects: dict[str, Dataset], report, result: FinishedResult):
    assert all("research use only" in written.SeriesDescription for written in objects.values())
    root = {item.TextValue for item in report[0].ContentSequence if item.ValueType == "TEXT"}
    assert result.document["model"]["notice"] in root
    assert any(text.startswith(result.document["impression"]["text"]) for text in root)
    assert objects["findings"].VerificationFlag == "UNVERIFIED"
    assert objects["lesion_probability"].ContentQualification == "RESEARCH"


def test_findings_and_selection_refer_to_the_key_slices_in_their_order(objects, report, result: FinishedResult):
    wanted = [entry["sop_instance_uid"] for entry in result.key_slices]
    assert len(wanted) == 5
    for group in report.get_image_measurement_groups():
        assert [image.referenced_sop_instance_uid for image in group.source_images] == wanted
    selection = objects["key_slices"]
    images = [item for item in selection.ContentSequence if item.ValueType == "IMAGE"]
    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images] == wanted
    evidence = selection.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert {item.ReferencedSOPInstanceUID for item in evidence.ReferencedSOPSequence} == set(wanted)


def test_volumes_refer_to_the_segments_that_they_were_measured_of(report, objects, result: FinishedResult):
    groups = report.get_volumetric_roi_measurement_groups()
    stated = result.stated_lesions["volumes"]
    assert [numbers_of(group)["Volume"] for group in groups] == pytest.approx([volume["ml"] for volume in stated])
    segmentation = objects["lesions"]
    by_number = {segment.SegmentNumber: segment for segment in segmentation.SegmentSequence}
    for group, volume in zip(groups, stated, strict=True):
        images = [item for item in group[0].ContentSequence if item.ValueType == "IMAGE"]
        reference = images[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
        described = by_number[reference.ReferencedSegmentNumber]
        assert (described.TrackingID, described.TrackingUID) == (volume["group"], group.tracking_uid)


def test_segments_carry_code_side_colour_and_algorithm(objects: dict[str, Dataset]):
    segments = {segment.TrackingID: segment for segment in objects["lesions"].SegmentSequence}
    assert list(segments) == ["total", "extra_axial", "subdural"]
    subdural = segments["subdural"]
    region = subdural.AnatomicRegionSequence[0]
    found = (subdural.SegmentedPropertyTypeCodeSequence[0], region, region.AnatomicRegionModifierSequence[0])
    assert [code.CodeValue for code in found] == ["50960005", "18545000", "260521003"]
    colour = hd.color.CIELabColor.from_dicom_value(subdural.RecommendedDisplayCIELabValue).to_rgb()
    assert np.abs(np.array(colour) - (120, 190, 60)).max() <= 2
    algorithm = subdural.SegmentationAlgorithmIdentificationSequence[0]
    assert "weights_sha256" in algorithm.AlgorithmParameters


def test_the_printed_report_holds_findings_and_figures_and_no_patient(objects: dict[str, Dataset], tmp_path: Path):
    written = objects["report"]
    assert written.MIMETypeOfEncapsulatedDocument == "application/pdf"
    text = text_of(written, tmp_path)
    for words in (
        "Intracranial haemorrhage likely",
        "Subdural haemorrhage",
        "87.0 %",
        "Research use only",
        "Key slices",
    ):
        assert words in text
    assert not [words for words in ("Müller", "4711", "1950", "ACC-1") if words in text]
    listed = subprocess.run(
        ["pdfimages", "-list", str(tmp_path / "document.pdf")], capture_output=True, text=True, check=True
    )
    assert listed.stdout.count(" jpeg ") >= 10


def test_a_negative_study_claims_no_lesion(series: StudySource, tmp_path: Path):
    _, study = read_back(series.path)
    negative = a_result(tmp_path, with_lesions(a_diagnosis(study, NEGATIVE)))
    files = dicom_files(negative, series.headers)
    assert set(files) == {"findings.dcm", "key_slices.dcm", "report.dcm"}
    write_files(files, tmp_path / "objects")
    assert complaints("dciodvfy", [tmp_path / "objects" / "findings.dcm"], "Error") == []
