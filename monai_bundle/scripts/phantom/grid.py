"""The voxel grid on which the phantom is sampled, and its affine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Grid:
    """A stack of parallel slices anywhere in patient space.

    Without rotation and flips the column index grows to the patient's left, the row index to posterior and the slice
    index to superior, as in an axial CT.

    Attributes
    ----------
    shape : tuple of int
        Slices, rows, columns.
    spacing : tuple of float
        Distance in mm between neighbouring columns, rows and slices (the last along the slice normal).
    slice_thickness_mm : float or None
        Extent over which the scanner averages along the slice step; the slice spacing if None.
    tilt_degrees : float
        Gantry tilt: slices lean about the left-right axis while the table still moves along the body.
    rotation_degrees : tuple of float
        Rotation of the whole stack about the patient's right, anterior and superior axes, in this order.
    flips : tuple of bool
        Reverse the direction of columns, rows, slices. One or three flips give left-handed axes.
    centre_mm : tuple of float
        Patient coordinates (RAS, mm) of the centre of the stack.
    """

    shape: tuple[int, int, int] = (32, 512, 512)
    spacing: tuple[float, float, float] = (0.46, 0.46, 5.0)
    slice_thickness_mm: float | None = None
    tilt_degrees: float = 0.0
    rotation_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    flips: tuple[bool, bool, bool] = (False, False, False)
    centre_mm: tuple[float, float, float] = (0.0, -2.0, 11.0)

    def __post_init__(self) -> None:
        """Refuse grids that have no voxels."""
        if min(self.shape) < 1 or min(self.spacing) <= 0.0 or self.thickness_mm <= 0.0:
            raise ValueError(f"shape, spacing and slice thickness must be positive: {self}")
        if abs(self.tilt_degrees) >= 60.0:
            raise ValueError(f"gantry tilt of {self.tilt_degrees} degrees; at most 60 either way")

    @property
    def thickness_mm(self) -> float:
        """Extent in mm over which each slice averages."""
        return self.spacing[2] if self.slice_thickness_mm is None else self.slice_thickness_mm

    @property
    def affine(self) -> NDArray[np.float64]:
        """Affine, shape (4, 4): index (column, row, slice, 1) to patient coordinates RAS in mm."""
        lean = Rotation.from_euler("x", self.tilt_degrees, degrees=True).as_matrix()
        column, row = lean @ (-1.0, 0.0, 0.0), lean @ (0.0, -1.0, 0.0)
        # The table moves along the body, so the step is longer than the spacing along the normal by 1 / cos(tilt).
        step = np.array([0.0, 0.0, 1.0 / np.cos(np.radians(self.tilt_degrees))])
        turn = Rotation.from_euler("xyz", self.rotation_degrees, degrees=True).as_matrix()
        signs = np.where(self.flips, -1.0, 1.0)
        axes = turn @ np.column_stack([column, row, step]) * (signs * np.asarray(self.spacing))
        affine = np.eye(4)
        affine[:3, :3] = axes
        affine[:3, 3] = np.asarray(self.centre_mm) - axes @ ((np.asarray(self.shape[::-1]) - 1) / 2.0)
        return affine

    @property
    def positions_mm(self) -> NDArray[np.float64]:
        """Position of every slice along the slice normal (column direction x row direction), in mm."""
        affine = self.affine
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        normal /= np.linalg.norm(normal)
        return (affine[:3, 3] + np.arange(self.shape[0])[:, None] * affine[:3, 2]) @ normal

    def slice_points(self, index: float) -> NDArray[np.float32]:
        """Patient coordinates (RAS, mm), shape (3, rows * columns), of one slice; ``index`` may be a fraction."""
        affine = self.affine
        rows = np.arange(self.shape[1])[:, None]
        columns = np.arange(self.shape[2])[None, :]
        origin = affine[:3, 3] + index * affine[:3, 2]
        points = origin[:, None, None] + affine[:3, 0][:, None, None] * columns + affine[:3, 1][:, None, None] * rows
        return points.reshape(3, -1).astype(np.float32)

    def indices(self, points_ras: NDArray[np.floating]) -> NDArray[np.float64]:
        """Fractional (slice, row, column) of patient coordinates, shape (n, 3) to (n, 3)."""
        homogeneous = np.column_stack([np.asarray(points_ras, dtype=np.float64), np.ones(len(points_ras))])
        return (homogeneous @ np.linalg.inv(self.affine).T)[:, 2::-1]
