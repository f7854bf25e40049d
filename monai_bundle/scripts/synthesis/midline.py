"""The plane between the hemispheres, from the symmetry of what lies beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.synthesis.cavity import Cavity
from scripts.synthesis.head_frame import HeadFrame
from scripts.synthesis.working_grid import Field, WorkingGrid

_REACH_MM = 42
_OFFSETS_MM = np.arange(-9.0, 9.01, 0.75)
_ROWS_MM = np.arange(-78.0, 78.1, 4.0)
_SLOPES = np.tan(np.radians(np.arange(-7.0, 7.01, 1.0)))


def refine_midline(hounsfield: Field, cavity: Cavity, frame: HeadFrame, grid: WorkingGrid) -> HeadFrame:
    """Shift and turn the head frame so that its plane x = 0 is the plane of best mirror symmetry.

    For each slice and row the mean absolute difference between both sides is computed for offsets of up to 9 mm; the
    plane (offset, roll, yaw) of the smallest sum is found on a grid, roll and yaw one after the other. The skull counts
    as bright, so that its shape bears on the result, too.

    Parameters
    ----------
    hounsfield : ndarray of float32, shape (slices, rows, columns)
        Working grid.
    cavity : Cavity
        The cavity.
    frame : HeadFrame
        First estimate.
    grid : WorkingGrid
        Geometry.
    """
    image = np.where(cavity.inside, np.clip(hounsfield, 0.0, 70.0), 90.0).astype(np.float32)
    areas = cavity.inside.sum(axis=(1, 2))
    chosen = np.flatnonzero(areas > 0.25 * areas.max())
    to_index = np.linalg.inv(frame.to_head @ grid.affine)
    middles = _middles(chosen, cavity, frame, grid)
    costs = np.stack(
        [
            _asymmetry(image[index], int(index), height, to_index, grid)
            for index, height in zip(chosen, middles, strict=True)
        ]
    )
    heights = middles - middles.mean()
    best = (np.inf, 0.0, 0.0, 0.0)
    yaw = 0.0
    rolls = _SLOPES if len(chosen) > 4 else np.zeros(1)
    for rows_slopes in (np.zeros(1), _SLOPES):
        for roll in rolls if rows_slopes.size == 1 else np.array([best[2]]):
            for yaw in rows_slopes:
                lean = roll * heights[:, None] + yaw * _ROWS_MM[None, :]
                sums = _sum_along(costs, lean)
                lowest = int(sums.argmin())
                # A plane that leans must be better than one that does not, not just as good.
                cost = float(sums[lowest]) * (1.0 + 0.02 * (abs(roll) + abs(yaw)))
                if cost < best[0]:
                    best = (cost, float(_OFFSETS_MM[lowest]), float(roll), float(yaw))
    _, offset, roll, yaw = best
    return _moved(frame, offset - roll * float(middles.mean()), roll, yaw)


def _middles(chosen: NDArray[np.intp], cavity: Cavity, frame: HeadFrame, grid: WorkingGrid) -> NDArray[np.float64]:
    """Height z in the head of the middle of the cavity in each slice."""
    matrix = frame.to_head @ grid.affine
    heights = []
    for index in chosen:
        row, column = ndimage.center_of_mass(cavity.inside[index])
        slice_ = (index + 0.5) * grid.group - 0.5
        heights.append(matrix[2] @ (column * grid.factor, row * grid.factor, slice_, 1.0))
    return np.array(heights)


def _asymmetry(plane: Field, index: int, height: float, to_index: Field, grid: WorkingGrid) -> NDArray[np.float32]:
    """Mean absolute difference of both sides, shape (rows, offsets)."""
    step = float(_OFFSETS_MM[1] - _OFFSETS_MM[0])
    half = round(_REACH_MM / step)
    widest = len(_OFFSETS_MM) // 2
    across = np.arange(-half - widest, half + widest + 1) * step
    x, y = np.meshgrid(across, _ROWS_MM)
    ones = np.ones_like(x)
    # The head frame leans against the slice, so the height that keeps a point in the slice is solved for.
    constant = to_index[2, 0] * x + to_index[2, 1] * y + to_index[2, 3]
    slice_ = (index + 0.5) * grid.group - 0.5
    z = (slice_ - constant) / to_index[2, 2] if abs(to_index[2, 2]) > 1e-6 else height * ones
    column, row = (
        to_index[axis, 0] * x + to_index[axis, 1] * y + to_index[axis, 2] * z + to_index[axis, 3] for axis in (0, 1)
    )
    where = [(row + 0.5) / grid.factor - 0.5, (column + 0.5) / grid.factor - 0.5]
    line = ndimage.map_coordinates(plane, where, order=1, mode="nearest", prefilter=False)
    line = ndimage.gaussian_filter1d(line, 1.2, axis=1)
    costs = []
    for offset in range(-widest, widest + 1):
        middle = half + widest + offset
        right = line[:, middle + 1 : middle + half + 1]
        left = line[:, middle - half : middle][:, ::-1]
        costs.append(np.minimum(np.abs(right - left), 30.0).mean(axis=1))
    return np.stack(costs, axis=1).astype(np.float32)


def _sum_along(costs: NDArray[np.float32], lean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over slices and rows of the costs at each offset plus the lean (mm) of the plane there."""
    step = float(_OFFSETS_MM[1] - _OFFSETS_MM[0])
    shift = np.rint(lean / step).astype(np.intp)
    offsets = np.clip(np.arange(len(_OFFSETS_MM)) + shift[..., None], 0, len(_OFFSETS_MM) - 1)
    return np.take_along_axis(costs, offsets, axis=2).sum(axis=(0, 1), dtype=np.float64)


def _moved(frame: HeadFrame, offset: float, roll: float, yaw: float) -> HeadFrame:
    """Frame whose plane x = 0 lies at x = offset + roll * z + yaw * y of the old one."""
    normal = np.array([1.0, -yaw, -roll])
    normal /= np.linalg.norm(normal)
    front = np.array([0.0, 1.0, 0.0]) - normal[1] * normal
    front /= np.linalg.norm(front)
    axes = np.stack([normal, front, np.cross(normal, front)])
    change = np.eye(4)
    change[:3, :3] = axes
    change[:3, 3] = -axes @ np.array([offset, 0.0, 0.0])
    return replace(frame, to_head=change @ frame.to_head)
