"""Writes RSNA 2019 trees in the form of the real release: loose minimal DICOM files, and labels in long format."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from dicom_files import set_pixels
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from scripts.intake.study import CTStudy
from scripts.phantom import Grid, make_phantom

KINDS = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")
"""In the order of the real table, which is not that of the vocabulary."""
MARK_HU = 100
"""The first voxel of slice ``k`` holds this plus ``k``: whoever reads it knows which slice it is."""
GRID = Grid((14, 48, 48), (4.6, 4.6, 11.0), tilt_degrees=8.0)


@functools.cache
def marked_head(seed: int) -> CTStudy:
    phantom = make_phantom(GRID, [], seed=seed)
    voxels = phantom.voxels.copy()
    voxels[:, 0, 0] = MARK_HU + np.arange(len(voxels))
    return CTStudy(voxels, phantom.affine, GRID.positions_mm, phantom.study.provenance)


@dataclass(frozen=True)
class RSNASeries:
    """One series to be written: positive slices per kind (numbered from the lowest), and slices that have no file."""

    series_uid: str
    patient: str
    positive: Mapping[str, Sequence[int]] = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    seed: int = 0

    @property
    def names(self) -> list[str]:
        """Slice names: their alphabetical order is not that of the slices, as in the release."""
        generator = np.random.default_rng(list(self.series_uid.encode()))
        return [f"ID_{number:09x}" for number in generator.choice(2**36, size=GRID.shape[0], replace=False)]

    def truth(self, kind: str) -> NDArray[np.bool_]:
        shown = np.zeros(GRID.shape[0], dtype=bool)
        for each in KINDS[:-1] if kind == "any" else (kind,):
            shown[list(self.positive.get(each, ()))] = True
        return shown


THREE_PATIENTS = (
    RSNASeries("ID_1f6d1e8aeb", "ID_aaaa0001", {"subdural": (3, 4, 5), "subarachnoid": (5,)}),
    RSNASeries("ID_00c0ffee00", "ID_aaaa0001", seed=1),
    RSNASeries("ID_2b2b2b2b2b", "ID_bbbb0002", {"intraventricular": (7,)}, missing=(6,), seed=2),
    RSNASeries("ID_ffffffffff", "ID_cccc0003", {"epidural": (0, 13)}, seed=3),
)
"""Two series of one patient; a slice that was never released; every other kind of label somewhere."""


def write_rsna(folder: Path, series: Sequence[RSNASeries] = THREE_PATIENTS) -> Path:
    """Write ``stage_2_train/`` and ``stage_2_train.csv``; a few rows stand in the table twice, as in the release."""
    images = folder / "stage_2_train"
    images.mkdir(parents=True)
    rows = []
    for one in series:
        for index, name in enumerate(one.names):
            if index not in one.missing:
                write_slice(images / f"{name}.dcm", one, index)
                rows += [f"{name}_{kind},{int(one.truth(kind)[index])}" for kind in KINDS]
    (folder / "stage_2_train.csv").write_text("\n".join(["ID,Label", *rows, *rows[:12]]) + "\n", encoding="utf-8")
    return folder


def write_slice(path: Path, series: RSNASeries, index: int) -> None:
    """Write one slice with RSNA's attributes and no others: identifiers are no valid UIDs, instances have no number."""
    head = marked_head(series.seed)
    lps = np.diag([-1.0, -1.0, 1.0]) @ head.affine[:3]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    with warnings.catch_warnings(), config.disable_value_validation():
        # pydicom warns of identifiers that are no valid UIDs when it writes them, whatever its settings.
        warnings.simplefilter("ignore", UserWarning)
        dataset.SOPInstanceUID, dataset.Modality, dataset.PatientID = path.stem, "CT", series.patient
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"ID_5{series.series_uid[4:]}", series.series_uid
        dataset.StudyID = ""
        dataset.ImagePositionPatient = [round(float(mm), 6) for mm in lps @ (0, 0, index, 1)]
        axes = lps[:, :2] / np.linalg.norm(lps[:, :2], axis=0)
        dataset.ImageOrientationPatient = [round(float(cosine), 6) for cosine in axes.T.ravel()]
        dataset.PixelSpacing = [float(mm) for mm in GRID.spacing[1::-1]]
        dataset.WindowCenter, dataset.WindowWidth = 40, 80
        dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
        set_pixels(dataset, (head.voxels[index].astype(np.int32) + 1024).astype(np.int16))
        dataset.save_as(path, enforce_file_format=True)
