"""Phantom heads of widely varying anatomy, contrast and image quality: healthy ones as hosts, others with blood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from scripts.intake.study import AIR_HU, CTStudy
from scripts.phantom.acquisition import reconstruction_noise
from scripts.phantom.anatomy import Anatomy
from scripts.phantom.brain import FLUID_HU, GREY_HU, WHITE_HU
from scripts.phantom.grid import Grid
from scripts.phantom.haemorrhage import Haemorrhage
from scripts.phantom.rendering import Phantom, make_phantom
from scripts.synthesis.working_grid import Field

_SOFT_HU = (-30.0, 95.0)


@dataclass(frozen=True)
class PhantomVariation:
    """Ranges from which a phantom head is drawn.

    Attributes
    ----------
    scale : tuple of float
        Size relative to the mean head.
    ventricle_mm, sulcus_mm, gap_mm : tuple of float
        Added to the ventricles' radius; half width of sulci; fluid over the brain (atrophy).
    bone_mm : tuple of float
        Added to the thickness of the skull.
    brain_hu : tuple of float
        Mean of grey and white matter.
    contrast : tuple of float
        Difference of grey and white matter, and of brain and fluid, relative to the usual.
    noise_hu, blur_mm : tuple of float
        Standard deviation of the noise; standard deviation of the kernel's blur.
    tilt_degrees : tuple of float
        Gantry tilt.
    """

    scale: tuple[float, float] = (0.9, 1.08)
    ventricle_mm: tuple[float, float] = (-1.2, 4.5)
    sulcus_mm: tuple[float, float] = (0.4, 1.7)
    gap_mm: tuple[float, float] = (0.8, 4.0)
    bone_mm: tuple[float, float] = (-1.5, 3.0)
    brain_hu: tuple[float, float] = (29.0, 38.0)
    contrast: tuple[float, float] = (0.7, 1.25)
    noise_hu: tuple[float, float] = (1.8, 6.0)
    blur_mm: tuple[float, float] = (0.0, 0.7)
    tilt_degrees: tuple[float, float] = (-4.0, 20.0)


def draw_anatomy(generator: np.random.Generator, variation: PhantomVariation | None = None) -> Anatomy:
    """Draw a head; ventricles, sulci and the gap over the brain widen together with age."""
    ranges = variation or PhantomVariation()
    age = float(generator.beta(1.2, 1.6))

    def aged(limits: tuple[float, float]) -> float:
        part = float(np.clip(age + generator.normal(0.0, 0.12), 0.0, 1.0))
        return limits[0] + part * (limits[1] - limits[0])

    size = float(generator.uniform(*ranges.scale))
    x, y, z = (size * float(generator.uniform(0.97, 1.03)) for _ in range(3))
    ventricle = aged(ranges.ventricle_mm)
    return replace(
        Anatomy.individual(int(generator.integers(2**31))),
        scale=(x, y, z),
        bone_mm=float(generator.uniform(*ranges.bone_mm)),
        ventricle_mm=(ventricle + float(generator.normal(0.0, 0.3)), ventricle + float(generator.normal(0.0, 0.3))),
        sulcus_mm=aged(ranges.sulcus_mm),
        gap_mm=aged(ranges.gap_mm),
    )


def draw_phantom(
    generator: np.random.Generator, grid: Grid | None = None, variation: PhantomVariation | None = None
) -> CTStudy:
    """Draw a phantom head without haemorrhage as a study; see :func:`draw_phantom_scan`."""
    return draw_phantom_scan(generator, grid, variation).study


def draw_phantom_scan(
    generator: np.random.Generator,
    grid: Grid | None = None,
    variation: PhantomVariation | None = None,
    haemorrhages: Sequence[Haemorrhage] = (),
) -> Phantom:
    """Draw a phantom head, with its true masks where it has haemorrhages.

    The head and its image quality do not depend on the haemorrhages: the same generator gives the same head with and
    without blood.

    Parameters
    ----------
    generator : Generator
        Source of all randomness.
    grid : Grid, optional
        Where to sample; by default 28 slices of 5 mm, 256 x 256 pixels of 0.9 mm, with a drawn tilt.
    variation : PhantomVariation, optional
        Ranges to draw from.
    haemorrhages : sequence of Haemorrhage
        What bleeds.

    Raises
    ------
    ValueError
        If a haemorrhage does not fit into the drawn head.
    """
    ranges = variation or PhantomVariation()
    seed = int(generator.integers(2**31))
    grid = grid or Grid(
        (28, 256, 256), (0.9, 0.9, 5.4), 5.0, tilt_degrees=float(generator.uniform(*ranges.tilt_degrees))
    )
    clean = make_phantom(
        grid,
        haemorrhages,
        seed=seed,
        noise_hu=0.0,
        beam_hardening=float(generator.uniform(0.4, 1.8)),
        headrest=bool(generator.random() < 0.7),
        anatomy=draw_anatomy(generator, ranges),
    )
    image = _with_contrast(clean.voxels.astype(np.float32), ranges, generator)
    blur = float(generator.uniform(*ranges.blur_mm))
    sigma = (0.0, blur / grid.spacing[1], blur / grid.spacing[0])
    image = ndimage.gaussian_filter(image, sigma, truncate=3.0)
    # A softer kernel makes the noise coarser, too.
    noise = ndimage.gaussian_filter(reconstruction_noise(grid, seed), sigma, truncate=3.0)
    image += noise * np.float32(generator.uniform(*ranges.noise_hu) / max(float(noise.std()), 1e-6))
    return replace(clean, voxels=np.clip(np.rint(image), AIR_HU, 3071).astype(np.int16))


def _with_contrast(image: Field, ranges: PhantomVariation, generator: np.random.Generator) -> Field:
    """Shift brain, and stretch grey, white matter and fluid around it; bone, fat and air stay."""
    usual = 0.5 * (GREY_HU + WHITE_HU)
    brain, contrast = float(generator.uniform(*ranges.brain_hu)), float(generator.uniform(*ranges.contrast))
    fluid = brain - contrast * (usual - FLUID_HU)
    from_hu = np.array([_SOFT_HU[0], FLUID_HU, WHITE_HU, GREY_HU, 60.0, _SOFT_HU[1]])
    half = 0.5 * contrast * (GREY_HU - WHITE_HU)
    to_hu = np.array(
        [_SOFT_HU[0], max(fluid, 0.0), brain - half, brain + half, 60.0 + 0.5 * (brain - usual), _SOFT_HU[1]]
    )
    soft = (image > _SOFT_HU[0]) & (image < _SOFT_HU[1])
    return np.where(soft, np.interp(image, from_hu, to_hu), image).astype(np.float32)
