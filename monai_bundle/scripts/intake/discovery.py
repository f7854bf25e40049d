"""Finding the studies in a folder or file, and reading one of them."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.intake.dicom import read_dicom_study
from scripts.intake.dicom_header import DamagedFileError, HeaderScan, scan_headers
from scripts.intake.file_location import FileLocation, files_in_folder, files_in_zip, may_be_opened
from scripts.intake.quality import QualityLimits
from scripts.intake.slice_header import SliceHeader
from scripts.intake.study import CTStudy, IntakeError, NotEvaluableError, QualityWarning
from scripts.intake.study_id import name_below, unique_ids
from scripts.intake.volume_file import NIFTI_SUFFIXES, NRRD_SUFFIXES, read_nifti, read_nrrd

_ZIP_SUFFIXES = (".zip",)
_VOLUME_SUFFIXES = NIFTI_SUFFIXES + NRRD_SUFFIXES
_SEGMENTATION_SUFFIXES = (".seg.nrrd",)
_ARCHIVE_SUFFIXES = {".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"}
_UNFINISHED_SUFFIXES = (".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp")
_ARCHIVES = (*_ZIP_SUFFIXES, *_ARCHIVE_SUFFIXES)

logger = logging.getLogger(__name__)


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
    unread : tuple of str
        Names of files beside its images that bear the name of one but cannot be read as DICOM.
    patients : int
        Number of patients whose images bear this study's Study Instance UID; each is a study of its own.
    """

    study_id: str
    source_name: str
    path: Path
    headers: tuple[SliceHeader, ...] = ()
    fault: NotEvaluableError | None = None
    unread: tuple[str, ...] = ()
    patients: int = 1

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
    unread: tuple[str, ...] = ()
    patients: int = 1


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
    found = _found([location for location in locations if may_be_opened(location.path)], root)
    found += [_Found(folder, "", fault=NotEvaluableError("no_permission", name=folder.name)) for folder in refused]
    if not found:
        archive = next((each.path.name for each in locations if each.path.suffix.lower() in _ARCHIVE_SUFFIXES), None)
        raise IntakeError("no_study.archive", name=archive) if archive else IntakeError("no_study", name=name)
    return _named(found, root)


def read_study(source: StudySource, limits: QualityLimits | None = None) -> CTStudy:
    """Read the voxels of one study.

    Parameters
    ----------
    source : StudySource
        From :func:`find_studies`.
    limits : QualityLimits, optional
        Of the quality gate that tries the series of a DICOM study; it does not check the study that is returned.

    Raises
    ------
    NotEvaluableError
        Whatever is wrong with the study; one line that names source or file, the fault and the remedy. Also what
        nobody foresaw: then the traceback goes to the log.
    """
    if source.fault:
        raise source.fault
    try:
        study = _read(source, limits)
    except NotEvaluableError:
        raise
    except Exception as error:
        logger.exception("%s: unforeseen error", source.study_id)
        fault = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise NotEvaluableError("unforeseen_error", name=source.source_name, fault=fault) from None
    warnings = []
    if source.unread:
        files, name = len(source.unread), source.unread[0]
        several = QualityWarning("unreadable_files", files=files, name=name)
        warnings.append(several if files > 1 else QualityWarning("unreadable_files.one", name=name))
    if source.patients > 1:
        warnings.append(QualityWarning("several_patients", patients=source.patients))
    return study.with_warnings(*warnings)


def _read(source: StudySource, limits: QualityLimits | None) -> CTStudy:
    name = source.path.name.lower()
    if not source.headers:
        return read_nrrd(source.path) if name.endswith(NRRD_SUFFIXES) else read_nifti(source.path)
    try:
        return read_dicom_study(source.headers, source.source_name, limits)
    except NotEvaluableError as fault:
        raise fault.within(source.source_name) from None


def _found(locations: Sequence[FileLocation], root: Path) -> list[_Found]:
    found: list[_Found] = []
    others: list[FileLocation] = []
    empty_archives: list[_Found] = []
    for location in locations:
        name = location.path.name.lower()
        if name.endswith(_SEGMENTATION_SUFFIXES) and len(locations) > 1:
            continue
        if name.endswith(_VOLUME_SUFFIXES):
            found.append(_Found(location.path, ""))
        elif name.endswith(_ZIP_SUFFIXES):
            studies = _in_zip(location.path)
            (found if studies else empty_archives).extend(studies or [_without_dicom(location.path)])
        else:
            others.append(location)
    found.extend(_dicom_studies(scan_headers(others), None if root.is_dir() else root))
    return found or empty_archives


