"""Write a synthetic study: CT, masks, labels and a montage, each marked as synthetic in name and content."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from scripts.intake.study import CTStudy
from scripts.phantom.montage import BRAIN_WINDOW, windowed
from scripts.synthesis.lesion import LABEL_VALUES
from scripts.synthesis.synthesis import Synthesis
from scripts.synthesis.working_grid import working_grid

MARK = "SYNTHETIC"
NOTICE = "Synthetic haemorrhage, made by computation. Research use only; not for diagnosis."
_CONTOUR = (255, 64, 64)
_TILES, _TILE_PIXELS = 6, 256


def write_synthesis(made: Synthesis, folder: Path | str, name: str, seed: int) -> list[Path]:
    """Write all files of one synthetic study.

    Parameters
    ----------
    made : Synthesis
        What to write.
    folder : path
        Made if missing.
    name : str
        Start of each file's name.
    seed : int
        What it was drawn from; kept in the JSON.

    Returns
    -------
    list of Path
        ``<name>_SYNTHETIC_ct.nii.gz``, ``..._mask_<subtype>.nii.gz`` of each subtype there is,
        ``..._label_map.nii.gz``, ``..._labels.json``, ``..._montage.png``.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    start = f"{name}_{MARK}"
    written = [_write_nifti(made.study, made.study.voxels, target / f"{start}_ct.nii.gz")]
    for subtype, value in LABEL_VALUES.items():
        if (made.label_map == value).any():
            written.append(_write_nifti(made.study, made.mask(subtype), target / f"{start}_mask_{subtype}.nii.gz"))
    written.append(_write_nifti(made.study, made.label_map, target / f"{start}_label_map.nii.gz"))
    path = target / f"{start}_labels.json"
    path.write_text(json.dumps(description(made, seed), indent=2) + "\n", encoding="utf-8")
    written.append(path)
    path = target / f"{start}_montage.png"
    Image.fromarray(montage(made)).save(path, optimize=True)
    return [*written, path]


def description(made: Synthesis, seed: int) -> dict[str, Any]:
    """Labels, volumes and places as plain data for JSON."""
    return {
        "synthetic": True,
        "notice": NOTICE,
        "seed": seed,
        "label_values": LABEL_VALUES,
        "labels": made.labels,
        "slice_labels": {key: [int(each) for each in slices] for key, slices in made.slice_labels.items()},
        "volume_ml": {
            key: round(sum(each.volume_ml for each in made.lesions if each.kind == key), 3) for key in LABEL_VALUES
        },
        "lesions": [asdict(each) for each in made.lesions],
    }


def montage(made: Synthesis) -> NDArray[np.uint8]:
    """Slices with the most synthetic blood, each beside itself with the contour of its mask, brain window, RGB."""
    grid = working_grid(made.study)
    voxels, label_map = grid.turned(made.study.voxels), grid.turned(made.label_map)
    areas = (label_map > 0).sum(axis=(1, 2))
    shown = np.flatnonzero(areas) if areas.any() else np.arange(len(voxels))
    shown = shown[np.unique(np.linspace(0, len(shown) - 1, _TILES).astype(int))]
    rows = []
    for index in shown:
        grey = windowed(voxels[index], *BRAIN_WINDOW)
        inside = label_map[index] > 0
        plain = np.repeat(grey[..., None], 3, axis=2)
        contoured = plain.copy()
        contoured[ndimage.binary_dilation(inside) & ~inside] = _CONTOUR
        pair = [Image.fromarray(each).resize((_TILE_PIXELS, _TILE_PIXELS)) for each in (plain, contoured)]
        rows.append(np.concatenate([np.asarray(each) for each in pair], axis=1))
    if len(rows) % 2 and len(rows) > 1:
        rows.append(np.zeros_like(rows[0]))
    per_row = 2 if len(rows) > 1 else 1
    lines = [np.concatenate(rows[start : start + per_row], axis=1) for start in range(0, len(rows), per_row)]
    return np.concatenate(lines, axis=0)


def _write_nifti(study: CTStudy, voxels: NDArray[Any], path: Path) -> Path:
    image = nib.Nifti1Image(np.ascontiguousarray(study.in_file_order(voxels)), study.file_affine)
    image.set_qform(study.file_affine, code=1)
    image.set_sform(study.file_affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"{MARK}: research use only"
    nib.save(image, path)
    return path
