"""What can be asked for, what was placed, and what every shape of blood offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from scripts.phantom.shapes import Waves, coverage, smooth_step
from scripts.synthesis.anatomy import HeadAnatomy, Sample
from scripts.synthesis.working_grid import Box, Field

Subtype = Literal["epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"]
SUBTYPES: tuple[Subtype, ...] = get_args(Subtype)
LABEL_VALUES: dict[str, int] = {subtype: number for number, subtype in enumerate(SUBTYPES, start=1)}
"""Value of each subtype in the label map; 0 is no haemorrhage."""

_SOFTNESS_MM = 0.9
_HALVINGS = 10


@dataclass(frozen=True)
class LesionRequest:
    """One haemorrhage to be placed.

    Attributes
    ----------
    subtype : str
        One of RSNA's five subtypes.
    volume_ml : float
        Volume of blood in ml. For a single slice: of the lesion that the slice is taken to cut through.
    pattern : str or None
        How it lies, e.g. ``"falx"`` of a subdural haemorrhage (see :data:`PATTERNS`); drawn where None.
    """

    subtype: Subtype
    volume_ml: float
    pattern: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot exist."""
        if self.subtype not in SUBTYPES:
            raise ValueError(f"unknown subtype {self.subtype!r}; choose one of {', '.join(SUBTYPES)}")
        if not 0.05 <= self.volume_ml <= 200.0:
            raise ValueError(f"{self.volume_ml} ml of blood; from 0.05 to 200 ml")


@dataclass(frozen=True)
class PlacedLesion:
    """One haemorrhage, or one finding that resembles it, as it was placed.

    Attributes
    ----------
    kind : str
        A subtype, or the name of a mimic.
    pattern : str
        How it lies.
    side : str
        The patient's ``"left"``, ``"right"``, or ``"both"``.
    centre_ras_mm : tuple of float
        Centre of mass in patient coordinates.
    asked_ml, volume_ml : float
        Volume asked for and volume placed, partial volumes counted; both 0 for a mimic.
    hounsfield : float
        Mean HU where it fills its voxels.
    slices : tuple of int
        First and last original slice with it, in the order of the study.
    """

    kind: str
    pattern: str
    side: str
    centre_ras_mm: tuple[float, float, float]
    asked_ml: float
    volume_ml: float
    hounsfield: float
    slices: tuple[int, int]


class ShapeOnSample(Protocol):
    """A shape on the points of one sample, ready for any size."""

    def distance(self, size: float) -> Field:
        """Signed distance in mm to the lesion's surface, negative inside; shape of the sample's depth."""

    def displacement(self, size: float) -> Field | None:
        """Where tissue came from minus where it is now, in head coordinates (3, n, rows, columns), if it moved."""


class Shape(Protocol):
    """A compact lesion of one free size (mm): a largest thickness, or a mean radius."""

    @property
    def pattern(self) -> str:
        """How it lies."""

    @property
    def largest_mm(self) -> float:
        """Largest size that it can have."""

    def on(self, sample: Sample) -> ShapeOnSample:
        """Compute once what does not depend on the size."""


@dataclass(frozen=True)
class Density:
    """HU within a lesion: a mean, soft inhomogeneity, and what gravity or age have done to it.

    Attributes
    ----------
    mean_hu : float
        HU of the clot.
    texture_hu : float
        Standard deviation of the coarse inhomogeneity.
    texture : Waves
        Where it is denser.
    second_hu : float or None
        HU of a second part: older blood, unclotted blood, serum.
    second_part : float
        Part of the lesion that it fills, 0 to 1.
    layered : bool
        Whether the second part lies on top of the first (of a supine patient: in front).
    """

    mean_hu: float
    texture_hu: float
    texture: Waves
    second_hu: float | None = None
    second_part: float = 0.4
    layered: bool = False

    def __call__(self, sample: Sample, inside: Field) -> Field:
        """HU on the points of a sample; ``inside`` (same shape) tells how far they lie in the lesion."""
        points = sample.head.reshape(3, -1)
        waves = self.texture(points).reshape(inside.shape)
        values = self.mean_hu + self.texture_hu * waves
        if self.second_hu is None:
            return values.astype(np.float32)
        if self.layered:
            weight = inside > 0.5
            if not weight.any():
                return values.astype(np.float32)
            front = sample.head[1]
            level = np.quantile(front[weight], 1.0 - self.second_part)
            part = smooth_step(front, float(level) - 2.0, float(level) + 2.0)
        else:
            threshold = float(np.sqrt(2.0)) * (0.5 - self.second_part) * 2.0
            part = smooth_step(waves, threshold - 1.1, threshold + 1.1)
        return (values + part * (self.second_hu - values)).astype(np.float32)


def solve_size(shape: Shape, anatomy: HeadAnatomy, coarse: Sample, on_coarse: ShapeOnSample, volume_ml: float) -> float:
    """Find the size (mm) at which a shape fills a volume inside the skull, by bisection on a coarse sample."""
    inside = coarse.depth > 0.0
    pixel_ml = anatomy.grid.voxel_ml * (anatomy.grid.factor * coarse.stride) ** 2
    low, high = 0.0, shape.largest_mm
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        part = coverage(on_coarse.distance(middle), _SOFTNESS_MM)
        if float(part.sum(where=inside)) * pixel_ml < volume_ml:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def stored_coverage(shape: Shape, anatomy: HeadAnatomy, box: Box, size: float) -> Field:
    """Part of each stored voxel under a box that a shape fills, averaged over the slice thickness."""
    thickness = anatomy.grid.thickness_mm
    planes = 1 if anatomy.single_slice or thickness < 1.6 else 3
    sample = anatomy.sample(box, planes)
    distance = np.maximum(shape.on(sample).distance(size), -sample.depth - 1.2)
    fine = coverage(anatomy.grid.refined(distance, box), _SOFTNESS_MM)
    slices = box.slices[1] - box.slices[0]
    return np.asarray(fine.reshape(slices, planes, *fine.shape[1:]).mean(axis=1), dtype=np.float32)
