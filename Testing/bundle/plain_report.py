"""Simple objects for tests of the node: one Basic Text SR (PS3.3, A.35.1) of what a stand-in for the reader found."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, BasicTextSRStorage, ExplicitVRLittleEndian, generate_uid

from scripts.output.folder import RESULT_FILE

_OF_PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "SpecificCharacterSet"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    "ReferringPhysicianName",
)
_REQUIRED_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
_TITLE = ("18748-4", "LN", "Diagnostic imaging report")
_IMPRESSION = ("121073", "DCM", "Impression")
_FINDING = ("121071", "DCM", "Finding")
_COMMENT = ("121106", "DCM", "Comment")


def write_objects(result_folder: Path, series_files: Sequence[Path], target_folder: Path) -> list[Path]:
    """Write the report of one result; see :class:`scripts.dicom_node.result_objects.ResultObjects`.

    Its UIDs follow from the images and the weights: the same study read again by the same model is the same object.
    """
    result: dict[str, Any] = json.loads((result_folder / RESULT_FILE).read_text(encoding="utf-8"))
    headers = [dcmread(file, stop_before_pixels=True) for file in series_files]
    weights = json.dumps(result["model"]["weights_sha256"], sort_keys=True)
    entropy = [*sorted(str(header.SOPInstanceUID) for header in headers), weights]
    report = _report(headers[0], generate_uid(entropy_srcs=[*entropy, "report"]))
    report.SeriesInstanceUID = generate_uid(entropy_srcs=[*entropy, "report series"])
    report.ContentSequence = [_text(name, value) for name, value in _statements(result)]
    file = target_folder / "report.dcm"
    report.save_as(file, enforce_file_format=True)
    return [file]


def _statements(result: dict[str, Any]) -> list[tuple[tuple[str, str, str], str]]:
    model = result["model"]
    findings = [
        f"{finding['name']}: {finding['probability']:.3f}, threshold {finding['threshold']:.3f}, "
        f"{'positive' if finding['positive'] else 'negative'}"
        for finding in result["findings"]
    ]
    return [
        (_COMMENT, model["notice"]),
        (_IMPRESSION, f"{result['impression']['text']}. {result['impression']['caution']}"),
        *((_FINDING, finding) for finding in findings),
        (_COMMENT, f"{model['name']} {model['version']}, operating point {result['operating_point']}"),
    ]


def _report(image: FileDataset, uid: UID) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = BasicTextSRStorage
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword in _REQUIRED_EMPTY:
        setattr(report, keyword, "")
    for keyword in _OF_PATIENT_AND_STUDY:
        if keyword in image:
            report[keyword] = image[keyword]
    now = datetime.datetime.now()
    report.SOPClassUID, report.SOPInstanceUID = BasicTextSRStorage, uid
    report.Modality, report.SeriesNumber, report.InstanceNumber = "SR", 9901, 1
    report.SeriesDescription = "ICHDiagnosis, research use only"
    report.Manufacturer, report.ReferencedPerformedProcedureStepSequence = "ICHDiagnosis", []
    report.ContentDate, report.ContentTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    report.CompletionFlag, report.VerificationFlag = "COMPLETE", "UNVERIFIED"
    report.PerformedProcedureCodeSequence = []
    report.ValueType, report.ContinuityOfContent = "CONTAINER", "SEPARATE"
    report.ConceptNameCodeSequence = [_code(_TITLE)]
    return report


def _text(name: tuple[str, str, str], value: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence, item.TextValue = [_code(name)], value
    return item


def _code(values: tuple[str, str, str]) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = values
    return code
