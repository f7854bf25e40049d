"""A single slice as a study of one slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scripts.intake.study import CTStudy, Provenance
from scripts.synthesis.working_grid import SynthesisError

USUAL_HEAD_MM = 205.0
"""Length of a whole head, skin to skin, that a spacing is guessed from where none is known."""


def slice_study(
    hounsfield: NDArray[np.number],
    pixel_mm: float | tuple[float, float],
    *,
    thickness_mm: float = 5.0,
    name: str = "slice",
) -> CTStudy:
    """Make a study of one axial slice in the usual orientation (row to the back, column to the patient's left).

    Parameters
    ----------
    hounsfield : ndarray, shape (rows, columns)
        Hounsfield units.
    pixel_mm : float or (float, float)
        Spacing of columns and rows in mm.
    thickness_mm : float
        Slice thickness.
    name : str
        Name in the provenance.

    Raises
    ------
    SynthesisError
        ``"not_a_slice"`` if the array is not two-dimensional or not finite, ``"bad_spacing"`` if a spacing is not
        positive.
    """
    array = np.asarray(hounsfield)
    if array.ndim != 2 or min(array.shape) < 32 or not np.isfinite(array).all():
        raise SynthesisError("not_a_slice", name=name, shape=str(array.shape))
    column_mm, row_mm = pixel_mm if isinstance(pixel_mm, tuple) else (pixel_mm, pixel_mm)
    if min(column_mm, row_mm, thickness_mm) <= 0.0:
        raise SynthesisError("bad_spacing", name=name)
    voxels = np.clip(np.rint(array), -1024, 32767).astype(np.int16)[None]
    affine = np.diag([-column_mm, -row_mm, thickness_mm, 1.0])
    return CTStudy(voxels, affine, np.zeros(1), Provenance(name, "nifti", slice_thickness_mm=thickness_mm))
