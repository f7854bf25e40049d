"""How much room the packages take on disk, and whether there is as much. Standard library only.

The numbers are measured by ``setup/installed_sizes.py``; a test compares them with what is installed.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

from .computer import TorchBuild, this_computer

# What each brings along included, on Linux; torch for Apple silicon from the wheel's own list of files.
APPROXIMATE_MEGABYTES = {
    "numpy": 71,
    "monai": 14,
    "fire": 1,
    "fpdf2": 3,
    "highdicom": 36,
    "jinja2": 1,
    "jsonschema": 3,
    "matplotlib": 76,
    "nibabel": 12,
    "pillow": 22,
    "psutil": 1,
    "pydicom": 14,
    "pynrrd": 1,
    "python-gdcm": 45,
    "pytorch-ignite": 3,
    "pyyaml": 3,
    "scikit-image": 37,
    "scipy": 143,
    "tqdm": 1,
}
TORCH_MEGABYTES = {
    TorchBuild.CPU: 860,
    TorchBuild.CUDA: 5000,
    TorchBuild.APPLE: 480,
    TorchBuild.NONE: 0,
}


def megabytes(name: str) -> int:
    """Return the approximate space (MB) of a distribution, of torch that of the build which this computer gets."""
    return TORCH_MEGABYTES[this_computer().torch_build] if name == "torch" else APPROXIMATE_MEGABYTES[name]


def packages_folder() -> Path:
    """Return the folder that pip installs into."""
    return Path(sysconfig.get_paths()["purelib"])


def free_megabytes(folder: Path) -> int:
    """Return the free space (MB) on the disk of an existing folder."""
    return shutil.disk_usage(folder).free // 10**6


def missing_room(
    needed: int, folder: Path, free: Callable[[Path], int] = free_megabytes
) -> tuple[Path, int, int] | None:
    """Find the disk that is too full for an installation.

    Parameters
    ----------
    needed : int
        Space that the packages take (MB).
    folder : Path
        Where they are installed.
    free : callable
        Returns the free space (MB) on the disk of a folder.

    Returns
    -------
    tuple or None
        Folder on the full disk, space needed there (MB) and space free there (MB); None where all fits. The downloaded
        files lie in the temporary folder until all are installed, and take about half of what they hold.
    """
    while not folder.exists():
        folder = folder.parent
    temporary = Path(tempfile.gettempdir())
    if os.stat(folder).st_dev == os.stat(temporary).st_dev:  # noqa: PTH116 - both existing folders, compared alike
        needs = [(folder, needed + needed // 2)]
    else:
        needs = [(folder, needed), (temporary, needed // 2)]
    for place, megabytes_there in needs:
        found = free(place)
        if found < megabytes_there:
            return place, megabytes_there, found
    return None
