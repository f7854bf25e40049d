"""What highdicom is told of the original images: geometry and identifiers, and nothing of the patient.

Patient and study are copied into the finished objects by :mod:`scripts.dicom_output.patient`, as they are: a library
that never sees them cannot refuse, change, warn about or log them.
"""

from __future__ import annotations

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID

from scripts.dicom_output.source_series import SourceSeries

_GEOMETRY = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Rows",
    "Columns",
    "InstanceNumber",
    "NumberOfFrames",
    "ImageType",
    "PerFrameFunctionalGroupsSequence",
)
_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
_SAME = 1e-6


def without_patient(source: SourceSeries) -> tuple[Dataset, ...]:
    """Return the images, one per slice or the one of all frames, with geometry and identifiers alone."""
    if source.is_multi_frame:
        image, shared = _bare(source.first), Dataset()
        shared.PixelMeasuresSequence = pixel_measures(source, 0)
        shared.PlaneOrientationSequence = _orientation(source, 0)
        image.SharedFunctionalGroupsSequence = DicomSequence([shared])
        return (image,)
    bare = []
    for index, (instance, header) in enumerate(zip(source.instances, source.headers, strict=True)):
        image = _bare(instance)
        image.SliceThickness = pixel_measures(source, index)[0].SliceThickness
        image.ImagePositionPatient = list(header.position or ())
        image.ImageOrientationPatient = list(header.orientation or ())
        image.PixelSpacing = list(header.pixel_spacing or ())
        bare.append(image)
    return tuple(bare)


def _bare(instance: Dataset) -> Dataset:
    image = Dataset()
    for keyword in _GEOMETRY:
        if keyword in instance:
            image[keyword] = instance[keyword]
    for keyword in _EMPTY:
        setattr(image, keyword, None)
    image.Modality = "CT"
    return image


def pixel_measures(source: SourceSeries, index: int) -> hd.PixelMeasuresSequence:
    """Return size and thickness of a slice's voxels (mm).

    Without Slice Thickness (0018,0050) the distance to the neighbour stands for it. Spacing Between Slices is left out:
    it is no property of a slice, and none at all where distances differ.
    """
    header = source.headers[index]
    return hd.PixelMeasuresSequence(
        pixel_spacing=list(header.pixel_spacing or ()), slice_thickness=header.thickness_mm or _gap_mm(source, index)
    )


def _gap_mm(source: SourceSeries, index: int) -> float:
    other = index + 1 if index + 1 < len(source.headers) else index - 1
    if other < 0:
        return 1.0
    here, there = (np.asarray(source.headers[place].position, dtype=np.float64) for place in (index, other))
    return float(np.linalg.norm(there - here))


def describe_each_frame(image: Dataset, source: SourceSeries) -> None:
    """Describe thickness and orientation frame by frame where the original slices differ in them.

    highdicom describes them once for the whole object, as its first slice has them.

    Parameters
    ----------
    image : Dataset
        A segmentation or parametric map of single-frame images; changed in place.
    source : SourceSeries
        The original images.
    """
    slices = slices_of_frames(image, source)
    shared, frames = image.SharedFunctionalGroupsSequence[0], image.PerFrameFunctionalGroupsSequence
    measures = [pixel_measures(source, index) for index in slices]
    if len({float(each[0].SliceThickness) for each in measures}) > 1:
        del shared.PixelMeasuresSequence
        for frame, each in zip(frames, measures, strict=True):
            frame.PixelMeasuresSequence = each
    cosines = np.array([source.headers[index].orientation for index in slices], dtype=np.float64)
    if np.abs(cosines - cosines[0]).max() > _SAME:
        del shared.PlaneOrientationSequence
        for frame, index in zip(frames, slices, strict=True):
            frame.PlaneOrientationSequence = _orientation(source, index)


def name_dimensions(image: Dataset, uid: UID) -> None:
    """Give the dimensions of frames (PS3.3 C.7.6.17) an identifier of their own, where highdicom drew one."""
    for item in (*image.DimensionOrganizationSequence, *image.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def slices_of_frames(image: Dataset, source: SourceSeries) -> list[int]:
    """Return the original slice of each frame of an object, by the image that the frame was derived from.

    highdicom stores frames along its own axis, which may run against that of the slices. Of a multi-frame image the
    place is that of its frame.
    """
    places = {str(instance.SOPInstanceUID): index for index, instance in enumerate(source.instances)}
    references = [
        frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in image.PerFrameFunctionalGroupsSequence
    ]
    if source.is_multi_frame:
        along = {source.frame_number(index): index for index in range(len(source.headers))}
        # Frames that were not read lie before the others: they are 0.
        return [along.get(int(reference.ReferencedFrameNumber), -1) for reference in references]
    return [places[str(reference.ReferencedSOPInstanceUID)] for reference in references]


def store_in_order_of_slices(image: Dataset, source: SourceSeries) -> None:
    """Store the frames of a parametric map as the slices ascend; what each frame states of itself stays with it.

    Readers exist that take frames for ascending without looking (dcmqi 1.5.7).
    """
    order = np.argsort(slices_of_frames(image, source), kind="stable")
    frames = list(image.PerFrameFunctionalGroupsSequence)
    image.PerFrameFunctionalGroupsSequence = DicomSequence([frames[place] for place in order])
    pixels = np.frombuffer(image.FloatPixelData, dtype="<f4").reshape(len(frames), -1)
    image.FloatPixelData = pixels[order].tobytes()


def _orientation(source: SourceSeries, index: int) -> DicomSequence:
    orientation = Dataset()
    orientation.ImageOrientationPatient = list(source.headers[index].orientation or ())
    return DicomSequence([orientation])
