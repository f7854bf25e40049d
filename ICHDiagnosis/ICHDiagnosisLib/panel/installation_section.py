"""What the bundle needs: asking for consent, installing with progress, and checking the installation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import slicer

from ..install.check import InstallationCheck, check_installation
from ..install.installation import InstallationError, install
from ..install.installers import application_installers, offline_installers, python_executable
from ..install.requirements import MissingPackage
from ..messages import message
from .run_controls import RunControls
from .widgets import Tone, Widgets, show_banner

# Long enough for the thread to get on, short enough for the panel to stay responsive.
_THREAD_SECONDS = 0.03


class InstallationSection:
    """Lists what is missing in the panel itself, and installs it only when the user agrees.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    bundle_root : Path
        Folder of the bundle.
    run : RunControls
        Shows the progress and the log of an installation.
    on_busy : callable
        Called when an installation or a check begins and when it ends.
    """

    def __init__(self, ui: Widgets, bundle_root: Path, run: RunControls, on_busy: Callable[[], None]) -> None:
        self._ui = ui
        self._bundle_root = bundle_root
        self._run = run
        self._on_busy = on_busy
        self._missing: tuple[MissingPackage, ...] = ()
        self._retry: Callable[[], None] | None = None
        self._check: _CheckThread | None = None
        self.installing = False
        ui.installButton.clicked.connect(self._on_install)
        ui.declineButton.clicked.connect(self.withdraw)
        ui.restartButton.clicked.connect(slicer.util.restart)
        ui.checkButton.clicked.connect(self.check)
        self.withdraw()

    @property
    def checking(self) -> bool:
        """Whether a check is under way."""
        return self._check is not None

    def ask(self, missing: Sequence[MissingPackage], retry: Callable[[], None]) -> None:
        """List what is missing with its sizes and ask for consent.

        Parameters
        ----------
        missing : sequence of MissingPackage
            What would be installed.
        retry : callable
            What the user wanted to do in the first place; called when all is there.
        """
        self._missing, self._retry = tuple(missing), retry
        total = sum(package.requirement.megabytes for package in missing)
        lines = [message("install.consent", total=total), *(f"• {package.description}" for package in missing)]
        self._ui.consentLabel.text = "\n".join(lines)
        self._ui.installButton.setVisible(True)
        self._ui.restartButton.setVisible(False)
        self._ui.consentFrame.setVisible(True)

    def withdraw(self) -> None:
        """Take the question back; nothing is installed."""
        self._missing, self._retry = (), None
        self._ui.restartButton.setVisible(False)
        self._ui.consentFrame.setVisible(False)

    def check(self) -> None:
        """Check versions, device and weights in the background; the answer comes with a later :meth:`poll`."""
        if self.checking:
            return
        self._check = _CheckThread(self._bundle_root, python_executable())
        self._check.start()
        self._ui.checkButton.setEnabled(False)
        self._ui.installationSection.collapsed = False
        show_banner(self._ui.checkLabel, message("install.checking"), Tone.QUIET)
        self._on_busy()

    def poll(self) -> None:
        """Show the answer of a check that has ended."""
        if self._check is None:
            return
        # Inside the application a thread runs only while the main thread lets go of Python.
        self._check.join(_THREAD_SECONDS)
        if self._check.is_alive():
            return
        found, self._check = self._check.found, None
        self._ui.checkButton.setEnabled(True)
        if found is not None:
            show_banner(self._ui.checkLabel, describe(found), Tone.WARNING if found.problems else Tone.QUIET)
        self._on_busy()

    def _on_install(self) -> None:
        missing, retry = self._missing, self._retry
        wheels = self._ui.wheelFolderEdit.currentPath
        installers = offline_installers(Path(wheels)) if wheels else application_installers()
        self.installing = True
        self._ui.consentFrame.setVisible(False)
        self._run.show_progress(message("install.installing"), None)
        self._on_busy()
        try:
            restart_for = install(missing, installers, self._on_progress, self._on_log)
        except InstallationError as error:
            self._run.show_problem(str(error))
            self._run.add_to_log(error.log.splitlines())
            self._run.open_log()
            self._ui.consentFrame.setVisible(True)
            return
        finally:
            self.installing = False
            self._on_busy()
        self._missing, self._retry = (), None
        if restart_for:
            self._ask_for_restart(restart_for)
            return
        self._run.show_problem("")
        if retry is not None:
            retry()

    def _ask_for_restart(self, changed: Sequence[str]) -> None:
        self._run.show_problem("")
        self._ui.consentLabel.text = message("install.restart", names=", ".join(changed))
        self._ui.installButton.setVisible(False)
        self._ui.restartButton.setVisible(True)
        self._ui.consentFrame.setVisible(True)

    def _on_progress(self, done: int, total: int, name: str) -> None:
        if name:
            stage = message("install.installing_package", name=name, number=done + 1, total=total)
        else:
            stage = message("install.installed")
        self._run.show_progress(stage, done / total)
        slicer.app.processEvents()

    def _on_log(self, line: str) -> None:
        self._run.add_to_log([line])
        slicer.app.processEvents()


class _CheckThread(threading.Thread):
    """Asks torch in a child process and reads the weights, without Qt and without the scene."""

    def __init__(self, bundle_root: Path, python: Path) -> None:
        super().__init__(name="ICHDiagnosis installation check", daemon=True)
        self._bundle_root, self._python = bundle_root, python
        self.found: InstallationCheck | None = None

    def run(self) -> None:
        self.found = check_installation(self._bundle_root, self._python, slicer.util.startupEnvironment())


def describe(found: InstallationCheck) -> str:
    """Put a check of the installation into lines for the user."""
    lines = [message("check.no_problems")] if not found.problems else [f"⚠ {problem}" for problem in found.problems]
    lines.append(message("check.version", version=found.bundle_version or message("check.unknown")))
    for weights in found.weights:
        lines.append(f"{weights.name}: {weights.state.label()}, SHA-256 {_in_groups(weights.found_sha256 or '–')}")
    if found.device is not None:
        device = found.device
        memory = f", {device.memory_gigabytes:.0f} GB" if device.memory_gigabytes else ""
        lines.append(message("check.device", name=device.name, memory=memory, version=device.torch_version))
    versions = [f"{name} {version or '–'}" for name, version in found.versions.items()]
    lines.append(message("check.packages", versions=", ".join(versions)))
    return "\n".join(lines)


def _in_groups(digest: str) -> str:
    """Write a hash in groups of eight, which a narrow panel can break into lines."""
    return " ".join(digest[begin : begin + 8] for begin in range(0, len(digest), 8))
