"""Blood that takes the place of cerebrospinal fluid: in sulci and cisterns, and in the ventricles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scripts.phantom.shapes import Waves, smooth_step
from scripts.synthesis.anatomy import HeadAnatomy, Sample, like_ventricle
from scripts.synthesis.sites import inner_table_points, pick
from scripts.synthesis.working_grid import Box, Field, SynthesisError

_FILLED = 1.6
"""Blood widens the cleft that it fills a little."""
_EDGE, _CORE, _SPECK_MM2 = 0.2, 0.6, 7.0
_MENISCUS_MM = 1.2
_LEAST_ML = 0.05
_FARTHEST_MM = 70.0
_SOURCES = {
    "aneurysm": ((0.0, 8.0, -17.0), (0.5, 0.9, 0.55)),
    "sylvian": ((36.0, 8.0, -4.0), (0.8, 0.9, 0.8)),
    "interhemispheric": ((0.0, 52.0, 14.0), (2.2, 0.8, 0.7)),
    "perimesencephalic": ((0.0, -8.0, -19.0), (0.8, 0.9, 1.0)),
}
"""Atlas coordinates of a source of subarachnoid blood, and how easily blood spreads along x, y, z (less is easier)."""


@dataclass(frozen=True)
class FluidBlood:
    """Blood in fluid spaces.

    Attributes
    ----------
    box : Box
        Where it lies.
    fraction : ndarray of float32, shape (slices, rows, columns)
        Part of each stored voxel of the box that it fills.
    pattern : str
        How it lies.
    """

    box: Box
    fraction: Field
    pattern: str


def subarachnoid_blood(
    anatomy: HeadAnatomy, voxels: Field, volume_ml: float, pattern: str, generator: np.random.Generator
) -> FluidBlood:
    """Fill sulci and cisterns around a source until the volume is reached.

    Parameters
    ----------
    anatomy : HeadAnatomy
        The host.
    voxels : ndarray of float32, shape (slices, rows, columns)
        All turned stored voxels as they are now.
    volume_ml : float
        Volume of blood.
    pattern : str
        ``"aneurysm"``, ``"sylvian"``, ``"interhemispheric"``, ``"perimesencephalic"`` or ``"convexity"``.
    generator : Generator
        Source of randomness.

    Raises
    ------
    SynthesisError
        ``"no_fluid"`` where there is hardly any fluid near the source.
    """
    box = anatomy.whole
    sample = anatomy.sample(box)
    if pattern == "convexity":
        points = inner_table_points(anatomy)
        x, _, z = points.atlas
        source: Field = pick(points, ((np.abs(x) > 12.0) & (z > -5.0)).astype(float), generator)[0]
        ease = np.array([1.0, 0.9, 1.0])
    else:
        place, along = _SOURCES[pattern]
        side = float(generator.choice([-1.0, 1.0]))
        source = np.array(place) * (side, 1.0, 1.0) + generator.normal(0.0, 2.5, size=3)
        ease = np.array(along) * np.exp(generator.normal(0.0, 0.15, size=3))
    if anatomy.single_slice:
        # The height of a single slice is a guess; its source is taken to lie in it.
        ease = ease * (1.0, 1.0, 0.0)
    offset = (sample.atlas - source.astype(np.float32).reshape(3, 1, 1, 1)) * ease.astype(np.float32).reshape(
        3, 1, 1, 1
    )
    away = np.sqrt(np.square(offset).sum(axis=0))
    wavy = Waves.random(generator, 30.0, 8)
    away *= 1.0 + 0.22 * wavy(sample.head.reshape(3, -1)).reshape(away.shape)
    ventricles = ndimage.binary_dilation(anatomy.ventricles, np.ones((1, 3, 3), dtype=bool), iterations=2)
    heights = anatomy.grid.heights(box.slices, 1)
    closed = anatomy.grid.at_heights(ventricles.astype(np.float32), box, heights)
    allowed = (1.0 - closed) * (sample.depth > 0.4) * _within_reach_of_sulci(sample)
    allowed *= away < _FARTHEST_MM
    if anatomy.single_slice:
        # Narrow horns go unseen in a single slice, and blood in them is no subarachnoid blood.
        deep = like_ventricle(sample.atlas.reshape(3, -1)).reshape(away.shape) & (sample.depth > 14.0)
        allowed *= ~(deep & (np.abs(sample.atlas[0]) > 2.0))
    fraction = _fluid(anatomy, voxels, box) * anatomy.grid.refined(allowed.astype(np.float32), box)
    distance = anatomy.grid.refined(away.astype(np.float32), box)
    return _filled(anatomy, box, fraction, distance, volume_ml, 4.0, pattern)


def _within_reach_of_sulci(sample: Sample) -> Field:
    """1 where sulci, fissures and cisterns are; 0 deep in the brain, where HU of fluid mean infarct or gliosis."""
    x, y, z = np.abs(sample.atlas[0]), sample.atlas[1], sample.atlas[2]
    shallow = smooth_step(sample.depth, 23.0, 15.0)
    fissure = (x < 5.0) & (np.abs(y + 5.0) > 20.0)
    sylvian = (x > 27.0) & (np.abs(y - 2.0) < 34.0) & (np.abs(z + 1.0) < 22.0)
    basal = (z < -3.0) & (x < 40.0) & (y > -50.0) & (y < 42.0)
    third = (x < 4.0) & (np.abs(y + 6.0) < 15.0) & (np.abs(z) < 8.0)
    fourth = (x < 10.0) & (np.abs(y + 41.0) < 13.0) & (z < -21.0) & (z > -52.0)
    return np.where(third | fourth, 0.0, np.maximum(shallow, fissure | sylvian | basal))


def ventricular_blood(
    anatomy: HeadAnatomy, voxels: Field, volume_ml: float, pattern: str, generator: np.random.Generator
) -> FluidBlood:
    """Fill ventricles: ``"level"`` from the dependent (posterior) end of each horn, ``"cast"`` around a point.

    The level is horizontal for a supine patient, whatever the tilt of head and gantry, and differs between both sides.

    Raises
    ------
    SynthesisError
        ``"no_fluid"`` where no ventricle is seen.
    """
    if not anatomy.ventricles.any():
        raise SynthesisError("no_fluid.ventricle")
    box = anatomy.grid.box_around(anatomy.ventricles, 3.0)
    sample = anatomy.sample(box)
    heights = anatomy.grid.heights(box.slices, 1)
    near = ndimage.binary_dilation(anatomy.ventricles, np.ones((1, 3, 3), dtype=bool))
    inside = anatomy.grid.at_heights(near.astype(np.float32), box, heights)
    fraction = _fluid(anatomy, voxels, box) * np.minimum(anatomy.grid.refined(inside, box) * 1.5, 1.0)
    if pattern == "level":
        patient = anatomy.grid.points(box, heights, np.eye(4))
        roll = float(np.tan(np.radians(generator.normal(0.0, 3.0))))
        distance = patient[1] + roll * patient[0]
        uneven = generator.normal(0.0, 4.0, size=2)
        distance = distance + np.where(sample.head[0] > 0.0, uneven[0], uneven[1]).astype(np.float32)
        # The third ventricle holds no level of its own until blood has filled the horns.
        distance += np.where(np.abs(sample.atlas[0]) < 4.0, 10.0, 0.0).astype(np.float32)
        softness = _MENISCUS_MM
    else:
        index = np.argwhere(anatomy.ventricles)
        chosen = index[int(generator.integers(len(index)))]
        centre = sample.head[
            :,
            min(max(int(chosen[0]) * anatomy.grid.group - box.slices[0], 0), sample.head.shape[1] - 1),
            int(chosen[1]) - box.rows[0],
            int(chosen[2]) - box.columns[0],
        ]
        offset = (sample.head - centre.reshape(3, 1, 1, 1)) * np.array([1.6, 1.0, 1.0], np.float32).reshape(3, 1, 1, 1)
        distance = np.sqrt(np.square(offset).sum(axis=0))
        distance *= 1.0 + 0.2 * Waves.random(generator, 16.0, 8)(sample.head.reshape(3, -1)).reshape(distance.shape)
        softness = 2.0
    fine = anatomy.grid.refined(distance.astype(np.float32), box)
    return _filled(anatomy, box, fraction, fine, volume_ml, softness, pattern)


def _fluid(anatomy: HeadAnatomy, voxels: Field, box: Box) -> Field:
    """Part of each stored voxel of a box that blood fills where fluid was; specks that are only noise are left out."""
    part = voxels[anatomy.grid.stored_range(box)]
    fraction = np.minimum(anatomy.fluid_fraction(part) * np.float32(_FILLED), 1.0)
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1] = True
    components, count = ndimage.label(fraction > _EDGE, structure=in_plane)
    if not count:
        return np.zeros_like(fraction)
    largest = ndimage.maximum(fraction, components, index=np.arange(count + 1))
    sizes = np.bincount(components.ravel()) * anatomy.grid.stored_spacing[1] * anatomy.grid.stored_spacing[2]
    kept = (np.asarray(largest) > _CORE) & (sizes > _SPECK_MM2)
    kept[0] = False
    return np.where(kept[components], fraction, np.float32(0.0))


def _filled(
    anatomy: HeadAnatomy, box: Box, fraction: Field, distance: Field, volume_ml: float, softness: float, pattern: str
) -> FluidBlood:
    """Take fluid in the order of its distance until the volume is reached, with a soft front."""
    voxel_ml = anatomy.grid.voxel_ml
    filled = fraction > 0.0
    available = float(fraction[filled].sum()) * voxel_ml
    if available < _LEAST_ML:
        raise SynthesisError("no_fluid", available_ml=available)
    amounts, places = fraction[filled], distance[filled]
    low, high = float(places.min()) - softness, float(places.max()) + softness
    for _ in range(14):
        front = 0.5 * (low + high)
        total = float((amounts * smooth_step(places, front + softness, front - softness)).sum()) * voxel_ml
        low, high = (front, high) if total < volume_ml else (low, front)
    part = np.where(filled, fraction * smooth_step(distance, high + softness, high - softness), 0.0)
    return FluidBlood(box, part.astype(np.float32), pattern)
