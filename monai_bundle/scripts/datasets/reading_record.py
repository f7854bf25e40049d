"""Which scans can be read at all: each is read once, and what was found is kept until a file changes.

Training must not stop at the four-hundredth scan because the gate refuses it, nor read every voxel before each start.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from scripts.datasets.datalist import LabelledScan
from scripts.intake.study import NotEvaluableError

logger = logging.getLogger(__name__)

Scan = TypeVar("Scan", bound=LabelledScan)

_VERSION = 1
"""Of the record and of the gate: raised when what is refused changes."""


@dataclass(frozen=True)
class Reading:
    """What reading one scan showed.

    Attributes
    ----------
    slices : int
        Stored slices; 0 where the scan was refused.
    upwards : bool
        Whether the slices of the study run from the feet to the head.
    code, reason : str or None
        Why it must not be read; None where it can be.
    """

    slices: int
    upwards: bool = True
    code: str | None = None
    reason: str | None = None


def read_each(scans: Sequence[LabelledScan], record: Path | None = None) -> dict[str, Reading]:
    """Read every scan, its mask included, and say what came of it.

    Parameters
    ----------
    scans : sequence of LabelledScan
        Of unique names.
    record : Path, optional
        JSON file that keeps the outcome: scans whose files are as they were are not read again. It holds the scans'
        names and the reasons. Without it everything is read.

    Returns
    -------
    dict
        Name to outcome, in the order of the scans.
    """
    known = _load(record)
    readings = {}
    for scan in tqdm(scans, desc="reading", unit="scan", disable=len(scans) < 2):
        mark = _fingerprint(scan.files)
        entry = known.get(scan.name, {})
        if entry.get("fingerprint") != mark:
            entry = {"fingerprint": mark, **asdict(_read(scan))}
            known[scan.name] = entry
            _save(record, known)
        readings[scan.name] = Reading(**{name: value for name, value in entry.items() if name != "fingerprint"})
    return readings


def leave_out_refused(scans: Sequence[Scan], readings: Mapping[str, Reading], dataset: str) -> list[Scan]:
    """Return the scans that can be read and log why each of the others cannot.

    Raises
    ------
    ValueError
        If none is left.
    """
    kept = [scan for scan in scans if readings[scan.name].code is None]
    for scan in scans:
        if readings[scan.name].code is not None:
            logger.warning("%s: %s is left out: %s", dataset, scan.name, readings[scan.name].reason)
    if not kept:
        first = next((readings[scan.name].reason for scan in scans), "there is no scan")
        raise ValueError(f"{dataset}: none of {len(scans)} scans can be read; the first: {first}")
    return kept


def _read(scan: LabelledScan) -> Reading:
    try:
        study = scan.read()
        scan.mask(study)
    except NotEvaluableError as fault:
        return Reading(0, code=fault.code, reason=str(fault))
    return Reading(len(study.voxels), upwards=bool(study.affine[2, 2] > 0))


def _fingerprint(files: Sequence[Path]) -> str:
    digest = hashlib.sha256(f"{_VERSION}\n".encode())
    for path in sorted(files):
        status = path.stat() if path.exists() else None
        state = f"{status.st_size} {status.st_mtime_ns}" if status else "absent"
        digest.update(f"{path.name} {state}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _load(record: Path | None) -> dict[str, dict[str, Any]]:
    if record is None or not record.is_file():
        return {}
    try:
        content = json.loads(record.read_text("utf-8"))
    except ValueError:
        logger.warning("%s is damaged: every scan is read again", record.name)
        return {}
    return content if isinstance(content, dict) else {}


def _save(record: Path | None, known: Mapping[str, Mapping[str, Any]]) -> None:
    if record is None:
        return
    record.parent.mkdir(parents=True, exist_ok=True)
    partial = record.with_suffix(".partial")
    partial.write_text(json.dumps(known, indent=1), encoding="utf-8")
    partial.replace(record)
