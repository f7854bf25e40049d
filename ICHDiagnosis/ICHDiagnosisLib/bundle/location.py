"""Where the bundle lies, and what its files state: operating points, version, weights. Standard library only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .command import CONFIG_FILE, BundleMissingError, check_bundle

INSTALLED_NAME = "ICHDiagnosisBundle"
SOURCE_NAME = "monai_bundle"
METADATA_FILE = "configs/metadata.json"
OPERATING_POINTS_FILE = "configs/operating_points.json"


@dataclass(frozen=True)
class BundleIdentity:
    """Which model a bundle holds: two results are by the same model where these agree.

    Attributes
    ----------
    version : str
        Version of the bundle.
    weights_sha256 : dict of str to str
        Path of each file of weights inside the bundle to its SHA-256 (lower-case hexadecimal).
    """

    version: str
    weights_sha256: dict[str, str]


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
    raise BundleMissingError("bundle.missing", name=INSTALLED_NAME, module=module_file.name)


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
        raise BundleMissingError("bundle.no_operating_points", file=OPERATING_POINTS_FILE) from error
    if not isinstance(points, dict) or not points:
        raise BundleMissingError("bundle.no_operating_points", file=OPERATING_POINTS_FILE)
    return tuple(str(name) for name in points)


def bundle_identity(bundle_root: Path) -> BundleIdentity:
    """Read the bundle's version and the hash of each of its files of weights from ``configs/metadata.json``.

    Raises
    ------
    BundleMissingError
        If the file is missing, is no JSON, lists no weights, or names a file outside the bundle.
    """
    try:
        metadata = json.loads((bundle_root / METADATA_FILE).read_text(encoding="utf-8"))
        version, hashes = str(metadata["version"]), {str(k): str(v).lower() for k, v in metadata["weights"].items()}
    except OSError as error:
        raise BundleMissingError("bundle.metadata_unreadable", file=METADATA_FILE, error=error.strerror) from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BundleMissingError("bundle.metadata_incomplete", file=METADATA_FILE) from error
    for name in hashes:
        if not (bundle_root / name).resolve().is_relative_to(bundle_root.resolve()):
            raise BundleMissingError("bundle.metadata_outside", file=METADATA_FILE, name=name)
    if not hashes:
        raise BundleMissingError("bundle.metadata_no_weights", file=METADATA_FILE)
    return BundleIdentity(version, hashes)


def weights_terms(bundle_root: Path) -> str:
    """Return the terms on which the weights may be used, for example ``"non-commercial research and education"``.

    Returns
    -------
    str
        Key ``terms`` of ``configs/metadata.json``; empty where the weights carry none, or the file cannot be read.
    """
    try:
        metadata = json.loads((bundle_root / METADATA_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(metadata.get("terms") or "") if isinstance(metadata, dict) else ""
