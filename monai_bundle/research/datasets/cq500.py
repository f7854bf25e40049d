"""CQ500 (Chilamkurthy 2018): studies as they are downloaded, labelled by the majority of three readers."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from research.datasets.cq500_reads import read_votes
from scripts.cache import Cache
from scripts.datasets.datalist import as_datalist
from scripts.datasets.reading_record import leave_out_refused, read_each
from scripts.datasets.registry import DATASETS
from scripts.intake.dicom import read_dicom_study
from scripts.intake.dicom_header import SliceHeader
from scripts.intake.discovery import find_studies, read_study
from scripts.intake.image_kind import is_localizer, is_reformat
from scripts.intake.quality import check_quality
from scripts.intake.stacking import stacks_of
from scripts.intake.study import CTStudy, IntakeError, NotEvaluableError

logger = logging.getLogger(__name__)

READS = "reads.csv"
FOLDS = 10
_PLACE = re.compile(r"CQ500-?CT-?(\d+)( .*)?", re.IGNORECASE)


@dataclass(frozen=True)
class CQ500Scan:
    """One study, or one series of it.

    Attributes
    ----------
    name : str
        ``CQ500CT<n>``, with ``_series<k>`` where every series is a scan of its own.
    patient : str
        ``CQ500CT<n>``: the release names no patients, so each study counts as one.
    place : Path
        Folder (or zip) of the study.
    labels : mapping
        Label key to the majority's vote.
    headers : tuple of SliceHeader
        Slices of the one series that is read; empty where the intake chooses the series.
    """

    name: str
    patient: str
    place: Path
    labels: Mapping[str, bool]
    headers: tuple[SliceHeader, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of the series; of the whole study, where the intake chooses among its series."""
        if self.headers:
            return tuple(dict.fromkeys(header.location.path for header in self.headers))
        if self.place.is_file():
            return (self.place,)
        return tuple(sorted(path for path in self.place.rglob("*") if path.is_file()))

    @property
    def slice_labels(self) -> None:
        """Nobody labelled slices."""
        return

    def read(self) -> CTStudy:
        """Read the series that the intake's rules choose (or the scan's own), and pass it through the quality gate.

        Raises
        ------
        NotEvaluableError
            Whatever the intake or the gate refuses.
        """
        headers = self.headers or _headers(self.place)
        try:
            return check_quality(read_dicom_study(headers, self.place.name))
        except NotEvaluableError as fault:
            raise fault.within(self.name) from None

    def mask(self, study: CTStudy) -> None:
        """Return None: CQ500 has no masks."""
        return


def find_scans(cq500: Path, reads: Path | None = None, series: Literal["chosen", "all"] = "chosen") -> list[CQ500Scan]:
    """List the scans of a CQ500 folder, by study number.

    Parameters
    ----------
    cq500 : Path
        Holds a folder (or the zip) of each study, named ``CQ500CT<n>``, ``CQ500-CT-<n>`` or, as the zips unpack,
        ``CQ500CT<n> CQ500CT<n>``.
    reads : Path, optional
        Table of reads; ``reads.csv`` in the same folder where it is not given.
    series : str
        ``"chosen"``: one scan per study, its series chosen by the intake. ``"all"``: each series that can be stacked
        is a scan with the labels of its study, as DrCT2 counts 1,181 series.

    Raises
    ------
    FileNotFoundError
        If the folder or the table is missing, or no study lies in the folder.
    ValueError
        If the table is not as released, or a study lies there twice.
    """
    if series not in ("chosen", "all"):
        raise ValueError(f"series is {series!r}; choose 'chosen' or 'all'")
    votes = read_votes(reads or cq500 / READS)
    places = _places(cq500)
    scans = [CQ500Scan(f"CQ500CT{n}", f"CQ500CT{n}", places[n], votes[n]) for n in sorted(votes) if n in places]
    if not scans:
        raise FileNotFoundError(f"{cq500.name}: no folder CQ500CT<number> of a study in the table of reads")
    logger.info("CQ500: %d studies; %d of the table have no folder", len(scans), len(votes) - len(scans))
    unread = len(places.keys() - votes.keys())
    if unread:
        logger.warning("CQ500: %d folders are not in the table of reads and are left out", unread)
    if series == "chosen":
        return scans
    found = [each for scan in tqdm(scans, desc="series", unit="study") for each in _every_series(scan)]
    logger.info("CQ500: %d series of %d studies", len(found), len(scans))
    return found


