"""Maps as NIfTI files that overlay the CT's file voxel on voxel."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine

from scripts.diagnosis import AttributionMap
from scripts.intake.study import CTStudy
from scripts.output.folder import OutputError

_SCANNER = 1
"""NIfTI-1 code NIFTI_XFORM_SCANNER_ANAT: the affine leads to the scanner's own coordinates."""

_UNKNOWN = 0

_QFORM_TOLERANCE_MM = 0.01
"""DICOM writes direction cosines with about six digits, so that a stack without tilt still shears by micrometres."""


def map_image(attribution: AttributionMap, study: CTStudy) -> nib.Nifti1Image:
    """Put a map on the grid of the file that was read.

    Parameters
    ----------
    attribution : AttributionMap
        Values of shape (slices, rows, columns).
    study : CTStudy
        The study that it belongs to.

    Returns
    -------
    nib.Nifti1Image
        uint8, axes in the file's order. The sform holds the exact affine; the qform holds it too where a rotation can,
        and is marked unknown where the slices are sheared (a tilted gantry), because it would misplace them silently.

    Raises
    ------
    OutputError
        If the map has another shape than the study.
    """
    if attribution.voxels.shape != study.voxels.shape or attribution.voxels.dtype != np.uint8:
        shapes = {"shape": str(attribution.voxels.shape), "study_shape": str(study.voxels.shape)}
        raise OutputError("map_shape", file=attribution.file_name, kind=attribution.voxels.dtype, **shapes)
    affine = study.file_affine
    image = nib.Nifti1Image(study.in_file_order(attribution.voxels), affine)
    image.header.set_data_dtype(np.uint8)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = (
        f"ICHDiagnosis {attribution.kind} {attribution.label.key if attribution.label else ''}".encode()
    )
    image.header["cal_max"] = 255
    image.set_sform(affine, code=_SCANNER)
    image.set_qform(affine, code=_SCANNER)
    if _misplacement_mm(image) > _QFORM_TOLERANCE_MM:
        image.set_qform(None, code=_UNKNOWN)
    return image


def map_file(attribution: AttributionMap, study: CTStudy) -> bytes:
    """Encode a map as ``.nii.gz``; the same map always gives the same bytes.

    Raises
    ------
    OutputError
        If the map has another shape than the study.
    """
    return gzip.compress(map_image(attribution, study).to_bytes(), compresslevel=4, mtime=0)


def _misplacement_mm(image: nib.Nifti1Image) -> float:
    """Return the largest distance between a corner voxel placed by the qform and by the sform."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.shape) - 1)
    offsets = apply_affine(image.get_qform(), corners) - apply_affine(image.get_sform(), corners)
    return float(np.linalg.norm(offsets, axis=1).max())
