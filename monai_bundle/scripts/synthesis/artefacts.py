"""What scanner and patient add that resembles blood: hardening, streaks, metal, motion, partial volume. No label."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.phantom.shapes import Waves, smooth_step
from scripts.synthesis.anatomy import Sample
from scripts.synthesis.canvas import HostCanvas
from scripts.synthesis.lesion import PlacedLesion
from scripts.synthesis.sites import Points, inner_table_points, pick
from scripts.synthesis.working_grid import Box, Field, SynthesisError

_TISSUE_HU = -250.0


def beam_hardening(canvas: HostCanvas) -> list[PlacedLesion]:
    """Bright rim under the inner table, and dark and bright bands between the petrous ridges."""
    anatomy, generator = canvas.anatomy, canvas.generator
    sample = anatomy.sample(anatomy.whole)
    uneven = 1.0 + 0.5 * Waves.random(generator, 90.0, 6)(sample.head.reshape(3, -1)).reshape(sample.depth.shape)
    rim = float(generator.uniform(3.0, 14.0)) * np.exp(
        -np.maximum(sample.depth, 0.0) / float(generator.uniform(2.5, 7.0))
    )
    field = np.clip(rim * uneven, 0.0, 18.0)
    x, y, z = sample.atlas
    height = np.exp(-np.square((z + float(generator.uniform(30.0, 38.0))) / 9.0))
    across = smooth_step(np.abs(x), 52.0, 22.0)
    for _ in range(int(generator.integers(1, 4))):
        lean = float(generator.normal(0.0, 0.12))
        along = (y + float(generator.uniform(10.0, 34.0)) - lean * x) / float(generator.uniform(2.0, 6.0))
        field = field + float(generator.uniform(-18.0, 14.0)) * height * across * np.exp(-np.square(along))
    return [_add(canvas, sample, field, "beam hardening", "rim and petrous bands")]


def streak(canvas: HostCanvas) -> list[PlacedLesion]:
    """Straight streaks from a bony edge across a few slices."""
    anatomy, generator = canvas.anatomy, canvas.generator
    centre, _, stored = pick(*_weighted(canvas), generator)
    sample = anatomy.sample(_slab(canvas, stored, int(generator.integers(0, 2))))
    offset = sample.head - (np.asarray(centre) * anatomy.frame.scale).astype(np.float32).reshape(3, 1, 1, 1)
    field = np.zeros_like(sample.depth)
    base = np.arctan2(-centre[1], -centre[0])
    for _ in range(int(generator.integers(1, 5))):
        angle = float(base + generator.normal(0.0, 0.4))
        along = offset[0] * np.float32(np.cos(angle)) + offset[1] * np.float32(np.sin(angle))
        away = offset[1] * np.float32(np.cos(angle)) - offset[0] * np.float32(np.sin(angle))
        width = float(generator.uniform(1.0, 4.0))
        fade = smooth_step(along, -4.0, 6.0) * np.exp(-np.maximum(along, 0.0) / float(generator.uniform(25.0, 90.0)))
        field += float(generator.uniform(-22.0, 24.0)) * np.exp(-np.square(away / width)) * fade
    return [_add(canvas, sample, field, "streak", "bony edge")]


def metal(canvas: HostCanvas) -> list[PlacedLesion]:
    """Small piece of metal at the inner table or in the brain, with star-shaped streaks over all tissue."""
    anatomy, generator = canvas.anatomy, canvas.generator
    centre, _, stored = pick(*_weighted(canvas), generator)
    sample = anatomy.sample(_slab(canvas, stored, int(generator.integers(0, 2))))
    offset = sample.head - (np.asarray(centre) * anatomy.frame.scale * float(generator.uniform(0.6, 1.0))).astype(
        np.float32
    ).reshape(3, 1, 1, 1)
    radius = np.hypot(offset[0], offset[1])
    angle = np.arctan2(offset[1], offset[0])
    rays = np.zeros_like(radius)
    for _ in range(9):
        order = int(generator.integers(2, 26))
        rays += float(generator.normal()) * np.cos(order * angle + float(generator.uniform(0.0, 2.0 * np.pi)))
    strength = float(generator.uniform(25.0, 110.0))
    field = strength * rays / 2.2 * np.power(3.0 / (radius + 3.0), 0.6) * np.exp(-radius / 90.0)
    size = float(generator.uniform(1.2, 3.5))
    field += 2400.0 * smooth_step(radius, size + 0.8, size - 0.8)
    return [_add(canvas, sample, field, "metal", "star", everywhere=True)]


def motion(canvas: HostCanvas) -> list[PlacedLesion]:
    """Blur a few slices in which the head moved: the mean of two or three positions."""
    anatomy, generator = canvas.anatomy, canvas.generator
    stored = int(generator.integers(*anatomy.whole.slices))
    box = _slab(canvas, stored, int(generator.integers(0, 3)))
    grid = anatomy.grid
    for index in range(*box.slices):
        plane = canvas.voxels[index]
        total = plane * np.float32(0.5)
        moves = int(generator.integers(1, 3))
        for _ in range(moves):
            angle = float(np.radians(generator.normal(0.0, 1.8)))
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            middle = np.array(plane.shape) / 2.0
            shift = generator.normal(0.0, 1.3, size=2) / grid.stored_spacing[1:]
            moved = ndimage.affine_transform(plane, turn, middle - turn @ middle + shift, order=1, mode="nearest")
            total += moved * np.float32(0.5 / moves)
        # Averaging takes noise away that a moving head does not lack.
        total += np.where(plane > _TISSUE_HU, 0.6 * anatomy.noise.field((1, *plane.shape), generator)[0], 0.0)
        canvas.voxels[index] = total
        canvas.changed[index] = True
    sample = anatomy.sample(box)
    return [_described(canvas, sample, np.ones_like(sample.depth), "motion", "two positions")]


def partial_volume(canvas: HostCanvas) -> list[PlacedLesion]:
    """Haze of bone that the slice cuts only in part: at the base, at the vertex, along the inner table."""
    anatomy, generator = canvas.anatomy, canvas.generator
    bone = anatomy.cavity.bone
    neighbour = bone.astype(np.float32)
    if not anatomy.single_slice:
        step = int(generator.choice([-1, 1]))
        neighbour = np.roll(neighbour, step, axis=0)
        neighbour[0 if step > 0 else -1] = 0.0
    width = float(generator.uniform(1.5, 5.0))
    _, row_mm, column_mm = anatomy.grid.spacing
    haze = ndimage.gaussian_filter(neighbour, (0.0, width / row_mm, width / column_mm), truncate=2.5)
    haze *= anatomy.cavity.depth > 0.0
    amounts = haze.sum(axis=(1, 2))
    likely = amounts + 1e-3
    middle = int(generator.choice(len(likely), p=likely / likely.sum())) * anatomy.grid.group
    sample = anatomy.sample(_slab(canvas, min(middle, anatomy.grid.shape[0] - 1), anatomy.grid.group))
    field = anatomy.grid.at_heights(haze, sample.box, anatomy.grid.heights(sample.box.slices, 1))
    return [
        _add(canvas, sample, np.clip(float(generator.uniform(20.0, 70.0)) * field, 0.0, 35.0), "partial volume", "bone")
    ]


def _weighted(canvas: HostCanvas) -> tuple[Points, Field]:
    points = inner_table_points(canvas.anatomy)
    return points, np.ones(points.depth.size)


def _slab(canvas: HostCanvas, stored: int, more: int) -> Box:
    """Box of the cavity, cut to some slices around one."""
    whole = canvas.anatomy.whole
    low = max(whole.slices[0], min(stored, whole.slices[1] - 1) - more)
    high = min(whole.slices[1], stored + more + 1)
    return Box((low, max(high, low + 1)), whole.rows, whole.columns)


def _add(
    canvas: HostCanvas, sample: Sample, field: Field, kind: str, pattern: str, *, everywhere: bool = False
) -> PlacedLesion:
    """Add HU inside the skull (or to all tissue of the box), bone excepted."""
    host = canvas.part(sample.box)
    fine = canvas.anatomy.grid.refined(field.astype(np.float32), sample.box)
    where: NDArray[np.bool_] = (host > _TISSUE_HU) if everywhere else canvas.fillable(sample) & (host > _TISSUE_HU)
    change = np.where(where, fine, 0.0)
    if not (np.abs(change) > 1.0).any():
        raise SynthesisError("no_site.artefact", kind=kind)
    host += change
    canvas.changed[canvas.anatomy.grid.stored_range(sample.box)] |= change != 0.0
    return _described(canvas, sample, np.abs(field) > 3.0, kind, pattern)


def _described(canvas: HostCanvas, sample: Sample, where: NDArray[np.generic], kind: str, pattern: str) -> PlacedLesion:
    anatomy = canvas.anatomy
    index = np.argwhere(np.asarray(where) > 0)
    middle = index.mean(axis=0) if len(index) else np.array(sample.depth.shape) / 2.0
    head = sample.head[(slice(None), *np.round(middle).astype(int))]
    ras = np.linalg.inv(anatomy.frame.to_head) @ (*head, 1.0)
    slices = sample.box.slices[0], sample.box.slices[1] - 1
    if anatomy.grid.flips[0]:
        slices = (anatomy.grid.shape[0] - 1 - slices[1], anatomy.grid.shape[0] - 1 - slices[0])
    return PlacedLesion(kind, pattern, "both", (float(ras[0]), float(ras[1]), float(ras[2])), 0.0, 0.0, 0.0, slices)


ARTEFACTS: dict[str, Callable[[HostCanvas], list[PlacedLesion]]] = {
    "beam hardening": beam_hardening,
    "streak": streak,
    "metal": metal,
    "motion": motion,
    "partial volume": partial_volume,
}
"""Artefacts by name."""
