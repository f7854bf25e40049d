"""Lesions in the report: the slices where they are largest, with a contour in the colour of each compartment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.diagnosis import Diagnosis, Lesions
from scripts.labels import UNSPECIFIED_SUBTYPE, LesionGroup
from scripts.output.overlay import jpeg_uri
from scripts.output.slice_images import Display, grey_slab, millimetres

SLICES_SHOWN = 5
_LEAD_PIXELS, _OTHER_PIXELS = 640, 400
_HALO = (0, 0, 0)


@dataclass(frozen=True)
class LesionSlice:
    """One slice with lesion as the report shows it; ``number`` counts from 1 as viewers do, images are data URIs.

    ``averaged`` holds the numbers of the first and last original slice where the input slice is the mean of several;
    ``ct``, the slice without contour, is empty for all but the first. Without an area where none may be stated.
    """

    number: int
    position: str
    area_cm2: float | None
    averaged: tuple[int, int] | None
    ct: str
    contour: str


def group_masks(lesions: Lesions, labels: tuple[str, ...], index: int) -> dict[LesionGroup, NDArray[np.bool_]]:
    """Return the lesion of each compartment on one original slice, bool (rows, columns), where it holds any.

    Parameters
    ----------
    lesions : Lesions
        On the voxels of the study.
    labels : tuple of str
        Keys of the vocabulary, whose places are the numbers of the subtypes.
    index : int
        Original slice.
    """
    plane = lesions.subtypes[index]
    masks = {}
    for group in lesions.groups:
        mask = np.isin(plane, group.values(labels))
        if mask.any():
            masks[group] = mask
    return masks


def largest_slices(lesions: Lesions, labels: tuple[str, ...], slabs: tuple[tuple[int, ...], ...]) -> list[int]:
    """Choose the original slices to show: the largest of every listed compartment, then the largest of all.

    Parameters
    ----------
    lesions : Lesions
        On the voxels of the study.
    labels : tuple of str
        As for :func:`group_masks`.
    slabs : tuple of tuple of int
        The original slices of every input slice; one of each is shown at most, the middle one.

    Returns
    -------
    list of int
        At most five, the one with the largest area first.
    """
    areas = {}
    for slab in slabs:
        index = slab[len(slab) // 2]
        counts = np.bincount(lesions.subtypes[index].ravel(), minlength=1 + UNSPECIFIED_SUBTYPE)
        if counts[1:].any():
            areas[index] = {group.key: int(counts[group.values(labels)].sum()) for group in lesions.groups}
    if not areas:
        return []
    listed = [volume.group for volume in lesions.volumes if volume.group in next(iter(areas.values()))]
    by_area = sorted(areas, key=lambda index: (-sum(areas[index].values()), index))
    leading = [sorted(areas, key=partial(_by_group, areas, key))[0] for key in listed]
    chosen = list(dict.fromkeys([by_area[0], *leading, *by_area]))[:SLICES_SHOWN]
    return sorted(chosen, key=by_area.index)


def _by_group(areas: Mapping[int, Mapping[str, int]], group: str, index: int) -> tuple[int, int]:
    return -areas[index][group], index


def lesion_slices(diagnosis: Diagnosis, lesions: Lesions, display: Display) -> tuple[LesionSlice, ...]:
    """Draw the slices with the largest lesions with contours, the first one large and plain beside it."""
    labels, study = diagnosis.model.labels, diagnosis.study
    pixel_mm2 = float(np.linalg.norm(np.cross(study.affine[:3, 0], study.affine[:3, 1])))
    shown: list[LesionSlice] = []
    for index in largest_slices(lesions, labels, diagnosis.input_slices):
        slab = next(slab for slab in diagnosis.input_slices if index in slab)
        grey = grey_slab(study, slab, display, _OTHER_PIXELS if shown else _LEAD_PIXELS)
        contoured = contours(grey, group_masks(lesions, labels, index), display)
        shown.append(
            LesionSlice(
                number=index + 1,
                position=millimetres(float(study.positions_mm[index])),
                area_cm2=pixel_mm2 / 100 * np.count_nonzero(lesions.subtypes[index]) if lesions.measurable else None,
                averaged=(slab[0] + 1, slab[-1] + 1) if len(slab) > 1 else None,
                ct="" if shown else jpeg_uri(grey),
                contour=jpeg_uri(contoured),
            )
        )
    return tuple(shown)


def contours(
    grey: NDArray[np.uint8], masks: Mapping[LesionGroup, NDArray[np.bool_]], display: Display
) -> NDArray[np.uint8]:
    """Draw a line around the lesion of each compartment, outside of it: what lies within stays readable.

    Parameters
    ----------
    grey : ndarray of uint8, shape (height, width)
        The slice, sized by ``display``.
    masks : mapping of LesionGroup to ndarray of bool, shape (rows, columns)
        On the original slice.
    display : Display
        How the slice is shown.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        The line has the group's colour and a black rim; its width grows with the image.
    """
    width = max(1, round(max(grey.shape) / 150))
    coloured = np.repeat(grey[..., None], 3, axis=-1)
    shown = {group: _sized(mask, display, max(grey.shape)) for group, mask in masks.items()}
    lesion = np.logical_or.reduce(list(shown.values())) if shown else np.zeros(grey.shape, bool)
    for group, mask in shown.items():
        if not mask.any():
            continue
        distance = ndimage.distance_transform_edt(~mask)
        rim = (distance > 0) & (distance <= 2 + width)
        coloured[rim & ~lesion] = _HALO
        coloured[(distance > 1) & (distance <= 1 + width)] = group.colour
    return coloured


def _sized(mask: NDArray[np.bool_], display: Display, longest: int) -> NDArray[np.bool_]:
    """Bring a mask to the size of an image; what is smaller than a pixel there keeps its largest pixel."""
    covered = display.sized(mask.astype(np.uint8) * 255, longest)
    shown: NDArray[np.bool_] = covered >= min(128, max(1, covered.max() // 2))
    return shown
