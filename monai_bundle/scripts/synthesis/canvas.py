"""The host's voxels while lesions are painted on them: displacement first, then oedema, then blood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.intake.study import CTStudy
from scripts.phantom.shapes import smooth_step
from scripts.synthesis.anatomy import HeadAnatomy, Sample
from scripts.synthesis.fluid_blood import FluidBlood
from scripts.synthesis.lesion import Density
from scripts.synthesis.sites import plane_axes
from scripts.synthesis.working_grid import Box, Field

_INSIDE = 0.5
_NEAR_BONE_MM = 4.8
_ABOVE_BRAIN_HU = 10.0
_MOVED_MM = 0.08
_DURA_MM = 3.5
_BEYOND_MM = 0.9
_BONE_HU = 110.0
_SMALLEST_MM2 = 8.0


@dataclass(frozen=True)
class Painted:
    """What a lesion covers.

    Attributes
    ----------
    box : Box
        Where it lies.
    fraction : ndarray of float32, shape (slices, rows, columns)
        Part of each stored voxel of the box that it fills.
    mask : ndarray of bool, same shape
        Voxels that count as lesion.
    hounsfield : float
        Mean HU of what was painted.
    """

    box: Box
    fraction: Field
    mask: NDArray[np.bool_]
    hounsfield: float


class HostCanvas:
    """Turned voxels of a host in HU, and its label map.

    Parameters
    ----------
    study : CTStudy
        The host; it is not changed.
    anatomy : HeadAnatomy
        Its anatomy.
    generator : Generator
        Source of randomness of the noise.
    """

    def __init__(self, study: CTStudy, anatomy: HeadAnatomy, generator: np.random.Generator) -> None:
        self.anatomy = anatomy
        self.generator = generator
        self.voxels: Field = anatomy.grid.turned(study.voxels).astype(np.float32)
        self.labels: NDArray[np.uint8] = np.zeros(self.voxels.shape, dtype=np.uint8)
        self.changed = np.zeros(self.voxels.shape, dtype=bool)

    def part(self, box: Box) -> Field:
        """Voxels under a box (a view)."""
        return self.voxels[self.anatomy.grid.stored_range(box)]

    def depth(self, sample: Sample) -> Field:
        """Distance to the inner table (mm) of the stored voxels under a sample of one plane per slice."""
        return self.anatomy.grid.refined(sample.depth, sample.box)

    def fillable(self, sample: Sample) -> NDArray[np.bool_]:
        """Return which stored voxels blood can fill: those that are no bone."""
        limit = min(_BONE_HU, self.anatomy.cavity.highest_hu - 3.0)
        depth = self.depth(sample)
        return ~((self.part(sample.box) > limit) & (depth < _NEAR_BONE_MM)) & (depth > -_BEYOND_MM)

    def bone_part(self, host: Field, near_table: NDArray[np.bool_]) -> Field:
        """HU by which bone brightens voxels next to the inner table (partial volume, blur); it stays where it is."""
        return np.where(near_table, np.maximum(host - (self.anatomy.brain_hu + _ABOVE_BRAIN_HU), 0.0), np.float32(0.0))

    def displace(self, sample: Sample, field: Field | None) -> None:
        """Move tissue within its slices: each voxel takes the value from where the field (head mm) points to."""
        if field is None:
            return
        grid = self.anatomy.grid
        row, column, _ = plane_axes(self.anatomy)
        _, row_mm, column_mm = grid.stored_spacing
        down = np.tensordot(row.astype(np.float32), field, 1) / np.float32(row_mm)
        right = np.tensordot(column.astype(np.float32), field, 1) / np.float32(column_mm)
        moving = np.hypot(down * row_mm, right * column_mm) > _MOVED_MM
        moving &= sample.depth > 0.0
        ranges = grid.stored_range(sample.box)
        for index in np.flatnonzero(moving.any(axis=(1, 2))):
            rows, columns = (np.flatnonzero(moving[index].any(axis=axis)) for axis in (1, 0))
            box = Box(
                (sample.box.slices[0] + int(index), sample.box.slices[0] + int(index) + 1),
                (sample.box.rows[0] + int(rows[0]), sample.box.rows[0] + int(rows[-1]) + 1),
                (sample.box.columns[0] + int(columns[0]), sample.box.columns[0] + int(columns[-1]) + 1),
            )
            crop = (slice(index, index + 1), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            inside = moving[crop]
            shift = [grid.refined(np.where(inside, part[crop], 0.0), box)[0] for part in (down, right)]
            _, target_rows, target_columns = grid.stored_range(box)
            margin = 16
            low = (max(0, target_rows.start - margin), max(0, target_columns.start - margin))
            high = (target_rows.stop + margin, target_columns.stop + margin)
            plane = self.voxels[ranges[0].start + index, low[0] : high[0], low[1] : high[1]]
            where = [
                np.arange(target_rows.start, target_rows.stop)[:, None] - low[0] + shift[0],
                np.arange(target_columns.start, target_columns.stop)[None, :] - low[1] + shift[1],
            ]
            # Cubic interpolation keeps most of the noise that linear interpolation would smooth away; what bone adds
            # would ring and be dragged inwards, so it is taken off first and put back in its place.
            bone = self.bone_part(plane, self._near_table(ranges[0].start + int(index), low, plane.shape))
            soft = np.clip(plane - bone, -20.0, 200.0)
            moved = ndimage.map_coordinates(soft, where, order=3, mode="nearest")
            target = self.voxels[ranges[0].start + index, target_rows, target_columns]
            moved += bone[
                target_rows.start - low[0] : target_rows.stop - low[0],
                target_columns.start - low[1] : target_columns.stop - low[1],
            ]
            refined = grid.refined(inside.astype(np.float32), box)[0]
            used = (refined > 0.0) & (target < 250.0)
            target[used] = (moved * refined + target * (1.0 - refined))[used]
            self.changed[ranges[0].start + index, target_rows, target_columns] |= used

    def _near_table(self, stored_slice: int, low: tuple[int, int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Which stored pixels of a window lie within some mm of bone, or in it."""
        grid = self.anatomy.grid
        rows, columns = ((start + np.arange(size)) // grid.factor for start, size in zip(low, shape, strict=True))
        depth = self.anatomy.cavity.depth[stored_slice // grid.group]
        return np.asarray(depth[rows[:, None], columns[None, :]] < _DURA_MM)

    def darken(self, sample: Sample, distance: Field, width_mm: float, hounsfield: float, strength: float) -> None:
        """Paint oedema around a lesion: white matter first, fluid not at all, the host's noise kept.

        Parameters
        ----------
        sample : Sample
            One plane per original slice.
        distance : ndarray
            Signed distance (mm) to the lesion on the sample's points.
        width_mm : float
            How far it reaches.
        hounsfield : float
            HU of fully swollen white matter.
        strength : float
            0 to 1.
        """
        grid, box = self.anatomy.grid, sample.box
        reach = smooth_step(distance, width_mm, 0.25 * width_mm) * smooth_step(sample.depth, 1.0, 4.0)
        weight = grid.refined((strength * reach).astype(np.float32), box)
        host = self.part(box)
        _, row_mm, column_mm = grid.stored_spacing
        smooth = ndimage.gaussian_filter(np.clip(host, 0.0, 60.0), (0, 1.6 / row_mm, 1.6 / column_mm), truncate=2.5)
        grey = smooth_step(smooth, self.anatomy.brain_hu + 7.0, self.anatomy.brain_hu + 1.0)
        weight = weight * (0.35 + 0.65 * grey) * (host < _BONE_HU)
        change = weight * np.maximum(smooth - hounsfield, 0.0)
        host -= change
        self.changed[grid.stored_range(box)] |= change > 0.05

    def fill(self, sample: Sample, fraction: Field, density: Density, label: int, *, level: float = _INSIDE) -> Painted:
        """Replace tissue by blood: smooth HU and noise like the host's, mixed in by the part of the voxel it fills.

        Parameters
        ----------
        sample : Sample
            One plane per original slice.
        fraction : ndarray of float32, shape (slices, rows, columns)
            Part of each stored voxel under the sample's box, 0 where blood cannot lie (see :meth:`fillable`).
        density : Density
            HU of the blood.
        label : int
            Value in the label map; 0 for what is no haemorrhage.
        level : float
            Fraction from which a voxel counts as lesion.
        """
        grid, box = self.anatomy.grid, sample.box
        host = self.part(box)
        coarse = fraction[:, :: grid.factor, :: grid.factor]
        smooth = grid.refined(density(sample, coarse), box)
        blood = smooth + self.anatomy.noise.field(host.shape, self.generator)
        blood += self.bone_part(host, self.depth(sample) < _DURA_MM)
        host += fraction * (blood - host)
        return self._painted(box, fraction, self.depth(sample), _mean(smooth, fraction, density), label, level)

    def fill_fluid(self, blood: FluidBlood, density: Density, label: int) -> Painted:
        """Replace fluid by blood, voxel by voxel, by the part that fluid filled; the host's noise stays."""
        box = blood.box
        sample = self.anatomy.sample(box)
        host = self.part(box)
        fraction = np.where(self.labels[self.anatomy.grid.stored_range(box)] == 0, blood.fraction, 0.0).astype(
            np.float32
        )
        coarse = fraction[:, :: self.anatomy.grid.factor, :: self.anatomy.grid.factor]
        smooth = self.anatomy.grid.refined(density(sample, coarse), box)
        _, row_mm, column_mm = self.anatomy.grid.stored_spacing
        local = ndimage.gaussian_filter(host, (0, 0.55 / row_mm, 0.55 / column_mm), truncate=3.0)
        # Where fluid fills the voxel both terms agree; where it does not, the truth lies between them.
        before = 0.5 * (np.minimum(local, self.anatomy.brain_hu) + self.anatomy.fluid_hu)
        host += fraction * (smooth - before)
        total = float(fraction.sum())
        ordered = np.sort(fraction[fraction > 0.2])[::-1]
        matched = float(ordered[min(len(ordered) - 1, int(total))]) if ordered.size else _INSIDE
        mean = _mean(smooth, fraction, density)
        return self._painted(box, fraction, self.depth(sample), mean, label, float(np.clip(matched, 0.3, 0.6)))

    def _painted(self, box: Box, fraction: Field, depth: Field, mean: float, label: int, level: float) -> Painted:
        grid = self.anatomy.grid
        ranges = grid.stored_range(box)
        self.changed[ranges] |= fraction > 0.0
        mask = (fraction >= level) & (depth > -0.75)
        pixel_mm2 = grid.stored_spacing[1] * grid.stored_spacing[2]
        # A slice that shows a few voxels of it at most does not show it to a reader.
        mask &= (mask.sum(axis=(1, 2)) * pixel_mm2 >= _SMALLEST_MM2)[:, None, None]
        if label:
            self.labels[ranges][mask] = label
        return Painted(box, fraction, mask, mean)

    def finished(self, study: CTStudy) -> NDArray[np.int16]:
        """Voxels in the order of the study, int16; those that nothing changed are the host's own."""
        grid, cavity = self.anatomy.grid, self.anatomy.cavity
        highest = cavity.highest_hu if cavity.saturated else 3071.0
        lowest = float(study.voxels.min()) if cavity.saturated else -1024.0
        turned = grid.turned(study.voxels).copy()
        turned[self.changed] = np.clip(np.rint(self.voxels[self.changed]), lowest, highest).astype(np.int16)
        return np.ascontiguousarray(grid.restored(turned))


def _mean(hounsfield: Field, fraction: Field, density: Density) -> float:
    filled = fraction > 0.3
    return float(hounsfield[filled].mean()) if filled.any() else density.mean_hu
