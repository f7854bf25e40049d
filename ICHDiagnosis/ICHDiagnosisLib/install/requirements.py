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
from .installed_packages import THIS_PYTHON, InstalledPackages, applies_here, canonical, is_at_least
from .sizes import megabytes

REQUIREMENTS_FILE = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
DICOM_REQUIREMENTS_FILE = Path(__file__).resolve().parents[2] / "Resources" / "requirements-dicom.txt"
# Slicer itself is built against these, or (torch) an installer of its own chooses the build for the graphics card.
NEVER_REPLACED = ("torch", "SimpleITK", "numpy", "scipy", "requests")
_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)>=(?P<minimum>[0-9]+(?:\.[0-9]+)*)(?:,<(?P<below>[0-9]+(?:\.[0-9]+)*))?"
    r"(?:\s*;\s*(?P<marker>.+))?"
)


@dataclass(frozen=True)
class Requirement:
    """One distribution and the versions that will do.

    Attributes
    ----------
    name : str
        Its name.
    minimum : str
        The oldest version that will do.
    below : str
        Only older versions are installed; empty for no bound. A newer one that is there already stays.
    """

    name: str
    minimum: str
    below: str = ""

    @property
    def specifier(self) -> str:
        """The versions as pip reads them."""
        return f">={self.minimum}" + (f",<{self.below}" if self.below else "")

    @property
    def text(self) -> str:
        """The requirement as pip reads it."""
        return self.name + self.specifier

    @property
    def megabytes(self) -> int:
        """Approximate space on disk (MB), for the build that this computer gets."""
        return megabytes(canonical(self.name))


@dataclass(frozen=True)
class MissingPackage:
    """A requirement that is not met.

    Attributes
    ----------
    requirement : Requirement
        What is needed.
    installed : str or None
        The version that is there and does not do; None where there is none.
    fault : str
        Why a version that would do cannot be used; empty where that is not so.
    """

    requirement: Requirement
    installed: str | None
    fault: str = ""

    @property
    def description(self) -> str:
        """One line for the list that the user is asked about."""
        name, size = self.requirement.text, self.requirement.megabytes
        if self.installed is None:
            return message("install.package_missing", name=name, size=size)
        if self.fault:
            values = {"name": self.requirement.name, "installed": self.installed, "fault": self.fault, "size": size}
            return message("install.package_damaged", **values)
        return message("install.package_too_old", name=name, installed=self.installed, size=size)


def read_requirements(path: Path = REQUIREMENTS_FILE) -> tuple[Requirement, ...]:
    """Read the list of what the bundle needs on this platform.

    Raises
    ------
    ValueError
        If a line is not of the form ``name>=version``, with an upper bound (``,<version``) and a marker
        (``; sys_platform == "win32"``) at most.
    """
    requirements = []
    for text in requirement_lines(path):
        match = _LINE.fullmatch(text)
        if match is None:
            raise ValueError(f"{path.name}: {text!r} is not of the form name>=version")
        if match["marker"] is None or applies_here(match["marker"]):
            requirements.append(Requirement(match["name"], match["minimum"], match["below"] or ""))
    return tuple(requirements)


def requirement_lines(path: Path = REQUIREMENTS_FILE) -> tuple[str, ...]:
    """Return the lines of the list that are neither empty nor a remark."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def find_missing(
    requirements: Sequence[Requirement], packages: InstalledPackages = THIS_PYTHON
) -> tuple[MissingPackage, ...]:
    """Find the requirements that are not met, from the packages' metadata and lists of files alone.

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
        elif absent := packages.absent_file(requirement.name):
            missing.append(MissingPackage(requirement, installed, message("install.file_missing", file=absent)))
    return tuple(missing)
