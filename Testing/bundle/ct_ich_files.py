"""Writes a small CT-ICH folder in the form of the real JPEG release, from phantoms whose Hounsfield units are known."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from scripts.networks.efficientnet_lite import EfficientNetLite0
from scripts.phantom import Grid, Haemorrhage, Phantom, make_phantom
from scripts.phantom.haemorrhage import Kind
from scripts.training.scan_features import ScanFeatures

COLUMNS = ("Intraventricular", "Intraparenchymal", "Subarachnoid", "Epidural", "Subdural")
"""Of the table, in its order."""
NO_FOLDER = 48
"""Stands in the table without images, as the release's patients below 49 do."""
JPEG_QUALITY = 75
"""Gives the release's own quantisation tables."""


@dataclass(frozen=True)
class Patient:
    """What to write: kinds of haemorrhage, slices (1 is the lowest) that lack their bone image, and whose head."""

    number: int
    kinds: tuple[Kind, ...] = ()
    without_bone: tuple[int, ...] = ()
    head: int | None = None


@dataclass(frozen=True)
class CTICHTree:
    """A written folder and its truth."""

    folder: Path
    patients: tuple[Patient, ...]
    phantoms: Mapping[int, Phantom]

    def positive_slices(self, patient: Patient, kind: str) -> NDArray[np.bool_]:
        """Say which slices, from the lowest upwards, show a kind; ``any`` is admitted."""
        masks = self.phantoms[patient.number].masks
        shown = [masks[each].any(axis=(1, 2)) for each in masks if kind in (each, "any")]
        return np.logical_or.reduce(shown) if shown else np.zeros(self.slices, dtype=bool)

    @property
    def slices(self) -> int:
        return len(next(iter(self.phantoms.values())).voxels)


TEN_PATIENTS = (
    Patient(49, ("epidural",)),
    Patient(50),
    Patient(51, ("intraparenchymal", "intraventricular")),
    Patient(52),
    Patient(84, without_bone=(10,)),
    Patient(101, ("subarachnoid",)),
    Patient(102, ("subdural",), without_bone=(5,)),
    Patient(103),
    Patient(104, ("epidural", "subdural")),
    Patient(105),
)
"""Five with haemorrhage, five without; every kind; numbers below and above 100, as in the release."""

THIRTY_PATIENTS = tuple(
    replace(patient, number=patient.number + 100 * more, head=patient.number)
    for more in range(3)
    for patient in TEN_PATIENTS
)
"""The ten and two doubles of each, for tests that need many labels and no images."""


def write_ct_ich(folder: Path, patients: Sequence[Patient], slices: int = 10, size: int = 96) -> CTICHTree:
    """Write images, masks and table; the head fills the image, as it does in the release."""
    grid = Grid((slices, size, size), (230.0 / size, 230.0 / size, 150.0 / slices))
    phantoms = {}
    for patient in patients:
        phantoms[patient.number] = _phantom(
            grid, patient.kinds, patient.number if patient.head is None else patient.head
        )
        write_images(folder / "Patients_CT" / f"{patient.number:03d}", phantoms[patient.number])
        for number in patient.without_bone:
            (folder / "Patients_CT" / f"{patient.number:03d}" / "bone" / f"{number}.jpg").unlink()
    write_table(folder / "hemorrhage_diagnosis.csv", phantoms)
    return CTICHTree(folder, tuple(patients), phantoms)


@functools.cache
def _phantom(grid: Grid, kinds: tuple[Kind, ...], seed: int) -> Phantom:
    return make_phantom(grid, [_bleed(kind) for kind in kinds], seed=seed)


def _bleed(kind: Kind) -> Haemorrhage:
    both_sides = kind in ("intraventricular", "subarachnoid")
    return Haemorrhage(kind, "both" if both_sides else "left", 8.0 if both_sides else 25.0)


def write_images(folder: Path, phantom: Phantom) -> None:
    """Window every slice to 8 bit: centre 40 width 120 (brain) and centre 700 width 3200 (bone)."""
    blood = np.logical_or.reduce([*phantom.masks.values(), np.zeros(phantom.voxels.shape, dtype=bool)])
    for window, low, high in (("brain", -20, 100), ("bone", -900, 2300)):
        (folder / window).mkdir(parents=True)
        for number, voxels in enumerate(phantom.voxels, start=1):
            grey = np.clip((voxels.astype(np.float64) - low) / (high - low), 0.0, 1.0) * 255
            save(grey, folder / window / f"{number}.jpg")
    for index in np.flatnonzero(blood.any(axis=(1, 2))):
        save(blood[index] * 255.0, folder / "brain" / f"{index + 1}_HGE_Seg.jpg")


def save(grey: NDArray[np.floating], path: Path) -> None:
    Image.fromarray(np.round(grey).astype(np.uint8)).save(path, quality=JPEG_QUALITY)


def write_table(path: Path, phantoms: Mapping[int, Phantom]) -> None:
    """Write one row per slice; the byte order mark and the numbers without leading zeros are the release's."""
    with path.open("w", encoding="utf-8-sig", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["PatientNumber", "SliceNumber", *COLUMNS, "No_Hemorrhage", "Fracture_Yes_No"])
        writer.writerows(_rows(NO_FOLDER, {}, 3))
        for number, phantom in phantoms.items():
            shown = {kind: np.asarray(mask.any(axis=(1, 2))) for kind, mask in phantom.masks.items()}
            writer.writerows(_rows(number, shown, len(phantom.voxels)))


def _rows(patient: int, shown: Mapping[str, NDArray[np.bool_]], slices: int) -> Iterable[list[int]]:
    for index in range(slices):
        kinds = [int(shown[column.lower()][index]) if column.lower() in shown else 0 for column in COLUMNS]
        yield [patient, index + 1, *kinds, int(not any(kinds)), 0]


def separable_features(entries: Sequence[Mapping[str, Any]], variants: int = 2, seed: int = 0) -> list[ScanFeatures]:
    """Make features that give every label away: noise, raised in the label's own features of its positive slices."""
    generator = torch.Generator().manual_seed(seed)
    features = []
    for entry in entries:
        shown = torch.as_tensor(np.asarray(entry["slice_labels"], dtype=np.float32))
        signal = 6.0 * shown.repeat_interleave(20, dim=1)
        sizes: list[Tensor] = []
        for _ in ("image", "high_res"):
            noise = torch.rand(variants, len(shown), EfficientNetLite0.channels, generator=generator)
            noise[:, :, : signal.shape[1]] += signal
            # Lesion maps are empty: the other features must do.
            sizes.append(torch.cat([noise, torch.zeros(variants, *shown.shape)], dim=-1))
        image, high_res = sizes
        features.append(ScanFeatures(image, high_res, torch.arange(len(shown))))
    return features
