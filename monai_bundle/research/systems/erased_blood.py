"""Whether a network sees the blood: what becomes of its answer when the blood is taken out of the image.

Attribution maps show where a network's evidence lies as far as they can; this asks the network itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scripts.intake.study import CTStudy

BLOOD_HU, BRAIN_HU = (45, 120), (20, 45)
MARGIN = 2
"""Voxels in plane by which a reader's mask is widened: blood that a hand has left at its edge still shows."""


def without_blood(study: CTStudy, mask: NDArray[np.bool_], head: NDArray[np.bool_], margin: int = MARGIN) -> CTStudy:
    """Return the study with voxels of the slice's own brain, drawn at random, in the place of those of blood.

    Parameters
    ----------
    study : CTStudy
        Stays as it is.
    mask, head : ndarray of bool, shape (slices, rows, columns)
        Annotation of the haemorrhage, and voxels of the head.
    margin : int
        Voxels.
    """
    voxels = study.voxels.copy()
    square = np.ones((2 * margin + 1, 2 * margin + 1), dtype=bool)
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        plane = voxels[index]
        near = ndimage.binary_dilation(mask[index], square)
        blood = near & (plane >= BLOOD_HU[0]) & (plane <= BLOOD_HU[1])
        brain = plane[head[index] & ~near & (plane >= BRAIN_HU[0]) & (plane < BRAIN_HU[1])]
        if brain.size:
            plane[blood] = np.random.default_rng(int(index)).choice(brain, int(blood.sum()))
    return replace(study, voxels=voxels)
