"""Starts the bundle as a child process, follows it, and ends it with everything it started. Standard library only.

Usage, from a timer of the application::

    process = BundleProcess(environment=slicer.util.startupEnvironment())
    process.start(request)
    ...
    update = process.poll()        # every 100 ms or so; never blocks for long
    show(update.progress, update.lines)
    if update.outcome is not None:
        finish(update.outcome)

``cancel()`` returns at once; the outcome follows with a later ``poll()``, within two seconds. ``close()`` waits for
that end: call it when the scene or the application closes. If the application is killed instead, the supervisor (POSIX,
``process_tree.py``) or the job (Windows, ``windows_job.py``) ends the bundle.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ..messages import MessageError
from .child_output import BoundedLog, Progress
from .child_process import ChildProcess
from .command import BundleRequest, build_command, check_bundle
from .exit_status import Outcome, explain_ending
from .interpreter import Interpreter, real_interpreter

CANCEL_SECONDS = 2.0


class AlreadyRunningError(MessageError):
    """A run was started while another one had not ended."""


class ProcessStartError(MessageError):
    """The operating system did not start the process, or the output folder cannot be written."""


@dataclass(frozen=True)
class RunUpdate:
    """What has happened since the last call.

    Attributes
    ----------
    lines : tuple of str
        New log lines, oldest first; when more than 2000 came between two calls, the last ones.
    progress : Progress or None
        The latest progress; None before the first.
    outcome : Outcome or None
        How the run ended; None while it runs.
    """

    lines: tuple[str, ...] = ()
    progress: Progress | None = None
    outcome: Outcome | None = None


class BundleRunner(Protocol):
    """The seam between the module's logic and the child process; a test gives its own."""

    @property
    def running(self) -> bool:
        """Whether a run has been started and its outcome not yet reported."""

    def start(self, request: BundleRequest) -> None:
        """Start one run."""

    def poll(self) -> RunUpdate:
        """Report what has happened since the last call."""

    def cancel(self) -> None:
        """Ask for the end of the run; return at once."""

    def close(self) -> None:
        """End the run, if there is one, and wait until it has ended."""


def interpreter_of(request: BundleRequest, environment: Mapping[str, str] | None) -> Interpreter:
    """Return the interpreter that runs a request; without an environment, in this process's own.

    Raises
    ------
    ProcessStartError
        If its program cannot be started.
    """
    try:
        return real_interpreter(Path(request.python), os.environ if environment is None else environment)
    except OSError as error:
        raise ProcessStartError("run.not_started", error=error.strerror or error) from error


def open_log(request: BundleRequest) -> BoundedLog:
    """Make the output folder of a request where it is missing, and begin the log in it.

    Raises
    ------
    ProcessStartError
        If it cannot be written.
    """
    try:
        request.output_dir.mkdir(parents=True, exist_ok=True)
        return BoundedLog(request.log_file)
    except OSError as error:
        raise ProcessStartError("run.output_not_writable", error=error.strerror) from error


class BundleProcess:
    """Runs the bundle, one run at a time.

    Parameters
    ----------
    environment : mapping of str to str, optional
        Environment to start from; this process's own otherwise. It is copied, never changed.
    build : callable, optional
        From a request to a command line.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        build: Callable[[BundleRequest], list[str]] = build_command,
    ) -> None:
        self._environment = environment
        self._build = build
        self._run: ChildProcess | None = None

    @property
    def running(self) -> bool:
        """Whether a run has been started and its outcome not yet reported."""
        return self._run is not None

    def start(self, request: BundleRequest) -> None:
        """Start one run.

        Parameters
        ----------
        request : BundleRequest
            What to run; its output folder is made where it is missing.

        Raises
        ------
        AlreadyRunningError
            If a run has not ended.
        BundleMissingError
            If there is no bundle at ``request.bundle_root``.
        ProcessStartError
            If the program cannot be started or the log cannot be written.
        UnsafeSettingError
            If a setting would be read by MONAI as code.
        """
        if self._run is not None:
            raise AlreadyRunningError("run.busy")
        check_bundle(request.bundle_root)
        interpreter = interpreter_of(request, self._environment)
        command = self._build(replace(request, python=interpreter.python))
        log = open_log(request)
        try:
            self._run = ChildProcess(command, request.bundle_root, interpreter.environment, log)
        except OSError as error:
            log.close()
            raise ProcessStartError("run.not_started", error=error.strerror or error) from error

    def poll(self) -> RunUpdate:
        """Report what has happened since the last call; an empty update where nothing runs."""
        if self._run is None:
            return RunUpdate()
        exit_status = self._run.advance()
        if exit_status is None:
            return RunUpdate(self._run.take_lines(), self._run.progress)
        run, self._run = self._run, None
        outcome = explain_ending(exit_status, tuple(run.tail), run.cancelled)
        return RunUpdate(run.take_lines(), run.progress, outcome)

    def cancel(self) -> None:
        """Ask for the end of the run and of everything it started; return at once."""
        if self._run is not None:
            self._run.cancel()

    def close(self) -> None:
        """End the run, if there is one, and wait for it (at most about two seconds)."""
        self.cancel()
        deadline = time.monotonic() + CANCEL_SECONDS
        while self.running and time.monotonic() < deadline:
            self.poll()
            time.sleep(0.02)
