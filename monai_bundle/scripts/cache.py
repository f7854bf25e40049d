"""The one cache: whatever takes long is computed once and kept by joblib.Memory, under its inputs and settings.

joblib writes atomically, so that an interrupted run goes on where it stopped and two processes do not harm each other,
and computes again what is damaged. What is no longer used stays until the folder is removed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import joblib
import numpy as np
import torch
from joblib.memory import MemorizedFunc
from numpy.typing import NDArray
from torch import Tensor, nn

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Cache:
    """Results under one folder.

    Parameters
    ----------
    folder : path
        Created when something is kept. Each kind of result has a sub-folder of its own.

    Attributes
    ----------
    computed : int
        How many results this object has computed rather than found.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.computed = 0

    def get(self, kind: str, key: object, compute: Callable[[], T], mapped: bool = False) -> T:
        """Return a result, computed only where it was not found.

        Parameters
        ----------
        kind : str
            Name of the sub-folder, e.g. ``"features"``.
        key : object
            Every input and setting that decides the result, as plain data, arrays and dataclasses; see
            :func:`files_key` and :func:`weights_key`. The code of ``compute`` is not part of the key.
        compute : callable
            Returns what joblib can pickle: plain data, NumPy arrays, dataclasses of both.
        mapped : bool
            Whether arrays are mapped into memory, read-only, rather than read; see :func:`mapped_tensor`.
        """

        def counted() -> T:
            self.computed += 1
            return compute()

        result: T = self._kept(kind, mapped)(key, counted)
        return result

    def holds(self, kind: str, key: object) -> bool:
        """Return whether a result would be found."""
        return bool(self._kept(kind, mapped=False).check_call_in_cache(key, None))

    def file(self, kind: str, key: object, suffix: str, write: Callable[[Path], object]) -> Path:
        """Return the path of a file that others read by themselves, written only where it was not found.

        Parameters
        ----------
        kind, key
            As for :meth:`get`.
        suffix : str
            Of the file, e.g. ``".pt"``.
        write : callable
            Writes to the path that it is given; a file that it did not finish is not taken for a whole one.
        """
        path = self.folder / kind / f"{joblib.hash(key)}{suffix}"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.partial")
            write(partial)
            partial.replace(path)
            self.computed += 1
        return path

    def _kept(self, kind: str, mapped: bool) -> MemorizedFunc:
        memory = joblib.Memory(self.folder / kind, mmap_mode="r" if mapped else None, verbose=0)

        # A function of its own each time: joblib writes a function's code into the first folder that a process uses it
        # with alone, and another process computes again what lies in a folder without it.
        def computed(key: object, compute: Callable[[], T]) -> T:
            return compute()

        kept = memory.cache(computed, ignore=["compute"])
        # In the place of joblib's whole traceback.
        kept.warn = partial(_warn, kind)
        return kept


def _warn(kind: str, message: str) -> None:
    logger.warning("cache of %s: a file is damaged and is computed again (%s)", kind, message.strip().splitlines()[-1])


def files_key(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of each file, by name: another content has another key.

    Raises
    ------
    OSError
        If a file is missing.
    """
    states = [(path.name, path.stat()) for path in sorted(files)]
    return [(name, state.st_size, state.st_mtime_ns) for name, state in states]


def weights_key(network: nn.Module) -> str:
    """Return a hash of a network's weights and their names, whatever their layout in memory."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    plain = {
        name: (str(tensor.dtype), tuple(tensor.shape), tensor.numpy().tobytes()) for name, tensor in tensors.items()
    }
    return str(joblib.hash(plain))


def mapped_tensor(array: NDArray[Any], dtype: torch.dtype) -> Tensor:
    """Return an array of the cache as a tensor, mapped into memory where the array is.

    Parameters
    ----------
    array : ndarray
        From :meth:`Cache.get` with ``mapped``.
    dtype : torch.dtype
        Of the tensor, as wide as the array's: NumPy has no bfloat16, which is kept as uint16.
    """
    if not isinstance(array, np.memmap):
        return torch.from_numpy(array).view(dtype)
    # A memmap keeps its file open, and a process may have about a thousand open files; torch's mapping does not.
    file = Path(str(array.filename))
    storage: torch.UntypedStorage = torch.UntypedStorage.from_file(str(file), False, file.stat().st_size)  # type: ignore[assignment]
    strides = tuple(step // array.itemsize for step in array.strides)
    return torch.empty(0, dtype=dtype).set_(storage, array.offset // array.itemsize, array.shape, strides)
