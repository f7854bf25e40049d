"""A digest of the data that something was learnt from: what is kept under it is not taken for that of other data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def data_digest(datalists: Iterable[Sequence[Mapping[str, Any]]]) -> str:
    """Return a sha256 over all entries of datalists: names, patients, folds, labels, and the files' sizes and times.

    Parameters
    ----------
    datalists : iterable of datalist
        ``study`` of each entry names its ``files``; labels may be missing (None) or not known (NaN).

    Raises
    ------
    OSError
        If a file is not there.
    """
    digest = hashlib.sha256()
    for datalist in datalists:
        digest.update(f"{len(datalist)} entries\n".encode())
        for entry in datalist:
            known = [str(entry.get(key)) for key in ("name", "patient", "fold")]
            digest.update(json.dumps(known).encode())
            for key in ("label", "slice_labels"):
                labels = entry.get(key)
                digest.update(b"none" if labels is None else np.asarray(labels, dtype=np.float64).tobytes())
            for path in sorted(entry["study"].files):
                status = path.stat()
                digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
