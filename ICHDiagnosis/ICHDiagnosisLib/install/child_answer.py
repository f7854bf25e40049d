"""A question to the Python behind the application: a child process, and the lines with which it answers.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..bundle.exit_status import crashed
from ..bundle.interpreter import real_interpreter


class ChildFailedError(Exception):
    """The child gave no answer.

    Attributes
    ----------
    reason : str
        The last line of its errors, or of the system's; empty where there was none.
    status : int or None
        Its exit status; None where it did not start, or did not end in time.
    crashed : bool
        Whether it crashed, or the system ended it.
    timed_out : bool
        Whether it did not end in time.
    """

    def __init__(self, reason: str, status: int | None = None, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.status, self.timed_out = reason, status, timed_out
        self.crashed = status is not None and crashed(status)


def answer_of(
    python: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    marker: str,
    seconds: float,
    folder: Path | None = None,
) -> list[str]:
    """Run Python, and return what it wrote behind a marker.

    Parameters
    ----------
    python : Path
        PythonSlicer, or any Python. What is behind PythonSlicer is run, which itself reports a crash as status 1.
    arguments : sequence of str
        What Python is given.
    environment : mapping of str to str
        Environment to start from.
    marker : str
        What the lines of the answer begin with; the others are passed over.
    seconds : float
        How long to wait (s).
    folder : Path, optional
        In which it runs; the current one otherwise.

    Returns
    -------
    list of str
        At least one.

    Raises
    ------
    ChildFailedError
        If it does not start, does not end in time, or ends without an answer.
    """
    try:
        interpreter = real_interpreter(python, environment)
        child = subprocess.Popen(
            [str(interpreter.python), *arguments],
            cwd=folder,
            env=interpreter.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise ChildFailedError(error.strerror or str(error)) from error
    try:
        output, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        _end(child)
        raise ChildFailedError("", timed_out=True) from error
    answers = [line.removeprefix(marker) for line in output.splitlines() if line.startswith(marker)]
    if not answers:
        raise ChildFailedError((errors.strip().splitlines() or [""])[-1], child.returncode)
    return answers


def _end(child: subprocess.Popen[str]) -> None:
    """End a child that leads a session of its own, with the Python that the PythonSlicer launcher started for it."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(child.pid)], capture_output=True, check=False)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
