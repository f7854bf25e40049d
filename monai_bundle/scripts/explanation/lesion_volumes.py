"""From a lesion map to volumes: what counts as lesion, how large it is per compartment, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.diagnosis import Lesions, LesionVolume
from scripts.explanation.lesions import LEAST_PROBABILITY, LesionReading
from scripts.intake.study import CTStudy
from scripts.labels import LESION_GROUPS, TOTAL_GROUP, UNSPECIFIED_GROUP, UNSPECIFIED_SUBTYPE, Label
from scripts.volume_calibration import VolumeCalibration

ISLAND = 0.1
"""A subtype's piece of a smaller part of its lesion is taken for the decoder's doubt, not for a second subtype."""
ASSUMED_SPACING = "default_geometry"
"""Code of the quality warning of a CT whose file states no spacing but what software writes that knows none."""

_NEIGHBOURS = np.ones((3, 3, 3))


@dataclass(frozen=True)
class LesionSettings:
    """What counts as lesion.

    Attributes
    ----------
    threshold : float
        Least probability of a voxel of a lesion, 0.05 to 1: below it no subtype is known.
    smallest_ml : float
        Smaller specks are no lesion, a compartment with less is not listed, and a smaller piece of one subtype inside a
        lesion belongs to the lesion's largest subtype.
    calibration : VolumeCalibration
        Limits of measured volumes.

    Raises
    ------
    ValueError
        If the threshold or the smallest volume is out of range.
    """

    threshold: float = 0.5
    smallest_ml: float = 0.2
    calibration: VolumeCalibration = field(default_factory=VolumeCalibration)

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not LEAST_PROBABILITY <= self.threshold <= 1 or self.smallest_ml < 0:
            raise ValueError(f"lesion threshold {self.threshold} or smallest volume {self.smallest_ml} ml out of range")

    @property
    def lowest_value(self) -> int:
        """Least value of a map, 1..255, that reaches the threshold: the mask follows from the stored file alone."""
        return max(1, math.ceil(self.threshold * 255))


def voxel_ml(study: CTStudy) -> NDArray[np.float64]:
    """Return the volume of one voxel of each original slice, ml, shape (slices,).

    Area of a pixel x distance along the slice normal, half-way to either neighbour: for an even stack the determinant
    of the affine, sheared by a gantry tilt or not; an uneven stack has slices of different thickness.
    """
    if len(study.positions_mm) == 1:
        thickness = np.array([study.provenance.slice_thickness_mm or study.spacing_mm[2]])
    else:
        thickness = np.abs(np.gradient(study.positions_mm))
    pixel_mm2 = float(np.linalg.norm(np.cross(study.affine[:3, 0], study.affine[:3, 1])))
    return thickness * pixel_mm2 / 1000


def measure_lesions(
    reading: LesionReading, study: CTStudy, labels: tuple[Label, ...], settings: LesionSettings
) -> Lesions:
    """Threshold a lesion map, drop specks and measure what is left.

    Parameters
    ----------
    reading : LesionReading
        On the voxels of the study.
    study : CTStudy
        Gives the size of the voxels.
    labels : tuple of Label
        The vocabulary; a subtype's number is its place there.
    settings : LesionSettings
        Threshold, smallest lesion, calibration.

    Returns
    -------
    Lesions
        Volumes: the total first, then the compartments of at least ``smallest_ml``, the largest first; the total also
        counts what smaller compartments hold. Without volumes where no lesion is left, and where the reading tells no
        subtypes: nobody measured such outlines against readers' masks, and the calibration is of others.
    """
    sizes = voxel_ml(study)
    mask = _without_specks(reading.probability >= settings.lowest_value, sizes, settings.smallest_ml)
    assumed = any(warning.code == ASSUMED_SPACING for warning in study.warnings)
    if reading.subtypes is None:
        inside = np.where(mask, np.uint8(UNSPECIFIED_SUBTYPE), np.uint8(0))
        return Lesions(
            probability=reading.probability,
            subtypes=inside,
            threshold=settings.threshold,
            smallest_ml=settings.smallest_ml,
            level=settings.calibration.level,
            volumes=(),
            spacing_assumed=assumed,
            groups=(UNSPECIFIED_GROUP,),
            measurable=False,
        )
    subtypes = _without_islands(np.where(mask, reading.subtypes, np.uint8(0)), sizes, settings.smallest_ml)
    affected = np.flatnonzero(mask.any(axis=(1, 2)))
    counts = [np.bincount(subtypes[index].ravel(), minlength=len(labels)) for index in affected]
    subtype_ml = sizes[affected] @ np.array(counts).reshape(len(affected), len(labels))
    measured = {
        group.key: float(sum(subtype_ml[place] for place, label in enumerate(labels) if label.key in group.labels))
        for group in LESION_GROUPS
    }
    listed = sorted(
        (key for key, ml in measured.items() if ml > 0 and ml >= settings.smallest_ml), key=lambda key: -measured[key]
    )
    total = sum(measured.values())
    volumes = [_volume(TOTAL_GROUP, total, settings)] if total > 0 else []
    volumes += [_part(key, measured[key], total, settings) for key in listed]
    return Lesions(
        probability=reading.probability,
        subtypes=subtypes,
        threshold=settings.threshold,
        smallest_ml=settings.smallest_ml,
        level=settings.calibration.level,
        volumes=tuple(volumes),
        spacing_assumed=assumed,
    )


def _volume(group: str, ml: float, settings: LesionSettings) -> LesionVolume:
    low, high = settings.calibration.limits(group, ml) or (None, None)
    return LesionVolume(group, settings.calibration.estimate(group, ml), low, high, mask_ml=ml)


def _part(group: str, ml: float, total_ml: float, settings: LesionSettings) -> LesionVolume:
    """Give a compartment its share of the total: with a factor of its own a part could be larger than the whole."""
    estimate = ml * settings.calibration.estimate(TOTAL_GROUP, total_ml) / total_ml
    limits = settings.calibration.limits(group, ml)
    low, high = (None, None) if limits is None else (min(limits[0], estimate), max(limits[1], estimate))
    return LesionVolume(group, estimate, low, high, mask_ml=ml)


def _without_islands(subtypes: NDArray[np.uint8], sizes: NDArray[np.float64], smallest_ml: float) -> NDArray[np.uint8]:
    """Give small pieces of one subtype inside a connected lesion to the lesion's largest subtype.

    A piece is small below ``smallest_ml`` or a tenth of its lesion.
    """
    found = ndimage.find_objects((subtypes > 0).astype(np.uint8))
    if not found:
        return subtypes
    (box,) = found
    joined, here, per_slice = subtypes.copy(), subtypes[box], sizes[box[0]]
    lesions, count = ndimage.label(here > 0, structure=_NEIGHBOURS)
    kinds = np.arange(1, int(here.max()) + 1)
    of_kind = np.stack([_ml_of_each(np.where(here == kind, lesions, 0), count, per_slice) for kind in kinds])
    lesion_ml, largest = of_kind.sum(axis=0), kinds[of_kind.argmax(axis=0)].astype(np.uint8)
    inside = joined[box]
    for kind in kinds:
        pieces, _ = ndimage.label(here == kind, structure=_NEIGHBOURS)
        for piece, where in enumerate(ndimage.find_objects(pieces), start=1):
            voxels = pieces[where] == piece
            lesion = int(lesions[where][voxels][0])
            ml = float(per_slice[where[0]] @ voxels.sum(axis=(1, 2)))
            if ml < max(smallest_ml, ISLAND * lesion_ml[lesion]):
                inside[where][voxels] = largest[lesion]
    return joined


def _ml_of_each(components: NDArray[np.integer], count: int, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the volume of each component, ml, shape (count + 1,); that of the background is 0."""
    per_slice = np.stack([np.bincount(plane.ravel(), minlength=count + 1) for plane in components])
    volumes = np.asarray(sizes @ per_slice, dtype=np.float64)
    volumes[0] = 0.0
    return volumes


def _without_specks(mask: NDArray[np.bool_], sizes: NDArray[np.float64], smallest_ml: float) -> NDArray[np.bool_]:
    """Drop connected components (26 neighbours) of less than a volume; voxel sizes are those of each slice."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return mask
    # Only the box that holds them all: components of a whole thin stack take seconds.
    (box,) = found
    components, count = ndimage.label(mask[box], structure=_NEIGHBOURS)
    keep = _ml_of_each(components, count, sizes[box[0]]) >= smallest_ml
    keep[0] = False
    kept = np.zeros_like(mask)
    kept[box] = keep[components]
    return kept
