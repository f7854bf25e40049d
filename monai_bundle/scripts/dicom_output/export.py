"""All objects of one result: made in memory, completed with patient and study, then written."""

from __future__ import annotations

import io
import logging
import traceback
from collections.abc import Iterable
from pathlib import Path

import highdicom as hd

from scripts.dicom_output.encapsulated_report import encapsulated_report
from scripts.dicom_output.finished_result import FinishedResult
from scripts.dicom_output.identity import Identity
from scripts.dicom_output.key_objects import key_slice_selection
from scripts.dicom_output.parametric_maps import maps_to_export, parametric_map
from scripts.dicom_output.patient import complete, silence
from scripts.dicom_output.printed_report import printed_report
from scripts.dicom_output.request import DicomOutputError
from scripts.dicom_output.segmentation import lesion_segmentation, lesion_segments
from scripts.dicom_output.source_series import SourceSeries, find_source
from scripts.dicom_output.structured_report import findings_report
from scripts.intake.slice_header import SliceHeader
from scripts.messages import ENGLISH, Translation
from scripts.output.folder import write_file

logger = logging.getLogger(__name__)


def dicom_files(result: FinishedResult, headers: Iterable[SliceHeader], language: str = ENGLISH) -> dict[str, bytes]:
    """Return every object of a result by the name of its file.

    Parameters
    ----------
    result : FinishedResult
        What was found.
    headers : iterable of SliceHeader
        Images among which those that it was read from are.
    language : str
        Language of the printed report's headings.

    Returns
    -------
    dict of str to bytes
        DICOM files (PS3.10), explicit little endian.

    Raises
    ------
    DicomOutputError
        If the original images are not there or cannot be referred to, a file of the result is damaged, or an object
        cannot be made for a reason that nobody foresaw.
    """
    with silence():
        source = find_source(result, headers)
        try:
            return {name: encoded(each) for name, each in _objects(result, source, Translation(language)).items()}
        except DicomOutputError:
            raise
        except Exception as error:
            # Its text may quote the patient's attributes: where it happened is logged, what it says is not.
            places = "".join(traceback.format_tb(error.__traceback__))
            raise DicomOutputError("unforeseen", fault=type(error).__name__, place=_last(places)) from None


def write_files(files: dict[str, bytes], folder: Path) -> None:
    """Write all objects into a folder, made when missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_file(folder / name, content)


def _objects(result: FinishedResult, source: SourceSeries, translate: Translation) -> dict[str, hd.SOPClass]:
    identity = Identity(result, source)
    segments = lesion_segments(identity)
    segmentation = lesion_segmentation(identity, segments) if segments else None
    made: dict[str, hd.SOPClass] = {"findings.dcm": findings_report(identity, segments, segmentation)}
    if result.key_slices:
        made["key_slices.dcm"] = key_slice_selection(identity)
    if segmentation is not None:
        made["lesions.dcm"] = segmentation
    for number, described in enumerate(maps_to_export(identity), start=1):
        written = parametric_map(identity, described, number)
        if written is not None:
            made[f"{described.name}.dcm"] = written
    made["report.dcm"] = encapsulated_report(identity, printed_report(result, translate))
    for instance in made.values():
        complete(instance, source.first, result.written)
    return made


def encoded(instance: hd.SOPClass) -> bytes:
    """Return an object as a DICOM file (PS3.10)."""
    stream = io.BytesIO()
    instance.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _last(places: str) -> str:
    """Return file and line of the innermost place of a traceback."""
    lines = [line.strip() for line in places.splitlines() if line.strip().startswith("File ")]
    file, _, rest = lines[-1].removeprefix("File ").partition(", ") if lines else ("?", "", "")
    return f"{Path(file.strip(chr(34))).name}, {rest}"
