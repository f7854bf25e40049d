"""Masks of haemorrhage, and other values of voxels, in NIfTI files, brought onto the voxels of a study."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from scripts.intake.study import CTStudy, NotEvaluableError

DAMAGED = (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError)
_SAME_PLACE_MM = 1.0


class GridMisfitError(ValueError):
    """Values do not lie on a study's grid.

    Attributes
    ----------
    kind : str
        ``"affine"``, ``"voxels"`` or ``"position"``: an affine without volume, other voxels, another place.
    values : dict
        What the text of that kind in the catalogue (section ``intake``, ``bad_mask``) takes besides the file's name.
    """

    def __init__(self, kind: str, **values: str | float) -> None:
        super().__init__(" ".join([kind, *(f"{name} {value}" for name, value in values.items())]))
        self.kind, self.values = kind, values


def load_volume(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read a NIfTI file: its values as stored, and its affine (RAS, mm).

    Raises
    ------
    Exception
        One of :data:`DAMAGED` if the file is missing, damaged or no NIfTI.
    """
    image = nib.load(path)
    if not isinstance(image, nib.Nifti1Image):
        raise ImageFileError("no NIfTI")
    return np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64)


def load_mask(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Read a mask file.

    Returns
    -------
    ndarray of bool, shape of the file's array
        Whether the voxel is at least half of the file's largest value: files hold 0 and 1, or 0 and 255.
    ndarray of float64, shape (4, 4)
        The file's affine (RAS, mm).

    Raises
    ------
    NotEvaluableError
        ``"bad_mask"`` if the file is missing, damaged or no single volume.
    """
    try:
        values, affine = load_volume(path)
    except DAMAGED as error:
        reason = getattr(error, "strerror", None) or "damaged or no NIfTI"
        raise NotEvaluableError("bad_mask.unreadable", name=path.name, fault=reason) from None
    if values.ndim != 3 or not np.isfinite(values).all():
        raise NotEvaluableError("bad_mask.not_one_volume", name=path.name)
    largest = float(values.max(initial=0.0))
    inside = values >= largest / 2 if largest > 0 else np.zeros(values.shape, dtype=bool)
    return inside, affine


def read_mask(path: Path, study: CTStudy) -> NDArray[np.bool_]:
    """Read a mask that was drawn on a study's own grid.

    Converters and viewers write the same grid with its axes swapped or reversed: such a file is turned back. Another
    grid is refused, never resampled.

    Returns
    -------
    ndarray of bool, shape (slices, rows, columns)
        On the study's original voxels.

    Raises
    ------
    NotEvaluableError
        ``"bad_mask"`` if the file cannot be read, or has other voxels than the study or lies elsewhere (the corners
        are more than 1 mm apart).
    """
    inside, affine = load_mask(path)
    try:
        return on_grid(inside, affine, study)
    except GridMisfitError as fault:
        raise NotEvaluableError(f"bad_mask.{fault.kind}", name=path.name, **fault.values) from None


def on_grid(values: NDArray[Any], affine: NDArray[np.float64], study: CTStudy) -> NDArray[Any]:
    """Turn values whose axes are a study's, swapped or reversed, to its original voxels.

    Parameters
    ----------
    values : ndarray, three axes
        In the order of their file.
    affine : ndarray of float64, shape (4, 4)
        Of their file (RAS, mm).
    study : CTStudy
        The study.

    Returns
    -------
    ndarray, shape (slices, rows, columns)

    Raises
    ------
    GridMisfitError
        If they have other voxels than the study or lie elsewhere (the corners are more than 1 mm apart).
    """
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise GridMisfitError("affine")
    orientation = io_orientation(np.linalg.inv(study.affine) @ affine)
    turned = apply_orientation(values, orientation)
    expected = study.voxels.shape[::-1]
    if turned.shape != expected:
        found, wanted = (" x ".join(map(str, shape)) for shape in (turned.shape, expected))
        raise GridMisfitError("voxels", found=found, expected=wanted)
    distance = _farthest_corner(affine @ inv_ornt_aff(orientation, values.shape), study.affine, expected)
    if distance > _SAME_PLACE_MM:
        raise GridMisfitError("position", distance_mm=distance)
    return np.ascontiguousarray(turned.transpose(2, 1, 0))


def _farthest_corner(one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*(size - 1 for size in shape), 1]
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())
