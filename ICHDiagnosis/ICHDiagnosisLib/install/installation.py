"""Installing what is missing, with consent, step by step while the window lives on.

Called from the panel::

    missing = find_missing(read_requirements())
    if missing and user_agrees(missing):                    # names, versions, sizes
        installation = Installation(missing, application_installer(environment))
        while not (update := installation.advance()).finished: ...   # by a timer
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..messages import message
from .failure import InstallationError
from .installed_packages import THIS_PYTHON, InstalledPackages
from .installers import Installer, constraint_lines
from .requirements import NEVER_REPLACED, MissingPackage, find_missing
from .sizes import free_megabytes, missing_room, packages_folder
from .steps import Step


@dataclass(frozen=True)
class InstallationUpdate:
    """What has happened since the last call.

    Attributes
    ----------
    stage : str
        What is being installed, in the user's language.
    lines : tuple of str
        New lines of pip's output.
    finished : bool
        Whether all is installed.
    restart_for : tuple of str
        Packages that were imported before and have changed: only they need a restart.
    """

    stage: str
    lines: tuple[str, ...] = ()
    finished: bool = False
    restart_for: tuple[str, ...] = ()


class Installation:
    """Installs what the user agreed to, and stops at the first failure.

    Parameters
    ----------
    missing : sequence of MissingPackage
        What the user agreed to.
    installer : Installer
        Plans the steps.
    packages : InstalledPackages
        Where the result is found.
    folder : Path, optional
        Folder that pip installs into.
    free : callable
        Returns the free space (MB) on the disk of a folder.
    """

    def __init__(
        self,
        missing: Sequence[MissingPackage],
        installer: Installer,
        packages: InstalledPackages = THIS_PYTHON,
        folder: Path | None = None,
        free: Callable[[Path], int] = free_megabytes,
    ) -> None:
        self._missing = tuple(missing)
        self._installer = installer
        self._packages = packages
        self._folder = folder or packages_folder()
        self._free = free
        self._steps: list[Step] = []
        self._planned = 0
        self._began = self._inside = False
        self._imported = frozenset(sys.modules)
        self._before: dict[str, str] = {}
        self._log: list[str] = []
        self._constraints = tempfile.TemporaryDirectory(prefix="ich-diagnosis-", ignore_cleanup_errors=True)

    def advance(self) -> InstallationUpdate:
        """Begin or go on; returns soon, unless Slicer's own dialog is shown meanwhile.

        Raises
        ------
        InstallationError
            Whatever went wrong; its log is that of pip.
        """
        if self._inside:
            # Slicer's dialog lets the panel's timer go on.
            return InstallationUpdate(self._stage())
        self._inside = True
        try:
            return self._advance()
        except InstallationError:
            self.close()
            raise
        except Exception as error:
            self.close()
            text = f"{type(error).__name__}: {error}"
            raise InstallationError("install.unexpected", "\n".join(self._log), error=text) from error
        finally:
            self._inside = False

    def close(self) -> None:
        """End what runs, and wait for that; what it had begun is offered again the next time."""
        for step in self._steps:
            step.close()
        self._constraints.cleanup()

    def _advance(self) -> InstallationUpdate:
        if not self._began:
            self._begin()
            return InstallationUpdate(self._stage())
        lines, done = self._steps[0].advance()
        self._log += lines
        if done:
            self._steps.pop(0)
        if self._steps:
            return InstallationUpdate(self._stage(), tuple(lines))
        self._confirm()
        self.close()
        return InstallationUpdate(message("install.installed"), tuple(lines), True, self._changed_although_imported())

    def _begin(self) -> None:
        self._began = True
        for package in self._missing:
            # Only another Slicer can bring these; torch may come, by an installer of its own.
            if package.requirement.name != "torch" and package.requirement.name in NEVER_REPLACED:
                raise InstallationError("install.belongs_to_slicer", log="", name=package.requirement.text)
        if self._folder.exists() and not os.access(self._folder, os.W_OK):
            raise InstallationError("install.folder_not_writable", log="", folder=self._folder)
        full = missing_room(sum(each.requirement.megabytes for each in self._missing), self._folder, self._free)
        if full is not None:
            values = {"folder": full[0], "needed": full[1], "free": full[2]}
            raise InstallationError("install.no_room", log="", **values)
        self._before = self._packages.versions()
        constraints = Path(self._constraints.name) / "constraints.txt"
        lines = constraint_lines(self._missing, self._packages)
        constraints.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self._steps = self._installer.steps(self._missing, constraints)
        self._planned = len(self._steps)

    def _stage(self) -> str:
        if not self._steps:
            return message("install.installing")
        number = self._planned - len(self._steps) + 1
        return message("install.installing_package", name=self._steps[0].name, number=number, total=self._planned)

    def _confirm(self) -> None:
        """Check that all is there: an installer may do nothing, or pass over a dependency that failed."""
        log = "\n".join(self._log)
        still = find_missing([package.requirement for package in self._missing], self._packages)
        if still:
            raise InstallationError(
                "install.not_installed", log, name=", ".join(each.requirement.text for each in still)
            )
        for package in self._missing:
            absent = self._packages.absent_dependencies(package.requirement.name)
            if absent:
                name = package.requirement.name
                raise InstallationError("install.incomplete", log, name=name, missing=", ".join(absent))

    def _changed_although_imported(self) -> tuple[str, ...]:
        after = self._packages.versions()
        changed = [name for name, version in after.items() if self._before.get(name) != version]
        return tuple(sorted(name for name in changed if self._packages.import_names(name) & self._imported))
