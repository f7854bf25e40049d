"""Where a scan lies in the head: a registration of its inner table to the phantom's mean head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scripts.phantom.anatomy import Anatomy
from scripts.synthesis.cavity import Cavity
from scripts.synthesis.working_grid import Field, WorkingGrid

Parameters = NDArray[np.float64]

MEAN_HEAD = Anatomy.individual(0, variation=0.0)
"""The phantom's head of mean sizes, whose coordinates serve as the atlas."""

_WIDEST_AT_MM = 14.0
_POINTS_STACK, _POINTS_SLICE = 420, 110
_STARTS_MM = (-26.0, -10.0, 6.0, 22.0, 38.0)
# Standard deviations of the priors: rotations (degrees), shifts (mm), logarithm of the scales.
_PRIOR_STACK = (14.0, 8.0, 14.0, 40.0, 40.0, 60.0, 0.15, 0.15, 0.12)
_PRIOR_SLICE = (5.0, 3.0, 14.0, 40.0, 40.0, 14.0, 0.09, 0.09, 0.06)
_STEPS = np.array([0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.004, 0.004, 0.004])
_PRIOR_WEIGHT = 0.25
_TOLERANCE_MM = 2.5


@dataclass(frozen=True)
class HeadFrame:
    """Coordinates of the head: x to its right, y to its front, z to its top, the foramina of Monro near (0, 8, 9).

    Attributes
    ----------
    to_head : ndarray of float64, shape (4, 4)
        RAS in mm to head coordinates in mm (a rotation and a shift).
    scale : tuple of float
        Size of this head relative to the mean head along x, y, z; head coordinates divided by it are the atlas's.
    error_mm : float
        Median distance between the inner table of the scan and that of the atlas.
    """

    to_head: NDArray[np.float64]
    scale: tuple[float, float, float]
    error_mm: float

    @property
    def to_atlas(self) -> NDArray[np.float64]:
        """RAS in mm to the coordinates of the mean head."""
        return np.diag([*(1.0 / size for size in self.scale), 1.0]) @ self.to_head


def find_head_frame(cavity: Cavity, grid: WorkingGrid) -> HeadFrame:
    """Register the inner table to the mean head by least squares over rotation, shift and scale.

    The distance of the mean head's cavity is evaluated at points of the scan's inner table; a soft-L1 loss bears with
    what the mean head does not have, priors with what the scan does not show (a single slice has no pitch). Of several
    starts along the body axis the one of the lowest cost is refined.

    Parameters
    ----------
    cavity : Cavity
        The cavity of the scan.
    grid : WorkingGrid
        Its grid.
    """
    single = len(cavity.inside) == 1
    points, centre = _inner_table(cavity, grid, _POINTS_SLICE if single else _POINTS_STACK)
    prior = np.array(_PRIOR_SLICE if single else _PRIOR_STACK)

    yaw = _principal_yaw(cavity, grid)
    fits = []
    for height in _STARTS_MM:
        expected = np.array([0.0, 0.0, 0.0, 0.0, -5.0, _WIDEST_AT_MM if single else height, 0.0, 0.0, 0.0])
        start = expected.copy()
        start[2], start[5] = yaw, height
        fits.append(_fit(start, points, prior, expected, 2 if single else 3))
    fits.sort(key=lambda fit: fit[0])
    _, parameters, expected = fits[0]
    _, parameters, _ = _fit(parameters, points, prior, expected, 3 if single else 24)
    to_head = np.eye(4)
    rotation = Rotation.from_euler("xyz", parameters[:3], degrees=True).as_matrix()
    to_head[:3, :3] = rotation
    to_head[:3, 3] = parameters[3:6] - rotation @ centre
    errors = np.abs(_table_distances(parameters[None], points)[0])
    x, y, z = (float(size) for size in np.exp(parameters[6:]))
    return HeadFrame(to_head, (x, y, z), float(np.median(errors)))


