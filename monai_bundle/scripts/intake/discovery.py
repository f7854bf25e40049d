"""Finding the studies in a folder or file, and reading one of them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.intake.dicom import read_dicom_study
from scripts.intake.dicom_header import DamagedFileError, HeaderScan, SliceHeader, scan_headers
from scripts.intake.file_location import FileLocation, files_in_folder, files_in_zip
from scripts.intake.study import CTStudy, IntakeError, NotEvaluableError
from scripts.intake.study_id import name_below, unique_ids
from scripts.intake.volume_file import NIFTI_SUFFIXES, NRRD_SUFFIXES, read_nifti, read_nrrd

_ZIP_SUFFIXES = (".zip",)
_VOLUME_SUFFIXES = NIFTI_SUFFIXES + NRRD_SUFFIXES


@dataclass(frozen=True)
class StudySource:
    """One study on disk, found but not yet read.

    Attributes
    ----------
    study_id : str
        Name for its result folder: safe, unique within one run.
    source_name : str
        Name (no path) of its folder or file.
    path : Path
        Where it lies; for reading only, never written into a result.
    headers : tuple of SliceHeader
        All images of a DICOM study; empty for a volume file.
    fault : NotEvaluableError or None
        The refusal, where the search already showed that the study cannot be read.
    """

    study_id: str
    source_name: str
    path: Path
    headers: tuple[SliceHeader, ...] = ()
    fault: NotEvaluableError | None = None

    def __str__(self) -> str:
        """Show the name only: a path can hold what nobody else should read."""
        return self.source_name


@dataclass(frozen=True)
class _Found:
    """A study before it has a name: its place, what distinguishes it from others there, and what it holds."""

    place: Path
    uid: str
    headers: tuple[SliceHeader, ...] = ()
    fault: NotEvaluableError | None = None


def find_studies(dataset_dir: str | Path) -> list[StudySource]:
    """Find every study in a folder or file.

    Parameters
    ----------
    dataset_dir : str or Path
        One DICOM folder, one file (``.nii``, ``.nii.gz``, ``.nrrd``, ``.zip``, ``.dcm``), or a folder of many studies
        of any mix and nesting. Images of one Study Instance UID are one study, even across folders.

    Returns
    -------
    list of StudySource
        In the order of their names. A study that cannot be read is in the list too, so that one of many stops none.

    Raises
    ------
    IntakeError
        If the path is missing, may not be read, is empty, or holds no study at all.
    """
    root = Path(dataset_dir)
    name = root.resolve().name
    try:
        if not root.exists():
            raise IntakeError("no_such_file", name=name)
        locations, refused = files_in_folder(root) if root.is_dir() else ([FileLocation(root)], [])
    except PermissionError:
        raise IntakeError("no_permission", name=name) from None
    if root in refused or (root.is_file() and not os.access(root, os.R_OK)):
        raise IntakeError("no_permission", name=name)
    if not locations and not refused:
        raise IntakeError("empty_folder", name=name)
    found = _found(locations, root)
    found += [_Found(folder, "", fault=NotEvaluableError("no_permission", name=folder.name)) for folder in refused]
    if not found:
        raise IntakeError("no_study", name=name)
    return _named(found, root)


def read_study(source: StudySource) -> CTStudy:
    """Read the voxels of one study.

    Raises
    ------
    NotEvaluableError
        Whatever is wrong with the study; one line that names source or file, the fault and the remedy.
    """
    if source.fault:
        raise source.fault
    name = source.path.name.lower()
    if not source.headers:
        return read_nrrd(source.path) if name.endswith(NRRD_SUFFIXES) else read_nifti(source.path)
    try:
        return read_dicom_study(source.headers, source.source_name)
    except NotEvaluableError as fault:
        raise fault.within(source.source_name) from None


def _found(locations: Iterable[FileLocation], root: Path) -> list[_Found]:
    found: list[_Found] = []
    others: list[FileLocation] = []
    for location in locations:
        name = location.path.name.lower()
        if name.endswith(_VOLUME_SUFFIXES):
            found.append(_Found(location.path, ""))
        elif name.endswith(_ZIP_SUFFIXES):
            found.extend(_in_zip(location.path))
        else:
            others.append(location)
    found.extend(_dicom_studies(scan_headers(others), None if root.is_dir() else root))
    return found


def _in_zip(path: Path) -> list[_Found]:
    try:
        found = _dicom_studies(scan_headers(files_in_zip(path)), path)
    except NotEvaluableError as fault:
        return [_Found(path, "", fault=fault)]
    return found or [_Found(path, "", fault=NotEvaluableError("no_dicom", name=path.name))]


def _dicom_studies(scan: HeaderScan, place: Path | None) -> list[_Found]:
    """Group images by study; a damaged file spoils the studies whose files lie in the same folder."""
    by_study: dict[str, list[SliceHeader]] = defaultdict(list)
    for header in scan.headers:
        by_study[header.study_uid or header.location.folder].append(header)
    damaged: dict[str, list[tuple[FileLocation, DamagedFileError]]] = defaultdict(list)
    for location, fault in scan.damaged:
        damaged[location.folder].append((location, fault))
    found = []
    for uid, headers in by_study.items():
        folders = {header.location.folder for header in headers}
        faults = [entry for folder in sorted(folders) for entry in damaged.get(folder, [])]
        where = place or _common_folder(header.location.path for header in headers)
        found.append(_Found(where, uid, tuple(headers), _damage(faults)))
    spoilt = {header.location.folder for header in scan.headers}
    for folder, faults in damaged.items():
        if folder not in spoilt:
            where = place or faults[0][0].path.parent
            found.append(_Found(where, "", fault=_damage(faults)))
    return found


def _damage(faults: Sequence[tuple[FileLocation, DamagedFileError]]) -> NotEvaluableError | None:
    if not faults:
        return None
    (location, fault), *others = faults
    named = {"name": location.name, "fault": fault.message, "more": len(others)}
    damage = NotEvaluableError("damaged_file.one_of", **named) if others else NotEvaluableError("damaged_file", **named)
    if fault.code == "damage.no_permission":
        damage.code = "no_permission"
    return damage


def _common_folder(paths: Iterable[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths]))


def _named(found: Sequence[_Found], root: Path) -> list[StudySource]:
    places = [entry.place for entry in found]
    identities = [f"{entry.place.relative_to(root)}\0{entry.uid}" for entry in found]
    names = [_without_suffix(name_below(place, root, places)) for place in places]
    sources = [
        StudySource(study_id, entry.place.resolve().name, entry.place, entry.headers, entry.fault)
        for entry, study_id in zip(found, unique_ids(names, identities), strict=True)
    ]
    return sorted(sources, key=lambda source: source.study_id)


def _without_suffix(name: str) -> str:
    for suffix in (".nii.gz", *NIFTI_SUFFIXES, *NRRD_SUFFIXES, *_ZIP_SUFFIXES, ".dcm"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
