"""Finding the studies that a user's table names, and reading them with their masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.datasets.mask_file import read_mask
from scripts.datasets.own_tables import StudyRow, suggest
from scripts.intake.discovery import StudySource, find_studies, read_study
from scripts.intake.quality import check_quality
from scripts.intake.study import CTStudy


@dataclass(frozen=True)
class OwnScan:
    """One study of the user's folder.

    Attributes
    ----------
    name : str
        Name of the study as the intake gives it: after its folder or file.
    patient : str
        From the table's column ``patient``, else the table's name of the study.
    source : StudySource
        Where it lies.
    labels : mapping
        Label key to the scan's label, where known.
    slice_labels : mapping or None
        Label key to a boolean per original slice; None where the slices were not labelled.
    mask_file : Path or None
        NIfTI file of the mask.
    """

    name: str
    patient: str
    source: StudySource
    labels: Mapping[str, bool]
    slice_labels: Mapping[str, NDArray[np.bool_]] | None = None
    mask_file: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The study's files and its mask."""
        own = dict.fromkeys(header.location.path for header in self.source.headers) or {self.source.path: None}
        return (*own, *([self.mask_file] if self.mask_file else []))

    def read(self) -> CTStudy:
        """Read the study as inference does: by the intake, and through its quality gate.

        Raises
        ------
        NotEvaluableError
            Whatever the intake or the gate refuses.
        """
        return check_quality(read_study(self.source))

    def mask(self, study: CTStudy) -> NDArray[np.bool_] | None:
        """Read the mask; ``"bad_mask"`` (NotEvaluableError) unless it was drawn on the study's own grid."""
        return read_mask(self.mask_file, study) if self.mask_file else None


def match_studies(
    folder: Path, rows: Sequence[StudyRow], beside: Path
) -> tuple[list[tuple[StudyRow, OwnScan]], list[str], list[str]]:
    """Find the study of each row.

    A row may name a study by its folder, by its file (with or without suffix), or by the path of either below
    ``folder``. Masks that the rows name are no studies, wherever they lie.

    Parameters
    ----------
    folder : Path
        Anything that the intake reads.
    rows : sequence of StudyRow
        Of the table of studies.
    beside : Path
        Folder of the table: masks are searched for there, then in ``folder``.

    Returns
    -------
    list of (StudyRow, OwnScan), list of str, list of str
        The studies that were found, faults, and names of studies that no row names.

    Raises
    ------
    IntakeError
        If the folder is missing or holds no study.
    """
    faults: list[str] = []
    masks = {row.place: _mask_file(row, (beside, folder), faults) for row in rows}
    mask_files = {mask.resolve() for mask in masks.values() if mask}
    sources = [source for source in find_studies(folder) if source.path.resolve() not in mask_files]
    by_name = _names(sources, folder)
    matched: list[tuple[StudyRow, OwnScan]] = []
    taken: dict[str, StudyRow] = {}
    for row in rows:
        found = by_name.get(row.study.replace("\\", "/").strip("/"), [])
        if len(found) != 1:
            faults.append(f"{row.place}: {_why_not_one(row.study, found, by_name)}")
        elif found[0].study_id in taken:
            other = taken[found[0].study_id]
            faults.append(f"{row.place}: '{row.study}' is the same study as '{other.study}' in {other.place}")
        else:
            taken[found[0].study_id] = row
            scan = OwnScan(found[0].study_id, row.patient, found[0], row.labels, mask_file=masks[row.place])
            matched.append((row, scan))
    unnamed = [source.study_id for source in sources if source.study_id not in taken]
    return matched, faults, unnamed


def _mask_file(row: StudyRow, folders: Sequence[Path], faults: list[str]) -> Path | None:
    if not row.mask:
        return None
    for folder in folders:
        if (folder / row.mask).is_file():
            return folder / row.mask
    faults.append(f"{row.place}: mask '{row.mask}' not found; give its path from the folder of the table")
    return None


def _names(sources: Sequence[StudySource], folder: Path) -> dict[str, list[StudySource]]:
    """List the studies that each name could mean; a study's own identifier means it alone."""
    by_name: dict[str, list[StudySource]] = defaultdict(list)
    for source in sources:
        names = {source.source_name}
        if source.path != folder:
            below = source.path.relative_to(folder)
            names |= {below.as_posix(), *(parent.as_posix() for parent in below.parents if parent.name)}
        for name in names:
            by_name[name].append(source)
    return {**by_name, **{source.study_id: [source] for source in sources}}


def _why_not_one(study: str, found: Sequence[StudySource], by_name: Mapping[str, Sequence[StudySource]]) -> str:
    if not found:
        return f"study '{study}' is not in the folder{suggest(study, by_name)}"
    candidates = ", ".join(f"'{source.study_id}'" for source in found[:3])
    return f"'{study}' names {len(found)} studies; write one of {candidates}"
