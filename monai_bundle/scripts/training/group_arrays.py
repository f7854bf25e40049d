"""The arrays of one group of training slices: read or drawn, cropped as the network reads, with masks and labels.

Each function returns ``image`` int16 (slices, size, size) in HU, ``mask`` uint8 of that shape, ``labels`` float32
(slices, labels) and ``mask_known`` bool (slices,), as :class:`~scripts.training.prepared_slices.PreparedGroup` states.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.datasets.datalist import LabelledScan
from scripts.datasets.gaze_maps import read_gaze
from scripts.datasets.rsna_slices import RSNA_PIXEL_MM, read_slice
from scripts.datasets.slice_batches import ReadSliceBatchd, SliceBatch
from scripts.intake.head import head_mask
from scripts.intake.study import AIR_HU, CTStudy
from scripts.labels import RSNA, UNSPECIFIED_SUBTYPE
from scripts.reading_geometry import ReadingGeometry, head_centred_crop, slabs_of
from scripts.synthesis.anatomy import find_anatomy
from scripts.synthesis.lesion import LABEL_VALUES
from scripts.synthesis.random_phantom import draw_phantom
from scripts.synthesis.random_synthesis import SynthesisSettings, draw_synthesis
from scripts.synthesis.single_slice import slice_study
from scripts.synthesis.synthesis import Synthesis
from scripts.synthesis.working_grid import SynthesisError

UNKNOWN_SUBTYPE = UNSPECIFIED_SUBTYPE
"""Value of a mask where there is blood whose subtype nobody stated."""

_KEYS = tuple(label.key for label in RSNA)
_ROUNDING = 0.01
Arrays = dict[str, NDArray[Any]]


def real_scan(scan: LabelledScan, labels: NDArray[np.float32], size: int) -> Arrays:
    """Read a scan as it is, with the mask its dataset has."""
    study = scan.read()
    mask = scan.mask(study)
    known = np.full(len(labels), mask is not None) | (labels[:, 0] == 0)
    return _scan_arrays(study, _host_mask(study, mask, labels), labels, known, size)


def synthetic_scan(
    scan: LabelledScan,
    labels: NDArray[np.float32],
    size: int,
    settings: SynthesisSettings,
    origin: list[Any],
    haemorrhage: bool,
) -> Arrays:
    """Read a scan with synthetic haemorrhage, or with what resembles it alone; nothing where no site fits."""
    study = scan.read()
    try:
        made = draw_synthesis(study, _generator_of(origin), settings, haemorrhage=haemorrhage)
    except SynthesisError:
        return _nothing(size)
    mask = scan.mask(study)
    known = np.full(len(labels), mask is not None) | (labels[:, 0] == 0)
    inside = np.where(made.label_map > 0, made.label_map, _host_mask(study, mask, labels))
    return _scan_arrays(made.study, inside, np.maximum(labels, _labels(made)), known, size)


def phantom(size: int, settings: SynthesisSettings, origin: list[Any], haemorrhage: bool) -> Arrays:
    """Draw a phantom of random anatomy, with haemorrhage or with what resembles it alone."""
    generator = _generator_of(origin)
    study = draw_phantom(generator)
    anatomy = find_anatomy(study)
    made = draw_synthesis(study, generator, settings, haemorrhage=haemorrhage, anatomy=anatomy)
    labels = _labels(made)
    return _scan_arrays(made.study, made.label_map, labels, np.ones(len(labels), bool), size)


def real_slices(batch: SliceBatch, labels: NDArray[np.float32], size: int) -> Arrays:
    """Read single slices as they are; where haemorrhage lies in them is not known."""
    image = ReadSliceBatchd("study", {"image": size})({"study": batch})["image"][0]
    return {
        "image": image.round().to(torch.int16).numpy(),
        "mask": np.zeros(image.shape, np.uint8),
        "labels": labels,
        "mask_known": labels[:, 0] == 0,
    }


def synthetic_slices(
    batch: SliceBatch,
    labels: NDArray[np.float32],
    size: int,
    settings: SynthesisSettings,
    origin: list[Any],
    haemorrhage: bool,
) -> Arrays:
    """Read single slices without haemorrhage, with synthetic haemorrhage or with what resembles it alone."""
    reader = ReadSliceBatchd("study", {"image": size})
    generator = _generator_of(origin)
    rows: list[tuple[Tensor, Tensor, NDArray[np.float32]]] = []
    for number, each in enumerate(batch.slices):
        # Of those without haemorrhage every one is host to a haemorrhage; every fourth to what resembles it alone.
        if labels[number, 0] != 0 or (not haemorrhage and number % 4 != 0):
            continue
        hounsfield, head = read_slice(each)
        try:
            study = slice_study(hounsfield, RSNA_PIXEL_MM, name=each.name)
            made = draw_synthesis(study, generator, settings, haemorrhage=haemorrhage)
        except SynthesisError:
            continue
        changed = made.study.voxels[0] != study.voxels[0]
        plane = np.where(changed, made.study.voxels[0].astype(np.float32), hounsfield)
        crop = reader.plane(head)
        image = crop.resample(torch.from_numpy(np.where(head, plane, np.float32(AIR_HU))), size)
        rows.append((image, _resampled_labels(crop.resample, made.label_map[0], size), _labels(made)[0]))
    if not rows:
        return _nothing(size)
    return {
        "image": torch.stack([image for image, _, _ in rows]).round().to(torch.int16).numpy(),
        "mask": torch.stack([mask for _, mask, _ in rows]).numpy(),
        "labels": np.stack([each for _, _, each in rows]),
        "mask_known": np.ones(len(rows), bool),
    }


def _scan_arrays(
    study: CTStudy, mask: NDArray[np.uint8], labels: NDArray[np.float32], known: NDArray[np.bool_], size: int
) -> Arrays:
    head, geometry = prepared_geometry(study)
    slabs = geometry.slabs
    image = geometry.resample(np.where(head, study.voxels, np.int16(AIR_HU)), size)
    inside = [_resampled_labels(geometry.plane.resample, mask[list(slab)].max(axis=0), size) for slab in slabs]
    return {
        "image": image.round().to(torch.int16).numpy(),
        "mask": torch.stack(inside).numpy(),
        "labels": np.stack([labels[list(slab)].max(axis=0) for slab in slabs]).astype(np.float32),
        "mask_known": np.stack([known[list(slab)].all() for slab in slabs]),
    }


def prepared_geometry(study: CTStudy) -> tuple[NDArray[np.bool_], ReadingGeometry]:
    """Return the head of a scan, and which of its voxels prepared slices show."""
    head = head_mask(study.voxels, study.spacing_mm)
    return head, ReadingGeometry(head_centred_crop(study, head, 1.1), slabs_of(study, 5.0), study.voxels.shape)


def gaze(scan: LabelledScan, path: Path, size: int) -> NDArray[np.uint8]:
    """Return a scan's gaze maps on its prepared slices, uint8 (slices, size, size), each slice's largest value 255.

    A slice with less than a hundred-thousandth of the scan's largest value counts as not looked at.

    Raises
    ------
    ExpectedError
        If the file of gaze maps cannot be used, see :func:`scripts.datasets.gaze_maps.read_gaze`.
    """
    study = scan.read()
    looked = read_gaze(path, study)
    _, geometry = prepared_geometry(study)
    # What lies outside the matrix is filled with air's value, and nobody looked there; rounding leaves about 1e-4.
    in_thousands = looked / looked.max() * np.float32(1000)
    shown = geometry.resample(in_thousands + np.float32(AIR_HU), size) - AIR_HU
    shown = torch.where(shown < _ROUNDING, torch.zeros_like(shown), shown)
    largest = shown.amax(dim=(-2, -1), keepdim=True).clamp(min=_ROUNDING)
    return np.asarray((255 * shown / largest).round().to(torch.uint8).numpy())


def _resampled_labels(resample: Callable[[Tensor, int], Tensor], mask: NDArray[np.uint8], size: int) -> Tensor:
    """Bring a label map to an image size: each label where it covers most of a pixel that is mostly covered."""
    found = torch.zeros(size, size, dtype=torch.uint8)
    most = torch.full((size, size), 0.4)
    for value in np.unique(mask[mask > 0]):
        covered = resample(torch.from_numpy((mask == value).astype(np.float32)), size)
        found[covered > most] = int(value)
        most = torch.maximum(most, covered)
    return found


def _host_mask(study: CTStudy, mask: NDArray[np.bool_] | None, labels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Give a mask of all haemorrhage the subtype of slices that show one alone."""
    inside = np.zeros(study.voxels.shape, dtype=np.uint8)
    if mask is None:
        return inside
    for number, row in enumerate(labels):
        subtypes = [key for key, value in zip(_KEYS, row, strict=True) if key != "any" and value == 1]
        value = LABEL_VALUES[subtypes[0]] if len(subtypes) == 1 else UNKNOWN_SUBTYPE
        inside[number][mask[number]] = value
    return inside


def _labels(made: Synthesis) -> NDArray[np.float32]:
    return np.stack([made.slice_labels[key] for key in _KEYS], axis=1).astype(np.float32)


def _nothing(size: int) -> Arrays:
    return {
        "image": np.zeros((0, size, size), np.int16),
        "mask": np.zeros((0, size, size), np.uint8),
        "labels": np.zeros((0, len(_KEYS)), np.float32),
        "mask_known": np.zeros(0, bool),
    }


def _generator_of(origin: list[Any]) -> np.random.Generator:
    """Return a generator of its own for every origin, the same in every process."""
    return np.random.default_rng([ord(letter) for letter in repr(origin)])
