"""The studies that are mutated: two small heads, written as DICOM, NIfTI and NRRD."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from scripts.intake.slice_geometry import LPS_TO_RAS
from scripts.phantom import Grid, Haemorrhage, make_phantom

GRID = Grid((27, 72, 72), (3.2, 3.2, 5.8))
"""Fine enough that the quality gate warns of nothing: with a warning of its own no study could be read silently."""


@dataclass(frozen=True)
class Head:
    """One patient's head: the truth that a read study is compared with.

    Attributes
    ----------
    name : str
        Also its Patient ID.
    voxels : ndarray of int16, shape (slices, rows, columns)
        Hounsfield units.
    affine : ndarray of float64, shape (4, 4)
        Voxel index (column, row, slice, 1) to RAS in mm.
    """

    name: str
    voxels: NDArray[np.int16]
    affine: NDArray[np.float64]


def two_heads() -> tuple[Head, Head]:
    """Make two heads of different patients on one grid, without noise of the disk: the same every time."""
    plain = make_phantom(GRID, seed=1)
    bleeding = make_phantom(GRID, [Haemorrhage("epidural", "right", 60.0)], seed=2)
    return Head("ONE", plain.voxels, plain.affine), Head("TWO", bleeding.voxels, bleeding.affine)


def slice_datasets(head: Head, study: str = "1.2.3", series: str = "1.2.3.1", number: int = 2) -> list[Dataset]:
    """Return a series of one file per slice, to be changed and saved."""
    lps = LPS_TO_RAS @ head.affine[:3, :3]
    spacing = np.linalg.norm(lps, axis=0)
    datasets = []
    for index, plane in enumerate(head.voxels):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
        uid = UID(f"{series}.{ord(head.name[0])}.{index + 1}")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid
        dataset.ImageType, dataset.Modality = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
        dataset.PatientID, dataset.PatientName = head.name, f"PHANTOM^{head.name}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, f"{study}.9"
        dataset.SeriesNumber, dataset.AcquisitionNumber, dataset.InstanceNumber = number, 1, index + 1
        dataset.KVP, dataset.SliceThickness, dataset.ConvolutionKernel = "120", f"{spacing[2]:.6g}", "H31s"
        dataset.ImageOrientationPatient = [
            f"{value:.8f}" for value in (*lps[:, 0] / spacing[0], *lps[:, 1] / spacing[1])
        ]
        position = LPS_TO_RAS @ (head.affine[:3, 3] + index * head.affine[:3, 2])
        dataset.ImagePositionPatient = [f"{value:.6f}" for value in position]
        dataset.PixelSpacing = [f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"]
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
        dataset.Rows, dataset.Columns = plane.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
        dataset.PixelData = (plane.astype(np.int32) + 1024).astype("<u2").tobytes()
        datasets.append(dataset)
    return datasets


def save_series(folder: Path, datasets: list[Dataset], pattern: str = "IM{:04d}.dcm") -> list[Path]:
    """Write a series and return its files in the order of the slices."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / pattern.format(index + 1) for index in range(len(datasets))]
    for path, dataset in zip(paths, datasets, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return paths


def save_nifti(head: Head, path: Path) -> Path:
    """Write a head as NIfTI; ``.gz`` in its name compresses it."""
    image = nib.Nifti1Image(np.ascontiguousarray(head.voxels.transpose(2, 1, 0)), head.affine)
    image.set_qform(head.affine, code=1)
    image.set_sform(head.affine, code=1)
    nib.save(image, path)
    return path


def save_nrrd(head: Head, path: Path, encoding: str = "gzip") -> Path:
    """Write a head as NRRD; ``encoding`` is ``"raw"`` or ``"gzip"``."""
    lps, origin = LPS_TO_RAS @ head.affine[:3, :3], LPS_TO_RAS @ head.affine[:3, 3]
    directions = " ".join("(" + ",".join(f"{value:.8f}" for value in lps[:, axis]) + ")" for axis in range(3))
    sizes = " ".join(map(str, reversed(head.voxels.shape)))
    lines = [
        *("NRRD0004", "type: short", "dimension: 3", "space: left-posterior-superior", f"sizes: {sizes}"),
        *(f"space directions: {directions}", "kinds: domain domain domain", "endian: little", f"encoding: {encoding}"),
        "space origin: (" + ",".join(f"{value:.6f}" for value in origin) + ")",
    ]
    data = head.voxels.astype("<i2").tobytes()
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + (gzip.compress(data, 1) if encoding == "gzip" else data))
    return path
