"""Reads one study after the other in one process, so that imports and weights cost their time once.

    python -m scripts.resident_worker [--idle_minutes 15] [--least_memory_mb 1000]

Whoever starts it writes requests to its standard input, one JSON object per line, and may write the next before the
last is answered. ``arguments`` are those of ``python -m monai.bundle``, whose code reads the study:

    {"id": "1", "prepare": ["run", "--config_file", "configs/inference.json", "--device", "cpu"]}
    {"id": "2", "arguments": ["run", "--config_file", "configs/inference.json", "--device", "cpu",
                              "--dataset_dir", "STUDY", "--output_dir", "FOLDER"]}

``prepare`` parses the configuration and loads the network; a study with the same settings then finds both. During a
study standard output and standard error are those of a run (:mod:`scripts.progress`, the log). Each request ends with
its reply ``{"id": "2", "status": 0}``, the status of :mod:`scripts.exit_status`, as the last line on both streams.

It ends when its input is closed, when it had nothing to do for some minutes, or when the computer runs short of memory
while it waits; by SIGTERM or Ctrl-C with 130. Killed at any time it leaves what a killed run leaves: whole results.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

IDLE_MINUTES = 15.0
LEAST_MEMORY_MB = 1000
FAILED, CANCELLED = 1, 130
_CHECK_SECONDS = 5.0

logger = logging.getLogger(__name__)


class StudyReading(Protocol):
    """What the worker needs of the bundle: :class:`scripts.kept_workflow.KeptWorkflow`."""

    def prepare(self, arguments: Sequence[str]) -> int:
        """Load what these arguments need before there is a study; return the exit status."""

    def read(self, arguments: Sequence[str]) -> int:
        """Read a study; return the exit status."""


@dataclass(frozen=True)
class Patience:
    """For how long a worker waits for a study.

    Attributes
    ----------
    idle_minutes : float
        At most this long (min).
    least_memory_mb : float
        Only while the computer has so much memory available (MB).
    """

    idle_minutes: float = IDLE_MINUTES
    least_memory_mb: float = LEAST_MEMORY_MB


class ResidentWorker:
    """Answers requests until it is time to end.

    Parameters
    ----------
    reading : StudyReading
        Reads the studies.
    requests : iterator of str
        Lines of standard input; its end is the end of the worker.
    patience : Patience
        When to give up waiting.
    available_mb : callable, optional
        Returns the computer's available memory (MB).
    """

    def __init__(
        self,
        reading: StudyReading,
        requests: Iterator[str],
        patience: Patience,
        available_mb: Callable[[], float] | None = None,
    ) -> None:
        self._reading = reading
        self._patience = patience
        self._available_mb = available_mb or _available_mb
        self._requests: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._collect, args=(requests,), name="requests", daemon=True).start()

    def run(self) -> int:
        """Answer requests; return the exit status of the process."""
        while (line := self._next()) is not None:
            identifier, status = self._answer(line)
            _reply(identifier, status)
            if status == CANCELLED:
                return CANCELLED
        return 0

    def _collect(self, requests: Iterator[str]) -> None:
        for line in requests:
            self._requests.put(line)
        self._requests.put(None)

    def _next(self) -> str | None:
        """Wait for the next request; None when it is time to end."""
        give_up = time.monotonic() + 60 * self._patience.idle_minutes
        while True:
            left = give_up - time.monotonic()
            try:
                return self._requests.get(timeout=max(0.0, min(left, _CHECK_SECONDS)))
            except queue.Empty:
                if left <= 0:
                    logger.info("idle for %g minutes", self._patience.idle_minutes)
                    return None
            if self._available_mb() < self._patience.least_memory_mb:
                logger.info("less than %g MB of memory are available", self._patience.least_memory_mb)
                return None

    def _answer(self, line: str) -> tuple[str, int]:
        try:
            request: dict[str, Any] = json.loads(line)
            identifier = str(request["id"])
            act = self._reading.prepare if "prepare" in request else self._reading.read
            arguments = [str(argument) for argument in request["prepare" if "prepare" in request else "arguments"]]
        except (ValueError, KeyError, TypeError):
            # No more of it: the line may name a patient.
            logger.error("a line is no request")
            return "", FAILED
        return identifier, act(arguments)


def _reply(identifier: str, status: int) -> None:
    line = json.dumps({"id": identifier, "status": status}) + "\n"
    # The log is a stream of its own: only a reply in both marks the study's last line of it.
    for stream in (sys.stderr, sys.stdout):
        stream.write(line)
        stream.flush()


def _available_mb() -> float:
    import psutil  # noqa: PLC0415 - a third party: whoever tests the protocol need not have it

    return float(psutil.virtual_memory().available) / 1e6


def lines_of(descriptor: int) -> Iterator[str]:
    """Yield the lines of a stream as they come.

    Not through ``sys.stdin``: Python cannot end while a thread waits inside of a buffered stream.
    """
    pending = b""
    while chunk := os.read(descriptor, 65536):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", errors="replace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the worker of whoever holds the other end of standard input; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.resident_worker", description=__doc__.splitlines()[0])
    parser.add_argument("--idle_minutes", type=float, default=IDLE_MINUTES, help="end after so long without a study")
    parser.add_argument("--least_memory_mb", type=float, default=LEAST_MEMORY_MB, help="end where less is available")
    options = parser.parse_args(arguments)
    from scripts.quick_start import hidden  # noqa: PLC0415 - before the imports below, which take seconds

    with hidden():
        from scripts.kept_workflow import KeptWorkflow  # noqa: PLC0415

    worker = ResidentWorker(KeptWorkflow(), lines_of(0), Patience(options.idle_minutes, options.least_memory_mb))
    try:
        return worker.run()
    except KeyboardInterrupt:
        return CANCELLED


if __name__ == "__main__":
    sys.exit(main())
