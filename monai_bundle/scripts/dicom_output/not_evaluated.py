"""The notice that a study was not evaluated, an Encapsulated PDF of it: silence could be taken for a reading."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from scripts.dicom_output.encapsulated_report import DocumentSeries, EncapsulatedPDF
from scripts.dicom_output.export import encoded
from scripts.dicom_output.identity import EXPORTER, LONGEST_TEXT, MANUFACTURER, Program, named_uid
from scripts.dicom_output.patient import complete, silence
from scripts.dicom_output.printed_page import RED, Page
from scripts.dicom_output.request import DicomOutputError
from scripts.intake.dicom_header import READING_ERRORS
from scripts.messages import Translation

_NAMED = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PatientName"]
_SERIES_NUMBER = 9906


@dataclass(frozen=True)
class NotEvaluated:
    """Why a study was not evaluated.

    Attributes
    ----------
    code : str
        Name of the reason, the same in every language, e.g. ``"too_few_slices"``.
    reason : str
        What was wrong, in one line.
    remedies : tuple of str
        What to do next, one sentence each.
    model_name, version : str
        The program that has not read it.
    written : datetime
        When that was known, local time: the date of the notice.
    is_read : bool
        Whether the network has read it all the same, and its result cannot be shown.
    """

    code: str
    reason: str
    remedies: tuple[str, ...]
    model_name: str
    version: str
    written: datetime
    is_read: bool = False


def notices(refusal: NotEvaluated, files: Sequence[Path], translate: Translation) -> dict[str, bytes]:
    """Return a notice for each patient of a study, by the name of its file.

    A study has one patient, but for a mistake; then nobody's notice must lie under another's name.

    Parameters
    ----------
    refusal : NotEvaluated
        What to say.
    files : sequence of Path
        The images that were received, as DICOM files.
    translate : Translation
        Language of all but the reason and the remedies.

    Returns
    -------
    dict of str to bytes
        DICOM files (PS3.10). The same images, refusal and language give the same bytes.

    Raises
    ------
    DicomOutputError
        If no image can be read, or the study has no valid UID that an object could bear.
    """
    with silence():
        patients: dict[tuple[str, str], list[tuple[Path, Dataset]]] = defaultdict(list)
        for file in files:
            image = _header(file, _NAMED)
            if image is not None:
                patients[str(image.get("PatientID")), str(image.get("PatientName"))].append((file, image))
        if not patients:
            raise DicomOutputError("unreadable_instance", name=files[0].name if files else "-")
        return {
            f"not_evaluated_{number}.dcm": encoded(_notice(refusal, images, translate))
            for number, (_, images) in enumerate(sorted(patients.items()), start=1)
        }


def _header(file: Path, tags: list[str] | None = None) -> Dataset | None:
    """Return what stands before an image's pixels, text decoded; None where it cannot be read."""
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)
        header.decode()
    except (InvalidDicomError, *READING_ERRORS):
        return None
    return header


def _notice(refusal: NotEvaluated, images: list[tuple[Path, Dataset]], translate: Translation) -> EncapsulatedPDF:
    whole = next((header for file, _ in images if (header := _header(file)) is not None), None)
    if whole is None:
        raise DicomOutputError("unreadable_instance", name=images[0][0].name)
    study = UID(str(whole.get("StudyInstanceUID") or ""))
    if not study.is_valid:
        raise DicomOutputError("invalid_uid", keyword="StudyInstanceUID")
    name = (EXPORTER, "not evaluated", study, str(whole.SOPInstanceUID), refusal.code, refusal.written.isoformat())
    series = DocumentSeries(
        study_uid=study,
        series_uid=named_uid(*name, "series"),
        instance_uid=named_uid(*name, "instance"),
        number=_SERIES_NUMBER,
        description="NOT EVALUATED by ICHDiagnosis (research use only)",
        title="NOT EVALUATED by ICHDiagnosis, research use only",
    )
    program: Program = {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": refusal.model_name[:LONGEST_TEXT],
        "software_versions": refusal.version[:LONGEST_TEXT],
    }
    headers = [header for _, header in images]
    # An invalid UID is no reference; the notice belongs to the study all the same.
    referenced = [header for header in headers if UID(str(header.get("SOPInstanceUID") or "")).is_valid]
    notice = EncapsulatedPDF(_printed(refusal, headers, translate), series, program, referenced)
    complete(notice, whole, refusal.written)
    return notice


def _printed(refusal: NotEvaluated, headers: list[Dataset], translate: Translation) -> bytes:
    page = Page(translate("report.notice"))
    page.set_creation_date(refusal.written.astimezone())
    page.set_title(translate("not_evaluated.title"))
    page.set_lang(translate("report.language_tag"))
    page.add_page()
    page.set_text_color(*RED)
    page.line_of(translate("not_evaluated.heading"), 26, "B")
    page.set_text_color(0, 0, 0)
    page.ln(2)
    page.line_of(translate("not_evaluated.nothing_is_shown" if refusal.is_read else "report.nothing_was_read"), 12, "B")
    page.heading(translate("not_evaluated.reason"))
    page.line_of(refusal.reason, 12)
    page.heading(translate("report.what_to_do"))
    for number, remedy in enumerate(refusal.remedies, start=1):
        page.line_of(f"{number}. {remedy}", 11)
    page.ln(2)
    page.line_of(translate("not_evaluated.later"), 9)
    page.heading(translate("report.technical"))
    series = len({str(header.get("SeriesInstanceUID")) for header in headers})
    received = translate("not_evaluated.received", images=len(headers), series=series)
    page.named_values(
        [
            [translate("report.model"), f"{refusal.model_name} {refusal.version}"],
            [translate("not_evaluated.code"), refusal.code],
            [translate("not_evaluated.images"), received],
            [translate("not_evaluated.when"), f"{refusal.written:%Y-%m-%d %H:%M:%S}"],
        ]
    )
    return bytes(page.output())
