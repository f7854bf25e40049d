"""Single labelled slices, without their scans, grouped into small batches that are read as a scan is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform
from numpy.typing import NDArray

from scripts.datasets.rsna_slices import LabelledSlice, find_slices, read_slice
from scripts.intake.study import AIR_HU
from scripts.reading_geometry import CropPlane


@dataclass(frozen=True)
class SliceBatch:
    """Some slices that are read together; they share a fold, not a patient.

    Attributes
    ----------
    slices : tuple of LabelledSlice
        In any order: they are no neighbours.
    """

    slices: tuple[LabelledSlice, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The images."""
        return tuple(each.path for each in self.slices)


def slice_datalist(folder: str | Path | None, labels: Sequence[str], size: int = 16) -> list[dict[str, Any]]:
    """List the images of ``rsna-slices`` as data entries of several slices each.

    Parameters
    ----------
    folder : path or None
        Holds ``labels.csv`` and ``slices/``; None for no slices.
    labels : sequence of str
        Keys of the vocabulary, in its order.
    size : int
        Slices per entry; those of one entry are augmented alike.

    Returns
    -------
    list of dict
        ``name``, ``study`` (a :class:`SliceBatch`), ``slice_labels`` (float32, slices by labels) and ``fold``.
    """
    entries: list[dict[str, Any]] = []
    found = find_slices(folder) if folder is not None else []
    for fold in sorted({each.fold for each in found}):
        members = [each for each in found if each.fold == fold]
        for start in range(0, len(members), size):
            batch = tuple(members[start : start + size])
            values = [[float(each.labels[key]) if key in each.labels else np.nan for key in labels] for each in batch]
            entries.append(
                {
                    "name": f"slices-{fold}-{start // size:03d}",
                    "study": SliceBatch(batch),
                    "slice_labels": np.array(values, dtype=np.float32),
                    "fold": fold,
                }
            )
    return entries


class ReadSliceBatchd(MapTransform):
    """Map transform that adds the images of a :class:`SliceBatch` as the network sees slices of a scan.

    The square around the head is :func:`~scripts.reading_geometry.head_centred_crop`'s, but near the vertex it would
    enlarge a small cut to a whole head: it never gets smaller than ``smallest`` of the image.

    Parameters
    ----------
    keys : KeysCollection
        The key that holds the batch.
    sizes : dict
        New key to rows and columns; the tensors are float32 of shape (1, slices, size, size), in HU, outside the head
        air.
    margin : float
        Side of the square relative to the longer side of the head.
    smallest : float
        Smallest side relative to the image's.
    """

    def __init__(self, keys: str, sizes: Mapping[str, int], margin: float = 1.1, smallest: float = 0.78) -> None:
        super().__init__(keys)
        self.sizes = dict(sizes)
        self.margin = margin
        self.smallest = smallest

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add one tensor per size."""
        entry = dict(data)
        for key in self.key_iterator(entry):
            read = [read_slice(each) for each in entry[key].slices]
            planes = [self.plane(head) for _, head in read]
            heads = [torch.from_numpy(np.where(head, hounsfield, np.float32(AIR_HU))) for hounsfield, head in read]
            for name, size in self.sizes.items():
                images = [plane.resample(head, size) for plane, head in zip(planes, heads, strict=True)]
                entry[name] = torch.stack(images)[None]
        return entry

    def plane(self, head: NDArray[np.bool_]) -> CropPlane:
        """Return the square around the head of one image."""
        rows, columns = (np.flatnonzero(head.any(axis=axis)) for axis in (1, 0))
        longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
        side = int(max(self.margin * longest, self.smallest * len(head)))
        top, left = (int(ends[0] + ends[-1] + 1 - side) // 2 for ends in (rows, columns))
        return CropPlane(top, top + side, left, left + side, flip_rows=False, flip_columns=False)
