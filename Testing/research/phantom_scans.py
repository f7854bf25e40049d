"""Phantoms as labelled scans in memory, for tests of what is read and made of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.intake.study import CTStudy
from scripts.labels import RSNA
from scripts.phantom import Grid, Haemorrhage, Phantom, make_phantom

GRID = Grid((22, 144, 144), (1.5, 1.5, 7.0))
KEYS = tuple(label.key for label in RSNA)


@dataclass(frozen=True)
class PhantomScan:
    """A phantom in the place of a scan on disk; its file is there only so that caches have something to key by."""

    name: str
    phantom: Phantom
    file: Path
    age_years: float | None = 60.0
    sex: str | None = None

    @property
    def patient(self) -> str:
        return self.name

    @property
    def files(self) -> Sequence[Path]:
        return (self.file,)

    @property
    def slice_labels(self) -> Mapping[str, NDArray[np.bool_]]:
        empty = np.zeros(len(self.phantom.voxels), dtype=bool)
        shown: dict[str, NDArray[np.bool_]] = {
            kind: np.asarray(mask.any(axis=(1, 2))) for kind, mask in self.phantom.masks.items()
        }
        shown["any"] = np.any(np.stack([empty, *shown.values()]), axis=0)
        return {key: shown.get(key, empty) for key in KEYS}

    @property
    def labels(self) -> Mapping[str, bool]:
        return {key: bool(slices.any()) for key, slices in self.slice_labels.items()}

    def read(self) -> CTStudy:
        return self.phantom.study

    def mask(self, study: CTStudy) -> NDArray[np.bool_]:
        mask = np.zeros(study.voxels.shape, dtype=bool)
        for each in self.phantom.masks.values():
            mask |= each
        return mask


def phantom_entry(folder: Path, name: str, fold: int, *haemorrhages: Haemorrhage, grid: Grid = GRID) -> dict[str, Any]:
    """Return the entry of a datalist."""
    file = folder / f"{name}.txt"
    file.write_text(name, encoding="utf-8")
    scan = PhantomScan(name, make_phantom(grid, haemorrhages, seed=len(name) + fold), file)
    slices = np.stack([scan.slice_labels[key] for key in KEYS], axis=1).astype(np.float32)
    return {
        "name": name,
        "patient": name,
        "study": scan,
        "label": slices.max(axis=0).tolist(),
        "slice_labels": slices,
        "fold": fold,
    }
