"""Haemorrhages set into a head CT: what is asked for goes in, a new study with masks and labels comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.intake.study import CTStudy
from scripts.labels import RSNA
from scripts.phantom.shapes import Waves
from scripts.synthesis.anatomy import HeadAnatomy, Sample, find_anatomy
from scripts.synthesis.canvas import HostCanvas, Painted
from scripts.synthesis.extra_axial import draw_epidural, draw_subdural
from scripts.synthesis.fluid_blood import subarachnoid_blood, ventricular_blood
from scripts.synthesis.lesion import (
    LABEL_VALUES,
    Density,
    LesionRequest,
    PlacedLesion,
    Shape,
    solve_size,
    stored_coverage,
)
from scripts.synthesis.parenchymal import Lump, draw_lump
from scripts.synthesis.working_grid import Box, Field, SynthesisError

PATTERNS: dict[str, dict[str, float]] = {
    "epidural": {"lens": 1.0},
    "intraparenchymal": {"deep": 0.36, "lobar": 0.34, "contusion": 0.18, "cerebellar": 0.08, "brainstem": 0.04},
    "intraventricular": {"level": 0.6, "cast": 0.4},
    "subarachnoid": {
        "convexity": 0.36,
        "aneurysm": 0.28,
        "sylvian": 0.18,
        "interhemispheric": 0.1,
        "perimesencephalic": 0.08,
    },
    "subdural": {"convexity": 0.72, "bilateral": 0.1, "falx": 0.12, "tentorium": 0.06},
}
"""How each subtype can lie, with the probability of each way."""

LARGEST_ML: dict[str, float] = {
    "brainstem": 6.0,
    "cerebellar": 25.0,
    "contusion": 25.0,
    "perimesencephalic": 12.0,
    "interhemispheric": 25.0,
    "falx": 25.0,
    "tentorium": 20.0,
}
"""Volumes in ml above which a pattern is not drawn."""

_CLOSE = 0.06
_CORRECTIONS = 3


@dataclass(frozen=True)
class Synthesis:
    """A host with synthetic lesions.

    Attributes
    ----------
    study : CTStudy
        Voxels with the lesions; geometry, provenance and warnings are the host's.
    label_map : ndarray of uint8, shape (slices, rows, columns)
        0, or the value of a subtype in :data:`~scripts.synthesis.lesion.LABEL_VALUES`; synthetic blood only.
    lesions : tuple of PlacedLesion
        What was placed: haemorrhages and mimics.
    """

    study: CTStudy
    label_map: NDArray[np.uint8]
    lesions: tuple[PlacedLesion, ...]

    @property
    def slice_labels(self) -> dict[str, NDArray[np.bool_]]:
        """RSNA's six labels of each slice, from the label map."""
        labels = {key: (self.label_map == value).any(axis=(1, 2)) for key, value in LABEL_VALUES.items()}
        labels["any"] = (self.label_map > 0).any(axis=(1, 2))
        return {label.key: labels[label.key] for label in RSNA}

    @property
    def labels(self) -> dict[str, bool]:
        """RSNA's six labels of the scan."""
        return {key: bool(slices.any()) for key, slices in self.slice_labels.items()}

    def mask(self, subtype: str) -> NDArray[np.uint8]:
        """Mask of one subtype, 1 inside."""
        return (self.label_map == LABEL_VALUES[subtype]).astype(np.uint8)


def synthesise(
    study: CTStudy,
    requests: Sequence[LesionRequest],
    generator: np.random.Generator,
    anatomy: HeadAnatomy | None = None,
) -> Synthesis:
    """Set haemorrhages into a host.

    Parameters
    ----------
    study : CTStudy
        Host: a head CT, with or without blood of its own, or a study of one slice.
    requests : sequence of LesionRequest
        What to place; those that displace brain come first, blood in fluid spaces last.
    generator : Generator
        Source of all randomness.
    anatomy : HeadAnatomy, optional
        Anatomy of the host, where it is known already.

    Raises
    ------
    SynthesisError
        Where the host cannot hold what was asked for; the message says why.
    """
    anatomy = anatomy or find_anatomy(study)
    canvas = HostCanvas(study, anatomy, generator)
    order = ("epidural", "subdural", "intraparenchymal", "intraventricular", "subarachnoid")
    placed: list[PlacedLesion] = []
    for request in sorted(requests, key=lambda each: order.index(each.subtype)):
        placed += place(canvas, request)
    return result(study, canvas, placed)