def _inner_table(cavity: Cavity, grid: WorkingGrid, count: int) -> tuple[Field, NDArray[np.float64]]:
    """Points (RAS, mm) relative to the centre of the widest slice, shape (3, count), and that centre."""
    inside = cavity.inside
    border = inside & (cavity.depth < 0.6 * (grid.spacing[1] + grid.spacing[2]))
    areas = inside.sum(axis=(1, 2))
    index = np.argwhere(border)
    chosen = index[np.linspace(0, len(index) - 1, min(count, len(index))).astype(int)]
    widest = int(areas.argmax())
    rows, columns = np.nonzero(inside[widest])
    middle = np.array([[widest, 0.5 * (rows.min() + rows.max()), 0.5 * (columns.min() + columns.max())]])
    ras = [_to_ras(voxels.astype(np.float64), grid) for voxels in (chosen, middle)]
    return (ras[0] - ras[1]).T.astype(np.float32), ras[1][0]


def _to_ras(voxels: NDArray[np.float64], grid: WorkingGrid) -> NDArray[np.float64]:
    sizes = np.array([grid.group, grid.factor, grid.factor])
    stored = (voxels + 0.5) * sizes - 0.5
    return stored[:, ::-1] @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def _principal_yaw(cavity: Cavity, grid: WorkingGrid) -> float:
    """Rotation in degrees that brings the long axis of the widest slice to the front, 0 where the head is round."""
    plane = cavity.inside[int(cavity.inside.sum(axis=(1, 2)).argmax())]
    rows, columns = (axis.astype(np.float64) for axis in np.nonzero(plane))
    covariance = np.cov(-columns * grid.spacing[2], -rows * grid.spacing[1])
    values, vectors = np.linalg.eigh(covariance)
    if values[1] < 1.15 * values[0]:
        return 0.0
    x, y = vectors[:, 1] * (1.0 if vectors[1, 1] > 0 else -1.0)
    angle = float(np.degrees(np.arctan2(x, y)))
    return angle if abs(angle) < 40.0 else 0.0


def _fit(
    start: Parameters, points: Field, prior: Parameters, expected: Parameters, iterations: int
) -> tuple[float, Parameters, Parameters]:
    """Return the cost, the parameters and the expectation after some damped steps of iteratively weighted Gauss-Newton.

    A library's optimiser evaluates the derivatives one by one; here all are one call, which is several times faster.
    """
    parameters, damping = start, 1e-2
    cost, weighted, jacobian = _linearised(parameters, points, prior, expected)
    for _ in range(iterations):
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -jacobian.T @ weighted)
        trial = _linearised(parameters + step, points, prior, expected)
        if trial[0] < cost:
            converged = cost - trial[0] < 1e-4 * cost
            parameters = parameters + step
            cost, weighted, jacobian = trial
            damping *= 0.3
            if converged:
                break
        else:
            damping *= 10.0
    return cost, parameters, expected


def _linearised(
    parameters: Parameters, points: Field, prior: Parameters, expected: Parameters
) -> tuple[float, Parameters, Parameters]:
    """Soft-L1 cost, weighted residuals and their derivatives."""
    moved = parameters + np.concatenate([np.zeros((1, 9)), np.diag(_STEPS)])
    distance = _table_distances(moved, points) / _TOLERANCE_MM
    root = np.sqrt(1.0 + np.square(distance[0]))
    stiffness = _PRIOR_WEIGHT * np.sqrt(points.shape[1]) / prior
    from_prior = stiffness * (parameters - expected)
    weights = 1.0 / np.sqrt(root)
    derivative = (distance[1:] - distance[0]) / _STEPS[:, None]
    cost = float(2.0 * (root - 1.0).sum() + np.square(from_prior).sum())
    weighted = np.concatenate([weights * distance[0], from_prior])
    return cost, weighted, np.concatenate([(derivative * weights).T, np.diag(stiffness)])


def _table_distances(parameters: Parameters, points: Field) -> Parameters:
    """Distance (mm) of points to the mean head's inner table under each of some parameters, shape (sets, points)."""
    rotations = Rotation.from_euler("xyz", parameters[:, :3], degrees=True).as_matrix()
    moved = rotations @ points + parameters[:, 3:6, None]
    atlas = (moved / np.exp(parameters[:, 6:, None])).transpose(1, 0, 2).reshape(3, -1).astype(np.float32)
    return MEAN_HEAD.cavity(atlas).astype(np.float64).reshape(len(parameters), -1)
