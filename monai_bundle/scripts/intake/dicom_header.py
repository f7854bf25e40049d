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
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from scripts.intake.file_location import FileLocation, FileOpener, starts_a_data_set
from scripts.intake.header_values import has_contrast, integer, numbers, positive, several, text
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
class SliceHeader:
    """What choosing and placing one slice needs.

    Attributes
    ----------
    location : FileLocation
        The file.
    frame : int or None
        Frame of a multi-frame file, 0-based; None for a classic single slice.
    study_uid, series_uid : str
        Study and Series Instance UID (0020,000D), (0020,000E) as written, even where they are no valid UIDs (RSNA 2019:
        ``"ID_1f6d1e8aeb"``).
    series_number, acquisition : int or None
        Series Number (0020,0011), Acquisition Number (0020,0012).
    modality : str
        Modality (0008,0060); without it ``"CT"`` where the storage class is one of CT's.
    image_type : tuple of str
        Image Type (0008,0008), in capitals.
    rows, columns, samples : int
        Rows (0028,0010), Columns (0028,0011), Samples per Pixel (0028,0002).
    orientation : tuple of float or None
        Image Orientation (Patient) (0020,0037), six direction cosines in LPS.
    position : tuple of float or None
        Image Position (Patient) (0020,0032), mm in LPS.
    pixel_spacing : tuple of float or None
        Pixel Spacing (0028,0030): between rows, between columns (mm).
    sop_instance_uid : str
        SOP Instance UID (0008,0018) as written, else Media Storage SOP Instance UID (0002,0003); empty without either.
        All frames of a multi-frame file have the same.
    thickness_mm : float or None
        Slice Thickness (0018,0050).
    kernel : str or None
        Convolution Kernel (0018,1210).
    contrast : bool
        Whether Contrast/Bolus Agent (0018,0010) or its sequence (0018,0012) names a medium.
    kvp : float or None
        KVP (0018,0060).
    frame_of_reference : str or None
        Frame of Reference UID (0020,0052).
    time_point : int or None
        Temporal Position Index (0020,9128) of a frame, else Temporal Position Identifier (0020,0100).
    instance : int or None
        Instance Number (0020,0013).
    time : str or None
        Acquisition Time (0008,0032) as written.
    rescale_type : str or None
        Rescale Type (0028,1054), in capitals.
    patient_group : int or None
        Equal for images of one patient among the files that were searched together; a number without meaning, so that
        patients are compared and nothing of them is kept.
    """

    location: FileLocation
    frame: int | None
    study_uid: str
    series_uid: str
    series_number: int | None
    acquisition: int | None
    modality: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    samples: int
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    thickness_mm: float | None
    kernel: str | None
    contrast: bool
    sop_instance_uid: str = ""
    kvp: float | None = None
    frame_of_reference: str | None = None
    time_point: int | None = None
    instance: int | None = None
    time: str | None = None
    rescale_type: str | None = None
    patient_group: int | None = None


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
    return SliceHeader(
        location=location,
        frame=frame,
        study_uid=str(dataset.get("StudyInstanceUID") or ""),
        series_uid=str(dataset.SeriesInstanceUID),
        series_number=integer(optional(dataset, "SeriesNumber")),
        acquisition=integer(value("AcquisitionNumber", "CTAcquisitionTypeSequence")),
        modality=modality,
        image_type=tuple(part.upper() for part in several(dataset.get("ImageType"))),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        orientation=numbers(value("ImageOrientationPatient", "PlaneOrientationSequence"), 6),
        position=numbers(value("ImagePositionPatient", "PlanePositionSequence"), 3),
        pixel_spacing=numbers(value("PixelSpacing", "PixelMeasuresSequence"), 2),
        thickness_mm=positive(value("SliceThickness", "PixelMeasuresSequence")),
        kernel=" ".join(several(value("ConvolutionKernel", "CTReconstructionSequence"))).strip() or None,
        contrast=has_contrast(dataset),
        sop_instance_uid=str(dataset.get("SOPInstanceUID") or file_meta.get("MediaStorageSOPInstanceUID") or ""),
        kvp=positive(value("KVP", "CTXRayDetailsSequence")),
        frame_of_reference=text(optional(dataset, "FrameOfReferenceUID")) or None,
        time_point=integer(
            value("TemporalPositionIndex", "FrameContentSequence") or optional(dataset, "TemporalPositionIdentifier")
        ),
        instance=integer(optional(dataset, "InstanceNumber")),
        time=text(optional(dataset, "AcquisitionTime")) or None,
        rescale_type=text(value("RescaleType", "PixelValueTransformationSequence")).upper() or None,
    )


def optional(dataset: Dataset, keyword: str) -> Any:  # noqa: ANN401 (DICOM values have many types)
    """Return an attribute that only describes; None where it cannot even be parsed."""
    try:
        return dataset.get(keyword)
    except READING_ERRORS:
        return None
