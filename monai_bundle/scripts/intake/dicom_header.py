"""Headers of DICOM slices, read before any pixel: only technical attributes, none that describes a patient."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import pydicom
from pydicom import config
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedCTImageStorage,
)

from scripts.intake.file_location import FileLocation, FileOpener, starts_a_data_set
from scripts.intake.header_values import has_contrast, integer, numbers, positive, several, text
from scripts.intake.slice_header import SliceHeader
from scripts.messages import ExpectedError

_HEADER_TAGS: list[Any] = [
    "SOPClassUID",
    "SOPInstanceUID",
    "ImageType",
    "Modality",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "ConvolutionKernel",
    "RescaleType",
    "KVP",
    "FrameOfReferenceUID",
    "TemporalPositionIdentifier",
    "ConcatenationUID",
    "LossyImageCompression",
    "InstanceNumber",
    "AcquisitionTime",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "ContrastBolusAgent",
    "ContrastBolusVolume",
    "ContrastBolusAgentSequence",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
_CT_STORAGE = {CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage}
_ALWAYS_LOSSY = {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless}
_DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}
_PREAMBLE = 128

READING_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RuntimeError,
    NotImplementedError,
    ArithmeticError,
    BytesLengthException,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What pydicom and its decoders raise for damaged files."""


class DamagedFileError(ExpectedError):
    """A file that should be a slice but cannot be read; the message is the rest of a sentence after its name.

    Parameters
    ----------
    code : str
        Name in the catalogue's section ``damage``, e.g. ``"header"``.
    """

    def __init__(self, code: str, /) -> None:
        super().__init__(f"damage.{code}")


@dataclass(frozen=True)
class HeaderScan:
    """Headers of many files, the files that should have had one (location and fault), and those of other kinds."""

    headers: tuple[SliceHeader, ...]
    damaged: tuple[tuple[FileLocation, DamagedFileError], ...]
    others: tuple[FileLocation, ...] = ()


def scan_headers(locations: Iterable[FileLocation]) -> HeaderScan:
    """Read the headers of all DICOM images among these files; files of other kinds are passed over."""
    headers: list[SliceHeader] = []
    damaged: list[tuple[FileLocation, DamagedFileError]] = []
    others: list[FileLocation] = []
    patients: dict[tuple[str, ...], int] = {}
    with FileOpener() as opener, config.disable_value_validation():
        for location in locations:
            try:
                dataset = read_attributes(location, opener)
                if dataset is None:
                    others.append(location)
                    continue
                group = patients.setdefault(_patient(dataset), len(patients))
                headers.extend(replace(header, patient_group=group) for header in slice_headers(location, dataset))
            except DamagedFileError as fault:
                damaged.append((location, fault))
    return HeaderScan(tuple(headers), tuple(damaged), tuple(others))


def _patient(dataset: FileDataset) -> tuple[str, ...]:
    """Return what identifies a patient, to be compared and forgotten; upper and lower case are one."""
    try:
        values = (dataset.get(keyword) for keyword in ("PatientID", "PatientName", "PatientBirthDate"))
        return tuple(text(value).strip(" ^").casefold() for value in values)
    except READING_ERRORS:
        return ()


def read_attributes(location: FileLocation, opener: FileOpener, further: Sequence[str] = ()) -> FileDataset | None:
    """Read what :func:`slice_headers` needs of one file, and no pixel.

    Parameters
    ----------
    location : FileLocation
        The file.
    opener : FileOpener
        What opens it.
    further : sequence of str
        Keywords of further attributes to read.

    Returns
    -------
    FileDataset or None
        None where the file is neither DICOM nor named as if it were. Without preamble (PS3.10 section 7.1), as some
        scanners and archives keep files, it is DICOM where it begins like a data set.

    Raises
    ------
    DamagedFileError
        If the file cannot be read.
    """
    is_named_dicom = PurePosixPath(location.name).suffix.lower() in _DICOM_SUFFIXES
    has_preamble = False
    try:
        with opener.open(location) as file:
            start = file.read(_PREAMBLE + 4)
            has_preamble = start[_PREAMBLE:] == b"DICM"
            if not has_preamble and not starts_a_data_set(start):
                _no_dicom(is_named_dicom)
                return None
            file.seek(0)
            tags = [*_HEADER_TAGS, *further]
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
    except PermissionError:
        raise DamagedFileError("no_permission") from None
    except FileNotFoundError:
        # A link to nothing: it may stand for a slice, and cannot spoil those that are there.
        _no_dicom(is_named_dicom)
        return None
    except READING_ERRORS:
        if has_preamble or is_named_dicom:
            raise DamagedFileError("header") from None
        return None
    names_its_kind = any(optional(dataset, keyword) for keyword in ("SOPClassUID", "Modality", "SeriesInstanceUID"))
    if has_preamble or names_its_kind:
        return dataset
    _no_dicom(is_named_dicom)
    return None


