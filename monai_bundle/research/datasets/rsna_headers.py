"""What the index keeps of each RSNA file, and how it is read from the file: in any process, without MONAI or torch."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydicom import config
from pydicom.dataset import FileDataset

from scripts.intake.dicom_header import READING_ERRORS, DamagedFileError, SliceHeader, read_attributes, slice_headers
from scripts.intake.file_location import FileLocation, FileOpener

KNOWN_CORRUPT = {"ID_6431af929.dcm"}
"""Left out even where its header is whole."""

_FURTHER_ATTRIBUTES = ("PatientID", "BitsAllocated")
_IN_COLUMNS = {"location", "series_uid"}
_KEPT = [field.name for field in fields(SliceHeader) if field.name not in _IN_COLUMNS]


@dataclass(frozen=True)
class FileState:
    """What shows whether a file has changed since it was read: name, size (bytes), time of change (ns)."""

    name: str
    size: int
    modified_ns: int


@dataclass(frozen=True)
class IndexedFile:
    """One row of the index.

    Attributes
    ----------
    state : FileState
        The file as it was when it was read.
    patient, series_uid : str
        Patient ID (0010,0020), a pseudonym of the dataset, and Series Instance UID (0020,000E); empty with a fault.
    header : str
        The rest of the :class:`SliceHeader` as JSON, without what is unknown; empty with a fault.
    fault : str or None
        Why the file is left out; the rest of a sentence after its name.
    """

    state: FileState
    patient: str = ""
    series_uid: str = ""
    header: str = ""
    fault: str | None = None


def read_files(folder: str, states: Sequence[FileState]) -> list[IndexedFile]:
    """Read the headers of some files of a folder; a damaged one becomes a row with its fault."""
    rows = []
    with FileOpener() as opener, config.disable_value_validation():
        for state in states:
            try:
                rows.append(_read_file(FileLocation(Path(folder) / state.name), state, opener))
            except DamagedFileError as fault:
                rows.append(IndexedFile(state, fault=str(fault)))
            except READING_ERRORS:
                rows.append(IndexedFile(state, fault=str(DamagedFileError("header"))))
    return rows


def slice_header(row: IndexedFile, folder: Path) -> SliceHeader:
    """Rebuild the header that a row was made from."""
    kept = json.loads(row.header)
    values: dict[str, Any] = {name: _as_tuple(kept.get(name)) for name in _KEPT}
    values |= {"study_uid": kept.get("study_uid", ""), "image_type": tuple(kept.get("image_type", ()))}
    return SliceHeader(location=FileLocation(folder / row.state.name), series_uid=row.series_uid, **values)


def _read_file(location: FileLocation, state: FileState, opener: FileOpener) -> IndexedFile:
    dataset = read_attributes(location, opener, _FURTHER_ATTRIBUTES)
    headers = [] if dataset is None else slice_headers(location, dataset)
    if dataset is None or len(headers) != 1 or headers[0].frame is not None:
        raise DamagedFileError("not_one_slice")
    header = headers[0]
    patient = str(dataset.get("PatientID") or "")
    if not patient:
        raise DamagedFileError("no_patient")
    if _lacks_pixels(header, dataset, state.size):
        raise DamagedFileError("cut_off.image")
    if state.name in KNOWN_CORRUPT:
        raise DamagedFileError("known_corrupt")
    kept = {name: value for name in _KEPT if (value := getattr(header, name)) not in (None, "", ())}
    return IndexedFile(state, patient, header.series_uid, json.dumps(kept, separators=(",", ":")))


def _lacks_pixels(header: SliceHeader, dataset: FileDataset, size: int) -> bool:
    """Whether the file is too short for its image; the size of compressed pixels does not follow from the header."""
    return (
        not dataset.file_meta.TransferSyntaxUID.is_compressed
        and size < header.rows * header.columns * header.samples * int(dataset.get("BitsAllocated") or 16) // 8
    )


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def file_state(entry: os.DirEntry[str]) -> FileState | None:
    """Return the state of one file of a folder; None where it has gone in the meantime."""
    try:
        status = entry.stat()
    except FileNotFoundError:
        return None
    return FileState(entry.name, status.st_size, status.st_mtime_ns)
