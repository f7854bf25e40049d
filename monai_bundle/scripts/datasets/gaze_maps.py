"""Gaze maps of readers in NIfTI files, brought onto the voxels of the scans that they looked at.

A folder holds one file per scan, ``<name of the scan>.nii.gz`` or ``.nii``, on the grid of the CT (axes may be swapped
or reversed, as converters do). Its slice k is the gaze on slice k of the CT: how long a voxel was looked at, in any
unit of at least 0. A slice without any value above 0 was not looked at, and teaches nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.datasets.mask_file import DAMAGED, GridMisfitError, load_volume, on_grid
from scripts.intake.study import CTStudy
from scripts.messages import ExpectedError

SUFFIXES = (".nii.gz", ".nii")

logger = logging.getLogger(__name__)


def gaze_files(folder: str | Path, names: Iterable[str]) -> dict[str, Path]:
    """Find the gaze maps of scans.

    Parameters
    ----------
    folder : path
        As the module states.
    names : iterable of str
        Of the scans, see :attr:`scripts.datasets.datalist.LabelledScan.name`.

    Returns
    -------
    dict
        Name of a scan to its file; scans without one are left out, and so, with a warning, are files of no scan.

    Raises
    ------
    ExpectedError
        ``training.no_gaze_folder`` or ``training.no_gaze`` where there is no file of any scan.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ExpectedError("training.no_gaze_folder", folder=folder.name)
    present = {path.name: path for path in sorted(folder.iterdir()) if path.name.endswith(SUFFIXES)}
    known = list(names)
    found = {
        name: present.pop(f"{name}{suffix}") for name in known for suffix in SUFFIXES if f"{name}{suffix}" in present
    }
    if not found:
        raise ExpectedError("training.no_gaze", folder=folder.name, example=f"{next(iter(known), 'name')}{SUFFIXES[0]}")
    if present:
        logger.warning("%s: %d files are of no scan of the dataset and are left out", folder.name, len(present))
    return found


def read_gaze(path: Path, study: CTStudy) -> NDArray[np.float32]:
    """Read the gaze map of one scan.

    Parameters
    ----------
    path : Path
        A file of :func:`gaze_files`.
    study : CTStudy
        The scan.

    Returns
    -------
    ndarray of float32, shape (slices, rows, columns)
        At least 0, on the study's original voxels.

    Raises
    ------
    ExpectedError
        ``training.gaze_*`` if the file cannot be read, holds values that are negative, not finite or 0 everywhere, or
        does not lie on the study's grid.
    """
    try:
        values, affine = load_volume(path)
    except DAMAGED as error:
        fault = getattr(error, "strerror", None) or "damaged or no NIfTI"
        raise ExpectedError("training.gaze_unreadable", name=path.name, fault=fault) from None
    if values.ndim != 3 or not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ExpectedError("training.gaze_values", name=path.name)
    try:
        return on_grid(values, affine, study)
    except GridMisfitError as error:
        raise ExpectedError("training.gaze_misfit", name=path.name, fault=str(error)) from None
