"""The objects that go back unless a configuration names others: all that :mod:`scripts.dicom_output` makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.dicom_output.export import dicom_files, write_files
from scripts.dicom_output.finished_result import read_finished
from scripts.intake.dicom_header import scan_headers
from scripts.intake.file_location import FileLocation


def write_objects(result_folder: Path, series_files: Sequence[Path], target_folder: Path) -> list[Path]:
    """Write structured report, key slices, segmentation, maps and printed report.

    See :class:`scripts.dicom_node.result_objects.ResultObjects`; their UIDs follow from the result, so that the same
    result is the same objects.

    Raises
    ------
    DicomOutputError
        If the result or its images cannot be used.
    """
    headers = scan_headers([FileLocation(file) for file in series_files]).headers
    write_files(dicom_files(read_finished(result_folder), headers), target_folder)
    return sorted(target_folder.glob("*.dcm"))
