"""What the header of one slice states: technical attributes alone, none that describes a patient."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.intake.file_location import FileLocation


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
        Frame Type (0008,9007) of a frame, else Image Type (0008,0008), in capitals.
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
        Whether Contrast/Bolus Agent (0018,0010) or its sequence (0018,0012) names a medium; false for a frame to which
        none was administered, by (0018,9342).
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
    concatenation : str or None
        Concatenation UID (0020,9161) of a multi-frame image that was split into several files.
    lossy : bool
        Whether Lossy Image Compression (0028,2110) or the transfer syntax states that values were changed.
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
    concatenation: str | None = None
    lossy: bool = False
    patient_group: int | None = None
