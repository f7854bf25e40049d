"""Which scans can be read at all: each is read once, and what was found is kept until a file changes.

Training must not stop at the four-hundredth scan because the gate refuses it, nor read every voxel before each start.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from tqdm import tqdm

from scripts.cache import Cache, files_key
from scripts.datasets.datalist import LabelledScan
from scripts.intake.study import NotEvaluableError

logger = logging.getLogger(__name__)

Scan = TypeVar("Scan", bound=LabelledScan)

_VERSION = 1
"""Of the quality gate: raised when what is refused changes."""


@dataclass(frozen=True)
class Reading:
    """What reading one scan showed.

    Attributes
    ----------
    slices : int
        Original slices; 0 where the scan was refused.
    upwards : bool
        Whether the slices of the study run from the feet to the head.
    code, reason : str or None
        Why it must not be read; None where it can be.
    """

    slices: int
    upwards: bool = True
    code: str | None = None
    reason: str | None = None


def read_each(scans: Sequence[LabelledScan], cache: Cache | None = None) -> dict[str, Reading]:
    """Read every scan, its mask included, and return what came of it.

    Parameters
    ----------
    scans : sequence of LabelledScan
        Of unique names.
    cache : Cache, optional
        Keeps the outcome as ``readings``: scans whose files are as they were are not read again. It holds the names of
        files and the reasons. Without it everything is read.

    Returns
    -------
    dict
        Name to outcome, in the order of the scans.
    """
    progress = tqdm(scans, desc="reading", unit="scan", disable=len(scans) < 2)
    return {scan.name: _kept(scan, cache) for scan in progress}


def _kept(scan: LabelledScan, cache: Cache | None) -> Reading:
    if cache is None:
        return _read(scan)
    present = [path for path in scan.files if path.exists()]
    key = [_VERSION, scan.name, sorted(path.name for path in scan.files), files_key(present)]
    return cache.get("readings", key, partial(_read, scan))


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
