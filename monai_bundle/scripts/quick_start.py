"""Starts MONAI's command line without the optional packages that reading a study never uses.

MONAI imports whatever optional package it finds; where tools of training and tracking are installed, that is a third of
the time that a study takes from the terminal. The arguments are those of ``python -m monai.bundle``:

    python -m scripts.quick_start run --config_file configs/inference.json --dataset_dir STUDY --output_dir FOLDER
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

UNUSED = ("matplotlib.pyplot", "mlflow", "pandas", "sklearn", "tensorboard", "tensorboardX", "transformers")

DEFERRED = ("itk", "scipy.optimize", "scipy.signal", "scipy.stats")
"""What MONAI imports though hardly a study needs it: NRRD files need itk. Whoever asks later gets it."""

_DISTRIBUTED = "torch.distributed.optim"
_modules: dict[str, Any] = sys.modules


class ZeroRedundancyOptimizer:
    """In the place of torch's: ignite only asks whether an optimizer is one, and importing torch's takes a second."""


def hide(names: tuple[str, ...] = UNUSED) -> None:
    """Make imports of packages fail in this process as if they were not installed, unless they are imported already."""
    for name in names:
        # Python's import system raises ModuleNotFoundError where it finds None.
        _modules.setdefault(name, None)


@contextmanager
def hidden() -> Iterator[None]:
    """Import MONAI in this block: :data:`UNUSED` is hidden from now on, :data:`DEFERRED` until the block ends."""
    hide()
    deferred = [name for name in DEFERRED if name not in _modules]
    hide(tuple(deferred))
    if _DISTRIBUTED not in _modules:
        placeholder = ModuleType(_DISTRIBUTED)
        vars(placeholder)[ZeroRedundancyOptimizer.__name__] = ZeroRedundancyOptimizer
        _modules[_DISTRIBUTED] = placeholder
        deferred.append(_DISTRIBUTED)
    try:
        yield
    finally:
        for name in deferred:
            _modules.pop(name, None)


if __name__ == "__main__":
    with hidden():
        import monai.bundle  # noqa: F401 - what MONAI's command line and every configuration import
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
