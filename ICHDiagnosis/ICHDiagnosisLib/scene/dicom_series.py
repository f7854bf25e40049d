"""The CT series in a folder, file or zip, from the headers of its DICOM files. Needs pydicom, which Slicer brings."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .patient import PatientAttributes

_PREAMBLE = 128
_TAGS = [
    "ImageType",
    "SOPInstanceUID",
    "StudyDate",
    "Modality",
    "SeriesDescription",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "Rows",
    "Columns",
]


@dataclass(frozen=True)
class CTSeries:
    """One series.

    Attributes
    ----------
    uid, study_uid : str
        DICOM (0020,000E), (0020,000D).
    number, description : str
        DICOM (0020,0011), (0008,103E); empty where they are not stated.
    files : tuple of Path
        One per image, along the slice normal where all state their place.
    instance_uids : tuple of str
        DICOM (0008,0018) of each file.
    patient : PatientAttributes
        Of the first file.
    """

    uid: str
    study_uid: str
    number: str
    description: str
    files: tuple[Path, ...]
    instance_uids: tuple[str, ...]
    patient: PatientAttributes

    def is_called(self, name: str) -> bool:
        """Tell whether a name is this series' UID, number or description, in any case."""
        names = (self.uid, self.number, self.description)
        return bool(name.strip()) and name.strip().casefold() in [each.casefold() for each in names]

    def of_instances(self, uids: Sequence[str]) -> list[Path]:
        """Return the files of some instances, in their order; those that are missing are left out."""
        places = dict(zip(self.instance_uids, self.files, strict=True))
        return [places[uid] for uid in uids if uid in places]


def ct_series(place: Path) -> tuple[CTSeries, ...]:
    """List the CT series of a folder with all that is below it, or of one file; localizers are left out.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    import pydicom  # noqa: PLC0415 - part of the application

    headers: dict[str, list[tuple[Path, Any]]] = defaultdict(list)
    for file in _dicom_files(place):
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
        except (pydicom.errors.InvalidDicomError, EOFError, ValueError):
            continue
        if header.get("Modality") == "CT" and "LOCALIZER" not in (header.get("ImageType") or ()):
            headers[str(header.get("SeriesInstanceUID", ""))].append((file, header))
    return tuple(_series(uid, entries) for uid, entries in sorted(headers.items()))


def unpack_dicom(archive: Path, folder: Path) -> None:
    """Write the DICOM files of a zip into a folder, numbered: names in it may name a patient, or lead elsewhere.

    Raises
    ------
    OSError
        If the zip is damaged or encrypted, or the folder cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            for number, member in enumerate(members):
                content = opened.read(member)
                if content[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
                    (folder / f"{number:05d}.dcm").write_bytes(content)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise OSError(str(error)) from error


def _dicom_files(place: Path) -> Iterator[Path]:
    for file in sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]:
        with file.open("rb") as stream:
            # DICOM PS3.10, section 7.1.
            if stream.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM":
                yield file


def _series(uid: str, entries: list[tuple[Path, Any]]) -> CTSeries:
    ordered = _of_one_stack(entries)
    first = ordered[0][1]
    return CTSeries(
        uid=uid,
        study_uid=_text(first, "StudyInstanceUID"),
        number=_text(first, "SeriesNumber"),
        description=_text(first, "SeriesDescription"),
        files=tuple(file for file, _header in ordered),
        instance_uids=tuple(_text(header, "SOPInstanceUID") for _file, header in ordered),
        patient=PatientAttributes(
            _text(first, "PatientName"),
            _text(first, "PatientID"),
            _text(first, "PatientSex"),
            _text(first, "PatientBirthDate"),
            _text(first, "StudyDate"),
        ),
    )


def _of_one_stack(entries: list[tuple[Path, Any]]) -> list[tuple[Path, Any]]:
    """Return the images of the largest stack of like size and direction, along its normal."""
    stacks: dict[tuple[object, ...], list[tuple[Path, Any]]] = defaultdict(list)
    for file, header in entries:
        size = header.get("Rows"), header.get("Columns")
        stacks[(*size, *np.round(_direction(header), 3))].append((file, header))
    stack = max(stacks.values(), key=len)
    direction = _direction(stack[0][1])
    if direction.size != len("XYZXYZ") or not all(header.get("ImagePositionPatient") for _file, header in stack):
        return stack
    normal = np.cross(direction[:3], direction[3:])
    return sorted(stack, key=lambda entry: float(normal @ np.array(entry[1].ImagePositionPatient, dtype=float)))


def _direction(header: Any) -> np.ndarray:  # noqa: ANN401 - a data set of pydicom
    """Return the direction cosines (0020,0037), six or none."""
    return np.array(header.get("ImageOrientationPatient") or (), dtype=float)


def _text(header: Any, name: str) -> str:  # noqa: ANN401 - a data set of pydicom
    value = header.get(name)
    return "" if value is None else str(value).strip()
