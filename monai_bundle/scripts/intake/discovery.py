"""Finding the studies in a folder or file, and reading one of them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.intake.dicom import read_dicom_study
from scripts.intake.dicom_header import HeaderScan, SliceHeader, scan_headers
from scripts.intake.file_location import FileLocation, files_in_folder, files_in_zip, no_permission
from scripts.intake.study import CTStudy, IntakeError, NotEvaluableError
from scripts.intake.study_id import unique_ids, wished_name
from scripts.intake.volume_file import NIFTI_SUFFIXES, NRRD_SUFFIXES, read_nifti, read_nrrd

_ZIP_SUFFIXES = (".zip",)
_VOLUME_SUFFIXES = NIFTI_SUFFIXES + NRRD_SUFFIXES
KINDS_OF_INPUT = "a DICOM folder, a DICOM zip, .dcm, .nii, .nii.gz or .nrrd"


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
    fault : tuple of str or None
        Code and message of a refusal, where the search already showed that the study cannot be read.
    """

    study_id: str
    source_name: str
    path: Path
    headers: tuple[SliceHeader, ...] = ()
    fault: tuple[str, str] | None = None

    def __str__(self) -> str:
        """Show the name only: a path can hold what nobody else should read."""
        return self.source_name


@dataclass(frozen=True)
class _Found:
    """A study before it has a name: its place, what tells it from others there, and what it holds."""

    place: Path
    uid: str
    headers: tuple[SliceHeader, ...] = ()
    fault: tuple[str, str] | None = None


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
            raise IntakeError(f"{name}: no such file or folder; check the path")
        locations, refused = files_in_folder(root) if root.is_dir() else ([FileLocation(root)], [])
    except PermissionError:
        raise IntakeError(str(no_permission(name))) from None
    if root in refused or (root.is_file() and not os.access(root, os.R_OK)):
        raise IntakeError(str(no_permission(name)))
    if not locations and not refused:
        raise IntakeError(f"{name}: empty folder; give {KINDS_OF_INPUT}")
    found = _found(locations, root)
    found += [_Found(folder, "", fault=_code_and_message(no_permission(folder.name))) for folder in refused]
    if not found:
        raise IntakeError(f"{name}: no CT study inside; give {KINDS_OF_INPUT}")
    return _named(found, root)


def read_study(source: StudySource) -> CTStudy:
    """Read the voxels of one study.

    Raises
    ------
    NotEvaluableError
        Whatever is wrong with the study; one line that names source or file, the fault and the remedy.
    """
    if source.fault:
        raise NotEvaluableError(*source.fault)
    name = source.path.name.lower()
    if not source.headers:
        return read_nrrd(source.path) if name.endswith(NRRD_SUFFIXES) else read_nifti(source.path)
    try:
        return read_dicom_study(source.headers, source.source_name)
    except NotEvaluableError as fault:
        raise NotEvaluableError(fault.code, f"{source.source_name}: {fault}") from None


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
        return [_Found(path, "", fault=_code_and_message(fault))]
    empty = ("no_dicom", f"{path.name}: no DICOM images inside; zip the DICOM folder of one study")
    return found or [_Found(path, "", fault=empty)]


def _dicom_studies(scan: HeaderScan, place: Path | None) -> list[_Found]:
    """Group images by study; a damaged file spoils the studies whose files lie in the same folder."""
    by_study: dict[str, list[SliceHeader]] = defaultdict(list)
    for header in scan.headers:
        by_study[header.study_uid or header.location.folder].append(header)
    damaged: dict[str, list[tuple[FileLocation, str]]] = defaultdict(list)
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


def _damage(faults: Sequence[tuple[FileLocation, str]]) -> tuple[str, str] | None:
    if not faults:
        return None
    location, fault = faults[0]
    more = f" (and {len(faults) - 1} more files)" if len(faults) > 1 else ""
    code = "no_permission" if "permission" in fault else "damaged_file"
    return code, f"{location.name}{more}: {fault}"


def _code_and_message(fault: NotEvaluableError) -> tuple[str, str]:
    return fault.code, str(fault)


def _common_folder(paths: Iterable[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths]))


def _named(found: Sequence[_Found], root: Path) -> list[StudySource]:
    places = [entry.place for entry in found]
    identities = [f"{entry.place.relative_to(root)}\0{entry.uid}" for entry in found]
    names = [_without_suffix(wished_name(place, root, places)) for place in places]
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
