"""Studies that have no result: a note each, so that none of them is missing from the worklist."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from scripts.output.folder import write_whole_file

STATE_FOLDER = ".triage"
"""Beside the result folders: what a triage keeps about them."""

_FAILURES = "failed"


def write_failure(root: Path, name: str, reason: str) -> None:
    """Note why a study has no result; a note of an earlier attempt is replaced.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    text = json.dumps({"study_id": name, "reason": reason}, ensure_ascii=False)
    write_whole_file(_note(root, name), text.encode(errors="replace"))


def forget_failure(root: Path, name: str) -> None:
    """Remove the note about a study that has a result now."""
    _note(root, name).unlink(missing_ok=True)


def read_failures(root: Path) -> dict[str, str]:
    """Return the reason of every study that has a note, by its name."""
    reasons = {}
    for file in sorted((root / STATE_FOLDER / _FAILURES).glob("*.json")):
        try:
            note = json.loads(file.read_text(encoding="utf-8"))
            reasons[str(note["study_id"])] = str(note["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            # Removed by a worker that has read the study meanwhile, or no note.
            continue
    return reasons


def state_file(root: Path, kind: str, name: str) -> Path:
    """Return the file of one study in a folder of the state; its name is a hash, for a study's can be too long."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:32]
    return root / STATE_FOLDER / kind / f"{digest}.json"


def _note(root: Path, name: str) -> Path:
    return state_file(root, _FAILURES, name)
