"""What the bundle needs: the terms of its weights, asking for consent, installing, and checking the installation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import slicer

from ..install.check import InstallationCheck, check_installation
from ..install.computer import TorchBuild, this_computer
from ..install.failure import InstallationError
from ..install.installation import Installation
from ..install.installers import application_installer, offline_installer, python_executable
from ..install.requirements import MissingPackage
from ..install.sizes import free_megabytes, packages_folder
from ..messages import message
from ..settings import ModuleSettings
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
    settings : ModuleSettings
        Holds the terms that were accepted.
    run : RunControls
        Shows the progress and the log of an installation.
    on_busy : callable
        Called when an installation or a check begins and when it ends.
    """

    def __init__(
        self,
        ui: Widgets,
        bundle_root: Path,
        settings: ModuleSettings,
        run: RunControls,
        on_busy: Callable[[], None],
    ) -> None:
        self._ui = ui
        self._bundle_root = bundle_root
        self._settings = settings
        self._run = run
        self._on_busy = on_busy
        self._missing: tuple[MissingPackage, ...] = ()
        self._retry: Callable[[], None] | None = None
        self._terms = ""
        self._check: _CheckThread | None = None
        self._installation: Installation | None = None
        self._closed = False
        ui.installButton.clicked.connect(self._on_agreed)
        ui.declineButton.clicked.connect(self.withdraw)
        ui.restartButton.clicked.connect(slicer.util.restart)
        ui.checkButton.clicked.connect(self.check)
        self.withdraw()

    @property
    def installing(self) -> bool:
        """Whether an installation is under way."""
        return self._installation is not None

    @property
    def checking(self) -> bool:
        """Whether a check is under way."""
        return self._check is not None

    def ask_for_terms(self, retry: Callable[[], None]) -> bool:
        """Ask whether the terms of the weights are accepted, unless there are none or they were accepted before.

        Parameters
        ----------
        retry : callable
            What the user wanted to do; called when they are accepted.

        Returns
        -------
        bool
            Whether they are asked for, so that nothing else may happen now.
        """
        terms = self._settings.terms_to_accept(self._bundle_root)
        if not terms:
            return False
        self._missing, self._retry, self._terms = (), retry, terms
        self._show_question(message("terms.ask", terms=terms), message("terms.accept"))
        return True

    def ask(self, missing: Sequence[MissingPackage], retry: Callable[[], None] | None) -> None:
        """List what is missing with its sizes and ask for consent; where it cannot be had, state that instead.

        Parameters
        ----------
        missing : sequence of MissingPackage
            What would be installed.
        retry : callable or None
            What the user wanted to do in the first place; called when all is there.
        """
        self._missing, self._retry, self._terms = tuple(missing), retry, ""
        needs_torch = any(package.requirement.name == "torch" for package in missing)
        obstacle = this_computer().obstacle if needs_torch else ""
        if obstacle:
            self._show_question(obstacle, "")
            return
        total = sum(package.requirement.megabytes for package in missing)
        lines = [message("install.consent", total=total), *(f"• {package.description}" for package in missing)]
        if needs_torch and this_computer().torch_build is TorchBuild.CUDA:
            lines.append(message("install.torch_cuda"))
        elif needs_torch and this_computer().torch_build is TorchBuild.CPU:
            lines.append(message("install.torch_cpu"))
        folder = packages_folder()
        lines.append(message("install.room", free=free_megabytes(folder), folder=folder))
        self._show_question("\n".join(lines), message("install.install"))
        self._ui.wheelFrame.setVisible(True)

    def withdraw(self) -> None:
        """Take the question back; nothing is installed."""
        self._missing, self._retry, self._terms = (), None, ""
        self._ui.restartButton.setVisible(False)
        self._ui.consentFrame.setVisible(False)

    def close(self) -> None:
        """End an installation that runs, and wait for that."""
        self._closed = True
        if self._installation is not None:
            self._installation.close()
            self._installation = None

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
        """Go on with an installation, and show the answer of a check that has ended."""
        if self._installation is not None:
            self._advance(self._installation)
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
            if found.repairs and not self.installing:
                self.ask(found.repairs, None)
        self._on_busy()

    def _show_question(self, text: str, agree: str) -> None:
        """Show a text with a button to agree; without one where there is nothing to agree to."""
        self._ui.consentLabel.text = text
        self._ui.installButton.text = agree
        self._ui.installButton.setVisible(bool(agree))
        self._ui.wheelFrame.setVisible(False)
        self._ui.restartButton.setVisible(False)
        self._ui.consentFrame.setVisible(True)

    def _on_agreed(self) -> None:
        if self._terms:
            self._settings.accept_terms(self._terms)
            retry = self._retry
            self.withdraw()
            if retry is not None:
                retry()
            return
        wheels, environment = self._ui.wheelFolderEdit.currentPath, slicer.util.startupEnvironment()
        installer = offline_installer(Path(wheels), environment) if wheels else application_installer(environment)
        self._installation = Installation(self._missing, installer)
        self._ui.consentFrame.setVisible(False)
        self._run.show_progress(message("install.installing"), None)
        self._on_busy()

    def _advance(self, installation: Installation) -> None:
        try:
            update = installation.advance()
        except InstallationError as error:
            if self._end():
                self._run.show_problem(str(error))
                self._run.add_to_log(error.log.splitlines())
                self._run.open_log()
                self._ui.consentFrame.setVisible(bool(self._missing))
            return
        if self._closed:
            return
        self._run.add_to_log(update.lines)
        self._run.show_progress(update.stage, None)
        if not update.finished or not self._end():
            return
        retry = self._retry
        self.withdraw()
        self._run.show_problem("")
        if update.restart_for:
            self._show_question(message("install.restart", names=", ".join(update.restart_for)), "")
            self._ui.restartButton.setVisible(True)
        elif retry is not None:
            retry()

    def _end(self) -> bool:
        """Be idle again; return whether there is still a panel to show that."""
        self._installation = None
        if self._closed:
            return False
        self._on_busy()
        return True


class _CheckThread(threading.Thread):
    """Asks torch in a child process and reads the weights, without Qt and without the scene."""

    def __init__(self, bundle_root: Path, python: Path) -> None:
        super().__init__(name="ICHDiagnosis installation check", daemon=True)
        self._bundle_root, self._python = bundle_root, python
        self._environment = slicer.util.startupEnvironment()
        self.found: InstallationCheck | None = None

    def run(self) -> None:
        self.found = check_installation(self._bundle_root, self._python, self._environment)


def describe(found: InstallationCheck) -> str:
    """Put a check of the installation into lines for the user."""
    lines = [message("check.no_problems")] if not found.problems else [f"⚠ {problem}" for problem in found.problems]
    lines.append(message("check.version", version=found.bundle_version or message("check.unknown")))
    for weights in found.weights:
        lines.append(f"{weights.name}: {weights.state.label()}, SHA-256 {_in_groups(weights.found_sha256 or '–')}")
    lines += [system.describe() for system in found.systems if not system.fault]
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
