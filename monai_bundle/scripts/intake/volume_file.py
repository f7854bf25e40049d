"""NIfTI and NRRD volumes: one head CT in Hounsfield units per file."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from nrrd import NRRDError
from numpy.typing import NDArray

from scripts.intake.file_location import MAXIMUM_UNPACKED_BYTES
from scripts.intake.nrrd_header import check_nrrd
from scripts.intake.nrrd_volume import load_nrrd
from scripts.intake.study import AIR_HU, CTStudy, NotEvaluableError, Provenance, QualityWarning

NIFTI_SUFFIXES = (".nii", ".nii.gz")
NRRD_SUFFIXES = (".nrrd", ".nhdr")
_DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError),
    *(ArithmeticError, RuntimeError, zlib.error, struct.error, ImageFileError, HeaderDataError, WrapStructError),
    NRRDError,
)
_HIGHEST_HU = np.iinfo(np.int16).max
_SAME_PLACE_MM = 1.0
_SAME_SPACING = 0.01
_GZIP_START = b"\x1f\x8b"
_NIFTI2_SIZES = ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))
_PADDING_BYTES = 512
"""What a writer may put behind the voxels to fill a block."""


def read_nifti(path: Path) -> CTStudy:
    """Read a NIfTI file (``.nii``, ``.nii.gz``).

    The header's slope and intercept are applied. Fractions of a HU are rounded; values are clipped to -1024..32767.
    Nothing is flipped: left-handed and oblique affines stay, and the file axis closest to superior-inferior becomes the
    slice axis. The sform is used where it is set, else the qform.

    Raises
    ------
    NotEvaluableError
        ``"unreadable_file"``, ``"no_permission"``, ``"not_one_volume"``, ``"colour"``, ``"not_finite"``,
        ``"empty_volume"``, ``"bad_geometry"``; the message names the file and the remedy.
    """
    try:
        _check_beginning(path)
        image, holds_more = _load_nifti(path)
        _check_values_kind(path.name, image.get_data_dtype())
        shape = _three_dimensions(path.name, image.shape)
        array = np.asanyarray(image.dataobj).reshape(shape)
    except PermissionError:
        raise NotEvaluableError("no_permission", name=path.name) from None
    except _DAMAGED:
        raise NotEvaluableError("unreadable_file", name=path.name) from None
    affine, warnings = _nifti_affine(path.name, image)
    return _study(path.name, array, affine, Provenance(path.name, "nifti"), warnings + _longer(path.name, holds_more))


def _load_nifti(path: Path) -> tuple[nib.Nifti1Image, bool]:
    """Open a file, a compressed one to its end so that its checksum and length are tested.

    Returns
    -------
    Nifti1Image, bool
        The image, and whether the file holds more than its header states.
    """
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as file:
            content = file.read(MAXIMUM_UNPACKED_BYTES + 1)
        if not content:
            raise ImageFileError("empty")
        if len(content) > MAXIMUM_UNPACKED_BYTES:
            raise ImageFileError("unpacks to more than a head CT can hold")
        size = content[:4]
        kind = nib.Nifti2Image if size in _NIFTI2_SIZES else nib.Nifti1Image
        image: Any = kind.from_bytes(content)
        length = len(content)
    else:
        image = nib.load(path)
        length = path.stat().st_size
    if not isinstance(image, nib.Nifti1Image):
        raise ImageFileError("no NIfTI")
    header = image.header
    # A NIfTI-2 header may leave the offset at 0: the voxels then follow the header.
    offset = int(header.get_data_offset()) or int(header.single_vox_offset)
    stated = offset + math.prod(map(int, image.shape)) * header.get_data_dtype().itemsize
    if length < stated:
        raise ImageFileError("shorter than its header states")
    return image, length > stated + _PADDING_BYTES


def _longer(name: str, holds_more: bool) -> tuple[QualityWarning, ...]:
    return (QualityWarning("longer_than_stated", name=name),) if holds_more else ()


def read_nrrd(path: Path) -> CTStudy:
    """Read an NRRD file (``.nrrd``, ``.nhdr``); its coordinates, LPS where the file names none, become RAS.

    Values and axes are treated as in :func:`read_nifti`. A header whose ``space`` names no side of the body brings the
    warning ``"unknown_orientation"``.

    Raises
    ------
    NotEvaluableError
        As :func:`read_nifti`.
    """
    try:
        header, holds_more = check_nrrd(path)
        volume = load_nrrd(path)
    except PermissionError:
        raise NotEvaluableError("no_permission", name=path.name) from None
    except _DAMAGED:
        raise NotEvaluableError("unreadable_file", name=path.name) from None
    shape = _three_dimensions(path.name, volume.array.shape)
    warnings = _longer(path.name, holds_more)
    if not {"space directions", "spacings"} & set(header):
        warnings += (QualityWarning("default_geometry", name=path.name),)
    if not volume.names_sides:
        warnings += (QualityWarning("unknown_orientation", name=path.name),)
    return _study(path.name, volume.array.reshape(shape), volume.affine, Provenance(path.name, "nrrd"), warnings)


def slice_axis(affine: NDArray[np.float64]) -> int:
    """Return the array axis that runs closest to superior-inferior."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return int(np.argmax(np.abs(directions[2])))


