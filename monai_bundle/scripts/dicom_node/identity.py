"""Names without a patient in them: folders, rows and log lines bear hashes in the place of UIDs."""

from __future__ import annotations

import hashlib
import traceback
from pathlib import Path

from scripts.messages import ExpectedError

_KEY_LENGTH = 32
_SHORT_LENGTH = 8


def key_of(uid: str) -> str:
    """Return the key of a Study or SOP Instance UID: the same for the same UID, and no way back to it.

    Parameters
    ----------
    uid : str
        (0020,000D) or (0008,0018), with or without its padding.
    """
    return hashlib.sha256(uid.strip(" \0").encode()).hexdigest()[:_KEY_LENGTH]


def short(key: str) -> str:
    """Return as much of a key as a log line needs."""
    return key[:_SHORT_LENGTH]


def fault_of(error: BaseException) -> str:
    """Name an error by its code, or its type and place: its text may hold a value of the header."""
    if isinstance(error, ExpectedError):
        return error.code
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