def _no_dicom(is_named_dicom: bool) -> None:
    if is_named_dicom:
        raise DamagedFileError("not_dicom")


def slice_headers(location: FileLocation, dataset: FileDataset) -> list[SliceHeader]:
    """Turn the attributes of one file into a header per slice; an empty list where it holds no image.

    Raises
    ------
    DamagedFileError
        If an attribute is damaged, or one without which no slice can be placed is missing.
    """
    try:
        return _parse(location, dataset)
    except READING_ERRORS:
        raise DamagedFileError("header") from None


def _parse(location: FileLocation, dataset: FileDataset) -> list[SliceHeader]:
    storage = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    modality = str(dataset.get("Modality") or ("CT" if storage in _CT_STORAGE else ""))
    if "Rows" not in dataset or "Columns" not in dataset:
        if storage in _CT_STORAGE or storage is None:
            raise DamagedFileError("cut_off")
        return []
    if not dataset.get("SeriesInstanceUID"):
        raise DamagedFileError("no_series")
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        return [_single_slice(location, dataset, modality)]
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    return [
        _single_slice(location, dataset, modality, frame=index, groups=(groups, shared[0]))
        for index, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence)
    ]


def _single_slice(
    location: FileLocation,
    dataset: FileDataset,
    modality: str,
    frame: int | None = None,
    groups: tuple[Dataset, ...] = (),
) -> SliceHeader:
    def value(keyword: str, functional_group: str) -> Any:  # noqa: ANN401 (DICOM values have many types)
        """Find an attribute in the frame's functional groups (PS3.3 C.7.6.16), else in the data set itself."""
        for group in groups:
            if group.get(functional_group):
                return optional(group[functional_group].value[0], keyword)
        return optional(dataset, keyword)

    file_meta = dataset.file_meta
    frame_type = value("FrameType", "CTImageFrameTypeSequence") if groups else None
    administered = value("ContrastBolusAgentAdministered", "ContrastBolusUsageSequence") if groups else None
    return SliceHeader(
        location=location,
        frame=frame,
        study_uid=str(dataset.get("StudyInstanceUID") or ""),
        series_uid=str(dataset.SeriesInstanceUID),
        series_number=integer(optional(dataset, "SeriesNumber")),
        acquisition=integer(value("AcquisitionNumber", "CTAcquisitionTypeSequence")),
        modality=modality,
        image_type=tuple(part.upper() for part in several(frame_type or dataset.get("ImageType"))),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        orientation=numbers(value("ImageOrientationPatient", "PlaneOrientationSequence"), 6),
        position=numbers(value("ImagePositionPatient", "PlanePositionSequence"), 3),
        pixel_spacing=numbers(value("PixelSpacing", "PixelMeasuresSequence"), 2),
        thickness_mm=positive(value("SliceThickness", "PixelMeasuresSequence")),
        kernel=" ".join(several(value("ConvolutionKernel", "CTReconstructionSequence"))).strip() or None,
        contrast=has_contrast(dataset) and administered != "NO",
        sop_instance_uid=str(dataset.get("SOPInstanceUID") or file_meta.get("MediaStorageSOPInstanceUID") or ""),
        kvp=positive(value("KVP", "CTXRayDetailsSequence")),
        frame_of_reference=text(optional(dataset, "FrameOfReferenceUID")) or None,
        time_point=integer(
            value("TemporalPositionIndex", "FrameContentSequence") or optional(dataset, "TemporalPositionIdentifier")
        ),
        instance=integer(optional(dataset, "InstanceNumber")),
        time=text(optional(dataset, "AcquisitionTime")) or None,
        rescale_type=text(value("RescaleType", "PixelValueTransformationSequence")).upper() or None,
        concatenation=text(optional(dataset, "ConcatenationUID")) or None,
        lossy=text(optional(dataset, "LossyImageCompression")) == "01"
        or file_meta.get("TransferSyntaxUID") in _ALWAYS_LOSSY,
    )


def optional(dataset: Dataset, keyword: str) -> Any:  # noqa: ANN401 (DICOM values have many types)
    """Return an attribute that only describes; None where it cannot even be parsed."""
    try:
        return dataset.get(keyword)
    except READING_ERRORS:
        return None