def _places(cq500: Path) -> dict[int, Path]:
    if not cq500.is_dir():
        raise FileNotFoundError(f"{cq500.name}: no such folder; give the folder that holds CQ500CT0, CQ500CT1 ...")
    places: dict[int, Path] = {}
    for path in sorted(cq500.iterdir()):
        name = _PLACE.fullmatch(path.stem if path.suffix.lower() == ".zip" else path.name)
        if name is None or not (path.is_dir() or path.suffix.lower() == ".zip"):
            continue
        other = places.get(int(name[1]))
        if other is not None and other.is_dir() == path.is_dir():
            raise ValueError(f"{cq500.name}: {other.name} and {path.name} are the same study; remove one of them")
        if other is None or path.is_dir():
            places[int(name[1])] = path
    return places


def _headers(place: Path) -> tuple[SliceHeader, ...]:
    """Return the headers of a study's folder; images of several Study Instance UIDs are still one study.

    Raises
    ------
    NotEvaluableError
        If nothing there can be read.
    """
    try:
        sources = find_studies(place)
    except NotEvaluableError:
        raise
    except IntakeError as fault:
        raise NotEvaluableError("no_study.because", fault=fault.message) from None
    sound = [source for source in sources if source.headers and source.fault is None]
    if not sound:
        read_study(sources[0])
    return tuple(header for source in sound for header in source.headers)


def _every_series(scan: CQ500Scan) -> list[CQ500Scan]:
    try:
        headers = _headers(scan.place)
    except NotEvaluableError as fault:
        logger.warning("CQ500: %s is left out: %s", scan.name, fault)
        return []
    images = [each for each in headers if each.modality == "CT" and not (is_localizer(each) or is_reformat(each))]
    stacks = [stack for stack in stacks_of(images) if stack.fault is None]
    stacks.sort(key=lambda stack: (stack.first.series_number or 0, stack.first.series_uid, stack.first.location.name))
    return [
        replace(scan, name=f"{scan.name}_series{number}", headers=stack.headers)
        for number, stack in enumerate(stacks, start=1)
    ]


def datalist(
    cq500: str | Path,
    labels: Sequence[str],
    folds: int = FOLDS,
    reads: str | Path | None = None,
    series: Literal["chosen", "all"] = "chosen",
    split: Literal["patient", "series"] = "patient",
    cache: Cache | None = None,
) -> list[dict[str, Any]]:
    """List the scans that can be read as MONAI data entries; see :func:`scripts.datasets.datalist.as_datalist`.

    Parameters
    ----------
    cq500, reads, series
        As for :func:`find_scans`.
    labels : sequence of str
        Keys of the vocabulary, in its order.
    folds : int
        Number of folds; DrCT2 takes 10.
    split : str
        ``"patient"`` keeps all series of a study in one fold. ``"series"`` deals series by themselves, as the paper's
        count suggests: metrics from such folds are not of patients never seen, which a warning says.
    cache : Cache, optional
        Keeps which scans can be read; see :func:`scripts.datasets.reading_record.read_each`.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`find_scans`; also where no scan can be read.
    """
    if split not in ("patient", "series"):
        raise ValueError(f"split is {split!r}; choose 'patient' or 'series'")
    scans = find_scans(Path(cq500), Path(reads) if reads else None, series)
    if split == "series":
        logger.warning("CQ500: folds are assigned by series, as asked: this leaks patients from training into the test")
    elif series == "all":
        logger.warning(
            "CQ500: patients have several series; folds by series would leak patients, these keep them whole"
        )
    kept = leave_out_refused(scans, read_each(scans, cache), "CQ500")
    if split == "series":
        kept = [replace(scan, patient=scan.name) for scan in kept]
    return as_datalist(kept, labels, folds)


DATASETS["cq500"] = datalist
