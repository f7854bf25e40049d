"""What the bundle needs in Slicer's Python, and what of it is missing.

Nothing runs when this file is imported, and nothing heavy is ever imported into the application: packages are found by
their metadata. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..messages import message
from .installed_packages import THIS_PYTHON, InstalledPackages, canonical, is_at_least

REQUIREMENTS_FILE = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
# Slicer itself is built against these, or (torch) another extension chooses the build that fits the graphics card.
NEVER_REPLACED = ("torch", "SimpleITK", "numpy", "requests")
# Space on disk with what each brings along, measured on Linux; torch without a graphics card (with CUDA: about 5 GB).
APPROXIMATE_MEGABYTES = {
    "torch": 700,
    "numpy": 57,
    "monai": 7,
    "fire": 1,
    "itk": 1470,
    "jinja2": 1,
    "jsonschema": 2,
    "matplotlib": 40,
    "nibabel": 9,
    "pillow": 20,
    "psutil": 1,
    "pydicom": 9,
    "pylibjpeg-openjpeg": 6,
    "python-gdcm": 44,
    "pytorch-ignite": 2,
    "pyyaml": 3,
    "scikit-image": 32,
    "scipy": 115,
    "tqdm": 1,
}
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)>=([0-9]+(?:\.[0-9]+)*)")


@dataclass(frozen=True)
class Requirement:
    """One distribution and the oldest version that will do."""

    name: str
    minimum: str

    @property
    def text(self) -> str:
        """The requirement as pip reads it."""
        return f"{self.name}>={self.minimum}"

    @property
    def megabytes(self) -> int:
        """Approximate space on disk (MB)."""
        return APPROXIMATE_MEGABYTES[canonical(self.name)]


@dataclass(frozen=True)
class MissingPackage:
    """A requirement that is not met; ``installed`` is the version that is too old, or None."""

    requirement: Requirement
    installed: str | None

    @property
    def description(self) -> str:
        """One line for the list that the user is asked about."""
        name, size = self.requirement.text, self.requirement.megabytes
        if self.installed is None:
            return message("install.package_missing", name=name, size=size)
        return message("install.package_too_old", name=name, installed=self.installed, size=size)


def read_requirements(path: Path = REQUIREMENTS_FILE) -> tuple[Requirement, ...]:
    """Read the list of what the bundle needs.

    Raises
    ------
    ValueError
        If a line is not of the form ``name>=version``.
    """
    requirements = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise ValueError(f"{path.name}: {text!r} is not of the form name>=version")
        requirements.append(Requirement(match[1], match[2]))
    return tuple(requirements)


def find_missing(
    requirements: Sequence[Requirement], packages: InstalledPackages = THIS_PYTHON
) -> tuple[MissingPackage, ...]:
    """Find the requirements that are not met, from the packages' metadata alone.

    Parameters
    ----------
    requirements : sequence of Requirement
        What is needed.
    packages : InstalledPackages
        What is installed.

    Returns
    -------
    tuple of MissingPackage
        In the order of the requirements: torch comes first, for others build on it.
    """
    versions = packages.versions()
    missing = []
    for requirement in requirements:
        installed = versions.get(canonical(requirement.name))
        if installed is None or not is_at_least(installed, requirement.minimum):
            missing.append(MissingPackage(requirement, installed))
    return tuple(missing)
