"""From a head and its haemorrhages to voxels on a grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scripts.intake.study import AIR_HU, CTStudy, Provenance
from scripts.phantom.acquisition import reconstruction_noise, residual_beam_hardening
from scripts.phantom.anatomy import Anatomy
from scripts.phantom.brain import Interior, paint_brain
from scripts.phantom.grid import Grid
from scripts.phantom.haemorrhage import LARGEST_MM, Bleed, Haemorrhage, draw_bleed, settle_size
from scripts.phantom.shapes import Canvas, Values, coverage, smooth_step, squared_length
from scripts.phantom.skull import paint_skull, paint_surroundings

OEDEMA_HU = 19.0
_LATTICE_MM = 2.5
_AVERAGED_FROM_MM = 2.5
_NOISE_SLICE_MM = 5.0


@dataclass(frozen=True)
class Phantom:
    """A rendered head CT with its truth.

    Attributes
    ----------
    voxels : ndarray of int16, shape (slices, rows, columns)
        Hounsfield units.
    grid : Grid
        Where the voxels lie.
    masks : dict of str to ndarray of bool, shape (slices, rows, columns)
        Voxels whose centre lies in blood, for each kind of haemorrhage that was asked for.
    seed : int
        What the individual head and the noise were drawn from.
    haemorrhages : tuple of Haemorrhage
        What was asked for.
    """

    voxels: NDArray[np.int16]
    grid: Grid
    masks: dict[str, NDArray[np.bool_]]
    seed: int
    haemorrhages: tuple[Haemorrhage, ...]

    @property
    def affine(self) -> NDArray[np.float64]:
        """Affine, shape (4, 4): index (column, row, slice, 1) to patient coordinates RAS in mm."""
        return self.grid.affine

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of each mask in ml."""
        voxel_ml = abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000.0
        return {kind: float(mask.sum()) * voxel_ml for kind, mask in self.masks.items()}

    @property
    def study(self) -> CTStudy:
        """The phantom as the rest of the bundle sees a study."""
        provenance = Provenance(
            source_name=f"phantom-{self.seed}", source_format="phantom", slice_thickness_mm=self.grid.thickness_mm
        )
        return CTStudy(self.voxels.copy(), self.affine, self.grid.positions_mm, provenance)


@dataclass(frozen=True)
class Head:
    """One deformed head: its anatomy, its bleeds and the shift of its midline (mm, positive to the patient's right)."""

    anatomy: Anatomy
    bleeds: tuple[Bleed, ...] = ()
    midline_shift_mm: float = 0.0

    def undeformed(self, head: Values, surface: Values, depth: Values) -> tuple[Values, Values]:
        """Coordinates in the undeformed brain, and the depth there below the inner table."""
        pushing = [bleed for bleed in self.bleeds if bleed.pushes]
        if not pushing and not self.midline_shift_mm:
            return head, depth
        brain = head.copy()
        for bleed in pushing:
            brain += bleed.push(head, surface, depth) - head
        if self.midline_shift_mm:
            radius = np.square((brain[1] + 5.0) / 84.0) + np.square(brain[2] / 74.0)
            strength = smooth_step(radius, 1.0, 0.4) * smooth_step(np.abs(brain[0]), 62.0, 22.0)
            brain[0] -= self.midline_shift_mm / self.anatomy.scale[0] * strength
        return brain, -self.anatomy.cavity(brain)

    def paint_interior(self, head: Values, surface: Values, depth: Values, softness: float) -> tuple[Values, Interior]:
        """Hounsfield units (without blood) and distances on points of the cavity."""
        brain, brain_depth = self.undeformed(head, surface, depth)
        values = np.empty(head.shape[1], dtype=np.float32)
        interior = paint_brain(self.anatomy, Canvas(brain, values, softness), brain_depth)
        return values, interior


class _CavityPoints(NamedTuple):
    """Points of the cavity: head coordinates, their places on the vault, their depths below the inner table (mm)."""

    head: Values
    surface: Values
    depth: Values

    def where(self, kept: NDArray[np.bool_]) -> _CavityPoints:
        """Keep some of the points."""
        return _CavityPoints(self.head[:, kept], self.surface[:, kept], self.depth[kept])


def _lattice(anatomy: Anatomy, step_mm: float) -> _CavityPoints:
    """Cover the cavity with points ``step_mm`` apart (in patient space) on which volumes are counted."""
    axes = [np.arange(low, high, step_mm) for low, high in ((-76, 76), (-98, 88), (-72, 82))]
    points = anatomy.to_head(np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1).astype(np.float32))
    dome, surface = anatomy.dome(points)
    cavity = anatomy.cavity(points, dome)
    return _CavityPoints(points, surface, -cavity).where(cavity < 0.0)


