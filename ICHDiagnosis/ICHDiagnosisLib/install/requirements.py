"""What the bundle needs in Slicer's Python: find what is missing, install it with consent, say when to restart.

Nothing runs when this file is imported, and nothing heavy is ever imported into the application: packages are looked up
by their metadata. Call it from the Apply handler::

    missing = find_missing(read_requirements())
    if missing and person_agrees(missing):                  # names, versions, sizes
        report = install(missing, application_installers(), on_progress, on_log)
        if report.restart_needed: ...
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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

OnProgress = Callable[[int, int, str], None]
OnLog = Callable[[str], None]


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
        """One line for the list that the person is asked about."""
        found = "not installed" if self.installed is None else f"{self.installed} is installed"
        return f"{self.requirement.text} ({found}; about {self.requirement.megabytes} MB)"


@dataclass(frozen=True)
class InstallationReport:
    """What was installed, and which packages changed although the application had imported them."""

    installed: tuple[str, ...]
    restart_needed: tuple[str, ...]


class InstallationError(RuntimeError):
    """An installation failed; nothing was tried after it.

    Attributes
    ----------
    log : str
        What pip said.
    """

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


class Installer(Protocol):
    """The seam to whatever installs; a test gives its own."""

    def install(self, requirement: Requirement, on_log: OnLog) -> None:
        """Install one requirement, giving each line of output to ``on_log``; raise InstallationError on failure."""


@dataclass(frozen=True)
class Installers:
    """Who installs what: torch has an installer of its own, which picks the build for the graphics card."""

    torch: Installer
    packages: Installer

    def of(self, requirement: Requirement) -> Installer:
        """Return the installer of one requirement."""
        return self.torch if canonical(requirement.name) == "torch" else self.packages


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
        Where to look.

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


def install(
    missing: Sequence[MissingPackage],
    installers: Installers,
    on_progress: OnProgress,
    on_log: OnLog,
    packages: InstalledPackages = THIS_PYTHON,
) -> InstallationReport:
    """Install what is missing, one after the other, and stop at the first failure.

    Parameters
    ----------
    missing : sequence of MissingPackage
        What the person agreed to.
    installers : Installers
        Who installs.
    on_progress : callable
        Called with (done, total, name) before each and once at the end.
    on_log : callable
        Called with every line that pip writes.
    packages : InstalledPackages
        Where the result is looked up.

    Returns
    -------
    InstallationReport
        A restart is needed only for packages that were imported before and have changed.

    Raises
    ------
    InstallationError
        If an installation fails, or its package or one of its dependencies is not there afterwards.
    """
    imported = frozenset(sys.modules)
    before = packages.versions()
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line)
        on_log(line)

    for done, package in enumerate(missing):
        requirement = package.requirement
        on_progress(done, len(missing), requirement.text)
        lines.clear()
        _refuse_to_replace(package)
        installers.of(requirement).install(requirement, take)
        _confirm(requirement, packages, "\n".join(lines))
    on_progress(len(missing), len(missing), "")
    installed = tuple(package.requirement.text for package in missing)
    return InstallationReport(installed, _changed_although_imported(before, imported, packages))


def _refuse_to_replace(package: MissingPackage) -> None:
    """Refuse what only another Slicer can bring; torch may come, but not from here."""
    name = package.requirement.name
    if name != "torch" and name in NEVER_REPLACED:
        raise InstallationError(
            f"{package.requirement.text} is needed and belongs to Slicer itself: use a newer Slicer", log=""
        )


def _confirm(requirement: Requirement, packages: InstalledPackages, log: str) -> None:
    """Look whether the package is there: Slicer's installer only warns about a dependency that failed."""
    if find_missing([requirement], packages):
        raise InstallationError(f"{requirement.text} was not installed", log)
    absent = packages.absent_dependencies(requirement.name)
    if absent:
        raise InstallationError(f"{requirement.name} was installed without what it needs: {', '.join(absent)}", log)


def _changed_although_imported(
    before: dict[str, str], imported: frozenset[str], packages: InstalledPackages
) -> tuple[str, ...]:
    after = packages.versions()
    changed = [name for name, version in after.items() if before.get(name) != version]
    return tuple(sorted(name for name in changed if packages.import_names(name) & imported))
