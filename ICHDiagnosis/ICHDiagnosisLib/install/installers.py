"""Who installs: light-the-torch brings torch, Slicer's packaging or pip the rest; or pip, from a folder of wheels."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..bundle.command import child_environment
from .failure import InstallationError
from .installed_packages import THIS_PYTHON, InstalledPackages, canonical
from .requirements import NEVER_REPLACED, MissingPackage
from .steps import Command, ProgramStep, SlicerStep, Step

# What the PyTorch extension asks for; it picks the build for the graphics card.
LIGHT_THE_TORCH = "light-the-torch>=0.5"
_PIP_OPTIONS = ("--no-input", "--disable-pip-version-check", "--no-warn-script-location", "--progress-bar", "off")
# An installation that was cut short has no list of files to be removed by: it is written over.
_OVER_WHAT_IS_THERE = ("--ignore-installed", "--no-deps")


def python_executable() -> Path:
    """Find the Python to run in a child process.

    Returns
    -------
    Path
        PythonSlicer inside the application, whose own ``sys.executable`` is no Python; else this Python.
    """
    python_slicer = shutil.which("PythonSlicer")
    return Path(python_slicer or sys.executable)


class Installer(Protocol):
    """Plans the steps that bring packages."""

    def steps(self, missing: Sequence[MissingPackage], constraints: Path) -> list[Step]:
        """Return the steps that install what is missing, without changing what the constraints hold."""


def application_installer(environment: Mapping[str, str], python: Path | None = None) -> Installer:
    """Return the installer for use inside the application with internet.

    Parameters
    ----------
    environment : mapping of str to str
        Environment that Slicer was started in: it may name a proxy.
    python : Path, optional
        Python to install into.
    """
    return InternetInstaller(python or python_executable(), child_environment(environment))


def offline_installer(wheels: Path, environment: Mapping[str, str], python: Path | None = None) -> Installer:
    """Return the installer for a computer without internet.

    Parameters
    ----------
    wheels : Path
        Folder of wheels, made with ``pip download`` on a computer of the same platform.
    environment : mapping of str to str
        Environment that Slicer was started in.
    python : Path, optional
        Python to install into.
    """
    return WheelFolderInstaller(wheels, python or python_executable(), environment=child_environment(environment))


@dataclass(frozen=True)
class InternetInstaller:
    """Installs torch by light-the-torch, then all the rest in one go.

    Torch comes by the program that the PyTorch extension runs, not by its ``installTorch``: that one stops the window
    until pip has unpacked, and ends with importing torch into the application.

    Attributes
    ----------
    python : Path
        Python whose pip runs.
    environment : mapping of str to str
        Its environment.
    packages : InstalledPackages
        What is installed.
    """

    python: Path
    environment: Mapping[str, str]
    packages: InstalledPackages = THIS_PYTHON

    def steps(self, missing: Sequence[MissingPackage], constraints: Path) -> list[Step]:
        """Return the steps that install what is missing."""
        torch = [package for package in missing if _is_torch(package)]
        others = [package for package in missing if not _is_torch(package)]
        steps: list[Step] = [self._torch_step(package, constraints) for package in torch]
        damaged = [package for package in others if package.fault]
        if damaged or (others and not has_slicer_packaging()):
            # pip_ensure leaves alone what has metadata, and older applications stop while pip unpacks.
            steps.append(self._pip_step(others, damaged, constraints))
        elif others:
            steps.append(SlicerStep(tuple(package.requirement.text for package in others), constraints))
        return steps

    def _torch_step(self, package: MissingPackage, constraints: Path) -> Step:
        text = package.requirement.text
        installed = self.packages.versions()
        commands = []
        if "light-the-torch" not in installed:
            commands.append(self._run("pip", "install", *_PIP_OPTIONS, LIGHT_THE_TORCH))
        if package.fault:
            commands.append(self._run("light_the_torch", "install", *_PIP_OPTIONS, *_OVER_WHAT_IS_THERE, text))
        # Another extension's torchvision fits one torch only: it follows.
        together = [text, *(["torchvision"] if "torchvision" in installed else [])]
        commands.append(
            self._run("light_the_torch", "install", *_PIP_OPTIONS, "--constraint", str(constraints), *together)
        )
        commands.append(Command((str(self.python), "-c", "import torch"), imports_torch=True))
        return ProgramStep(text, commands, self.environment)

    def _pip_step(
        self, missing: Sequence[MissingPackage], damaged: Sequence[MissingPackage], constraints: Path
    ) -> Step:
        texts = [package.requirement.text for package in missing]
        commands = []
        if damaged:
            over = [package.requirement.text for package in damaged]
            commands.append(self._run("pip", "install", *_PIP_OPTIONS, *_OVER_WHAT_IS_THERE, *over))
        commands.append(self._run("pip", "install", *_PIP_OPTIONS, "--constraint", str(constraints), *texts))
        return ProgramStep(", ".join(texts), commands, self.environment)

    def _run(self, module: str, *arguments: str) -> Command:
        return Command((str(self.python), "-m", module, *arguments))


@dataclass(frozen=True)
class WheelFolderInstaller:
    """Installs from a folder of wheels and never asks the network.

    Attributes
    ----------
    wheels : Path
        Folder that holds the wheels.
    python : Path
        Python whose pip runs.
    target : Path or None
        Folder to install into instead of the Python's own.
    environment : mapping of str to str
        Environment of pip.
    """

    wheels: Path
    python: Path
    target: Path | None = None
    environment: Mapping[str, str] | None = None

    def steps(self, missing: Sequence[MissingPackage], constraints: Path) -> list[Step]:
        """Return the one step that installs what is missing.

        Raises
        ------
        InstallationError
            If the folder is missing.
        """
        if not self.wheels.is_dir():
            raise InstallationError("install.no_wheel_folder", log="", folder=self.wheels)
        texts = [package.requirement.text for package in missing]
        damaged = [package.requirement.text for package in missing if package.fault]
        commands = [self._pip(*_OVER_WHAT_IS_THERE, *damaged)] if damaged else []
        commands.append(self._pip("--constraint", str(constraints), *texts))
        # No setting of this computer's pip may bring the network back.
        base = child_environment(os.environ) if self.environment is None else self.environment
        environment = {name: value for name, value in base.items() if name[:4] != "PIP_"}
        environment["PIP_CONFIG_FILE"] = os.devnull
        return [ProgramStep(", ".join(texts), commands, environment)]

    def _pip(self, *arguments: str) -> Command:
        options = [*_PIP_OPTIONS, "--no-index", "--find-links", str(self.wheels), "--upgrade"]
        options += ["--upgrade-strategy", "only-if-needed"]
        if self.target is not None:
            options += ["--target", str(self.target)]
        return Command((str(self.python), "-m", "pip", "install", *options, *arguments))


def constraint_lines(missing: Sequence[MissingPackage], packages: InstalledPackages = THIS_PYTHON) -> list[str]:
    """Return the constraints that hold at its installed version what must not be replaced.

    Parameters
    ----------
    missing : sequence of MissingPackage
        What is going to be installed: it is not held.
    packages : InstalledPackages
        What is installed.
    """
    installed = packages.versions()
    coming = {canonical(package.requirement.name) for package in missing}
    held = [(name, installed.get(canonical(name))) for name in NEVER_REPLACED if canonical(name) not in coming]
    return [f"{name}=={version}" for name, version in held if version]


def has_slicer_packaging() -> bool:
    """Tell whether the application has ``slicer.packaging`` (5.11 and later)."""
    try:
        return importlib.util.find_spec("slicer.packaging") is not None
    except (ImportError, ValueError):
        return False


def _is_torch(package: MissingPackage) -> bool:
    return canonical(package.requirement.name) == "torch"
