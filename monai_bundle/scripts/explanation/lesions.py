"""The lesion map of one pass on the original voxels: probability of haemorrhage, and its subtype, voxel by voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.networks.study_network import StudyOutput
from scripts.reading_geometry import ReadingGeometry

SUBTYPES = 5
"""In every vocabulary label 0 is any haemorrhage, labels 1 to 5 are its subtypes; logits may be of the first alone."""

LEAST_PROBABILITY = 0.05
"""Below it a voxel has no subtype: most slices then need none."""


@dataclass(frozen=True)
class LesionReading:
    """Where the lesion decoder finds haemorrhage, on the original voxels.

    Attributes
    ----------
    probability : ndarray of uint8, shape (slices, rows, columns)
        Of any haemorrhage; 255 is probability 1 in every scan. 0 outside the head.
    subtypes : ndarray of uint8, shape (slices, rows, columns), or None
        Number of the most probable subtype, 1 to 5 in the order of the vocabulary; 0 where the probability is below
        5 %. None where the network finds haemorrhage in pixels without its subtype.
    """

    probability: NDArray[np.uint8]
    subtypes: NDArray[np.uint8] | None


def read_lesions(output: StudyOutput, geometry: ReadingGeometry, head: NDArray[np.bool_]) -> LesionReading | None:
    """Resample a network's lesion logits back to the original voxels.

    Probabilities are resampled, not logits: outside the crop there is no evidence, which is probability 0.

    Parameters
    ----------
    output : StudyOutput
        Of one pass.
    geometry : ReadingGeometry
        The way back to the original voxels.
    head : ndarray of bool, shape (slices, rows, columns)
        Voxels inside the head.

    Returns
    -------
    LesionReading or None
        None where the network has no lesion decoder.
    """
    if output.lesion_logits is None:
        return None
    probability = np.zeros(geometry.original_shape, dtype=np.uint8)
    told = output.lesion_logits.shape[1] > 1
    subtypes = np.zeros(geometry.original_shape, dtype=np.uint8) if told else None
    least = round(255 * LEAST_PROBABILITY)
    # One input slice at a time: all labels of all voxels of a thin stack would take gigabytes.
    for logits, slab in zip(output.lesion_logits, geometry.slabs, strict=True):
        labels = logits[: 1 + SUBTYPES].detach().cpu().sigmoid()
        stored = (_original(labels[:1], geometry)[0] * 255).round().to(torch.uint8).numpy()
        for index in slab:
            probability[index] = np.where(head[index], stored, 0)
        if subtypes is None:
            continue
        subtype = np.zeros_like(stored)
        shown = stored >= least
        if shown.any():
            subtype[shown] = _original(labels[1:], geometry).numpy()[:, shown].argmax(axis=0) + 1
        for index in slab:
            subtypes[index] = np.where(head[index], subtype, 0)
    return LesionReading(probability, subtypes)


def _original(labels: Tensor, geometry: ReadingGeometry) -> Tensor:
    """Resample the maps (labels, h, w) of one input slice to original rows and columns."""
    return geometry.plane.resample_back(labels, geometry.original_shape[1:])
