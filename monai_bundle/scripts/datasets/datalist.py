"""What every dataset hands to training and evaluation: labelled scans as a MONAI datalist, split by patient."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import joblib
import numpy as np
from monai.transforms import MapTransform
from numpy.typing import NDArray

from scripts.cache import files_key
from scripts.intake.study import CTStudy, NotEvaluableError


class LabelledScan(Protocol):
    """One scan on disk and what is known of it; each dataset has its own class of these."""

    @property
    def name(self) -> str:
        """Name in metrics and of cache files: unique in its dataset, safe as a file name, no patient's name."""

    @property
    def patient(self) -> str:
        """Whoever shares this value is the same patient, and is never split."""

    @property
    def files(self) -> Sequence[Path]:
        """Every file that the scan is read from; a changed one means that cached features are made again."""

    @property
    def labels(self) -> Mapping[str, bool]:
        """Label key to the scan's label; a label that nobody judged is left out."""

    @property
    def slice_labels(self) -> Mapping[str, NDArray[np.bool_]] | None:
        """Label key to a boolean per original slice, in the order of :class:`CTStudy`; None where unknown."""

    def read(self) -> CTStudy:
        """Read the scan; :class:`NotEvaluableError` if it cannot be read well."""

    def mask(self, study: CTStudy) -> NDArray[np.bool_] | None:
        """Read the mask of all haemorrhage, on the study's original voxels; None where nobody drew one."""


def as_datalist(
    scans: Sequence[LabelledScan], labels: Sequence[str], folds: int, seed: int = 0
) -> list[dict[str, Any]]:
    """Turn labelled scans into MONAI data entries.

    Parameters
    ----------
    scans : sequence of LabelledScan
        In any order; two of one patient share a fold.
    labels : sequence of str
        Keys of the vocabulary, in its order; the folds are balanced by the first.
    folds : int
        Number of folds.
    seed : int
        Of the fold assignment.

    Returns
    -------
    list of dict
        ``name``, ``patient``, ``study`` (the scan, for :class:`ReadLabelledStudyd`), ``label`` (0, 1, or NaN for
        unknown, per label), ``slice_labels`` (float32, original slices by labels, NaN for unknown; or None), ``fold``.

    Raises
    ------
    ValueError
        If two scans share a name, or the folds cannot be assigned (see :func:`folds_by_patient`).
    """
    names = [scan.name for scan in scans]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"names must be unique: {', '.join(twice[:5])}")
    positive = [bool(scan.labels.get(labels[0], False)) for scan in scans]
    assigned = folds_by_patient([scan.patient for scan in scans], positive, folds, seed)
    return [
        {
            "name": scan.name,
            "patient": scan.patient,
            "study": scan,
            "label": [float(scan.labels[key]) if key in scan.labels else float("nan") for key in labels],
            "slice_labels": _slice_labels(scan, labels),
            "fold": int(fold),
        }
        for scan, fold in zip(scans, assigned, strict=True)
    ]


def data_key(datalists: Iterable[Sequence[Mapping[str, Any]]]) -> str:
    """Return a hash of all entries of datalists: names, patients, folds, labels, and the files' sizes and times.

    Raises
    ------
    OSError
        If a file is missing.
    """
    known = ("name", "patient", "fold", "label", "slice_labels")
    entries = [
        [([entry.get(name) for name in known], files_key(entry["study"].files)) for entry in datalist]
        for datalist in datalists
    ]
    return str(joblib.hash(entries))


def _slice_labels(scan: LabelledScan, labels: Sequence[str]) -> NDArray[np.float32] | None:
    if scan.slice_labels is None:
        return None
    slices = len(next(iter(scan.slice_labels.values())))
    unknown = np.full(slices, np.nan, dtype=np.float32)
    return np.stack([np.asarray(scan.slice_labels.get(key, unknown), dtype=np.float32) for key in labels], axis=1)


def folds_by_patient(patients: Sequence[str], positive: Sequence[bool], count: int, seed: int = 0) -> NDArray[np.int64]:
    """Assign scans to folds so that no patient is split; patients with a positive scan and without are assigned apart.

    Not scikit-learn's StratifiedGroupKFold, which gives CT-ICH other folds than the committed metrics were measured on.

    Parameters
    ----------
    patients : sequence of str
        The patient of each scan.
    positive : sequence of bool
        Whether the scan is positive.
    count : int
        Number of folds.
    seed : int
        Of the permutation.

    Returns
    -------
    ndarray of int64, shape (scans,)
        Fold of each scan, 0 .. count - 1; none is empty.

    Raises
    ------
    ValueError
        If there are fewer than two folds, or more than patients: one side of the split would be empty.
    """
    own = list(dict.fromkeys(patients))
    if not 2 <= count <= len(own):
        raise ValueError(f"{count} folds of {len(own)} patients: choose from 2 to {len(own)}")
    has_positive = {patient for patient, found in zip(patients, positive, strict=True) if found}
    generator = np.random.default_rng(seed)
    fold_of: dict[str, int] = {}
    for wanted in (True, False):
        members = np.array([number for number, patient in enumerate(own) if (patient in has_positive) == wanted])
        for number in generator.permutation(members):
            fold_of[own[int(number)]] = len(fold_of) % count
    return np.array([fold_of[patient] for patient in patients], dtype=np.int64)


class ReadLabelledStudyd(MapTransform):
    """Map transform that replaces a :class:`LabelledScan` by its study and, if asked, adds its ``mask``.

    Parameters
    ----------
    keys : KeysCollection
        The key that holds the scan.
    with_mask : bool
        Whether to add ``mask``: bool, of the study's original voxels, or None.
    """

    def __init__(self, keys: str, with_mask: bool = False) -> None:
        super().__init__(keys)
        self.with_mask = with_mask

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the scan under each key.

        Raises
        ------
        NotEvaluableError
            If the scan cannot be read well, or has not as many slices as labels.
        """
        entry = dict(data)
        for key in self.key_iterator(entry):
            scan: LabelledScan = entry[key]
            study = scan.read()
            labels = entry.get("slice_labels")
            if labels is not None and len(labels) != len(study.voxels):
                counts = {"labels": len(labels), "slices": len(study.voxels)}
                raise NotEvaluableError("labels_do_not_fit", name=scan.name, **counts)
            entry[key] = study
            if self.with_mask:
                entry["mask"] = scan.mask(study)
        return entry
