"""Writes a small ``rsna-slices`` folder: a table of labels and images of a round head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

HEADER = "ID,any,epidural,intraparenchymal,intraventricular,subarachnoid,subdural,fold"
POSITIVE, NEGATIVE = "ID_0123456ab", "ID_fedcba987"


def head_image(size: int = 384) -> np.ndarray:
    """A skull at 255 around brain at 120 with a ventricle at 0, over a headrest two pixels thin."""
    row, column = np.mgrid[:size, :size] - size / 2
    radius = np.hypot(row, column)
    grey = np.zeros((size, size), dtype=np.uint8)
    grey[radius < 150] = 255
    grey[radius < 140] = 120
    grey[radius < 20] = 0
    grey[-12:-10] = 200
    return grey


def write_extract(folder: Path, rows: list[str]) -> Path:
    (folder / "slices").mkdir(parents=True)
    (folder / "labels.csv").write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    for row in rows:
        Image.fromarray(head_image()).save(folder / "slices" / f"{row.split(',')[0]}.jpg", quality=95)
    return folder


def write_labelled_slices(folder: Path, count: int, folds: int = 2) -> Path:
    """Write slices of which every other one shows a bleeding: a bright disc, in another place each time."""
    rows = [
        f"ID_{number:09x},{positive},0,{positive},0,0,0,{number % folds}"
        for number in range(count)
        for positive in [number % 2]
    ]
    write_extract(folder, rows)
    for number in range(1, count, 2):
        grey = head_image()
        row, column = np.mgrid[: len(grey), : len(grey)]
        angle = 2 * np.pi * number / count
        centre = len(grey) / 2 + 70 * np.sin(angle), len(grey) / 2 + 70 * np.cos(angle)
        grey[np.hypot(row - centre[0], column - centre[1]) < 40] = 220
        Image.fromarray(grey).save(folder / "slices" / f"ID_{number:09x}.jpg", quality=95)
    return folder