def _settle_bleeds(head: Head, haemorrhages: Sequence[Haemorrhage], seed: int) -> Head:
    """Find the size of every bleed, those that push others first."""
    order = ("epidural", "subdural", "intraparenchymal", "intraventricular", "subarachnoid")
    for haemorrhage in sorted(haemorrhages, key=lambda bleed: order.index(bleed.kind)):
        bleed = draw_bleed(haemorrhage, head.anatomy, seed, LARGEST_MM[haemorrhage.kind])
        size = settle_size(haemorrhage, _volume_by_size(head, bleed))
        head = replace(head, bleeds=(*head.bleeds, replace(bleed, size_mm=size)))
    return head


def _volume_by_size(head: Head, bleed: Bleed) -> Callable[[float], float]:
    """Volume in ml of one more bleed as a function of its size in mm."""
    inside_brain = bleed.haemorrhage.kind == "intraparenchymal"
    # A compact clot needs fewer points than clefts do, and every size of it moves the brain anew.
    step = 1.6 * _LATTICE_MM if inside_brain else _LATTICE_MM
    lattice = _lattice(head.anatomy, step)
    if inside_brain:
        away = lattice.head - np.asarray(bleed.centre, dtype=np.float32)[:, None]
        lattice = lattice.where(squared_length(away) < 65.0**2)
    still = head.paint_interior(*lattice, step)[1]

    def volume_ml(size: float) -> float:
        sized = replace(bleed, size_mm=size)
        # Blood in the brain pushes aside the very ventricles and fissures that bound it.
        moved = replace(head, bleeds=(*head.bleeds, sized)) if inside_brain else head
        interior = moved.paint_interior(*lattice, step)[1] if inside_brain else still
        return float(np.count_nonzero(sized.distance(*lattice, interior) < 0.0)) * step**3 / 1000.0

    return volume_ml


def _paint_bleeds(
    head: Head, points: Values, surface: Values, depth: Values, interior: Interior, canvas: Canvas
) -> dict[str, NDArray[np.bool_]]:
    """Paint blood and oedema; return where the points lie inside the blood of each kind."""
    inside: dict[str, NDArray[np.bool_]] = {}
    for bleed in head.bleeds:
        kind: str = bleed.haemorrhage.kind
        distance = bleed.distance(points, surface, depth, interior)
        if kind == "intraparenchymal":
            rim = 3.0 + 0.22 * bleed.size_mm
            oedema = smooth_step(distance, rim * 1.3, rim * 0.6) * coverage(interior.cerebrum, 1.0)
            oedema *= coverage(-interior.ventricle, 1.0) * coverage(-interior.subarachnoid, 1.0)
            canvas.blend(0.9 * oedema, OEDEMA_HU)
        clot = bleed.haemorrhage.hounsfield + 2.5 * bleed.lumps(points * 1.7)
        canvas.blend(coverage(distance, canvas.softness), clot)
        inside[kind] = inside.get(kind, False) | (distance < 0.0)
    return inside


def _render_plane(
    head: Head, points: Values, shape: tuple[int, int], softness: float, beam_hardening: float, headrest: bool
) -> tuple[Values, dict[str, NDArray[np.bool_]]]:
    """Hounsfield units and blood masks on the points of one infinitely thin plane."""
    values = np.full(points.shape[1], -1000.0, dtype=np.float32)
    paint_surroundings(Canvas(points, values, softness), headrest)
    chosen = np.flatnonzero(_near_head(head.anatomy, points, shape))
    located = head.anatomy.to_head(points[:, chosen])
    dome, surface = head.anatomy.dome(located)
    cavity = head.anatomy.cavity(located, dome)
    outer = np.flatnonzero(cavity > -softness)
    skin = np.full(chosen.size, -1e3, dtype=np.float32)
    skin[outer] = head.anatomy.skin_distance(located[:, outer], dome[outer])
    tissue = np.zeros(chosen.size, dtype=np.float32)
    blood: dict[str, NDArray[np.bool_]] = {
        bleed.haemorrhage.kind: np.zeros(points.shape[1], dtype=bool) for bleed in head.bleeds
    }
    inner = np.flatnonzero(cavity < softness)
    if inner.size:
        part, beneath, depth = located[:, inner], surface[:, inner], -cavity[inner]
        content, interior = head.paint_interior(part, beneath, depth, softness)
        inside = _paint_bleeds(head, part, beneath, depth, interior, Canvas(part, content, softness))
        content += beam_hardening * residual_beam_hardening(part, depth)
        tissue[inner] = content
        for kind, where in inside.items():
            blood[kind][chosen[inner[where]]] = True
    outer = outer[skin[outer] < softness]
    around = tissue[outer]
    canvas = Canvas(located[:, outer], around, softness)
    paint_skull(head.anatomy, canvas, cavity[outer], dome[outer], skin[outer])
    tissue[outer] = around
    values[chosen] += coverage(skin, softness) * (tissue - values[chosen])
    return values, blood


