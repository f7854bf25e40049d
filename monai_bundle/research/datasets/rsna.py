"""RSNA 2019 Brain CT Hemorrhage as it lies on disk: loose slices to scans with labels per slice."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research.datasets.rsna_headers import IndexedFile, slice_header
from research.datasets.rsna_labels import read_labels
from research.datasets.rsna_store import open_store
from scripts.datasets.datalist import as_datalist
from scripts.datasets.registry import DATASETS
from scripts.intake.dicom import read_stack
from scripts.intake.dicom_header import scan_headers
from scripts.intake.dicom_series import choose_stack
from scripts.intake.file_location import FileLocation
from scripts.intake.study import CTStudy, IntakeError, NotEvaluableError
from scripts.intake.study_id import safe_name

IMAGES, LABELS = "stage_2_train", "stage_2_train.csv"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RSNAScan:
    """One series and what RSNA's readers saw in each of its slices.

    Attributes
    ----------
    series_uid : str
        Series Instance UID as written; RSNA's are pseudonyms (``ID_e17326e0bd``).
    patient : str
        Patient ID, a pseudonym of the dataset.
    folder : Path
        Holds the files of all scans.
    slices : tuple of str
        File names of the slices that are read, ascending along the slice normal: the order of the study.
    slice_labels : dict
        Label key to a boolean per slice, in the same order; ``"any"`` included.
    """

    series_uid: str
    patient: str
    folder: Path
    slices: tuple[str, ...]
    slice_labels: dict[str, NDArray[np.bool_]]

    @property
    def name(self) -> str:
        """The Series Instance UID as a file name."""
        return safe_name(self.series_uid)

    @property
    def files(self) -> tuple[Path, ...]:
        """One file per slice."""
        return tuple(self.folder / name for name in self.slices)

    @property
    def labels(self) -> dict[str, bool]:
        """Label of the scan: whether any slice that is read shows it."""
        return {key: bool(slices.any()) for key, slices in self.slice_labels.items()}

    def read(self) -> CTStudy:
        """Read the series through the intake; slice ``k`` of the study is ``slices[k]``.

        Raises
        ------
        NotEvaluableError
            ``"damaged_file"`` or ``"changed_files"`` where a file is not as it was when it was indexed, and whatever
            :func:`choose_stack` and :func:`read_stack` refuse.
        """
        found = scan_headers(map(FileLocation, self.files))
        if found.damaged:
            location, fault = found.damaged[0]
            refusal = NotEvaluableError("damaged_file", name=location.name, fault=fault.message)
            raise refusal.within(self.name)
        stack, choice = choose_stack(found.headers)
        if tuple(header.location.name for header in stack.headers) != self.slices:
            raise NotEvaluableError("changed_files").within(self.name)
        return read_stack(stack, self.name, choice)

    def mask(self, study: CTStudy) -> None:
        """Return None: there are no masks in RSNA 2019's own release."""


@dataclass(frozen=True)
class LeftOut:
    """A file or a series that is in no scan.

    Attributes
    ----------
    name : str
        File name or Series Instance UID.
    code : str
        Machine-readable name of the reason: the intake's, or ``"damaged_file"``, ``"stray_slice"``,
        ``"several_patients"``, ``"no_labels"``, ``"missing_files"``.
    reason : str
        For a person.
    """

    name: str
    code: str
    reason: str


def find_scans(images: str | Path, table: str | Path, index: str | Path) -> tuple[list[RSNAScan], list[LeftOut]]:
    """Assemble the scans of a folder by its index.

    Parameters
    ----------
    images : path
        Folder of ``ID_<9 hex digits>.dcm``.
    table : path
        ``stage_2_train.csv``.
    index : path
        Made of ``images`` by ``python -m research.datasets.rsna_index``.

    Returns
    -------
    list of RSNAScan, list of LeftOut
        By Series Instance UID; and every file, series and slice that is in no scan, with its reason.

    Raises
    ------
    IntakeError
        If there is no index, or it is not complete.
    LabelTableError
        If the table cannot be trusted.
    """
    labels = read_labels(table)
    scans: list[RSNAScan] = []
    with open_store(index) as store:
        if not store.is_complete:
            raise IntakeError("index.incomplete", name=Path(index).name)
        left_out = [LeftOut(row.state.name, "damaged_file", row.fault or "") for row in store.faults()]
        if (missing := len(labels) - store.files) > 0:
            left_out.append(LeftOut(Path(table).name, "missing_files", f"names {missing} slices that have no file"))
        for rows in store.series():
            scan = _assemble(rows, Path(images), labels, left_out)
            if scan is not None:
                scans.append(scan)
    return scans, left_out


def _assemble(
    rows: Sequence[IndexedFile], folder: Path, labels: pd.DataFrame, left_out: list[LeftOut]
) -> RSNAScan | None:
    """Make a scan of the slices of one series; what cannot be used is added to ``left_out``."""
    series_uid = rows[0].series_uid
    if len({row.patient for row in rows}) > 1:
        left_out.append(
            LeftOut(series_uid, "several_patients", "holds slices of several patients, so that its fold cannot be told")
        )
        return None
    try:
        stack, _ = choose_stack([slice_header(row, folder) for row in rows])
    except NotEvaluableError as fault:
        left_out.append(LeftOut(series_uid, fault.code, str(fault)))
        return None
    names = tuple(header.location.name for header in stack.headers)
    left_out += [
        LeftOut(name, "stray_slice", "lies apart from the other slices of its series")
        for name in sorted({row.state.name for row in rows} - set(names))
    ]
    places = labels.index.get_indexer(pd.Index([name.removesuffix(".dcm") for name in names]))
    if (places < 0).any():
        left_out.append(LeftOut(series_uid, "no_labels", "has slices that the table of labels does not name"))
        return None
    shown = labels.to_numpy()[places]
    return RSNAScan(series_uid, rows[0].patient, folder, names, dict(zip(labels.columns, shown.T, strict=True)))


def datalist(
    rsna_folder: str | Path, labels: Sequence[str], folds: int = 5, index: str | Path | None = None
) -> list[dict[str, Any]]:
    """List the scans as MONAI data entries (see :func:`as_datalist`).

    Parameters
    ----------
    rsna_folder : path
        Holds ``stage_2_train/`` and ``stage_2_train.csv``, as they are unpacked.
    labels : sequence of str
        Keys of the vocabulary, in its order.
    folds : int
        Number of folds; assigned by patient.
    index : path, optional
        The index of ``stage_2_train``; ``index.sqlite`` in ``rsna_folder`` if None.

    Raises
    ------
    IntakeError, LabelTableError
        As :func:`find_scans`.
    """
    folder = Path(rsna_folder)
    scans, left_out = find_scans(folder / IMAGES, folder / LABELS, index or folder / "index.sqlite")
    logger.info("RSNA 2019: %d scans of %d patients", len(scans), len({scan.patient for scan in scans}))
    for code, count in Counter(each.code for each in left_out).most_common():
        example = next(each for each in left_out if each.code == code)
        logger.warning("left out, %s: %d, for example %s: %s", code, count, example.name, example.reason)
    return as_datalist(scans, labels, folds)


DATASETS["rsna"] = datalist