def _in_zip(path: Path) -> list[_Found]:
    try:
        return _dicom_studies(scan_headers(files_in_zip(path)), path)
    except NotEvaluableError as fault:
        return [_Found(path, "", fault=fault)]


def _without_dicom(path: Path) -> _Found:
    """Return the refusal of an archive without DICOM images; it counts only where nothing else is found."""
    inner = next((each.name for each in files_in_zip(path) if each.name.lower().endswith(_ARCHIVES)), None)
    if inner:
        return _Found(path, "", fault=NotEvaluableError("no_dicom.archive", name=path.name, inner=inner))
    return _Found(path, "", fault=NotEvaluableError("no_dicom", name=path.name))


def _dicom_studies(scan: HeaderScan, place: Path | None) -> list[_Found]:
    """Group images by study and patient; a damaged file spoils the studies whose files lie in the same folder."""
    damaged: dict[str, list[tuple[FileLocation, DamagedFileError]]] = defaultdict(list)
    for location, fault in scan.damaged:
        damaged[location.folder].append((location, fault))
    found = []
    for uid, patients, headers in _by_study(scan.headers):
        folders = sorted({header.location.folder for header in headers})
        faults = [entry for folder in folders for entry in damaged.get(folder, []) if not _is_no_dicom(entry[1])]
        where = place or _common_folder(header.location.path for header in headers)
        found.append(_Found(where, uid, headers, _damage(faults), _looks_like_slices(scan, headers), patients))
    spoilt = {header.location.folder for header in scan.headers}
    for folder, faults in damaged.items():
        if folder not in spoilt:
            where = place or faults[0][0].path.parent
            found.append(_Found(where, "", fault=_damage(faults)))
    return found


def _by_study(headers: Sequence[SliceHeader]) -> list[tuple[str, int, tuple[SliceHeader, ...]]]:
    """Group images: Study Instance UID (the same for all images of a series), number of patients under it, images."""
    study_of_series: dict[str, str] = {}
    grouped: dict[str, dict[int | None, list[SliceHeader]]] = defaultdict(lambda: defaultdict(list))
    for header in headers:
        study = study_of_series.setdefault(header.series_uid, header.study_uid or header.location.folder)
        grouped[study][header.patient_group].append(header)
    return [
        (f"{uid}\0{number}" if number else uid, len(by_patient), tuple(images))
        for uid, by_patient in grouped.items()
        for number, images in enumerate(by_patient.values())
    ]


def _is_no_dicom(fault: DamagedFileError) -> bool:
    return fault.code == "damage.not_dicom"


def _looks_like_slices(scan: HeaderScan, headers: Sequence[SliceHeader]) -> tuple[str, ...]:
    """Name the files that lie beside these images and bear such a name, but are no DICOM or compressed as a whole."""
    folders = {header.location.folder for header in headers}
    patterns = {_pattern(header.location) for header in headers}
    no_dicom = [location for location, fault in scan.damaged if _is_no_dicom(fault)]
    alike = [each for each in scan.others if "#" in _pattern(each) and _pattern(each) in patterns]
    alike += [each for each in scan.others if _within_a_suffix(each) in patterns]
    return tuple(sorted(each.name for each in (*no_dicom, *alike) if each.folder in folders))


def _pattern(location: FileLocation) -> str:
    return re.sub(r"\d+", "#", location.name)


def _within_a_suffix(location: FileLocation) -> str:
    """Return the pattern of a compressed or unfinished file's name without that suffix; empty for other files."""
    name = _pattern(location)
    suffixes = (*_ARCHIVE_SUFFIXES, *_UNFINISHED_SUFFIXES)
    return next((name[: -len(suffix)] for suffix in suffixes if name.lower().endswith(suffix)), "")


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
        StudySource(
            study_id=study_id,
            source_name=entry.place.resolve().name,
            path=entry.place,
            headers=entry.headers,
            fault=entry.fault,
            unread=entry.unread,
            patients=entry.patients,
        )
        for entry, study_id in zip(found, unique_ids(names, identities), strict=True)
    ]
    return sorted(sources, key=lambda source: source.study_id)


def _without_suffix(name: str) -> str:
    for suffix in (".nii.gz", *NIFTI_SUFFIXES, *NRRD_SUFFIXES, *_ZIP_SUFFIXES, ".dcm"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
