"""Where the bundle lies, and what it says of itself. Standard library only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..install.check import read_weights_hashes
from .command import CONFIG_FILE, BundleMissingError, check_bundle

INSTALLED_NAME = "ICHDiagnosisBundle"
SOURCE_NAME = "monai_bundle"
OPERATING_POINTS_FILE = "configs/operating_points.json"


@dataclass(frozen=True)
class BundleIdentity:
    """Which model a bundle holds: two results are by the same model where these agree."""

    version: str
    weights_sha256: tuple[tuple[str, str], ...]


def find_bundle(module_file: Path) -> Path:
    """Find the bundle that belongs to a module file.

    Parameters
    ----------
    module_file : Path
        ``ICHDiagnosis.py``. Installed, the bundle is the folder ``ICHDiagnosisBundle`` beside it; in the source tree
        it is ``monai_bundle`` beside the module's folder.

    Raises
    ------
    BundleMissingError
        If there is none at either place.
    """
    folder = module_file.resolve().parent
    places = (folder / INSTALLED_NAME, folder.parent / SOURCE_NAME)
    for place in places:
        if (place / CONFIG_FILE).is_file():
            return place
    raise BundleMissingError(
        f"The bundle is missing: no {INSTALLED_NAME} beside {module_file.name}. Reinstall the extension."
    )


def operating_points(bundle_root: Path) -> tuple[str, ...]:
    """Return the names of the bundle's operating points, in the bundle's order.

    Raises
    ------
    BundleMissingError
        If the bundle, or its list of operating points, is missing or damaged.
    """
    check_bundle(bundle_root)
    try:
        points = json.loads((bundle_root / OPERATING_POINTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleMissingError(f"{OPERATING_POINTS_FILE} cannot be read. Reinstall the extension.") from error
    if not isinstance(points, dict) or not points:
        raise BundleMissingError(f"{OPERATING_POINTS_FILE} names no operating point. Reinstall the extension.")
    return tuple(str(name) for name in points)


def bundle_identity(bundle_root: Path) -> BundleIdentity:
    """Return which model the bundle holds, by its metadata.

    Raises
    ------
    ValueError
        If the metadata cannot be read.
    """
    version, hashes = read_weights_hashes(bundle_root)
    return BundleIdentity(version, tuple(sorted(hashes.items())))
