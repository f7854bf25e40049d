"""Writes a finished result as DICOM objects, in a child process of the bundle. Standard library only."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from .child_process import ChildProcess
from .command import check_bundle
from .exit_status import Outcome, explain_ending
from .interpreter import real_interpreter
from .process import CANCEL_SECONDS, AlreadyRunningError, ProcessStartError

_MODULE = "scripts.dicom_output"


class DicomProcess:
    """Runs ``python -m scripts.dicom_output``, one export at a time.

    Parameters
    ----------
    python : Path
        Python that runs the bundle.
    bundle_root : Path
        Folder of the bundle.
    environment : mapping of str to str, optional
        Environment to start from; this process's own otherwise.
    """

    def __init__(self, python: Path, bundle_root: Path, environment: Mapping[str, str] | None = None) -> None:
        self._python = python
        self._bundle_root = bundle_root
        self._environment = environment
        self._child: ChildProcess | None = None

    @property
    def running(self) -> bool:
        """Whether an export has been started and its outcome not yet reported."""
        return self._child is not None

    def start(self, result: Path, series: Path, output: Path) -> None:
        """Start an export.

        Parameters
        ----------
        result : Path
            Result folder.
        series : Path
            Folder of the original images.
        output : Path
            Folder that the objects are to be in; made anew.

        Raises
        ------
        AlreadyRunningError
            If one has not ended.
        BundleMissingError
            If there is no bundle.
        ProcessStartError
            If the program cannot be started.
        """
        if self._child is not None:
            raise AlreadyRunningError("run.busy")
        check_bundle(self._bundle_root)
        environment = os.environ if self._environment is None else self._environment
        try:
            interpreter = real_interpreter(self._python, environment)
            command = [str(interpreter.python), "-m", _MODULE, *map(str, (result, series)), "--output", str(output)]
            self._child = ChildProcess(command, self._bundle_root, interpreter.environment, None)
        except OSError as error:
            raise ProcessStartError("run.not_started", error=error.strerror or error) from error

    def poll(self) -> Outcome | None:
        """Return how the export ended, once; None while it runs."""
        if self._child is None:
            return None
        exit_status = self._child.advance()
        if exit_status is None:
            return None
        child, self._child = self._child, None
        return explain_ending(exit_status, tuple(child.tail), child.cancelled)

    def close(self) -> None:
        """End the export, if there is one, and wait for that (at most about two seconds)."""
        if self._child is not None:
            self._child.cancel()
        deadline = time.monotonic() + CANCEL_SECONDS
        while self.running and time.monotonic() < deadline:
            self.poll()
            time.sleep(0.02)
