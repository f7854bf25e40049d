"""Maps on the original voxels as they are written: one scale per scan, the head alone; and the ranks of key slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.networks.study_network import StudyOutput
from scripts.reading_geometry import ReadingGeometry


@dataclass(frozen=True)
class StoredMap:
    """A map on the original voxels, as it is written.

    Attributes
    ----------
    voxels : ndarray of uint8, shape (slices, rows, columns)
        0 outside the head and where the value is negative.
    scale : float
        Value that 255 stands for: fixed for the network, or the largest magnitude in the scan.
    fixed_scale : bool
        Which of the two.
    largest : float
        Largest magnitude in the scan.
    """

    voxels: NDArray[np.uint8]
    scale: float
    fixed_scale: bool
    largest: float


def feature_attention_map(output: StudyOutput, geometry: ReadingGeometry) -> Tensor:
    """Return where the features lie that feature attention prefers: the maps' sum weighted by w (DrCT2, eq. 3).

    Parameters
    ----------
    output : StudyOutput
        With feature maps of all slices, and feature attention.
    geometry : ReadingGeometry
        Resamples back to the original voxels.

    Returns
    -------
    Tensor of float32, shape (slices, rows, columns)
        Attended activation, at least 0.

    Raises
    ------
    ValueError
        If the network has no feature attention.
    """
    if output.feature_attention is None:
        raise ValueError("the network has no feature attention")
    with torch.no_grad():
        weighted = output.feature_attention[..., None, None] * output.feature_maps[0].maps
        return geometry.resample_back(weighted.sum(dim=1))


def as_stored_map(values: Tensor, head: NDArray[np.bool_], scale: float | None = None) -> StoredMap:
    """Bring signed values onto one scale for the whole scan.

    Parameters
    ----------
    values : Tensor, shape (slices, rows, columns)
        Signed; negative ones count against the label and stay dark.
    head : ndarray of bool, shape (slices, rows, columns)
        Voxels inside the head.
    scale : float, optional
        Value that 255 stands for in every scan, so that weak evidence looks weak; larger values become 255. Without it
        the largest magnitude inside the head: a scan whose strongest evidence is against the label stays dark.
    """
    inside = np.where(head, values.detach().cpu().numpy(), np.float32(0))
    largest = max(float(inside.max()), -float(inside.min()))
    reference = largest if scale is None else scale
    if reference == 0.0:
        return StoredMap(np.zeros(head.shape, dtype=np.uint8), 0.0, False, largest)
    # In place: a volume of thin slices is large.
    np.divide(inside.clip(min=0, max=reference, out=inside), np.float32(reference), out=inside)
    np.multiply(inside, np.float32(255), out=inside)
    return StoredMap(np.round(inside, out=inside).astype(np.uint8), reference, scale is not None, largest)


def attention_map(slice_attention: Tensor, head: NDArray[np.bool_]) -> StoredMap:
    """Return each original slice's attention, shape (slices,), on its voxels inside the head."""
    return as_stored_map(slice_attention[:, None, None].expand(head.shape), head)


def key_slice_ranks(slice_attention: Tensor, geometry: ReadingGeometry, count: int) -> dict[int, int]:
    """Rank the input slices with most attention.

    Parameters
    ----------
    slice_attention : Tensor, shape (input slices,)
        Attention of each input slice.
    geometry : ReadingGeometry
        States which original slices an input slice is made of.
    count : int
        How many key slices to name.

    Returns
    -------
    dict
        Index of an original slice (the middle one of its slab) to its rank, 1 for the most attention.
    """
    order = slice_attention.argsort(descending=True, stable=True)[:count].tolist()
    slabs = [geometry.slabs[input_slice] for input_slice in order]
    return {slab[len(slab) // 2]: rank for rank, slab in enumerate(slabs, start=1)}
