"""Installing what is missing, with consent, one package after the other. Standard library only.

Called from the Apply handler::

    missing = find_missing(read_requirements())
    if missing and user_agrees(missing):                    # names, versions, sizes
        restart_for = install(missing, application_installers(), on_progress, on_log)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..messages import MessageError
from .installed_packages import THIS_PYTHON, InstalledPackages, canonical
from .requirements import NEVER_REPLACED, MissingPackage, Requirement, find_missing

OnProgress = Callable[[int, int, str], None]
OnLog = Callable[[str], None]


class InstallationError(MessageError):
    """An installation failed; nothing was tried after it.

    Attributes
    ----------
    log : str
        The output of pip.
    """

    def __init__(self, code: str, log: str, **values: object) -> None:
        super().__init__(code, **values)
        self.log = log


class Installer(Protocol):
    """The seam to whatever installs."""

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


def install(
    missing: Sequence[MissingPackage],
    installers: Installers,
    on_progress: OnProgress,
    on_log: OnLog,
    packages: InstalledPackages = THIS_PYTHON,
) -> tuple[str, ...]:
    """Install what is missing, one after the other, and stop at the first failure.

    Parameters
    ----------
    missing : sequence of MissingPackage
        What the user agreed to.
    installers : Installers
        Who installs.
    on_progress : callable
        Called with (done, total, name) before each and once at the end.
    on_log : callable
        Called with every line that pip writes.
    packages : InstalledPackages
        Where the result is found.

    Returns
    -------
    tuple of str
        Packages that were imported before and have changed: only they need a restart.

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
    return _changed_although_imported(before, imported, packages)


def _refuse_to_replace(package: MissingPackage) -> None:
    """Refuse what only another Slicer can bring; torch may come, but not from here."""
    name = package.requirement.name
    if name != "torch" and name in NEVER_REPLACED:
        raise InstallationError("install.belongs_to_slicer", log="", name=package.requirement.text)


def _confirm(requirement: Requirement, packages: InstalledPackages, log: str) -> None:
    """Check that the package is there: Slicer's installer only warns about a dependency that failed."""
    if find_missing([requirement], packages):
        raise InstallationError("install.not_installed", log, name=requirement.text)
    absent = packages.absent_dependencies(requirement.name)
    if absent:
        raise InstallationError("install.incomplete", log, name=requirement.name, missing=", ".join(absent))


def _changed_although_imported(
    before: dict[str, str], imported: frozenset[str], packages: InstalledPackages
) -> tuple[str, ...]:
    after = packages.versions()
    changed = [name for name, version in after.items() if before.get(name) != version]
    return tuple(sorted(name for name in changed if packages.import_names(name) & imported))
