"""The steps of an installation: programs in a process of their own, or one call of Slicer's own ``pip_ensure``.

A step is polled by the panel's timer, so that the window lives on while pip unpacks for minutes without a word. Its
process ends with everything it started when it is cancelled, when the panel closes and when the application is killed
(``bundle/process_tree.py``). Standard library only; Slicer is imported at the moment of an installation.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..bundle.child_output import BoundedLog
from ..bundle.child_process import ChildProcess
from .failure import InstallationError, explain_failure

REQUESTER = "ICHDiagnosis"
_CLOSE_SECONDS = 5.0
_CLOSE_POLL_SECONDS = 0.02


class Step(Protocol):
    """The seam to whatever installs: it is polled until it is done."""

    @property
    def name(self) -> str:
        """What is being installed, for people."""

    def advance(self) -> tuple[Sequence[str], bool]:
        """Begin or go on; return new lines of output and whether it is done; raise InstallationError on failure."""

    def close(self) -> None:
        """End it, if it runs, and wait for that."""


@dataclass(frozen=True)
class Command:
    """One program of a step.

    Attributes
    ----------
    arguments : tuple of str
        Program and arguments.
    imports_torch : bool
        Whether it is no pip: it tries what was installed.
    """

    arguments: tuple[str, ...]
    imports_torch: bool = False


class ProgramStep:
    """Runs programs one after the other, each in a process of its own.

    Parameters
    ----------
    name : str
        What is being installed.
    commands : sequence of Command
        The programs, all of them Python.
    environment : mapping of str to str
        Their environment.
    """

    def __init__(self, name: str, commands: Sequence[Command], environment: Mapping[str, str]) -> None:
        self._name = name
        self._commands = list(commands)
        self._environment = dict(environment)
        self._process: ChildProcess | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._log: list[str] = []

    @property
    def name(self) -> str:
        """What is being installed."""
        return self._name

    def advance(self) -> tuple[Sequence[str], bool]:
        """Begin or go on.

        Raises
        ------
        InstallationError
            If a program fails, or Python does not start.
        """
        if self._process is None:
            if not self._commands:
                return (), True
            self._start()
            return (), False
        status = self._process.advance()
        lines = self._process.take_lines()
        self._log += lines
        if status is not None:
            self._process = None
            self._remove_folder()
            self._finish(self._commands.pop(0), status)
        return lines, self._process is None and not self._commands

    def close(self) -> None:
        """End the program that runs, with everything it started."""
        self._commands.clear()
        if self._process is not None:
            self._process.cancel()
            deadline = time.monotonic() + _CLOSE_SECONDS
            while self._process.advance() is None and time.monotonic() < deadline:
                time.sleep(_CLOSE_POLL_SECONDS)
            self._process = None
        self._remove_folder()

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ich-diagnosis-pip-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        self._log.clear()
        try:
            log = BoundedLog(folder / "pip.log")
            self._process = ChildProcess(list(self._commands[0].arguments), folder, self._environment, log)
        except OSError as error:
            raise InstallationError("install.no_python", log="", error=error.strerror) from error

    def _finish(self, command: Command, status: int) -> None:
        if status == 0:
            return
        self._commands.clear()
        if command.imports_torch:
            last = next((line for line in reversed(self._log) if line.strip()), "")
            raise InstallationError("install.torch_unusable", "\n".join(self._log), name=self._name, error=last)
        raise explain_failure(self._name, self._log, self._environment)

    def _remove_folder(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


@dataclass(frozen=True)
class SlicerStep:
    """Installs by one call of ``slicer.packaging.pip_ensure`` (Slicer 5.11 and later).

    Its dialog keeps the window alive, and is modal: while it shows, the application cannot be closed.

    Attributes
    ----------
    requirements : tuple of str
        What to install.
    constraints : Path
        Versions that must not change.
    """

    requirements: tuple[str, ...]
    constraints: Path

    @property
    def name(self) -> str:
        """What is being installed."""
        return ", ".join(self.requirements)

    def advance(self) -> tuple[Sequence[str], bool]:
        """Install all at once.

        Raises
        ------
        InstallationError
            If pip fails.
        """
        listener = Listener()
        try:
            packaging = importlib.import_module("slicer.packaging")
            with contextlib.redirect_stdout(listener):
                # Consent and restart are asked by the module.
                packaging.pip_ensure(
                    list(self.requirements),
                    constraints=str(self.constraints),
                    prompt_install=False,
                    prompt_restart=False,
                    requester=REQUESTER,
                )
        except Exception as error:
            # Whatever the application raises, the user reads a line with the log.
            raise explain_failure(self.name, [*listener.lines, f"ERROR: {error}"]) from error
        return listener.lines, True

    def close(self) -> None:
        """Do nothing: its dialog is modal."""


class Listener(io.TextIOBase):
    """Keeps whole lines, and still writes them where they were going (Slicer's Python console)."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._console = sys.stdout
        self._pending = ""

    def write(self, text: str) -> int:
        """Take in a piece of output."""
        self._console.write(text)
        *complete, self._pending = (self._pending + text).split("\n")
        self.lines += complete
        return len(text)
