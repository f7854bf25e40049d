"""A child process that can be followed and ended as a whole, by the means of each platform. Standard library only."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from pathlib import Path
from typing import IO, BinaryIO

from . import process_tree
from .child_output import BoundedLog, LineSplitter, Progress, parse_progress
from .exit_status import CANCELLED
from .windows_job import WindowsJob

_TAKE_OVER_SECONDS = 1.1
_LINES_HELD = 2000
_TAIL_LINES = 60
_ON_WINDOWS = sys.platform == "win32"


class ChildProcess:
    """One started process, its readers, its log, and the means to end it with everything it started.

    Parameters
    ----------
    command : list of str
        Program and arguments; the program is a Python, for it runs the supervisor too.
    folder : Path
        Working folder.
    environment : dict of str to str
        Environment of the process.
    log : BoundedLog or None
        Where every line is kept; closed when the process has ended.
    stdin : int
        Of the process, as for ``subprocess.Popen``.

    Attributes
    ----------
    progress : Progress or None
        The latest progress.
    tail : deque of str
        The last log lines, without progress.
    cancelled : bool
        Whether its end was asked for.

    Raises
    ------
    OSError
        If the process cannot be started.
    """

    def __init__(
        self,
        command: list[str],
        folder: Path,
        environment: dict[str, str],
        log: BoundedLog | None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.progress: Progress | None = None
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.cancelled = False
        self._lines: deque[str] = deque(maxlen=_LINES_HELD)
        self._log = log
        self._stdin = stdin
        self._log_lock = threading.Lock()
        self._token = uuid.uuid4().hex
        self._take_over_at = 0.0
        self._job: WindowsJob | None = None
        self._parent_pipe: BinaryIO | None = None
        environment = {**environment, process_tree.RUN_VARIABLE: self._token}
        self._popen = (
            self._start_in_job(command, folder, environment)
            if _ON_WINDOWS
            else self._start_supervised(command, folder, environment)
        )
        self._readers = [self._read_in_thread(pipe) for pipe in (self._popen.stdout, self._popen.stderr) if pipe]

    def _start_supervised(
        self, command: list[str], folder: Path, environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        parent_pipe_end, own_end = os.pipe()
        self._parent_pipe = os.fdopen(own_end, "wb", buffering=0)
        supervisor = [command[0], process_tree.__file__, str(parent_pipe_end), *command]
        try:
            return subprocess.Popen(
                supervisor,
                cwd=folder,
                env=environment,
                stdin=self._stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(parent_pipe_end,),
                start_new_session=True,
            )
        except OSError:
            self._parent_pipe.close()
            raise
        finally:
            os.close(parent_pipe_end)

    def _start_in_job(self, command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        self._job = WindowsJob()
        popen = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=self._stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        try:
            self._job.add(int(getattr(popen, "_handle")))  # noqa: B009 - no public name for the handle
        except OSError:
            popen.kill()
            self._job.close()
            raise
        return popen

    def cancel(self) -> None:
        """Close the parent pipe, or end the job."""
        if self.cancelled:
            return
        self.cancelled = True
        self._take_over_at = time.monotonic() + _TAKE_OVER_SECONDS
        if self._parent_pipe is not None:
            self._parent_pipe.close()
        if self._job is not None:
            self._job.end_all(CANCELLED)

    def advance(self) -> int | None:
        """Return the exit status once everything has ended and been read; help where a cancel takes too long."""
        exit_status = self._popen.poll()
        if exit_status is None:
            if self.cancelled and time.monotonic() > self._take_over_at:
                process_tree.kill_run(self._token, self._popen.pid, seconds=0.2)
            return None
        self._release()
        return exit_status

    def _release(self) -> None:
        if self._job is not None:
            self._job.close()
        else:
            left = process_tree.kill_run(self._token, self._popen.pid)
            if left:
                logging.warning("processes %s of the analysis could not be ended", sorted(left))
        if self._parent_pipe is not None:
            self._parent_pipe.close()
        for reader in self._readers:
            reader.join(timeout=1.0)
        with self._log_lock:
            if self._log is not None:
                self._log.close()

    def take_lines(self) -> tuple[str, ...]:
        """Hand over the lines that have not been handed over yet."""
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        return tuple(lines)

    def _read_in_thread(self, stream: IO[bytes]) -> threading.Thread:
        # A daemon: an application that ends must not wait for a pipe that an escaped process still holds.
        reader = threading.Thread(target=self._read, args=(stream,), name="ICHDiagnosis output", daemon=True)
        reader.start()
        return reader

    def _read(self, stream: IO[bytes]) -> None:
        splitter = LineSplitter()
        protocol = stream is self._popen.stdout
        with stream:
            while chunk := os.read(stream.fileno(), 65536):
                self._take(splitter.feed(chunk), protocol)
        self._take(splitter.finish(), protocol)

    def _take(self, lines: list[str], protocol: bool) -> None:
        for line in lines:
            progress = parse_progress(line) if protocol else None
            if progress is not None:
                self.progress = progress
            else:
                self._lines.append(line)
                self.tail.append(line)
            with self._log_lock:
                if self._log is not None:
                    self._log.write(line)