def result(study: CTStudy, canvas: HostCanvas, placed: Sequence[PlacedLesion]) -> Synthesis:
    """Bring a canvas into the order of the study."""
    label_map = np.ascontiguousarray(canvas.anatomy.grid.restored(canvas.labels))
    return Synthesis(replace(study, voxels=canvas.finished(study)), label_map, tuple(placed))


def place(canvas: HostCanvas, request: LesionRequest) -> list[PlacedLesion]:
    """Place one request (bilateral blood is two lesions)."""
    anatomy, generator = canvas.anatomy, canvas.generator
    ways = PATTERNS[request.subtype]
    pattern = request.pattern or _draw_pattern(ways, request.volume_ml, generator)
    if pattern not in ways:
        raise ValueError(f"unknown pattern {pattern!r} of {request.subtype}; choose one of {', '.join(ways)}")
    if request.subtype in ("subarachnoid", "intraventricular"):
        fill = subarachnoid_blood if request.subtype == "subarachnoid" else ventricular_blood
        blood = fill(anatomy, canvas.voxels, in_slice_ml(anatomy, request.volume_ml, generator), pattern, generator)
        density = fresh_blood(generator, (50.0, 70.0) if request.subtype == "subarachnoid" else (50.0, 72.0), anatomy)
        painted = canvas.fill_fluid(blood, density, LABEL_VALUES[request.subtype])
        return [_checked(anatomy, request.subtype, pattern, painted, request.volume_ml)]
    if request.subtype == "epidural":
        lens = draw_epidural(anatomy, request.volume_ml, generator)
        return [_place_shape(canvas, request.subtype, *lens, epidural_density(generator, anatomy), request.volume_ml)]
    if request.subtype == "subdural":
        density = subdural_density(generator, anatomy)
        if pattern in ("falx", "tentorium"):
            density = fresh_blood(generator, (50.0, 72.0), anatomy)
        if pattern != "bilateral":
            layer = draw_subdural(anatomy, request.volume_ml, pattern, generator)
            return [_place_shape(canvas, request.subtype, *layer, density, request.volume_ml)]
        part = float(generator.uniform(0.25, 0.75))
        return [
            _place_shape(
                canvas,
                request.subtype,
                *draw_subdural(anatomy, volume, "convexity", generator, side),
                density,
                volume,
            )
            for side, volume in ((1.0, part * request.volume_ml), (-1.0, (1.0 - part) * request.volume_ml))
        ]
    lump = draw_lump(anatomy, request.volume_ml, pattern, generator)
    density = fresh_blood(generator, (52.0, 74.0), anatomy, texture=3.0 if pattern != "contusion" else 6.0)
    return [_place_shape(canvas, request.subtype, *lump, density, request.volume_ml)]


def _draw_pattern(ways: dict[str, float], volume_ml: float, generator: np.random.Generator) -> str:
    """Draw a pattern among those that occur with this volume."""
    fitting = {way: weight for way, weight in ways.items() if volume_ml <= LARGEST_ML.get(way, np.inf)}
    weights = np.array(list(fitting.values()))
    return str(generator.choice(list(fitting), p=weights / weights.sum()))


def in_slice_ml(anatomy: HeadAnatomy, volume_ml: float, generator: np.random.Generator) -> float:
    """Volume in the host: all of it, or what one slice cuts from a lesion of this volume."""
    if not anatomy.single_slice:
        return volume_ml
    # Cross-section of a sphere of this volume, at a random height, times the slice thickness.
    area_cm2 = 1.21 * volume_ml ** (2.0 / 3.0) * float(generator.uniform(0.4, 1.0))
    return min(volume_ml, area_cm2 * anatomy.grid.thickness_mm / 10.0)


