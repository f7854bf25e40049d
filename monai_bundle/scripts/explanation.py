"""From one reading to maps on the stored voxels: slice attention, feature attention, Grad-CAM and Grad-CAM++.

All maps come from the feature maps of the one forward pass; gradients run through the heads only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scripts.reading_geometry import ReadingGeometry

Method = Literal["gradcam", "gradcam++", "slice_gradcam"]
"""Grad-CAM or Grad-CAM++ of the scan's logit, or Grad-CAM of what the slices say by themselves."""


@dataclass(frozen=True)
class FeatureMaps:
    """Feature maps of some read slices at one resolution.

    Attributes
    ----------
    maps : Tensor, shape (slices, 512, h, w)
        Leaf of the heads' graph.
    read_indices : Tensor of int64, shape (slices,)
        Which read slices they belong to.
    """

    maps: Tensor
    read_indices: Tensor


@dataclass(frozen=True)
class StoredMap:
    """A map on the stored voxels, as it is written.

    Attributes
    ----------
    voxels : ndarray of uint8, shape (slices, rows, columns)
        0 outside the head and where the value is negative.
    scale : float
        Value that 255 stands for: the largest magnitude in the scan.
    """

    voxels: NDArray[np.uint8]
    scale: float


def grad_cam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) without its final ReLU: the sign is kept.

    Parameters
    ----------
    maps, gradients : Tensor, shape (slices, channels, h, w)
        Feature maps and the derivative of the label's logit with respect to them.

    Returns
    -------
    Tensor, shape (slices, h, w)
    """
    weights = gradients.mean(dim=(-2, -1), keepdim=True)
    return (weights * maps).sum(dim=1)


def grad_cam_plus_plus(maps: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018, eq. 10, 11 and 19): positive gradients, weighted cell by cell.

    Parameters and result are those of :func:`grad_cam`; where no gradient is positive the map is 0.
    """
    squared, cubed = gradients**2, gradients**3
    denominator = 2 * squared + (maps * cubed).sum(dim=(-2, -1), keepdim=True)
    alpha = torch.where(denominator == 0, 0.0, squared / denominator)
    weights = (alpha * gradients.clamp(min=0)).sum(dim=(-2, -1), keepdim=True)
    return (weights * maps).sum(dim=1)


METHODS: dict[Method, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "slice_gradcam": grad_cam,
}


def slices_say(slice_logits: Tensor, times_read: Tensor) -> Tensor:
    """Return what single slices say of each label, as one number to explain: -log P(no slice shows it).

    With p the probability of a slice's own logit, and slices taken for independent, it is the sum of -log(1 - p): a
    slice's Grad-CAM counts by p, so that slices without evidence stay dark.

    Parameters
    ----------
    slice_logits : Tensor, shape (samples, slices, labels)
        What each slice says by itself, in every sample that holds it.
    times_read : Tensor, shape (samples, slices)
        How many times the slice is there: all its readings together count once.

    Returns
    -------
    Tensor, shape (labels,)
        In nats.
    """
    return (functional.softplus(slice_logits) / times_read[..., None]).sum(dim=(0, 1))


def label_map(logit: Tensor, readings: list[FeatureMaps], geometry: ReadingGeometry, method: Method) -> Tensor:
    """Explain one logit on the stored voxels.

    Grad-CAM averages the gradient over a map's cells. Maps of different resolution are brought to one unit, logits, by
    undoing that average, and then added, as the network adds the readings that they come from. Grad-CAM++ sums over the
    cells by itself.

    Parameters
    ----------
    logit : Tensor, scalar
        Connected to every ``maps`` by the heads' graph.
    readings : list of FeatureMaps
        The reading at 224 of all slices and, for DrCT2, the reading at 512 of the key slices.
    geometry : ReadingGeometry
        The way back to the stored voxels.
    method : {"gradcam", "gradcam++", "slice_gradcam"}
        Which map; the last is Grad-CAM of another number than the scan's logit (:func:`slices_say`).

    Returns
    -------
    Tensor of float32, shape (slices, rows, columns)
        Signed, in logits.
    """
    return geometry.to_stored(*label_layers(logit, readings, len(geometry.slabs), method))


def label_layers(logit: Tensor, readings: list[FeatureMaps], read_slices: int, method: Method) -> list[Tensor]:
    """Explain one logit cell by cell: one layer per reading, to be added on the stored voxels (:func:`label_map`).

    Returns
    -------
    list of Tensor, shape (read slices, h, w)
        Signed, in logits; 0 for slices that a reading left out.
    """
    gradients = torch.autograd.grad(logit, [reading.maps for reading in readings], retain_graph=True)
    layers = []
    with torch.no_grad():
        for reading, gradient in zip(readings, gradients, strict=True):
            values = METHODS[method](reading.maps, gradient)
            if METHODS[method] is grad_cam:
                values = values * gradient.shape[-2] * gradient.shape[-1]
            layer = values.new_zeros((read_slices, *values.shape[1:]))
            layer[reading.read_indices] = values
            layers.append(layer)
    return layers


def feature_attention_map(reading: FeatureMaps, weights: Tensor, geometry: ReadingGeometry) -> Tensor:
    """Show where the features lie that feature attention prefers: the maps' sum weighted by w (DrCT2, eq. 3).

    Parameters
    ----------
    reading : FeatureMaps
        The reading at 224 of all slices.
    weights : Tensor, shape (read slices, 512)
        Feature attention of each read slice.
    geometry : ReadingGeometry
        The way back to the stored voxels.

    Returns
    -------
    Tensor of float32, shape (slices, rows, columns)
        Attended activation, at least 0.
    """
    with torch.no_grad():
        return geometry.to_stored((weights[..., None, None] * reading.maps).sum(dim=1))


def as_stored_map(values: Tensor, head: NDArray[np.bool_]) -> StoredMap:
    """Bring signed values onto one scale for the whole scan, the largest magnitude inside the head.

    A scan whose strongest evidence speaks against the label therefore stays dark.
    """
    inside = np.where(head, values.detach().cpu().numpy(), np.float32(0))
    scale = max(float(inside.max()), -float(inside.min()))
    if scale == 0.0:
        return StoredMap(np.zeros(head.shape, dtype=np.uint8), 0.0)
    # In place: a volume of thin slices is large.
    np.divide(inside.clip(min=0, out=inside), np.float32(scale), out=inside)
    np.multiply(inside, np.float32(255), out=inside)
    return StoredMap(np.round(inside, out=inside).astype(np.uint8), scale)


def attention_map(slice_attention: Tensor, head: NDArray[np.bool_]) -> StoredMap:
    """Paint each stored slice's attention, shape (slices,), onto its voxels inside the head."""
    return as_stored_map(slice_attention[:, None, None].expand(head.shape), head)


def key_slice_ranks(slice_attention: Tensor, geometry: ReadingGeometry, count: int) -> dict[int, int]:
    """Rank the read slices with most attention.

    Parameters
    ----------
    slice_attention : Tensor, shape (read slices,)
        Attention of each read slice.
    geometry : ReadingGeometry
        Says which stored slices a read slice is made of.
    count : int
        How many key slices to name.

    Returns
    -------
    dict
        Index of a stored slice (the middle one of its slab) to its rank, 1 for the most attention.
    """
    order = slice_attention.argsort(descending=True, stable=True)[:count].tolist()
    slabs = [geometry.slabs[read_index] for read_index in order]
    return {slab[len(slab) // 2]: rank for rank, slab in enumerate(slabs, start=1)}
