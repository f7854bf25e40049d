"""What the synthesis needs to know of a host: inner table, midline, fluid spaces, ventricles, levels and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.intake.study import CTStudy
from scripts.phantom.brain import tentorium_height, ventricle_distance
from scripts.synthesis.cavity import Cavity, find_cavity
from scripts.synthesis.head_frame import MEAN_HEAD, HeadFrame, find_head_frame
from scripts.synthesis.host_noise import HostNoise, measure_noise
from scripts.synthesis.midline import refine_midline
from scripts.synthesis.working_grid import Box, Field, SynthesisError, WorkingGrid, working_grid

_SMALLEST_CAVITY_MM2 = 700.0
_SMALLEST_SLICE_MM2 = 2000.0
_FLUID_SIGMA_MM = 0.65
_USUAL_BRAIN_HU, _USUAL_FLUID_HU = 34.0, 6.0
_VENTRICLE_REACH_MM = 11.0
_MIDDLE_REACH_MM = 5.0


@dataclass(frozen=True)
class Sample:
    """Where the working pixels of a box lie, on ``planes`` planes across each original slice.

    Attributes
    ----------
    box : Box
        The part of the grid.
    planes : int
        Planes per original slice; plane p of the box's slice k has index ``k * planes + p``.
    stride : int
        Only every so many-th row and column is there.
    head, atlas : ndarray of float32, shape (3, n, rows, columns)
        Coordinates in the head and in the mean head, in mm.
    depth, depth_in_plane : ndarray of float32, shape (n, rows, columns)
        Distance to the inner table in mm, positive inside; in space and within the slice.
    """

    box: Box
    planes: int
    stride: int
    head: Field
    atlas: Field
    depth: Field
    depth_in_plane: Field


@dataclass(frozen=True)
class HeadAnatomy:
    """Anatomy of one host; computed once, used for any number of lesions. All arrays are on the working grid.

    Attributes
    ----------
    grid : WorkingGrid
        How stored voxels and working grid belong together.
    cavity : Cavity
        Bone, the inside of the skull, distance to the inner table in mm.
    frame : HeadFrame
        Coordinates of the head; the falx lies at x = 0.
    hounsfield : ndarray of float32, shape (slices, rows, columns)
        Mean HU.
    ventricles : ndarray of bool, same shape
        Fluid of the ventricular system.
    brain_hu, fluid_hu : float
        Typical HU of brain and of cerebrospinal fluid in this host.
    noise : HostNoise
        Strength and texture of the noise of the stored voxels.
    """

    grid: WorkingGrid
    cavity: Cavity
    frame: HeadFrame
    hounsfield: Field
    ventricles: NDArray[np.bool_]
    brain_hu: float
    fluid_hu: float
    noise: HostNoise

    @property
    def single_slice(self) -> bool:
        """Whether the host is one slice."""
        return self.grid.shape[0] == 1

    @property
    def whole(self) -> Box:
        """The box of the cavity."""
        return self.grid.box_around(self.cavity.inside)

    def fluid_fraction(self, voxels: Field) -> Field:
        """Part of each stored voxel that fluid fills, 0 to 1, from HU between those of brain and of fluid.

        Parameters
        ----------
        voxels : ndarray of float32, shape (n, rows, columns)
            Stored voxels of the host, or a part of them.
        """
        _, row_mm, column_mm = self.grid.stored_spacing
        smooth = ndimage.gaussian_filter(
            voxels, (0.0, _FLUID_SIGMA_MM / row_mm, _FLUID_SIGMA_MM / column_mm), truncate=3.0
        )
        # White matter is darker than the mean of the brain, and noise blurs what is left between it and fluid.
        full, none = self.fluid_hu + 3.0, self.brain_hu - 6.0
        return np.clip((none - smooth) / max(none - full, 6.0), 0.0, 1.0)

    def sample(self, box: Box, planes: int = 1, stride: int = 1) -> Sample:
        """Coordinates and depth on (every ``stride``-th of) the working pixels of a box, on some planes per slice."""
        heights = self.grid.heights(box.slices, planes)
        head = self.grid.points(box, heights, self.frame.to_head, stride)
        scale = np.array(self.frame.scale, dtype=np.float32)[:, None, None, None]
        depth = self.grid.at_heights(self.cavity.depth, box, heights, stride)
        in_plane = self.grid.at_heights(self.cavity.depth_in_plane, box, heights, stride)
        return Sample(box, planes, stride, head, head / scale, depth, in_plane)


def find_anatomy(study: CTStudy) -> HeadAnatomy:
    """Find the anatomy of a host.

    Parameters
    ----------
    study : CTStudy
        A head CT, or a study of one slice (see :func:`~scripts.synthesis.single_slice.slice_study`).

    Raises
    ------
    SynthesisError
        ``"not_axial"``, ``"no_cavity"``, or ``"small_cavity"`` where too little of the brain is seen.
    """
    grid = working_grid(study)
    turned = grid.turned(study.voxels)
    hounsfield = grid.averaged(turned)
    cavity = find_cavity(hounsfield, grid)
    largest = float(cavity.inside.sum(axis=(1, 2)).max()) * grid.spacing[1] * grid.spacing[2]
    if largest < (_SMALLEST_SLICE_MM2 if grid.shape[0] == 1 else _SMALLEST_CAVITY_MM2):
        raise SynthesisError("small_cavity", largest_mm2=largest)
    frame = find_head_frame(cavity, grid)
    frame = refine_midline(hounsfield, cavity, frame, grid)
    brain, fluid = _levels(hounsfield, cavity)
    quiet = cavity.depth > 7.0
    stored_quiet = np.repeat(quiet, grid.group, axis=0)[: grid.shape[0]]
    chosen = np.linspace(0, grid.shape[0] - 1, min(grid.shape[0], 12)).astype(int)
    quiet_pixels = stored_quiet[chosen].repeat(grid.factor, axis=1).repeat(grid.factor, axis=2)
    quiet_pixels = quiet_pixels[:, : grid.shape[1], : grid.shape[2]]
    noise = measure_noise(turned[chosen], quiet_pixels, grid.stored_spacing[1])
    ventricles = _ventricles(hounsfield, cavity, frame, grid, 0.5 * (brain - 5.0 + fluid))
    return HeadAnatomy(grid, cavity, frame, hounsfield, ventricles, brain, fluid, noise)


def _levels(hounsfield: Field, cavity: Cavity) -> tuple[float, float]:
    """Typical HU of brain and fluid: the median of the deep, and that of what is clearly darker than it."""
    for depth in (8.0, 4.0, 1.5):
        values = hounsfield[cavity.depth > depth]
        values = values[(values > 12.0) & (values < 60.0)]
        if values.size > 200:
            break
    if not values.size:
        return _USUAL_BRAIN_HU, _USUAL_FLUID_HU
    brain = float(np.median(values))
    values = hounsfield[cavity.depth > 2.5]
    dark = values[(values > -12.0) & (values < brain - 16.0)]
    # The darkest part: most dark voxels are fluid and brain mixed.
    fluid = float(np.quantile(dark, 0.15)) if dark.size > 60 else brain - 28.0
    return brain, float(np.clip(fluid, brain - 34.0, brain - 20.0))


def _ventricles(
    hounsfield: Field, cavity: Cavity, frame: HeadFrame, grid: WorkingGrid, threshold: float
) -> NDArray[np.bool_]:
    """Fluid where the atlas has ventricles nearby, in connected pieces of some size."""
    smooth = ndimage.gaussian_filter(hounsfield, (0, 0.8 / grid.spacing[1], 0.8 / grid.spacing[2]), truncate=2.5)
    dark = (smooth < threshold) & (cavity.depth > 8.0)
    found = np.zeros_like(dark)
    single = len(dark) == 1
    if not dark.any():
        return found
    index = np.nonzero(dark)
    stored = (np.stack(index[::-1]) + 0.5) * np.array([[grid.factor], [grid.factor], [grid.group]]) - 0.5
    matrix = (frame.to_atlas @ grid.affine).astype(np.float32)
    atlas = (matrix[:3, :3] @ stored + matrix[:3, 3:]).astype(np.float32)
    if single:
        found[index] = like_ventricle(atlas) & (cavity.depth[index] > 16.0)
    else:
        distance = ventricle_distance(MEAN_HEAD, atlas)
        middle = (np.abs(atlas[0]) < 8.0) & (atlas[2] < 4.0)
        cisterns = (np.abs(atlas[0]) < 20.0) & (atlas[1] > -16.0) & (atlas[2] < -7.0)
        cisterns |= (np.abs(atlas[0]) < 13.0) & (atlas[1] < -25.0) & (atlas[2] > -23.0) & (atlas[2] < 9.0)
        found[index] = (distance < np.where(middle, _MIDDLE_REACH_MM, _VENTRICLE_REACH_MM)) & ~cisterns
    components, _ = ndimage.label(found)
    sizes = np.bincount(components.ravel()).astype(np.float64) * np.prod(grid.spacing)
    sizes[0] = 0.0
    found = np.asarray(sizes[components] > (70.0 if single else 300.0))
    # Calcified plexus and noise leave holes.
    return np.stack([ndimage.binary_fill_holes(plane) for plane in found])


def like_ventricle(atlas: Field) -> NDArray[np.bool_]:
    """Whether fluid of a single slice may be ventricle; its height in the head is known roughly at best."""
    across, along, height = np.abs(atlas[0]), atlas[1], atlas[2]
    front = (along > -12.0) & (along < 44.0) & (across < 24.0)
    back = (along <= -12.0) & (along > -68.0) & (across < 40.0) & (across > 5.0)
    high = (height > -9.0) & (height < 42.0)
    fourth = (height < -20.0) & (across < 9.0) & (np.abs(along + 41.0) < 12.0)
    return np.asarray(((front | back) & high) | fourth)


def falx_free_edge(atlas: Field) -> Field:
    """Distance (atlas mm) from the lower edge of the falx, positive in the falx; it leaves out the corpus callosum."""
    return (np.hypot(atlas[1] / 52.0, atlas[2] / 37.0) - 1.0) * np.float32(44.0)


def falx_distance(atlas: Field) -> Field:
    """Signed distance (atlas mm, positive to the right) to the falx where there is one, 60 elsewhere."""
    x, y, z = atlas
    below = z < tentorium_height(np.stack([np.abs(x), y, z]).reshape(3, -1)).reshape(x.shape)
    return np.where((falx_free_edge(atlas) < 0.0) | below, np.float32(60.0), x)


def tentorium_distance(atlas: Field) -> Field:
    """Height (atlas mm) above the tentorium where there is one, 60 elsewhere; known to about 5 mm.

    The tentorium leaves out the notch around the brain stem and ends at the petrous ridges.
    """
    x, y, z = np.abs(atlas[0]), atlas[1], atlas[2]
    height = z - tentorium_height(np.stack([x, y, z]).reshape(3, -1)).reshape(x.shape)
    notch = np.hypot(x / 17.0, (y + 20.0) / 19.0) < 1.0
    ahead = y + 3.0 + 0.78 * (x - 18.0) > 0.0
    return np.where(notch | ahead, 60.0, height)
