"""Write a phantom as NIfTI or as a DICOM series, with its truth masks."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from scripts.phantom.rendering import Phantom

_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_INTERCEPT = -1024


def _save_nifti(by_slice: NDArray[np.generic], affine: NDArray[np.float64], path: Path) -> None:
    image = nib.Nifti1Image(np.ascontiguousarray(by_slice.transpose(2, 1, 0)), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def write_nifti(phantom: Phantom, path: Path | str) -> Path:
    """Write the voxels (HU, int16) with axes column, row, slice and the phantom's affine.

    Parameters
    ----------
    phantom : Phantom
        What to write.
    path : path
        A name that ends in ``.nii`` or ``.nii.gz``.
    """
    target = Path(path)
    _save_nifti(phantom.voxels, phantom.affine, target)
    return target


def write_masks(phantom: Phantom, folder: Path | str) -> list[Path]:
    """Write the blood of each kind as ``truth_<kind>.nii.gz`` (uint8, 1 inside) on the phantom's grid."""
    written = []
    for kind, mask in phantom.masks.items():
        path = Path(folder) / f"truth_{kind}.nii.gz"
        _save_nifti(mask.astype(np.uint8), phantom.affine, path)
        written.append(path)
    return written


def write_dicom_series(phantom: Phantom, folder: Path | str, *, kernel: str = "H30s") -> list[Path]:
    """Write one CT Image Storage file per slice (DICOM PS3.3, A.3): slope 1, intercept -1024, explicit little endian.

    Unique identifiers follow from the seed, the grid and the haemorrhages, so that the same phantom always
    has the same ones.

    Parameters
    ----------
    phantom : Phantom
        What to write.
    folder : path
        Made if missing; the files are named ``slice_<number>.dcm``.
    kernel : str
        Convolution Kernel (0018,1210).

    Returns
    -------
    list of Path
        In the order of the phantom's slices.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    return [_write_slice(phantom, index, target, kernel) for index in range(phantom.grid.shape[0])]


def _write_slice(phantom: Phantom, index: int, folder: Path, kernel: str) -> Path:
    entropy = [repr((phantom.seed, phantom.grid, phantom.haemorrhages, kernel))]
    instance = generate_uid(entropy_srcs=[*entropy, f"instance {index}"])
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"slice_{index + 1:04d}.dcm"
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = instance
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[*entropy, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[*entropy, "series"])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=[*entropy, "frame of reference"])
    _describe_study(dataset, phantom, kernel)
    _describe_plane(dataset, phantom, index)
    _describe_pixels(dataset, phantom.voxels[index])
    dataset.save_as(path, enforce_file_format=True)
    return path


def _describe_study(dataset: FileDataset, phantom: Phantom, kernel: str) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Modality = "CT"
    dataset.Manufacturer = "ICHDiagnosis phantom"
    dataset.PatientName = "PHANTOM^ICH"
    dataset.PatientID = f"PHANTOM-{phantom.seed}"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "No patient: computed from shapes"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20000101"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "000000"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"
    dataset.StudyDescription = "Head CT phantom"
    dataset.SeriesDescription = "Head phantom, soft tissue"
    dataset.SeriesNumber = 2
    dataset.AcquisitionNumber = 1
    dataset.BodyPartExamined = "HEAD"
    dataset.PatientPosition = "HFS"
    dataset.KVP = 120
    dataset.ConvolutionKernel = kernel
    dataset.PositionReferenceIndicator = ""


def _describe_plane(dataset: FileDataset, phantom: Phantom, index: int) -> None:
    grid, affine = phantom.grid, phantom.affine
    lps = _TO_LPS @ affine[:3, :3]
    position = _TO_LPS @ (affine[:3, 3] + index * affine[:3, 2])
    columns, rows = lps[:, 0] / np.linalg.norm(lps[:, 0]), lps[:, 1] / np.linalg.norm(lps[:, 1])
    # A Decimal String holds 16 characters (PS3.5, 6.2): fixed point, or a tiny number would be written as 1e-17.
    dataset.ImagePositionPatient = [f"{value:.7f}" for value in position]
    dataset.ImageOrientationPatient = [f"{value:.12f}" for value in (*columns, *rows)]
    dataset.PixelSpacing = [f"{grid.spacing[1]:.9g}", f"{grid.spacing[0]:.9g}"]
    dataset.SliceThickness = f"{grid.thickness_mm:.9g}"
    dataset.SpacingBetweenSlices = f"{grid.spacing[2]:.9g}"
    dataset.SliceLocation = f"{grid.positions_mm[index]:.7f}"
    dataset.GantryDetectorTilt = f"{grid.tilt_degrees:.9g}"
    dataset.InstanceNumber = index + 1


def _describe_pixels(dataset: FileDataset, hounsfield: NDArray[np.int16]) -> None:
    stored = (hounsfield.astype(np.int32) - _INTERCEPT).astype("<u2")
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = _INTERCEPT, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = 40, 80
    dataset.PixelData = stored.tobytes()
