"""CT-ICH in its JPEG release: two windowed 8-bit pictures per slice, masks (Hssayeni 2020, CC BY 4.0)."""

from __future__ import annotations

import csv
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import MapTransform
from numpy.typing import NDArray
from PIL import Image

from scripts.intake.study import CTStudy, NotEvaluableError, Provenance

PLANE_MM = 0.45
"""In-plane spacing that is assumed: the release does not state it, and the network's picture does not depend on it."""
SLICE_MM = 5.0

_BRAIN_WINDOW = (-20.0, 100.0)
_BONE_WINDOW = (-900.0, 2300.0)
_COLUMNS = {
    "epidural": "Epidural",
    "intraparenchymal": "Intraparenchymal",
    "intraventricular": "Intraventricular",
    "subarachnoid": "Subarachnoid",
    "subdural": "Subdural",
}


@dataclass(frozen=True)
class CTICHScan:
    """One patient's scan and what the two radiologists saw in each slice.

    Attributes
    ----------
    patient : str
        Three-digit number, the name of the folder.
    folder : Path
        Holds ``brain/<k>.jpg`` and ``bone/<k>.jpg``.
    numbers : tuple of int
        Numbers of the slices that have both pictures, from the lowest slice upwards.
    slice_labels : dict
        Label key to a boolean per slice; ``"any"`` included.
    """

    patient: str
    folder: Path
    numbers: tuple[int, ...]
    slice_labels: dict[str, NDArray[np.bool_]]

    @property
    def labels(self) -> dict[str, bool]:
        """Label of the scan: whether any slice shows it."""
        return {key: bool(slices.any()) for key, slices in self.slice_labels.items()}


def find_scans(ct_ich: Path) -> list[CTICHScan]:
    """List the scans of a CT-ICH folder (``Patients_CT/`` and ``hemorrhage_diagnosis.csv``), by patient number.

    Patients in the table without a folder are left out (the JPEG release holds 82 scans), and so are slices that lack
    one of their two pictures (one slice, the last of patient 084).

    Raises
    ------
    FileNotFoundError
        If the table is missing.
    """
    rows: dict[int, list[dict[str, str]]] = {}
    with (ct_ich / "hemorrhage_diagnosis.csv").open(encoding="utf-8-sig", newline="") as table:
        for row in csv.DictReader(table):
            rows.setdefault(int(row["PatientNumber"]), []).append(row)
    scans = []
    for number, listed in sorted(rows.items()):
        folder = ct_ich / "Patients_CT" / f"{number:03d}"
        if not folder.is_dir():
            continue
        slices = sorted((row for row in listed if _has_pictures(folder, row)), key=lambda row: int(row["SliceNumber"]))
        labels = {key: np.array([row[column] == "1" for row in slices]) for key, column in _COLUMNS.items()}
        labels["any"] = np.logical_or.reduce(list(labels.values()))
        scans.append(CTICHScan(folder.name, folder, tuple(int(row["SliceNumber"]) for row in slices), labels))
    return scans


def _has_pictures(folder: Path, row: dict[str, str]) -> bool:
    return all((folder / window / f"{row['SliceNumber']}.jpg").is_file() for window in ("brain", "bone"))


def read_scan(scan: CTICHScan) -> CTStudy:
    """Rebuild Hounsfield units from the two pictures of each slice.

    The brain picture (centre 40, width 120) is exact to half a unit inside its window; where it is at either end, the
    bone picture (centre 700, width 3200) gives the value in steps of 12.5 HU.

    Raises
    ------
    NotEvaluableError
        If a picture is missing or the sizes differ.
    """
    slices = [_read_slice(scan.folder, number) for number in scan.numbers]
    if len({picture.shape for picture in slices}) != 1:
        raise NotEvaluableError("mixed_sizes", f"CT-ICH patient {scan.patient}: slices of different sizes")
    affine = np.diag([-PLANE_MM, -PLANE_MM, SLICE_MM, 1.0])
    return CTStudy(
        voxels=np.stack(slices),
        affine=affine,
        positions_mm=np.arange(len(slices), dtype=np.float64) * SLICE_MM,
        provenance=Provenance(scan.patient, "nifti", slice_thickness_mm=SLICE_MM),
    )


def _read_slice(folder: Path, number: int) -> NDArray[np.int16]:
    try:
        brain, bone = (_read_picture(folder / window / f"{number}.jpg") for window in ("brain", "bone"))
    except OSError as error:
        message = f"CT-ICH patient {folder.name}: slice {number} cannot be read ({error.strerror or 'damaged'})"
        raise NotEvaluableError("missing_slice", message) from error
    if brain.shape != bone.shape:
        message = f"CT-ICH patient {folder.name}: slice {number} has pictures of different sizes"
        raise NotEvaluableError("mixed_sizes", message)
    soft = _BRAIN_WINDOW[0] + brain * (_BRAIN_WINDOW[1] - _BRAIN_WINDOW[0]) / 255
    wide = _BONE_WINDOW[0] + bone * (_BONE_WINDOW[1] - _BONE_WINDOW[0]) / 255
    # JPEG noise blurs both ends of the brain window by a few grey values.
    inside = (brain > 3) & (brain < 252)
    return np.round(np.where(inside, soft, wide)).astype(np.int16)


def _read_picture(path: Path) -> NDArray[np.float32]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), dtype=np.float32)


class ReadCTICHd(MapTransform):
    """Map transform that replaces a :class:`CTICHScan` by its study."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the scan under each key."""
        entry = dict(data)
        for key in self.key_iterator(entry):
            entry[key] = read_scan(entry[key])
        return entry


def datalist(ct_ich: str | Path, labels: Sequence[str], folds: int = 5) -> list[dict[str, Any]]:
    """List the scans as MONAI data entries.

    Parameters
    ----------
    ct_ich : path
        The CT-ICH folder.
    labels : sequence of str
        Keys of the vocabulary, in its order.
    folds : int
        Number of folds.

    Returns
    -------
    list of dict
        ``name``, ``folder``, ``study`` (a :class:`CTICHScan`, for :class:`ReadCTICHd`), ``label`` (0 or 1 per label),
        ``slice_labels`` (slices, labels) and ``fold``.
    """
    scans = find_scans(Path(ct_ich))
    return [
        {
            "name": scan.patient,
            "folder": str(scan.folder),
            "study": scan,
            "label": [int(scan.labels[key]) for key in labels],
            "slice_labels": np.stack([scan.slice_labels[key] for key in labels], axis=1),
            "fold": int(fold),
        }
        for scan, fold in zip(scans, folds_by_patient(scans, folds), strict=True)
    ]


def folds_by_patient(scans: list[CTICHScan], count: int, seed: int = 0) -> NDArray[np.int64]:
    """Deal scans to folds: one scan is one patient; scans with haemorrhage and without are dealt separately.

    Returns
    -------
    ndarray of int64, shape (scans,)
        Fold of each scan, 0 .. count - 1; none is empty.

    Raises
    ------
    ValueError
        If there are fewer than two folds, or more than scans: one side of the split would be empty.
    """
    if not 2 <= count <= len(scans):
        raise ValueError(f"{count} folds of {len(scans)} scans: choose from 2 to {len(scans)}")
    generator = np.random.default_rng(seed)
    folds = np.empty(len(scans), dtype=np.int64)
    start = 0
    for positive in (True, False):
        members = np.flatnonzero([scan.labels["any"] == positive for scan in scans])
        folds[generator.permutation(members)] = (np.arange(len(members)) + start) % count
        start += len(members)
    return folds
