"""MONAI map transforms from a study to the network's input: quality, geometry, input slices, windows.

In a configuration they stand behind MONAI's ``LoadImaged``. Windows are in 0..1: the backbone normalises them itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, ScaleIntensityRange, Transform
from torch import Tensor

from scripts.intake.head import head_mask
from scripts.intake.reader import study_of
from scripts.intake.study import AIR_HU, CTStudy, NotEvaluableError
from scripts.reading_geometry import ReadingGeometry, head_centred_crop, slabs_of

Entry = Mapping[Hashable, Any]

READING_VERSION = 2
"""To be raised when the same file comes to be read to other numbers: caches made before are then made again."""


class StudyFromImaged(MapTransform):
    """Takes the :class:`CTStudy` that ``LoadImaged`` with a ``CTStudyReader`` left in the image's metadata.

    Parameters
    ----------
    keys : KeysCollection
        The key that holds the loaded image; the image makes room for the network's, the study goes to ``study``.
    """

    def __call__(self, data: Entry) -> dict[Hashable, Any]:
        """Put the study in the place of the loaded image."""
        entry = dict(data)
        for key in self.key_iterator(entry):
            entry["study"] = study_of(entry.pop(key))
        return entry


class ReadingGeometryd(MapTransform):
    """Decides which original voxels are read: adds ``head`` (mask) and ``geometry`` (:class:`ReadingGeometry`).

    Of a study whose skull the quality gate has located, slices without brain are not read, and shoulders, hands and
    other objects are not part of the crop.

    Parameters
    ----------
    keys : KeysCollection
        The key that holds the study.
    slab_mm : float
        Thin slices are averaged to slabs of about this thickness (mm).
    margin : float
        Side of the crop relative to the longer side of the head.
    field_mm : float, optional
        Side of the crop in mm, in the place of ``margin``.
    """

    def __init__(
        self, keys: KeysCollection, slab_mm: float = 5.0, margin: float = 1.1, field_mm: float | None = None
    ) -> None:
        super().__init__(keys)
        self.slab_mm = slab_mm
        self.margin = margin
        self.field_mm = field_mm

    def __call__(self, data: Entry) -> dict[Hashable, Any]:
        """Add the geometry and the head of the study.

        Raises
        ------
        NotEvaluableError
            If there is no head to centre on.
        """
        entry = dict(data)
        for key in self.key_iterator(entry):
            study: CTStudy = entry[key]
            head = head_mask(study.voxels, study.spacing_mm, study.skull)
            if not head.any():
                raise NotEvaluableError("no_head.crop", name=study.provenance.source_name)
            plane = head_centred_crop(study, head, self.margin, self.field_mm)
            slabs = slabs_of(study, self.slab_mm)
            along = tuple(float(study.positions_mm[list(slab)].mean()) for slab in slabs)
            entry["head"] = head
            entry["geometry"] = ReadingGeometry(plane, slabs, study.voxels.shape, along)
        return entry


class ReadSlicesd(MapTransform):
    """Adds the input slices of a study in Hounsfield units, once per resolution; everything outside the head is air.

    Parameters
    ----------
    keys : KeysCollection
        The key that holds the study.
    sizes : dict
        New key to rows and columns, e.g. ``{"image": 224, "high_res": 512}``; the tensors are float32 of shape
        (1, input slices, size, size).
    """

    def __init__(self, keys: KeysCollection, sizes: Mapping[str, int]) -> None:
        super().__init__(keys)
        self.sizes = dict(sizes)

    def __call__(self, data: Entry) -> dict[Hashable, Any]:
        """Add one tensor per resolution."""
        entry = dict(data)
        for key in self.key_iterator(entry):
            voxels = np.where(entry["head"], entry[key].voxels, np.int16(AIR_HU))
            for name, size in self.sizes.items():
                entry[name] = entry["geometry"].resample(voxels, size)[None]
        return entry


class HounsfieldWindows(Transform):
    """Maps Hounsfield units through several windows at once, one channel each, scaled to 0..1.

    Parameters
    ----------
    windows : sequence of (float, float) or (float, float, int)
        Centre and width in HU of each channel; then, for a channel that shows a neighbour, how many slices it lies
        further towards the head (negative: the feet). Beyond the ends the last slice is repeated.
    """

    def __init__(self, windows: Sequence[Sequence[float]]) -> None:
        self.scalers = [
            ScaleIntensityRange(centre - width / 2, centre + width / 2, 0.0, 1.0, clip=True)
            for centre, width, *_ in windows
        ]
        self.neighbours = [int(rest[0]) if rest else 0 for _, _, *rest in windows]

    @property
    def reach(self) -> int:
        """Slices on either side of one that its channels show."""
        return max((abs(offset) for offset in self.neighbours), default=0)

    def __call__(self, hounsfield: Tensor) -> Tensor:
        """Turn (1, slices, height, width) in HU, slices in anatomical order, into (windows, slices, height, width)."""
        if self.reach == 0:
            return torch.cat([torch.as_tensor(scaler(hounsfield)) for scaler in self.scalers])
        places = torch.arange(hounsfield.shape[1])
        shown = [(places + offset).clamp(0, len(places) - 1) for offset in self.neighbours]
        return torch.cat(
            [torch.as_tensor(scaler(hounsfield))[:, of] for scaler, of in zip(self.scalers, shown, strict=True)]
        )


class HounsfieldWindowsd(MapTransform):
    """Dictionary wrapper of :class:`HounsfieldWindows`."""

    def __init__(
        self, keys: KeysCollection, windows: Sequence[Sequence[float]], allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.windows = HounsfieldWindows(windows)

    def __call__(self, data: Entry) -> dict[Hashable, Any]:
        """Replace Hounsfield units by windows."""
        entry = dict(data)
        for key in self.key_iterator(entry):
            entry[key] = self.windows(entry[key])
        return entry