def _place_shape(
    canvas: HostCanvas, subtype: str, shape: Shape, size: float, density: Density, volume_ml: float
) -> PlacedLesion:
    """Settle the size, displace, add oedema, fill."""
    anatomy = canvas.anatomy
    coarse = anatomy.sample(anatomy.whole, stride=1 if anatomy.single_slice else 2)
    on_coarse = shape.on(coarse)
    aim = volume_ml
    for _ in range(_CORRECTIONS):
        if anatomy.single_slice:
            # The slice cuts the lesion at some height.
            size *= float(np.sqrt(canvas.generator.uniform(0.35, 1.0)))
        else:
            size = solve_size(shape, anatomy, coarse, on_coarse, aim)
        box = box_of(anatomy, coarse, on_coarse.distance(size), 2.5)
        fraction = stored_coverage(shape, anatomy, box, size)
        fillable = canvas.fillable(anatomy.sample(box))
        fraction = _main_parts(np.where(fillable, fraction, 0.0).astype(np.float32))
        held = float(fraction.sum()) * anatomy.grid.voxel_ml
        if anatomy.single_slice or abs(held - volume_ml) < _CLOSE * volume_ml or held <= 0.0:
            break
        aim *= float(np.clip(volume_ml / held, 0.4, 2.5))
    wide = anatomy.sample(box_of(anatomy, coarse, on_coarse.distance(size), 60.0))
    on_wide = shape.on(wide)
    canvas.displace(wide, on_wide.displacement(size))
    if isinstance(shape, Lump):
        _add_oedema(canvas, wide, on_wide.distance(size), size)
    painted = canvas.fill(anatomy.sample(box), fraction, density, LABEL_VALUES[subtype])
    return _checked(anatomy, subtype, shape.pattern, painted, volume_ml)


def _checked(anatomy: HeadAnatomy, subtype: str, pattern: str, painted: Painted, volume_ml: float) -> PlacedLesion:
    if not painted.mask.any():
        raise SynthesisError("nothing_placed.too_small", volume_ml=volume_ml, subtype=subtype)
    return placed_lesion(anatomy, subtype, pattern, painted, volume_ml)


def _main_parts(fraction: Field) -> Field:
    """Leave out what is cut off from the lesion by bone: pieces of less than a tenth of its main part."""
    components, count = ndimage.label(fraction > 0.05)
    if count < 2:
        return fraction
    sizes = np.bincount(components.ravel(), weights=fraction.ravel())
    sizes[0] = 0.0
    kept = sizes >= 0.1 * sizes.max()
    return np.where(kept[components], fraction, np.float32(0.0))


def box_of(anatomy: HeadAnatomy, coarse: Sample, distance: Field, reach_mm: float) -> Box:
    """Box around everything within some mm of a shape, from its distance on a coarse sample of the whole cavity."""
    near = (distance < 2.5) & (coarse.depth > -2.0)
    if not near.any():
        raise SynthesisError("nothing_placed.outside")
    ranges = []
    whole = (coarse.box.slices, coarse.box.rows, coarse.box.columns)
    steps = (1, coarse.stride, coarse.stride)
    step, row_mm, column_mm = anatomy.grid.stored_spacing
    for axis, mm in enumerate((step, row_mm * anatomy.grid.factor, column_mm * anatomy.grid.factor)):
        used = np.flatnonzero(near.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil((reach_mm if axis or reach_mm < 10.0 else 0.0) / mm)) + steps[axis]
        low, high = whole[axis]
        first, last = low + int(used[0]) * steps[axis], low + (int(used[-1]) + 1) * steps[axis]
        ranges.append((max(low, first - margin), min(high, last + margin)))
    return Box(*ranges)


def _add_oedema(canvas: HostCanvas, sample: Sample, distance: Field, size: float) -> None:
    generator = canvas.generator
    if generator.random() < 0.12:
        return
    width = float(np.clip(generator.uniform(0.25, 0.8) * size + 2.0, 3.0, 15.0))
    hounsfield = float(generator.uniform(15.0, 24.0)) + canvas.anatomy.brain_hu - 34.0
    canvas.darken(sample, distance, width, hounsfield, float(generator.uniform(0.55, 1.0)))


