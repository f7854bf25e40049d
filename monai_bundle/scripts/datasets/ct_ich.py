"""CT-ICH (Hssayeni 2020): scans, labels per slice, age and sex, from its JPEG release or its NIfTI release."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scripts.datasets.ct_ich_images import find_images
from scripts.datasets.ct_ich_volumes import find_volume
from scripts.datasets.datalist import as_datalist
from scripts.intake.study import CTStudy

logger = logging.getLogger(__name__)

_DEMOGRAPHICS = "patient_demographics.csv"
_COLUMNS = {
    "epidural": "Epidural",
    "intraparenchymal": "Intraparenchymal",
    "intraventricular": "Intraventricular",
    "subarachnoid": "Subarachnoid",
    "subdural": "Subdural",
}


class ScanFiles(Protocol):
    """How one scan lies on disk in one of the two releases."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers (in the table) of the slices that are read, in the study's order."""

    @property
    def files(self) -> Sequence[Path]:
        """Every file that is read."""

    def read(self) -> CTStudy:
        """Read the voxels; NotEvaluableError if they cannot be read well."""

    def mask(self, study: CTStudy) -> NDArray[np.bool_] | None:
        """Read the mask of all haemorrhage, on the study's original voxels."""


@dataclass(frozen=True)
class CTICHScan:
    """One patient's scan and what the two radiologists saw in each slice.

    Attributes
    ----------
    patient : str
        Three-digit number; also the scan's name.
    source : ScanFiles
        Where and how it is stored.
    slice_labels : dict
        Label key to a boolean per slice; ``"any"`` included.
    age_years : float or None
        Age, of infants in fractions of a year; None where the release does not state it.
    sex : str or None
        ``"female"`` or ``"male"``; None where the release does not state it.
    """

    patient: str
    source: ScanFiles
    slice_labels: dict[str, NDArray[np.bool_]]
    age_years: float | None = None
    sex: str | None = None

    @property
    def name(self) -> str:
        """The patient's number: each has one scan."""
        return self.patient

    @property
    def files(self) -> Sequence[Path]:
        """Every file that the scan is read from."""
        return self.source.files

    @property
    def labels(self) -> dict[str, bool]:
        """Label of the scan: whether any slice shows it."""
        return {key: bool(slices.any()) for key, slices in self.slice_labels.items()}

    def read(self) -> CTStudy:
        """Read the scan; :class:`NotEvaluableError` if it cannot be read well."""
        return self.source.read()

    def mask(self, study: CTStudy) -> NDArray[np.bool_] | None:
        """Read the mask of all haemorrhage, on the study's original voxels; empty where none was seen."""
        return self.source.mask(study)


@dataclass(frozen=True)
class _Person:
    age_years: float | None = None
    sex: str | None = None


@dataclass(frozen=True)
class _Release:
    """Name of the table, and how to find the files of one patient: folder, patient, numbers of the described slices."""

    table: str
    find: Callable[[Path, str, Iterable[int]], ScanFiles | None]


_RELEASES = (
    _Release("hemorrhage_diagnosis_raw_ct.csv", find_volume),
    _Release("hemorrhage_diagnosis.csv", find_images),
)


def find_scans(ct_ich: Path) -> list[CTICHScan]:
    """List the scans of a CT-ICH folder, by patient number.

    Either release is recognised: the JPEG release by ``Patients_CT/`` beside ``hemorrhage_diagnosis.csv``, the NIfTI
    release by ``hemorrhage_diagnosis_raw_ct.csv`` beside ``ct_scans/`` and ``masks/``; where both lie in one folder,
    the NIfTI release is read, because it holds the whole range of HU.

    Patients in the table without a scan are left out (82 scans in the JPEG release, 75 in the NIfTI release), and so
    are slices that lack one of their two images (one, the last of patient 084) or that the volume does not hold.

    Raises
    ------
    FileNotFoundError
        If neither table is there.
    """
    release = next((release for release in _RELEASES if (ct_ich / release.table).is_file()), None)
    if release is None:
        tables = " or ".join(release.table for release in _RELEASES)
        raise FileNotFoundError(f"{ct_ich.name}: no {tables}; give the folder that the release was unpacked to")
    people = _read_demographics(ct_ich)
    table = _read_table(ct_ich / release.table)
    scans = []
    for number, rows in sorted(table.items()):
        name = f"{number:03d}"
        source = release.find(ct_ich, name, rows)
        if source is not None:
            person = people.get(number, _Person())
            scans.append(CTICHScan(name, source, _labels(rows, source.numbers), person.age_years, person.sex))
    logger.info("CT-ICH: %d scans; %d patients of the table have none", len(scans), len(table) - len(scans))
    return scans


def _read_table(path: Path) -> dict[int, dict[int, dict[str, str]]]:
    """Return the rows by patient number and slice number."""
    rows: dict[int, dict[int, dict[str, str]]] = {}
    with path.open(encoding="utf-8-sig", newline="") as table:
        for row in csv.DictReader(table):
            rows.setdefault(int(row["PatientNumber"]), {})[int(row["SliceNumber"])] = row
    return rows


def _labels(rows: dict[int, dict[str, str]], numbers: Iterable[int]) -> dict[str, NDArray[np.bool_]]:
    read = [rows[number] for number in numbers]
    labels = {key: np.array([row[column] == "1" for row in read], dtype=bool) for key, column in _COLUMNS.items()}
    labels["any"] = np.logical_or.reduce(list(labels.values()))
    return labels


def _read_demographics(ct_ich: Path) -> dict[int, _Person]:
    """Return age and sex by patient number; empty where the release's table is not there."""
    paths = [path for path in ct_ich.iterdir() if path.name.lower() == _DEMOGRAPHICS]
    if not paths:
        return {}
    with paths[0].open(encoding="utf-8-sig", newline="") as table:
        header, *rows = csv.reader(table)
        number, age, sex = (_column(header, word) for word in ("patient", "age", "gender"))
        # The NIfTI release has a second line of headings.
        return {
            int(row[number]): _Person(_age(row[age]), _sex(row[sex])) for row in rows if row[number].strip().isdigit()
        }


def _column(header: Sequence[str], word: str) -> int:
    return next(place for place, name in enumerate(header) if name.strip().lower().startswith(word))


def _age(text: str) -> float | None:
    return float(text) if text.strip() else None


def _sex(text: str) -> str | None:
    sex = text.strip().lower()
    return sex if sex in ("female", "male") else None


def datalist(ct_ich: str | Path, labels: Sequence[str], folds: int = 5) -> list[dict[str, Any]]:
    """List the scans as MONAI data entries; see :func:`scripts.datasets.datalist.as_datalist`.

    Parameters
    ----------
    ct_ich : path
        The CT-ICH folder.
    labels : sequence of str
        Keys of the vocabulary, in its order.
    folds : int
        Number of folds.
    """
    return as_datalist(find_scans(Path(ct_ich)), labels, folds)