def _near_head(anatomy: Anatomy, points: Values, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels of a plane may lie in the head, judged on every fourth row and column."""
    step = 4
    plane = points.reshape(3, *shape)
    coarse = anatomy.to_head(plane[:, ::step, ::step].reshape(3, -1))
    distance = anatomy.skin_distance(coarse, anatomy.dome(coarse)[0])
    pitch = np.linalg.norm(plane[:, -1, -1] - plane[:, 0, 0]) / max(1.0, float(np.hypot(*shape)) - 1.0)
    near = (distance < 8.0 + 1.5 * step * pitch).reshape(plane[0, ::step, ::step].shape)
    return near.repeat(step, axis=0).repeat(step, axis=1)[: shape[0], : shape[1]].ravel()


def make_phantom(  # noqa: PLR0913 (each is one property of the scan)
    grid: Grid | None = None,
    haemorrhages: Sequence[Haemorrhage] = (),
    *,
    midline_shift_mm: float = 0.0,
    seed: int = 0,
    noise_hu: float = 3.5,
    beam_hardening: float = 1.0,
    headrest: bool = True,
    variation: float = 1.0,
    anatomy: Anatomy | None = None,
) -> Phantom:
    """Render a head CT.

    Parameters
    ----------
    grid : Grid, optional
        Where to sample; by default 32 slices of 5 mm with 512 x 512 pixels of 0.46 mm.
    haemorrhages : sequence of Haemorrhage
        Bleeds to put in. They push the tissue next to them aside.
    midline_shift_mm : float
        Displacement of the septum, in mm, positive to the patient's right; the skull stays. At most 20 either way.
    seed : int
        Draws the individual head, the shape of the bleeds and the noise.
    noise_hu : float
        Standard deviation of the noise in HU for slices of 5 mm; thinner slices are noisier.
    beam_hardening : float
        Residual cupping and darkening between the petrous ridges: 0 none, 1 usual.
    headrest : bool
        Whether the scanner's headrest is in the image.
    variation : float
        How far the individual head departs from the mean one, 0 to 1.
    anatomy : Anatomy, optional
        The head itself, in place of one drawn from seed and variation.

    Raises
    ------
    ValueError
        If a bleed does not fit, or the midline shift is out of range.
    """
    if abs(midline_shift_mm) > 20.0:
        raise ValueError(f"midline shift of {midline_shift_mm} mm; at most 20 mm either way")
    grid = grid or Grid()
    head = Head(anatomy or Anatomy.individual(seed, variation), midline_shift_mm=midline_shift_mm)
    if haemorrhages:
        head = _settle_bleeds(head, haemorrhages, seed)
    mean, masks = _render_slices(head, grid, beam_hardening, headrest)
    if noise_hu > 0.0:
        mean += reconstruction_noise(grid, seed) * np.float32(noise_hu * (_NOISE_SLICE_MM / grid.thickness_mm) ** 0.5)
    voxels = np.clip(np.rint(mean), AIR_HU, 3071).astype(np.int16)
    return Phantom(voxels, grid, masks, seed, tuple(haemorrhages))


def _render_slices(
    head: Head, grid: Grid, beam_hardening: float, headrest: bool
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.bool_]]]:
    """Noise-free Hounsfield units, averaged over the slice thickness, and the blood at the voxels' centres."""
    softness = max(0.9, 0.5 * (grid.spacing[0] + grid.spacing[1]))
    offsets = (0.0, -1.0 / 3.0, 1.0 / 3.0) if grid.thickness_mm >= _AVERAGED_FROM_MM else (0.0,)
    mean = np.empty(grid.shape, dtype=np.float32)
    kinds = sorted({bleed.haemorrhage.kind for bleed in head.bleeds})
    masks: dict[str, NDArray[np.bool_]] = {kind: np.zeros(grid.shape, dtype=bool) for kind in kinds}
    for index in range(grid.shape[0]):
        planes = []
        for offset in offsets:
            points = grid.slice_points(index + offset * grid.thickness_mm / grid.spacing[2])
            values, blood = _render_plane(head, points, grid.shape[1:], softness, beam_hardening, headrest)
            planes.append(values)
            if offset == 0.0:
                for kind, inside in blood.items():
                    masks[kind][index] = inside.reshape(grid.shape[1:])
        mean[index] = np.mean(planes, axis=0).reshape(grid.shape[1:])
    return mean, masks
