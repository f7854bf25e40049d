"""Single slices with labels, as cached maps: what VGG16's last block is fine-tuned on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from scripts.training.trunk_maps import CachedFeatureMaps

LabelledScanMaps = tuple[Mapping[str, Any], CachedFeatureMaps]


class LabelledSlices(Dataset[dict[str, Tensor]], Randomizable):
    """Every slice of some scans and slice batches, one by one.

    Parameters
    ----------
    data : sequence of (mapping, CachedFeatureMaps)
        Datalist entries, each with its maps; those without ``slice_labels`` are left out.
    random : bool
        Whether to draw the augmented variant and mirror half of the maps; else the slices are as they are.
    outlines : mapping of Tensor, optional
        Name of a scan to its outlines, see :func:`scripts.training.outlines.cached_outlines`; scans without, and single
        slices, are given empty ones.

    Raises
    ------
    ValueError
        If no slice is labelled.
    """

    def __init__(
        self, data: Sequence[LabelledScanMaps], random: bool, outlines: Mapping[str, Tensor] | None = None
    ) -> None:
        self.maps = [maps for entry, maps in data if entry["slice_labels"] is not None]
        self.outlines = [(outlines or {}).get(entry["name"]) for entry, _ in data if entry["slice_labels"] is not None]
        self.labels = [
            labels_of_read_slices(entry["slice_labels"], maps.read_slice)
            for entry, maps in data
            if entry["slice_labels"] is not None
        ]
        if not self.labels:
            raise ValueError(
                "fine-tuning learns from slice labels, and no scan has any; add them, or train the heads alone"
            )
        self.random = random
        self.places = [(scan, slice_) for scan, rows in enumerate(self.labels) for slice_ in range(len(rows))]

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``image`` (512, h, w), bfloat16, and ``label`` (labels + h * w,): the labels, then the outline."""
        scan, slice_ = self.places[index]
        maps, outlines = self.maps[scan], self.outlines[scan]
        variant = int(self.R.randint(len(maps.image))) if self.random else 0
        image = maps.image[variant, slice_].permute(2, 0, 1)
        outline = torch.zeros(image.shape[1:]) if outlines is None else outlines[variant, slice_].float()
        if self.random and self.R.random_sample() < 0.5:
            image, outline = image.flip(-1), outline.flip(-1)
        return {"image": image, "label": torch.cat([self.labels[scan][slice_], outline.flatten()])}


def labels_of_read_slices(slice_labels: NDArray[np.float32], read_slice: Tensor) -> Tensor:
    """Bring labels from stored to read slices: a slab shows what one of its slices shows.

    Parameters
    ----------
    slice_labels : ndarray of float32, shape (stored slices, labels)
        0, 1 or NaN for unknown.
    read_slice : Tensor of int64, shape (stored slices,)
        The read slice of each stored slice.

    Returns
    -------
    Tensor of float32, shape (read slices, labels)
        1 if any is 1, else NaN if any is unknown, else 0.
    """
    rows = []
    for number in range(int(read_slice.max()) + 1):
        members = slice_labels[(read_slice == number).numpy()]
        rows.append(np.where((members == 1).any(axis=0), np.float32(1), members.max(axis=0)))
    return torch.from_numpy(np.stack(rows))


def side(data: Sequence[LabelledScanMaps], validation_fold: int | None, held_out: bool) -> list[LabelledScanMaps]:
    """Take the labelled entries of one side of a split by patient; without a held-out fold nothing is held out."""
    labelled = (pair for pair in data if pair[0]["slice_labels"] is not None)
    return [pair for pair in labelled if (pair[0]["fold"] == validation_fold) == held_out]


def frequencies(slices: LabelledSlices) -> list[float]:
    """Return the share of slices that show each label, among those where it is known; NaN where it nowhere is."""
    return torch.cat(slices.labels).nanmean(dim=0).tolist()
