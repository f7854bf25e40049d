"""Starts MONAI's command line without the optional packages that reading a study never uses.

MONAI imports whatever optional package it finds; where tools of training and tracking are installed, that is a third of
the time that a study takes from the terminal. The arguments are those of ``python -m monai.bundle``:

    python -m scripts.quick_start run --config_file configs/inference.json --dataset_dir STUDY --output_dir FOLDER
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

UNUSED = ("matplotlib.pyplot", "mlflow", "pandas", "sklearn", "tensorboard", "tensorboardX", "transformers")


def hide(names: tuple[str, ...] = UNUSED) -> None:
    """Make imports of packages fail in this process as if they were not installed, unless they are imported already."""
    modules: dict[str, Any] = sys.modules
    for name in names:
        # Python's import system raises ModuleNotFoundError where it finds None.
        modules.setdefault(name, None)


if __name__ == "__main__":
    hide()
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
