"""What a batch leaves beside the results of each entry, so that a later batch need not repeat it. No scene, no Qt."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..bundle.location import BundleIdentity
from ..bundle.run import RunSettings, resultFolders
from ..result.reader import Result, ResultError, read_result

FILE_NAME = "batch.json"


@dataclass(frozen=True)
class BatchRecord:
    """What made the results of one entry; where all of it agrees, they need not be made again."""

    fingerprint: str
    version: str
    weightsSHA256: dict[str, str]
    operatingPoint: str
    explanationMethod: str
    overrides: dict[str, str]
    results: tuple[str, ...] = ()


def recordOf(fingerprint: str, identity: BundleIdentity, settings: RunSettings) -> BatchRecord:
    """Describe a run that is to be made; the device is left out, for results do not depend on it."""
    return BatchRecord(
        fingerprint=fingerprint,
        version=identity.version,
        weightsSHA256=dict(identity.weightsSHA256),
        operatingPoint=settings.operatingPoint,
        explanationMethod=settings.explanationMethod,
        overrides=dict(settings.overrides),
    )


def forgetRecord(outputDir: Path) -> None:
    """Remove the record before the results are made anew: an interrupted run must not look complete."""
    (outputDir / FILE_NAME).unlink(missing_ok=True)


def writeRecord(record: BatchRecord, outputDir: Path, results: list[Path]) -> None:
    """Write the record of an entry whose run is complete.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    content = asdict(record) | {"results": [folder.name for folder in results]}
    temporary = outputDir / f".{FILE_NAME}"
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(outputDir / FILE_NAME)


def resultsMadeBefore(record: BatchRecord, outputDir: Path) -> tuple[Result, ...]:
    """Return the results of an earlier complete run of this entry with this model and settings, else nothing."""
    try:
        content = json.loads((outputDir / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    wanted = asdict(record)
    del wanted["results"]
    if not isinstance(content, dict) or {key: content.get(key) for key in wanted} != wanted:
        return ()
    folders = [folder for folder in resultFolders(outputDir) if folder.name in (content.get("results") or ())]
    if not folders or len(folders) != len(content["results"]):
        return ()
    try:
        return tuple(read_result(folder) for folder in folders)
    except ResultError:
        return ()
