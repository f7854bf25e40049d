"""Maps as NIfTI files that overlay the CT's file voxel on voxel."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from scripts.diagnosis import AttributionMap, Lesions
from scripts.intake.study import CTStudy
from scripts.output.folder import OutputError

LESION_FILE = "lesion.nii.gz"
LESION_SUBTYPES_FILE = "lesion_subtypes.nii.gz"

_SCANNER = 1
"""NIfTI-1 code NIFTI_XFORM_SCANNER_ANAT: the affine leads to the scanner's own coordinates."""

_UNKNOWN = 0

_QFORM_TOLERANCE_MM = 0.01
"""DICOM writes direction cosines with about six digits, so that a stack without tilt still shears by micrometres."""


def volume_image(voxels: NDArray[np.generic], study: CTStudy, file: str, description: str) -> nib.Nifti1Image:
    """Put values on the grid of the file that was read.

    Parameters
    ----------
    voxels : ndarray of uint8, shape (slices, rows, columns)
        Values.
    study : CTStudy
        The study that they belong to.
    file : str
        Name of the file to be written.
    description : str
        What the values are; the header holds 79 bytes of it.

    Returns
    -------
    nib.Nifti1Image
        uint8, axes in the file's order. The sform holds the exact affine; the qform holds it too where a rotation can,
        and is marked unknown where the slices are sheared (a tilted gantry), because it would misplace them silently.

    Raises
    ------
    OutputError
        If the values have another shape than the study.
    """
    if voxels.shape != study.voxels.shape or voxels.dtype != np.uint8:
        shapes = {"shape": str(voxels.shape), "study_shape": str(study.voxels.shape)}
        raise OutputError("map_shape", file=file, kind=voxels.dtype, **shapes)
    affine = study.file_affine
    image = nib.Nifti1Image(study.in_file_order(voxels), affine)
    image.header.set_data_dtype(np.uint8)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"ICHDiagnosis {description}".encode()[:79]
    image.header["cal_max"] = 255
    image.set_sform(affine, code=_SCANNER)
    image.set_qform(affine, code=_SCANNER)
    if _misplacement_mm(image) > _QFORM_TOLERANCE_MM:
        image.set_qform(None, code=_UNKNOWN)
    return image


def map_image(attribution: AttributionMap, study: CTStudy) -> nib.Nifti1Image:
    """Put a map on the grid of the file that was read; see :func:`volume_image`."""
    label = attribution.label.key if attribution.label else ""
    return volume_image(attribution.voxels, study, attribution.file_name, f"{attribution.kind} {label}")


def map_file(attribution: AttributionMap, study: CTStudy) -> bytes:
    """Encode a map as ``.nii.gz``; the same map always gives the same bytes.

    Raises
    ------
    OutputError
        If the map has another shape than the study.
    """
    return _compressed(map_image(attribution, study))


def lesion_files(lesions: Lesions, study: CTStudy) -> dict[str, bytes]:
    """Encode the lesion map and the subtypes of its lesions; return content by file name."""
    return {
        LESION_FILE: _compressed(volume_image(lesions.probability, study, LESION_FILE, "lesion, 255 = probability 1")),
        LESION_SUBTYPES_FILE: _compressed(
            volume_image(lesions.subtypes, study, LESION_SUBTYPES_FILE, "subtype of lesion, place among labels")
        ),
    }


def _compressed(image: nib.Nifti1Image) -> bytes:
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)


def _misplacement_mm(image: nib.Nifti1Image) -> float:
    """Return the largest distance between a corner voxel placed by the qform and by the sform."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.shape) - 1)
    offsets = apply_affine(image.get_qform(), corners) - apply_affine(image.get_sform(), corners)
    return float(np.linalg.norm(offsets, axis=1).max())
