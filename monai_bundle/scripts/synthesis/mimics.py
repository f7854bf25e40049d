"""What resembles blood and is not: calcifications, dense vessels, tumours. They carry no label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from scripts.phantom.shapes import Waves, tube
from scripts.synthesis.anatomy import HeadAnatomy, Sample
from scripts.synthesis.canvas import HostCanvas
from scripts.synthesis.extra_axial import draw_subdural
from scripts.synthesis.lesion import Density, PlacedLesion, Shape, stored_coverage
from scripts.synthesis.parenchymal import Lump, draw_lump
from scripts.synthesis.sites import inner_table_points, pick
from scripts.synthesis.synthesis import box_of, placed_lesion
from scripts.synthesis.working_grid import Field, SynthesisError, picked

Nodes = tuple[tuple[float, float, float, float], ...]

_PINEAL = (0.0, -33.0, 1.0)
_PALLIDUM = (19.0, -1.0, 1.0)
_TRIGONE = (24.0, -43.0, 9.0)
_VESSELS: dict[str, Nodes] = {
    "basilar artery": ((0.0, -8.0, -42.0, 1.8), (0.0, -5.0, -20.0, 1.8)),
    "middle cerebral artery": ((8.0, 8.0, -18.0, 1.6), (22.0, 13.0, -15.0, 1.4), (34.0, 14.0, -12.0, 1.2)),
}
_TRANSVERSE_SINUS: Nodes = ((0.0, -84.0, -17.0, 3.8), (36.0, -72.0, -22.0, 3.4), (53.0, -48.0, -25.0, 3.2))
_HEIGHT_GUESS_MM = 15.0
_SNAP_MM = np.arange(-7.0, 7.1, 2.0)


def _waves(generator: np.random.Generator, wavelength_mm: float = 8.0) -> Waves:
    return Waves.random(generator, wavelength_mm, 6)


def _site(anatomy: HeadAnatomy, atlas: tuple[float, float, float]) -> Field:
    """Head coordinates of a place in the atlas; in a single slice, of the place in it that is nearest.

    Raises
    ------
    SynthesisError
        ``"no_site"`` if the host does not show it.
    """
    head = np.array(atlas) * anatomy.frame.scale
    sample = anatomy.sample(anatomy.whole, stride=2)
    offset = sample.head - head.astype(np.float32).reshape(3, 1, 1, 1)
    if anatomy.single_slice:
        offset[2] *= 0.2
    squared = np.square(offset).sum(axis=0)
    index = np.unravel_index(int(squared.argmin()), squared.shape)
    height = abs(float(sample.head[2][index]) - float(head[2]))
    limit = _HEIGHT_GUESS_MM if anatomy.single_slice else anatomy.grid.spacing[0]
    if squared[index] > 36.0 or height > limit or sample.depth[index] < 3.0:
        raise SynthesisError("no_site.finding")
    return np.array([head[0], head[1], sample.head[2][index]]) if anatomy.single_slice else head


def _small_lump(centre: Field, radius: float, generator: np.random.Generator) -> Lump:
    axes = np.exp(generator.normal(0.0, 0.25, size=3))
    return Lump(
        pattern="calcification",
        parts=((np.zeros(3), np.diag(1.0 / axes), 1.0),),
        centre=np.asarray(centre, dtype=np.float64),
        coarse=_waves(generator, 5.0),
        fine=_waves(generator, 2.5),
        warp=(0.15, 0.12),
        mass_effect=0.0,
        midline_gap_mm=-1.0,
        expected_mm=radius,
    )


def paint_shape(canvas: HostCanvas, shape: Shape, size: float, density: Density, kind: str) -> PlacedLesion:
    """Fill a shape that carries no label.

    Raises
    ------
    SynthesisError
        ``"nothing_placed"`` if it fills no voxel.
    """
    anatomy = canvas.anatomy
    coarse = anatomy.sample(anatomy.whole)
    box = box_of(anatomy, coarse, shape.on(coarse).distance(size), 3.0)
    fraction = stored_coverage(shape, anatomy, box, size)
    sample = anatomy.sample(box)
    fraction = np.where(canvas.fillable(sample), fraction, 0.0).astype(np.float32)
    painted = canvas.fill(sample, fraction, density, 0)
    return placed_lesion(anatomy, kind, shape.pattern, painted, 0.0)


def plexus_calcification(canvas: HostCanvas) -> list[PlacedLesion]:
    """Calcified choroid plexus in the trigones, on both sides or one."""
    anatomy, generator = canvas.anatomy, canvas.generator
    index = np.nonzero(ndimage.binary_dilation(anatomy.ventricles, np.ones((1, 3, 3), dtype=bool)))
    if not index[0].size:
        raise SynthesisError("no_site.ventricle")
    grid = anatomy.grid
    stored = (np.stack(index[::-1]) + 0.5) * np.array([[grid.factor], [grid.factor], [grid.group]]) - 0.5
    matrix = anatomy.frame.to_head @ grid.affine
    head = matrix[:3, :3] @ stored + matrix[:3, 3:]
    placed = []
    for side in generator.permutation([-1.0, 1.0])[: 2 if generator.random() < 0.8 else 1]:
        target = np.array(_TRIGONE) * anatomy.frame.scale * (side, 1.0, 1.0)
        weight = np.array([1.0, 1.0, 0.3 if anatomy.single_slice else 1.0])[:, None]
        away = np.sqrt(np.square((head - target[:, None]) * weight).sum(axis=0))
        nearest = int(away.argmin())
        if away[nearest] > 14.0:
            continue
        radius = float(generator.uniform(1.5, 4.5))
        density = Density(float(generator.uniform(75.0, 260.0)), 30.0, _waves(generator, 4.0))
        placed.append(
            paint_shape(
                canvas, _small_lump(head[:, nearest], radius, generator), radius, density, "plexus calcification"
            )
        )
    if not placed:
        raise SynthesisError("no_site.trigone")
    return placed


def pineal_calcification(canvas: HostCanvas) -> list[PlacedLesion]:
    """Calcified pineal gland."""
    generator = canvas.generator
    radius = float(generator.uniform(1.5, 4.0))
    density = Density(float(generator.uniform(90.0, 320.0)), 30.0, _waves(generator, 4.0))
    lump = _small_lump(_site(canvas.anatomy, _PINEAL), radius, generator)
    return [paint_shape(canvas, lump, radius, density, "pineal calcification")]


def basal_ganglia_calcification(canvas: HostCanvas) -> list[PlacedLesion]:
    """Calcification of both pallida, about symmetrical."""
    generator = canvas.generator
    radius = float(generator.uniform(1.5, 4.5))
    hounsfield = float(generator.uniform(58.0, 150.0))
    placed = []
    for side in (-1.0, 1.0):
        centre = _site(canvas.anatomy, (_PALLIDUM[0] * side, *_PALLIDUM[1:])) + generator.normal(0.0, 1.2, size=3)
        density = Density(hounsfield * float(generator.uniform(0.85, 1.15)), 14.0, _waves(generator, 3.0))
        lump = _small_lump(centre, radius, generator)
        placed.append(
            paint_shape(
                canvas, lump, radius * float(generator.uniform(0.8, 1.2)), density, "basal ganglia calcification"
            )
        )
    return placed


def falx_calcification(canvas: HostCanvas) -> list[PlacedLesion]:
    """Calcified plaque of the falx, or a falx that is dense over a long stretch."""
    generator = canvas.generator
    plaque = generator.random() < 0.6
    layer, _ = draw_subdural(canvas.anatomy, 1.0, "falx", generator)
    if plaque:
        extent = (float(generator.uniform(5.0, 20.0)), float(generator.uniform(5.0, 14.0)))
        size, hounsfield = float(generator.uniform(1.5, 3.2)), float(generator.uniform(90.0, 280.0))
    else:
        extent = (float(generator.uniform(40.0, 70.0)), float(generator.uniform(20.0, 40.0)))
        size, hounsfield = float(generator.uniform(0.9, 1.5)), float(generator.uniform(48.0, 60.0))
    layer = replace(layer, extent_mm=extent, pushed=0.0)
    return [
        paint_shape(canvas, layer, size, Density(hounsfield, 0.1 * hounsfield, _waves(generator)), "falx calcification")
    ]


@dataclass(frozen=True)
class Vessel:
    """A tube through points of the atlas.

    Attributes
    ----------
    pattern : str
        Its name.
    nodes : tuple
        x, y, z, radius in atlas mm.
    shift : ndarray, shape (3,)
        By how much it lies elsewhere in this head, in atlas mm.
    largest_depth_mm : float
        It lies no deeper below the inner table than this.
    flat_height : float or None
        In a single slice, the height at which it is cut.
    """

    pattern: str
    nodes: Nodes
    shift: Field
    largest_depth_mm: float = 200.0
    flat_height: float | None = None
    largest_mm: float = 6.0

    def on(self, sample: Sample) -> VesselOnSample:
        """Compute the distance on the points of a sample."""
        points = sample.atlas.reshape(3, -1) - self.shift.astype(np.float32)[:, None]
        if self.flat_height is not None:
            points[2] = self.flat_height
        distance = tube(points, self.nodes).reshape(sample.depth.shape)
        return VesselOnSample(np.maximum(distance, sample.depth - self.largest_depth_mm))


@dataclass(frozen=True)
class VesselOnSample:
    """Distance to a vessel of its usual width."""

    usual: Field

    def distance(self, size: float) -> Field:
        """Signed distance when the vessel is wider by ``size`` mm."""
        return self.usual - np.float32(size)

    def displacement(self, size: float) -> None:
        """Nothing is displaced."""


def dense_vessel(canvas: HostCanvas) -> list[PlacedLesion]:
    """Dense artery in its cistern, or a dense sinus at the inner table."""
    anatomy, generator = canvas.anatomy, canvas.generator
    density = Density(float(generator.uniform(50.0, 74.0)), 2.0, _waves(generator))
    height = None
    if anatomy.single_slice:
        sample = anatomy.sample(anatomy.whole, stride=4)
        height = float(np.median(sample.atlas[2]))
    if generator.random() < 0.4:
        side = float(generator.choice([-1.0, 1.0]))
        nodes = tuple((x * side, y, z, radius) for x, y, z, radius in _TRANSVERSE_SINUS)
        if height is not None and abs(height + 22.0) > _HEIGHT_GUESS_MM:
            raise SynthesisError("no_site.sinus")
        sinus = Vessel("transverse sinus", nodes, np.zeros(3), 8.5, None if height is None else -22.0)
        return [paint_shape(canvas, sinus, float(generator.uniform(-0.5, 1.5)), density, "dense vessel")]
    name = str(generator.choice(list(_VESSELS)))
    side = float(generator.choice([-1.0, 1.0]))
    nodes = tuple((x * side, y, z, radius) for x, y, z, radius in _VESSELS[name])
    middle = float(np.mean([node[2] for node in nodes]))
    if height is not None and abs(height - middle) > _HEIGHT_GUESS_MM:
        raise SynthesisError("no_site.structure", name=name)
    vessel = _snapped(canvas, Vessel(name, nodes, np.zeros(3), flat_height=None if height is None else middle))
    return [paint_shape(canvas, vessel, float(generator.uniform(-0.2, 0.8)), density, "dense vessel")]


def _snapped(canvas: HostCanvas, vessel: Vessel) -> Vessel:
    """Move a vessel to where most of it lies in fluid.

    Raises
    ------
    SynthesisError
        ``"no_site"`` if no place within some mm is fluid.
    """
    anatomy = canvas.anatomy
    sample = anatomy.sample(anatomy.whole)
    near = np.nonzero(vessel.on(sample).distance(12.0) < 0.0)
    if not near[0].size:
        raise SynthesisError("no_site.vessel")
    part = anatomy.grid.at_heights(anatomy.hounsfield, sample.box, anatomy.grid.heights(sample.box.slices, 1))[near]
    dark = np.clip((anatomy.brain_hu - 6.0 - part) / (anatomy.brain_hu - 9.0 - anatomy.fluid_hu), 0.0, 1.0)
    points = picked(sample.atlas, near)
    best = (0.0, np.zeros(3))
    for x in _SNAP_MM:
        for y in _SNAP_MM:
            shift = np.array([x, y, 0.0])
            moved = points - shift.astype(np.float32)[:, None]
            if vessel.flat_height is not None:
                moved[2] = vessel.flat_height
            inside = tube(moved, vessel.nodes) < 1.0
            if inside.sum() > 3 and float(dark[inside].mean()) - 0.01 * np.hypot(x, y) > best[0]:
                best = (float(dark[inside].mean()) - 0.01 * float(np.hypot(x, y)), shift)
    if best[0] < 0.25:
        raise SynthesisError("no_site.cistern")
    return replace(vessel, shift=best[1])


def tumour(canvas: HostCanvas) -> list[PlacedLesion]:
    """Tumour in the brain: about as dense as brain, with much oedema and mass effect."""
    anatomy, generator = canvas.anatomy, canvas.generator
    lump, radius = draw_lump(anatomy, float(np.exp(generator.uniform(np.log(1.0), np.log(35.0)))), "lobar", generator)
    hounsfield = anatomy.brain_hu + float(generator.uniform(-2.0, 9.0))
    second = float(generator.uniform(12.0, 24.0)) if generator.random() < 0.4 else None
    density = Density(hounsfield, 3.0, _waves(generator, 14.0), second_hu=second, second_part=0.35)
    coarse = anatomy.sample(anatomy.whole)
    if anatomy.single_slice:
        radius *= float(np.sqrt(generator.uniform(0.35, 1.0)))
    wide = anatomy.sample(box_of(anatomy, coarse, lump.on(coarse).distance(radius), 50.0))
    on_wide = lump.on(wide)
    canvas.displace(wide, on_wide.displacement(radius))
    width = float(np.clip(generator.uniform(0.5, 1.4) * radius + 4.0, 5.0, 22.0))
    oedema = float(generator.uniform(14.0, 22.0)) + anatomy.brain_hu - 34.0
    canvas.darken(wide, on_wide.distance(radius), width, oedema, float(generator.uniform(0.6, 1.0)))
    return [paint_shape(canvas, lump, radius, density, "tumour")]


def meningioma(canvas: HostCanvas) -> list[PlacedLesion]:
    """Round, slightly dense tumour that sits on the dura."""
    anatomy, generator = canvas.anatomy, canvas.generator
    points = inner_table_points(anatomy)
    centre, _, _ = pick(points, (points.atlas[2] > -25.0).astype(float), generator)
    radius = float(generator.uniform(5.0, 17.0))
    inwards = -np.asarray(centre, dtype=np.float64)
    inwards /= np.linalg.norm(inwards) + 1e-6
    if anatomy.single_slice:
        inwards[2] = 0.0
    head = np.asarray(centre, dtype=np.float64) * anatomy.frame.scale + inwards * radius * float(
        generator.uniform(0.4, 0.8)
    )
    lump = replace(
        _small_lump(head, radius, generator),
        pattern="dura",
        coarse=_waves(generator, 2.5 * radius),
        fine=_waves(generator, 1.2 * radius),
        warp=(0.06, 0.04),
        mass_effect=0.5,
    )
    coarse = anatomy.sample(anatomy.whole)
    wide = anatomy.sample(box_of(anatomy, coarse, lump.on(coarse).distance(radius), 50.0))
    canvas.displace(wide, lump.on(wide).displacement(radius))
    density = Density(anatomy.brain_hu + float(generator.uniform(5.0, 17.0)), 2.0, _waves(generator, 10.0))
    return [paint_shape(canvas, lump, radius, density, "meningioma")]


MIMICS: dict[str, Callable[[HostCanvas], list[PlacedLesion]]] = {
    "plexus calcification": plexus_calcification,
    "pineal calcification": pineal_calcification,
    "basal ganglia calcification": basal_ganglia_calcification,
    "falx calcification": falx_calcification,
    "dense vessel": dense_vessel,
    "tumour": tumour,
    "meningioma": meningioma,
}
"""Findings that are painted as shapes, by name."""
