"""Small DICOM series, written with pydicom, and the head that they show: what the intake's tests read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

BRAIN_HU, SKULL_HU, SCALP_HU, AIR_HU = 32, 1100, -20, -1000
PIXEL_MM = 3.0
PATIENT_NAME = "Mustermann^Erika"

Edit = Callable[[int, Dataset], None]


def head_voxels(slices: int = 24, rows: int = 64, columns: int = 64, pixel_mm: tuple[float, float] = (3.0, 3.0)):
    """Make a head: brain in a ring of skull in scalp, each slice a little smaller than the one before, in noise.

    Returns an int16 array (slices, rows, columns) in HU; pixel_mm is (between rows, between columns).
    """
    noise = np.random.default_rng(7).normal(0, 4, (slices, rows, columns))
    row_mm = (np.arange(rows) - rows / 2)[:, None] * pixel_mm[0]
    column_mm = (np.arange(columns) - columns / 2)[None, :] * pixel_mm[1]
    voxels = np.full((slices, rows, columns), AIR_HU, dtype=np.float64)
    for index in range(slices):
        radius = np.hypot(row_mm, column_mm) / (1 - 0.3 * index / max(1, slices))
        for edge, value in ((78, SCALP_HU), (72, SKULL_HU), (64, BRAIN_HU)):
            voxels[index][radius < edge] = value
    return np.rint(voxels + noise).astype(np.int16)


@dataclass(frozen=True)
class Series:
    """One series to be written; ``step`` is the vector from slice to slice in LPS (mm)."""

    voxels: NDArray[np.int16] = field(default_factory=head_voxels)
    pixel_spacing: tuple[float, float] = (PIXEL_MM, PIXEL_MM)
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0)
    origin: Sequence[float] = (-96.0, -96.0, 10.0)
    step: Sequence[float] = (0.0, 0.0, 5.0)
    thickness: float | None = 5.0
    kernel: str | None = "H31s"
    number: int | None = 2
    study_uid: str = field(default_factory=generate_uid)
    series_uid: str = field(default_factory=generate_uid)
    modality: str = "CT"
    image_type: Sequence[str] = ("ORIGINAL", "PRIMARY", "AXIAL")
    intercept: float = -1024
    slope: float = 1

    def position(self, index: int) -> NDArray[np.float64]:
        """Image Position (Patient) of one slice."""
        return np.asarray(self.origin, dtype=np.float64) + index * np.asarray(self.step, dtype=np.float64)

    def dataset(self, index: int) -> Dataset:
        """Make one slice, with a patient whom nobody may find in any output."""
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = PATIENT_NAME, "MRN-4711", "19500102"
        dataset.SeriesDescription = f"head of {PATIENT_NAME}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self.study_uid, self.series_uid
        dataset.Modality, dataset.ImageType = self.modality, list(self.image_type)
        dataset.InstanceNumber, dataset.AcquisitionNumber = index + 1, 1
        for keyword, value in (
            ("SeriesNumber", self.number),
            ("SliceThickness", self.thickness),
            ("ConvolutionKernel", self.kernel),
        ):
            if value is not None:
                setattr(dataset, keyword, value)
        dataset.ImageOrientationPatient = [float(cosine) for cosine in self.orientation]
        dataset.ImagePositionPatient = [round(float(millimetre), 6) for millimetre in self.position(index)]
        dataset.PixelSpacing = list(self.pixel_spacing)
        dataset.RescaleSlope, dataset.RescaleIntercept = self.slope, self.intercept
        stored = np.rint((self.voxels[index].astype(np.float64) - self.intercept) / self.slope)
        set_pixels(dataset, stored.astype(np.int16))
        return dataset


def set_pixels(dataset: Dataset, stored: NDArray[np.generic], bits_stored: int = 16) -> None:
    """Put stored values into a slice, with the attributes that describe them."""
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits_stored, bits_stored - 1
    dataset.PixelRepresentation = int(np.issubdtype(stored.dtype, np.signedinteger))
    dataset.PixelData = np.ascontiguousarray(stored).tobytes()


def write_series(
    folder: Path, series: Series | None = None, edit: Edit | None = None, names: Sequence[str] | None = None
) -> list[Path]:
    """Write a series, one file per slice; ``edit(index, dataset)`` changes each slice before it is written."""
    series = series or Series()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(len(series.voxels)):
        dataset = series.dataset(index)
        if edit:
            edit(index, dataset)
        path = folder / (names[index] if names else f"{series.number or 0}_{index:03d}.dcm")
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_multi_frame(folder: Path, series: Series) -> tuple[Path, str]:
    """Write a series as one Enhanced CT Image (PS3.3 A.38), a frame per slice; return the file and its instance UID."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = series.dataset(0)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EnhancedCTImageStorage
    stored = np.rint((series.voxels.astype(np.float64) - series.intercept) / series.slope).astype(np.int16)
    set_pixels(dataset, stored)
    dataset.NumberOfFrames = len(stored)
    shared, measures, orientation, transformation = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = dataset.PixelSpacing, dataset.SliceThickness
    orientation.ImageOrientationPatient = dataset.ImageOrientationPatient
    transformation.RescaleSlope, transformation.RescaleIntercept = dataset.RescaleSlope, dataset.RescaleIntercept
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    shared.PixelValueTransformationSequence = [transformation]
    frames = []
    for index in range(len(stored)):
        frame, plane = Dataset(), Dataset()
        plane.ImagePositionPatient = [float(millimetre) for millimetre in series.position(index)]
        frame.PlanePositionSequence = [plane]
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], frames
    for keyword in ("PixelSpacing", "SliceThickness", "ImageOrientationPatient", "ImagePositionPatient"):
        delattr(dataset, keyword)
    del dataset.RescaleSlope, dataset.RescaleIntercept
    path = folder / "multi_frame.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path, str(dataset.SOPInstanceUID)


def set_value(keyword: str, value: object) -> Edit:
    """Return an edit that gives every slice the same value; None removes the attribute."""

    def edit(_: int, dataset: Dataset) -> None:
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)

    return edit


def transcode(path: Path, transfer_syntax: int) -> None:
    """Compress a file in place with GDCM; ``transfer_syntax`` is one of ``gdcm.TransferSyntax``'s numbers."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(transfer_syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