def _study(
    name: str,
    array: NDArray[Any],
    affine: NDArray[np.float64],
    provenance: Provenance,
    warnings: tuple[QualityWarning, ...],
) -> CTStudy:
    """Turn an array in file order into a study; ``array`` has one axis per column of the affine."""
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise NotEvaluableError("bad_geometry", name=name)
    along = slice_axis(affine)
    file_axes = (*(axis for axis in range(3) if axis != along), along)
    in_order = affine.copy()
    in_order[:, :3] = affine[:, list(file_axes)]
    voxels = _hounsfield_units(name, array.transpose(file_axes[::-1]))
    column, row, step = in_order[:3, :3].T
    normal = np.cross(column, row) / np.linalg.norm(np.cross(column, row))
    positions = normal @ in_order[:3, 3] + np.arange(len(voxels)) * (normal @ step)
    axes = (file_axes[0], file_axes[1], file_axes[2])
    return CTStudy(voxels, in_order, positions, provenance, warnings, axes)


def _hounsfield_units(name: str, values: NDArray[Any]) -> NDArray[np.int16]:
    if values.size == 0 or not np.any(values):
        raise NotEvaluableError("empty_volume", name=name)
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all():
            raise NotEvaluableError("not_finite", name=name)
        values = np.rint(values)
    return np.ascontiguousarray(values.clip(AIR_HU, _HIGHEST_HU).astype(np.int16))


def _check_values_kind(name: str, kind: np.dtype[Any]) -> None:
    if kind.fields is not None or np.issubdtype(kind, np.complexfloating):
        raise NotEvaluableError("colour", name=name)


def _three_dimensions(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise NotEvaluableError("not_one_volume", name=name, sizes=" x ".join(str(size) for size in shape))
    return shape[0], shape[1], shape[2]


def _nifti_affine(name: str, image: nib.Nifti1Image) -> tuple[NDArray[np.float64], tuple[QualityWarning, ...]]:
    affine, warnings = _stated_affine(name, image)
    # A script that knows no geometry writes the identity: no scanner puts its first corner at the origin.
    if np.allclose(np.abs(affine), np.eye(4)):
        warnings += (QualityWarning("default_geometry", name=name),)
    return affine, warnings


def _stated_affine(name: str, image: nib.Nifti1Image) -> tuple[NDArray[np.float64], tuple[QualityWarning, ...]]:
    header = image.header
    sform, sform_code = header.get_sform(coded=True)
    try:
        qform, qform_code = header.get_qform(coded=True)
    except (ValueError, HeaderDataError):
        qform, qform_code = None, 0
    sform = np.asarray(sform, dtype=np.float64)
    if sform_code and qform_code and not np.allclose(sform, qform, atol=_SAME_PLACE_MM):
        return sform, (QualityWarning("two_orientations"),)
    if sform_code:
        zooms = np.array(header.get_zooms()[:3], dtype=np.float64)
        if not np.allclose(np.linalg.norm(sform[:3, :3], axis=0), zooms, rtol=_SAME_SPACING):
            return sform, (QualityWarning("two_spacings"),)
        return sform, ()
    if qform_code:
        return np.asarray(qform, dtype=np.float64), ()
    return np.asarray(header.get_base_affine(), dtype=np.float64), (QualityWarning("unknown_orientation", name=name),)


def _check_beginning(path: Path) -> None:
    """Open the file once: nibabel reports a missing permission, and a name that belies the content, as damage."""
    with path.open("rb") as file:
        start = file.read(len(_GZIP_START))
    is_compressed = start == _GZIP_START
    if is_compressed != path.name.lower().endswith(".gz") and len(start) == len(_GZIP_START):
        right = f"{path.name}.gz" if is_compressed else path.name[: -len(".gz")]
        if is_compressed or _begins_as_nifti(path):
            raise NotEvaluableError("unreadable_file.misnamed", name=path.name, right=right)


def _begins_as_nifti(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in {size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")}
