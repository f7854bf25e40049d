"""Key slices enlarged from the first reading's pixels, for measuring what the stored pixels add to the second."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from torch.nn import functional

from scripts.transforms import ReadSlicesd


class ReadEnlargedSlicesd(ReadSlicesd):
    """Reads slices as :class:`~scripts.transforms.ReadSlicesd`, but interpolates ``high_res`` from ``image``."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add ``image`` from the original voxels and ``high_res`` (1, input slices, size, size) from it, both in HU."""
        entry = super().__call__(data)
        size = self.sizes["high_res"]
        entry["high_res"] = functional.interpolate(entry["image"], (size, size), mode="bilinear", align_corners=False)
        return entry
