"""Names of result folders: safe on every file system, unique within one run, still recognisable."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)
# A DICOM UID fits; with what lies above and below, paths stay within the 260 characters of Windows.
_MOST_BYTES = 64
_SUFFIX_LENGTH = 6


def safe_name(name: str) -> str:
    """Turn any name into one that is a valid folder name everywhere; letters of every language are kept."""
    safe = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).strip().rstrip(".").lstrip(".").strip()
    safe = safe.encode("utf-8")[:_MOST_BYTES].decode("utf-8", errors="ignore").strip()
    if _RESERVED.match(safe):
        safe = f"_{safe}"
    return safe or "study"


def unique_ids(names: Sequence[str], identities: Sequence[str]) -> list[str]:
    """Give every study a safe name of its own.

    Studies whose names agree (also where only case differs) get a short hash of their identity, so that a name does not
    depend on the order in which studies were found.

    Parameters
    ----------
    names : sequence of str
        Names after the studies' places.
    identities : sequence of str
        What distinguishes the studies: relative path and Study Instance UID.
    """
    safe = [safe_name(name) for name in names]
    counts = Counter(name.casefold() for name in safe)
    ids: list[str] = []
    taken: set[str] = {name.casefold() for name in safe if counts[name.casefold()] == 1}
    for name, identity in zip(safe, identities, strict=True):
        if counts[name.casefold()] == 1:
            ids.append(name)
            continue
        digest = hashlib.sha256(identity.encode("utf-8", errors="surrogateescape")).hexdigest()
        length = _SUFFIX_LENGTH
        while (suffixed := f"{name}-{digest[:length]}").casefold() in taken:
            length += 1
        taken.add(suffixed.casefold())
        ids.append(suffixed)
    return ids


def name_below(place: Path, root: Path, siblings: Sequence[Path]) -> str:
    """Name a study after its place below the searched folder.

    Parameters
    ----------
    place : Path
        Folder or file of the study, ``root`` itself or below it.
    root : Path
        Folder (or file) that was searched.
    siblings : sequence of Path
        Places of all studies found, this one included.

    Returns
    -------
    str
        The first folder below ``root`` where it holds this study alone, else the whole relative path with ``_``.
    """
    if place == root:
        return root.resolve().name
    parts = place.relative_to(root).parts
    alone = sum(other != root and other.relative_to(root).parts[:1] == parts[:1] for other in siblings) == 1
    return parts[0] if alone else "_".join(parts)
