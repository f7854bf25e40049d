"""An image of the phantom for a radiologist: all slices, brain window and bone window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scripts.phantom.grid import Grid
from scripts.phantom.haemorrhage import Haemorrhage
from scripts.phantom.rendering import make_phantom

BRAIN_WINDOW = (40.0, 80.0)
BONE_WINDOW = (600.0, 2800.0)


def windowed(hounsfield: NDArray[np.generic], centre: float, width: float) -> NDArray[np.uint8]:
    """Grey values 0..255 of Hounsfield units under a display window."""
    fraction = (hounsfield.astype(np.float32) - (centre - width / 2.0)) / width
    return np.rint(255.0 * np.clip(fraction, 0.0, 1.0)).astype(np.uint8)


def tiles(images: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Lay equally large images out row by row, black where the last row is not full."""
    rows = -(-len(images) // columns)
    height, width = images[0].shape
    sheet = np.zeros((rows * height, columns * width), dtype=np.uint8)
    for number, image in enumerate(images):
        row, place = divmod(number, columns)
        sheet[row * height : (row + 1) * height, place * width : (place + 1) * width] = image
    return sheet


def write_montage(path: Path | str, seed: int = 0, pixels: int = 160) -> Path:
    """Render a healthy head in both windows and one head for each kind of haemorrhage, as a grey PNG.

    The first two rows are the healthy head under the brain window, the third the same head under the bone
    window, and each of the five following rows is one kind of haemorrhage.
    """
    columns, size, margin = 8, pixels, max(1, round(pixels * 14 / 160))
    spacing = 208.0 / size
    healthy = make_phantom(Grid((16, size, size), (spacing, spacing, 9.0), 5.0, centre_mm=(0.0, 0.0, 8.0)), seed=seed)
    images = [windowed(plane, *BRAIN_WINDOW) for plane in healthy.voxels]
    images += [windowed(plane, *BONE_WINDOW) for plane in healthy.voxels[::2]]
    shown = (
        (Haemorrhage("epidural", "right", 45.0), -5.0),
        (Haemorrhage("intraparenchymal", "left", 35.0), 3.0),
        (Haemorrhage("intraventricular", "both", 14.0), 0.0),
        (Haemorrhage("subarachnoid", "both", 26.0), 0.0),
        (Haemorrhage("subdural", "left", 90.0), 9.0),
    )
    grid = Grid((columns, size, size), (spacing, spacing, 11.0), 5.0, centre_mm=(0.0, 0.0, 14.0))
    for number, (haemorrhage, shift) in enumerate(shown):
        phantom = make_phantom(grid, [haemorrhage], midline_shift_mm=shift, seed=seed + number)
        images += [windowed(plane, *BRAIN_WINDOW) for plane in phantom.voxels]
    images = [image[:, margin:-margin] for image in images]
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # 16 grey levels: the noise of a CT hides the steps, and the file is a fraction of the size.
    Image.fromarray(tiles(images, columns)).quantize(16).save(target, optimize=True)
    return target
