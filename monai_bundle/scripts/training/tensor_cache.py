"""Files of tensors that are made once and kept, each with a fingerprint of everything that it was made from.

A file is written under a temporary name and renamed: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def read_cached(path: Path, mark: str, names: tuple[str, ...]) -> dict[str, Tensor] | None:
    """Return the tensors of one file, mapped into memory rather than read, or None if they must be made (again).

    Parameters
    ----------
    path : Path
        The file.
    mark : str
        Fingerprint that it must carry.
    names : tuple of str
        Tensors that it must hold.
    """
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = dict(torch.load(path, weights_only=True, mmap=True))
        found, tensors = content["fingerprint"], {name: content[name] for name in names}
    except (
        EOFError,
        RuntimeError,
        pickle.UnpicklingError,
        KeyError,
        TypeError,
        ValueError,
        OSError,
        zipfile.BadZipFile,
    ) as error:
        logger.warning("%s: the cache's file is damaged (%s), it is made again", path.stem, type(error).__name__)
        return None
    if found != mark:
        logger.info("%s: inputs changed, it is made again", path.stem)
        return None
    return tensors


def write_cached(path: Path, mark: str, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors and the fingerprint of what they were made from."""
    partial = path.with_suffix(".partial")
    torch.save({"fingerprint": mark, **tensors}, partial)
    partial.replace(path)