def placed_lesion(anatomy: HeadAnatomy, kind: str, pattern: str, painted: Painted, asked_ml: float) -> PlacedLesion:
    """Describe what was painted, in the order and coordinates of the study."""
    grid = anatomy.grid
    total = float(painted.fraction.sum())
    ranges = grid.stored_range(painted.box)
    axes = [np.arange(each.start, each.stop) for each in ranges]
    sums = [painted.fraction.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    centre = [float(values @ amount) / max(total, 1e-6) for values, amount in zip(axes, sums, strict=True)]
    ras = grid.affine @ (*centre[::-1], 1.0)
    head = anatomy.frame.to_head @ ras
    index = np.argwhere(painted.fraction > 0.15)
    x = (anatomy.frame.to_head @ grid.affine)[0]
    right = x[0] * axes[2][index[:, 2]] + x[1] * axes[1][index[:, 1]] + x[2] * axes[0][index[:, 0]] + x[3] > 0.0
    on_right = float(right.mean()) if right.size else float(head[0] > 0.0)
    used = axes[0][painted.fraction.max(axis=(1, 2)) > 0.15]
    slices = (int(used[0]), int(used[-1])) if used.size else (int(axes[0][0]), int(axes[0][-1]))
    if grid.flips[0]:
        slices = (grid.shape[0] - 1 - slices[1], grid.shape[0] - 1 - slices[0])
    return PlacedLesion(
        kind=kind,
        pattern=pattern,
        side="both" if 0.2 < on_right < 0.8 else ("right" if on_right > 0.5 else "left"),
        centre_ras_mm=(float(ras[0]), float(ras[1]), float(ras[2])),
        asked_ml=asked_ml,
        volume_ml=total * grid.voxel_ml,
        hounsfield=painted.hounsfield,
        slices=slices,
    )


def fresh_blood(
    generator: np.random.Generator, range_hu: tuple[float, float], anatomy: HeadAnatomy, texture: float = 2.5
) -> Density:
    """Acute blood within a range of HU, shifted where the brain of a host of unknown window is brighter or darker."""
    mean = float(generator.uniform(*range_hu)) + window_shift(anatomy)
    waves = Waves.random(generator, float(generator.uniform(10.0, 30.0)), 14, spread=0.5)
    return Density(mean, texture * float(generator.uniform(0.4, 1.3)), waves)


def window_shift(anatomy: HeadAnatomy) -> float:
    """By how many HU soft tissue of a saturated source is brighter than usual: its window is known roughly."""
    return float(np.clip(anatomy.brain_hu - 33.0, -12.0, 12.0)) if anatomy.cavity.saturated else 0.0


def epidural_density(generator: np.random.Generator, anatomy: HeadAnatomy) -> Density:
    """Acute blood, now and then with swirls of unclotted blood."""
    blood = fresh_blood(generator, (54.0, 76.0), anatomy, texture=3.0)
    if generator.random() < 0.25:
        return replace(blood, second_hu=blood.mean_hu - float(generator.uniform(15.0, 28.0)), second_part=0.25)
    return blood


def subdural_density(generator: np.random.Generator, anatomy: HeadAnatomy) -> Density:
    """Acute, mixed, layered, isodense or chronic blood."""
    age = float(generator.random())
    if age < 0.58:
        return fresh_blood(generator, (52.0, 78.0), anatomy, texture=3.0)
    if age < 0.72:
        blood = fresh_blood(generator, (52.0, 70.0), anatomy, texture=3.0)
        return replace(
            blood,
            texture=Waves.random(generator, float(generator.uniform(26.0, 50.0)), 6),
            second_hu=float(generator.uniform(18.0, 34.0)) + window_shift(anatomy),
            second_part=float(generator.uniform(0.25, 0.6)),
        )
    if age < 0.82:
        blood = fresh_blood(generator, (46.0, 64.0), anatomy)
        second = float(generator.uniform(14.0, 30.0)) + window_shift(anatomy)
        return replace(blood, second_hu=second, second_part=float(generator.uniform(0.3, 0.65)), layered=True)
    iso = anatomy.brain_hu - window_shift(anatomy)
    range_hu = (iso - 2.0, iso + 9.0) if age < 0.92 else (14.0, 26.0)
    return fresh_blood(generator, range_hu, anatomy, texture=2.0)
