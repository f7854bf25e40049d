"""A resident worker of the bundle: one child process that reads one study after the other. Standard library only.

The other end is ``scripts/resident_worker.py`` of the bundle, which states the protocol: requests on standard input,
and at the end of each a reply as the last line on standard output and on standard error.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .child_output import BoundedLog
from .child_process import ChildProcess
from .interpreter import Interpreter

MODULE = "scripts.resident_worker"
_REPLY = re.compile(r'\{"id": "(?P<id>[0-9a-f]+)", "status": (?P<status>-?[0-9]+)\}$')


@dataclass(frozen=True)
class WorkerSettings:
    """For how long a worker waits for a study; the bundle's ``Patience``.

    Attributes
    ----------
    idle_minutes : float
        At most this long (min).
    least_memory_mb : float
        Only while the computer has so much memory available (MB).
    """

    idle_minutes: float = 15.0
    least_memory_mb: float = 1000.0


class WorkerProcess(ChildProcess):
    """A started worker.

    Parameters
    ----------
    interpreter : Interpreter
        Python that runs it.
    bundle_root : Path
        Folder of the bundle.
    settings : WorkerSettings
        When it gives up waiting.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    def __init__(self, interpreter: Interpreter, bundle_root: Path, settings: WorkerSettings) -> None:
        self.interpreter, self.bundle_root, self.settings = interpreter, bundle_root, settings
        self._study = ""
        self._replies: dict[bool, int] = {}
        command = [str(interpreter.python), "-m", MODULE]
        command += ["--idle_minutes", str(settings.idle_minutes), "--least_memory_mb", str(settings.least_memory_mb)]
        super().__init__(command, bundle_root, interpreter.environment, None, stdin=subprocess.PIPE)

    @property
    def status(self) -> int | None:
        """Exit status of the study at hand, once its last line has come; None until then."""
        # Of standard output and of the log, in whichever order they came
        return self._replies.get(True) if len(self._replies) == 2 else None

    def prepare(self, arguments: Sequence[str]) -> None:
        """Ask for what a study with these arguments needs to be loaded.

        Raises
        ------
        OSError
            If the worker has ended.
        """
        self._send({"id": uuid.uuid4().hex, "prepare": list(arguments)})

    def begin(self, arguments: Sequence[str], log: BoundedLog) -> None:
        """Ask for a study to be read; its lines go into the log, and the study's end closes it.

        Raises
        ------
        OSError
            If the worker has ended.
        """
        with self._log_lock:
            self._study, self._log, self.progress = uuid.uuid4().hex, log, None
            self._replies.clear()
            self.tail.clear()
            self._lines.clear()
        self._send({"id": self._study, "arguments": list(arguments)})

    def finish(self) -> None:
        """Close the log of the study that was read."""
        with self._log_lock:
            if self._log is not None:
                self._log.close()
            self._study, self._log = "", None

    def _send(self, request: dict[str, object]) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(request).encode() + b"\n")
        self._popen.stdin.flush()

    def _take(self, lines: list[str], protocol: bool) -> None:
        for line in lines:
            # What a library wrote without a line end may stand before it.
            reply = _REPLY.search(line)
            if reply is None:
                super()._take([line], protocol)
                continue
            if line[: reply.start()]:
                super()._take([line[: reply.start()]], protocol)
            if reply["id"] == self._study:
                self._replies[protocol] = int(reply["status"])

    def _release(self) -> None:
        if self._popen.stdin is not None:
            # A request that the worker did not live to read
            with contextlib.suppress(OSError):
                self._popen.stdin.close()
        super()._release()
