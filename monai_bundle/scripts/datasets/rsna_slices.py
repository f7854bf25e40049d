"""Single slices of RSNA 2019 as 8-bit images (``rsna-slices``): labels per slice, no whole scans, no bone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from scripts.intake.study import NotEvaluableError
from scripts.labels import RSNA

WINDOW_HU = (-5.0, 75.0)
"""What grey values 0 and 255 stand for: about, because each image was made in its own header's window."""
IMAGE_SIZE = (384, 384)
RSNA_PIXEL_MM = 0.65
"""Spacing that is assumed: the images do not state it."""

_HEAD_GREY = 8
"""Above the noise that JPEG leaves in black air."""
_HEADREST_PIXELS = 3
_LABEL_KEYS = [label.key for label in RSNA]
_VALUES = {"0": False, "1": True}


@dataclass(frozen=True)
class LabelledSlice:
    """One image and what the readers saw in it.

    Attributes
    ----------
    name : str
        RSNA's own pseudonym of the slice, ``ID_<9 hex digits>``.
    path : Path
        The image.
    labels : dict
        RSNA's six label keys to whether the slice shows them.
    fold : int
        0 to 3, made by patient: slices of one patient share it.
    """

    name: str
    path: Path
    labels: dict[str, bool]
    fold: int


def find_slices(folder: str | Path) -> list[LabelledSlice]:
    """List the slices of a folder (``labels.csv`` and ``slices/ID_<hex>.jpg``), in the order of the table.

    Raises
    ------
    FileNotFoundError
        If the table or an image that it names is missing.
    ValueError
        If the table lacks a column, names a slice twice, or holds anything but 0 and 1 as a label.
    """
    root = Path(folder)
    table = pd.read_csv(root / "labels.csv", dtype=str, keep_default_na=False)
    absent = [column for column in ("ID", *_LABEL_KEYS, "fold") if column not in table]
    if absent:
        raise ValueError(f"labels.csv: lacks the columns {', '.join(absent)}")
    if (twice := table["ID"].duplicated()).any():
        raise ValueError(f"labels.csv: names {table.loc[twice, 'ID'].iloc[0]} more than once")
    if (strange := ~table[_LABEL_KEYS].isin(list(_VALUES)).all(axis=1)).any():
        raise ValueError(f"labels.csv: {table.loc[strange, 'ID'].iloc[0]} has a label that is neither 0 nor 1")
    if (strange := ~table["fold"].str.fullmatch(r"\d+")).any():
        raise ValueError(f"labels.csv: {table.loc[strange, 'ID'].iloc[0]} has no number as its fold")
    slices = [
        LabelledSlice(
            name=row["ID"],
            path=root / "slices" / f"{row['ID']}.jpg",
            labels={key: _VALUES[row[key]] for key in _LABEL_KEYS},
            fold=int(row["fold"]),
        )
        for row in table.to_dict("records")
    ]
    if without := [each.path.name for each in slices if not each.path.is_file()]:
        raise FileNotFoundError(f"slices: lacks {len(without)} images that labels.csv names, {without[0]} among them")
    return slices


def read_slice(slice_: LabelledSlice) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read one image and find the head in it.

    Returns
    -------
    ndarray of float32, shape (384, 384)
        Hounsfield units, -5 to 75: what lies outside this window is not in the image.
    ndarray of bool, shape (384, 384)
        The head (see :func:`head_in_image`).

    Raises
    ------
    NotEvaluableError
        ``"unreadable_file"`` if the image is damaged, ``"mixed_sizes"`` if it has another size.
    """
    try:
        with Image.open(slice_.path) as image:
            grey = np.asarray(image.convert("L"))
    except OSError as error:
        fault = error.strerror or "damaged"
        raise NotEvaluableError("unreadable_file.image", name=slice_.path.name, fault=fault) from error
    if grey.shape != IMAGE_SIZE:
        rows, columns = grey.shape
        raise NotEvaluableError("mixed_sizes.image", name=slice_.path.name, columns=columns, rows=rows)
    low, high = WINDOW_HU
    hounsfield = low + grey.astype(np.float32) * np.float32((high - low) / 255)
    return hounsfield, head_in_image(grey)


def head_in_image(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find the head in an 8-bit image in a brain window.

    The largest component brighter than 8 that is left when everything thinner than a few pixels (the headrest's shell)
    is gone; its holes are filled, and it grows by three pixels, because skin and fat are black in this window.

    Parameters
    ----------
    grey : ndarray of uint8, shape (rows, columns)
        The image.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        The whole image where no head is found.
    """
    bright = ndimage.binary_opening(grey > _HEAD_GREY, iterations=_HEADREST_PIXELS)
    components, count = ndimage.label(bright)
    if count == 0:
        return np.ones(grey.shape, dtype=np.bool_)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    head = ndimage.binary_fill_holes(components == sizes.argmax())
    return np.asarray(ndimage.binary_dilation(head, iterations=_HEADREST_PIXELS), dtype=np.bool_)
