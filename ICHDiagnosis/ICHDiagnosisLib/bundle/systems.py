"""Which systems the bundle offers, as its configurations state them, and which are installed. Standard library only."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from .command import CONFIG_FILE, BundleMissingError
from .location import OPERATING_POINTS_FILE

SHIPPED = ""
"""Name of the system that the bundle reads with where none is chosen."""


@dataclass(frozen=True)
class InstalledSystem:
    """One system that can read now.

    Attributes
    ----------
    name : str
        :data:`SHIPPED` for the bundle's own.
    title : str
        As a person reads it; a result states it as its network.
    configuration : str
        What the bundle lays over its inference configuration; that one itself for the shipped system.
    model_file, operating_points_file : str
        Weights and thresholds, from the bundle's folder.
    """

    name: str
    title: str
    configuration: str
    model_file: str
    operating_points_file: str


def installed_systems(bundle_root: Path) -> tuple[InstalledSystem, ...]:
    """List the systems whose weights exist, the shipped one first; ``python -m scripts.systems`` lists the same.

    A file that cannot be read states no system: the shipped one needs none but its own.
    """
    found = []
    for file in sorted((bundle_root / "configs").glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            configuration, model_file = f"configs/{file.name}", content["model_file"]
            name, title = str(content["system"]["name"]), str(content["system"]["title"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(model_file, str) and (bundle_root / model_file).is_file():
            own = SHIPPED if configuration == CONFIG_FILE else name
            points = str(content.get("operating_points_file", OPERATING_POINTS_FILE))
            found.append(InstalledSystem(own, title, configuration, model_file, points))
    return tuple(sorted(found, key=lambda system: (system.name != SHIPPED, system.title)))


def installed_system(bundle_root: Path, name: str) -> InstalledSystem:
    """Return one installed system by its name, :data:`SHIPPED` excepted.

    A scene may name anything, and a configuration is code: only what the bundle lists is ever run.

    Raises
    ------
    BundleMissingError
        ``bundle.no_system`` if it is not installed.
    """
    for system in installed_systems(bundle_root):
        if name not in (SHIPPED,) and system.name == name:
            return system
    raise BundleMissingError("bundle.no_system", name=name)


def weights_of(bundle_root: Path, name: str) -> dict[str, str]:
    """Return the SHA-256 of an installed system's weights by their path in the bundle; nothing for the shipped one.

    Raises
    ------
    BundleMissingError
        As :func:`installed_system`; also where the file cannot be read.
    """
    if name == SHIPPED:
        return {}
    system = installed_system(bundle_root, name)
    try:
        content = (bundle_root / system.model_file).read_bytes()
    except OSError as error:
        raise BundleMissingError("bundle.no_system", name=name) from error
    return {system.model_file: hashlib.sha256(content).hexdigest()}
