"""What a batch leaves beside the results of each entry, so that a later batch need not repeat it. No scene, no Qt."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from ..bundle.location import BundleIdentity
from ..bundle.run import RunSettings, result_folders
from ..result.content import Result, ResultError
from ..result.reader import read_result

FILE_NAME = "batch.json"
_EARLIER_NAMES = {
    "fingerprint": "cache_key",
    "weightsSHA256": "weights_sha256",
    "operatingPoint": "operating_point",
    "explanationMethod": "explanation_method",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchRecord:
    """What made the results of one entry; where all of it agrees, they need not be made again."""

    cache_key: str
    version: str
    weights_sha256: dict[str, str]
    operating_point: str
    explanation_method: str
    overrides: dict[str, str]
    results: tuple[str, ...] = ()


def record_of(cache_key: str, identity: BundleIdentity, settings: RunSettings) -> BatchRecord:
    """Describe a run that is to be made; the device is left out, for results do not depend on it."""
    return BatchRecord(
        cache_key=cache_key,
        version=identity.version,
        weights_sha256=identity.weights_sha256,
        operating_point=settings.operating_point,
        explanation_method=settings.explanation_method,
        overrides=dict(settings.overrides),
    )


def forget_record(output_dir: Path) -> None:
    """Remove the record before the results are made anew: an interrupted run must not look complete."""
    (output_dir / FILE_NAME).unlink(missing_ok=True)


def write_record(record: BatchRecord, output_dir: Path, results: list[Path]) -> None:
    """Write the record of an entry whose run is complete.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    content = asdict(record) | {"results": [folder.name for folder in results]}
    temporary = output_dir / f".{FILE_NAME}"
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(output_dir / FILE_NAME)


def results_made_before(record: BatchRecord, output_dir: Path) -> tuple[Result, ...]:
    """Return the results of an earlier complete run of this entry with this model and settings, else nothing."""
    try:
        content = json.loads((output_dir / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    if not isinstance(content, dict):
        return ()
    if not _EARLIER_NAMES.keys().isdisjoint(content):
        _log.warning("%s was written by an earlier version: the next one will not read it", FILE_NAME)
        content = {_EARLIER_NAMES.get(key, key): value for key, value in content.items()}
    wanted = asdict(record)
    del wanted["results"]
    if {key: content.get(key) for key in wanted} != wanted:
        return ()
    folders = [folder for folder in result_folders(output_dir) if folder.name in (content.get("results") or ())]
    if not folders or len(folders) != len(content["results"]):
        return ()
    try:
        return tuple(read_result(folder) for folder in folders)
    except ResultError:
        return ()
