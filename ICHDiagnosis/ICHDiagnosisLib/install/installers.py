"""Who installs packages: the PyTorch extension, Slicer's packaging, or pip from a folder of wheels.

Slicer is imported inside the functions, at the moment of an installation.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..bundle.command import child_environment
from .installation import InstallationError, Installers, OnLog
from .installed_packages import THIS_PYTHON, canonical
from .requirements import NEVER_REPLACED, Requirement

REQUESTER = "ICHDiagnosis"


def python_executable() -> Path:
    """Find the Python to run in a child process.

    Returns
    -------
    Path
        PythonSlicer inside the application, whose own ``sys.executable`` is no Python; else this Python.
    """
    python_slicer = shutil.which("PythonSlicer")
    return Path(python_slicer or sys.executable)


def application_installers() -> Installers:
    """Return the installers for use inside the application with internet."""
    return Installers(torch=PyTorchExtensionInstaller(), packages=SlicerPackagesInstaller())


def offline_installers(wheels: Path, python: Path | None = None) -> Installers:
    """Return the installers for a computer without internet.

    Parameters
    ----------
    wheels : Path
        Folder of wheels, made with ``pip download`` on a computer of the same platform.
    python : Path, optional
        Python to install into.
    """
    installer = WheelFolderInstaller(wheels, python or python_executable())
    return Installers(torch=installer, packages=installer)


class PyTorchExtensionInstaller:
    """Installs torch through the PyTorch extension (module PyTorchUtils), which picks the build for the hardware."""

    def install(self, requirement: Requirement, on_log: OnLog) -> None:
        """Install torch.

        Raises
        ------
        InstallationError
            If the extension is missing or its installation fails.
        """
        try:
            extension = importlib.import_module("PyTorchUtils")
        except ModuleNotFoundError as error:
            raise InstallationError("install.no_pytorch_extension", log="") from error
        with _pip_output(requirement, on_log):
            extension.PyTorchUtilsLogic().installTorch(
                askConfirmation=False, torchVersionRequirement=f">={requirement.minimum}"
            )


class SlicerPackagesInstaller:
    """Installs by ``slicer.packaging.pip_ensure`` (Slicer 5.11 and later), by ``slicer.util.pip_install`` before."""

    def install(self, requirement: Requirement, on_log: OnLog) -> None:
        """Install one requirement without touching what Slicer brings.

        Raises
        ------
        InstallationError
            If pip fails.
        """
        with _pip_output(requirement, on_log):
            try:
                from slicer.packaging import pip_ensure  # noqa: PLC0415
            except ImportError:
                self._install_with_older_slicer(requirement)
                return
            # Consent and restart are asked by the module, once and not per package.
            pip_ensure(
                [requirement.text],
                skip_packages=list(NEVER_REPLACED),
                prompt_install=False,
                prompt_restart=False,
                requester=REQUESTER,
            )

    @staticmethod
    def _install_with_older_slicer(requirement: Requirement) -> None:
        from slicer.util import pip_install  # noqa: PLC0415

        with _constraints() as constraints:
            pip_install([requirement.text, "--constraint", str(constraints)])


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
        Environment to start from.
    """

    wheels: Path
    python: Path
    target: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def install(self, requirement: Requirement, on_log: OnLog) -> None:
        """Install one requirement and what it needs.

        Raises
        ------
        InstallationError
            If the folder is missing or pip fails.
        """
        if not self.wheels.is_dir():
            raise InstallationError("install.no_wheel_folder", log="", folder=self.wheels)
        with _constraints() as constraints:
            status, log = self._run_pip(["--constraint", str(constraints), requirement.text], on_log)
        if status != 0:
            raise InstallationError("install.failed_from_wheels", log, name=requirement.text, folder=self.wheels)

    def _run_pip(self, arguments: list[str], on_log: OnLog) -> tuple[int, str]:
        command = [str(self.python), "-m", "pip", "install", "--no-index", "--find-links", str(self.wheels)]
        command += ["--no-input", "--disable-pip-version-check", "--no-warn-script-location", "--upgrade"]
        command += ["--upgrade-strategy", "only-if-needed"]
        if self.target is not None:
            command += ["--target", str(self.target)]
        # No setting of this computer's pip may bring the network back.
        environment = {name: value for name, value in child_environment(self.environment).items() if name[:4] != "PIP_"}
        environment["PIP_CONFIG_FILE"] = os.devnull
        lines = []
        with subprocess.Popen(
            command + arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        ) as pip:
            for line in pip.stdout or ():
                lines.append(line.rstrip())
                on_log(lines[-1])
        return pip.returncode, "\n".join(lines)


@contextlib.contextmanager
def _constraints() -> Iterator[Path]:
    """Write a constraints file that holds what must not be replaced at its installed version."""
    installed = THIS_PYTHON.versions()
    held = [(name, installed.get(canonical(name))) for name in NEVER_REPLACED]
    with tempfile.TemporaryDirectory(prefix="ich-diagnosis-pip-") as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("".join(f"{name}=={version}\n" for name, version in held if version), encoding="utf-8")
        yield path


@contextlib.contextmanager
def _pip_output(requirement: Requirement, on_log: OnLog) -> Iterator[None]:
    """Capture the output of pip inside Slicer, and turn its errors into one with that log."""
    listener = _Listener(on_log)
    try:
        with contextlib.redirect_stdout(listener):
            yield
    except (subprocess.CalledProcessError, RuntimeError, ImportError) as error:
        log = "\n".join(listener.lines)
        raise InstallationError("install.failed", log, name=requirement.text, error=error) from error


class _Listener(io.TextIOBase):
    """Hands whole lines on, and still writes them where they were going (Slicer's Python console)."""

    def __init__(self, on_log: OnLog) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._on_log = on_log
        self._console = sys.stdout
        self._pending = ""

    def write(self, text: str) -> int:
        self._console.write(text)
        *complete, self._pending = (self._pending + text).split("\n")
        for line in complete:
            self.lines.append(line)
            self._on_log(line)
        return len(text)
