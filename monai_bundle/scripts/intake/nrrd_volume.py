"""Voxels and affine of an NRRD file, by pynrrd (https://teem.sourceforge.net/nrrd/format.html)."""

from __future__ import annotations

import bz2
import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from numpy.typing import NDArray

from scripts.intake.slice_geometry import LPS_TO_RAS
from scripts.intake.study import NotEvaluableError

# Field "space": where the first three axes of the coordinates point, as signs of RAS.
_SPACES = {
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "left-posterior-superior": (-1.0, -1.0, 1.0),
}
_ABBREVIATIONS = {
    "ras": "right-anterior-superior",
    "las": "left-anterior-superior",
    "lps": "left-posterior-superior",
}
# Field "kinds": axes along which voxels lie; along every other kind lie the values of one voxel.
_VOXEL_KINDS = ("domain", "space", "time", "???", "none")
_UNPACKED = {"gzip": gzip.decompress, "gz": gzip.decompress, "bzip2": bz2.decompress, "bz2": bz2.decompress}


@dataclass(frozen=True)
class NrrdVolume:
    """What an NRRD file holds.

    Attributes
    ----------
    array : ndarray
        Values, one axis per axis of the file, the fastest first.
    affine : ndarray
        Shape (4, 4), voxel index to RAS (mm).
    names_sides : bool
        Whether the file's ``space`` names the sides of the body.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    names_sides: bool


def load_nrrd(path: Path) -> NrrdVolume:
    """Read a file that :func:`check_nrrd` found whole.

    Raises
    ------
    NotEvaluableError
        ``"colour"`` where a voxel has several values; ``"not_one_volume"`` for fewer than three axes.
    nrrd.NRRDError, ValueError, OSError
        If it is no NRRD, or of a kind that is not read.
    """
    with path.open("rb") as file:
        header = nrrd.read_header(file)
        content = file.read()
    named = header.pop("data file", header.pop("datafile", None))
    if named is not None:
        content = (path.parent / str(named)).read_bytes()
    skips_lines = header.get("line skip", header.get("lineskip", 0))
    encoding = str(header["encoding"]).lower()
    if encoding in _UNPACKED and not skips_lines:
        # What lies behind the voxels is passed over in a file of raw values alone.
        content, header["encoding"] = _UNPACKED[encoding](content), "raw"
    array = nrrd.read_data(header, io.BytesIO(content), str(path), index_order="F")
    axes = _voxel_axes(header)
    values = [axis for axis in range(array.ndim) if axis not in axes]
    if any(array.shape[axis] != 1 for axis in values):
        raise NotEvaluableError("colour", name=path.name)
    array = array.squeeze(tuple(values))
    if array.ndim < 3:
        raise NotEvaluableError("not_one_volume", name=path.name, sizes=" x ".join(map(str, array.shape)))
    space = str(header.get("space", "")).lower().removesuffix("-time")
    space = _ABBREVIATIONS.get(space.removesuffix("t") if len(space) == 4 else space, space)
    signs = np.diag(_SPACES[space]) if space in _SPACES else LPS_TO_RAS
    affine = np.eye(4)
    if header.get("space directions") is None:
        # A space without directions moves nothing.
        signs = LPS_TO_RAS
    affine[:3, :3] = signs @ _directions(header, axes)
    affine[:3, 3] = signs @ _origin(header, axes)
    return NrrdVolume(array, affine, space in _SPACES)


def _voxel_axes(header: dict[str, Any]) -> list[int]:
    kinds = [str(kind).lower() for kind in header.get("kinds", ["domain"] * int(header["dimension"]))]
    return [axis for axis, kind in enumerate(kinds) if kind in _VOXEL_KINDS]


def _directions(header: dict[str, Any], axes: list[int]) -> NDArray[np.float64]:
    """Return a column (mm per voxel, in the file's own coordinates) for each of the first three axes of voxels.

    As in teem's library, geometry that contradicts itself is refused: directions without a space, spacings with one.
    """
    has_space = "space" in header or "space dimension" in header
    directions, spacings = header.get("space directions"), header.get("spacings")
    if directions is not None:
        if not has_space or spacings is not None:
            raise ValueError("space directions without a space, or beside spacings")
        return np.asarray(directions, dtype=np.float64)[axes[:3], :3].T
    if spacings is None:
        return np.eye(3)
    if has_space:
        raise ValueError("spacings in a space")
    stated = np.asarray(spacings, dtype=np.float64)[axes[:3]]
    return np.diag(np.where(np.isfinite(stated), stated, 1.0))


def _origin(header: dict[str, Any], axes: list[int]) -> NDArray[np.float64]:
    """Return the centre of the first voxel (mm)."""
    if "space origin" in header:
        stated = np.asarray(header["space origin"], dtype=np.float64)[:3]
        return np.where(np.isfinite(stated), stated, 0.0)
    corner = np.asarray(header.get("axis mins", np.full(len(header["sizes"]), np.nan)), dtype=np.float64)[axes[:3]]
    if not np.isfinite(corner).all():
        return np.zeros(3)
    centerings = [str(kind).lower() for kind in header.get("centers", header.get("centerings", ()))] or ["cell"] * 8
    # A corner of the first cell, or its centre.
    half = [0.0 if centerings[axis] == "node" else 0.5 for axis in axes[:3]]
    return corner + np.diag(_directions(header, axes)) * np.array(half)
