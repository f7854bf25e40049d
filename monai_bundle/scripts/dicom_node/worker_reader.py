"""Reading one study by a process of its own that keeps the network loaded (:mod:`scripts.resident_worker`)."""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from uuid import uuid4

from scripts.dicom_node.notices import NO_RESULT, SEVERAL_PATIENTS
from scripts.dicom_node.settings import ReadingSettings
from scripts.output.folder import RESULT_FILE

BUNDLE_ROOT = Path(__file__).resolve().parents[2]
_EVALUATED, _NOT_EVALUABLE = 0, 3
_CHECK_SECONDS = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """What became of a study.

    Attributes
    ----------
    folder : Path or None
        Its result folder; None where there is none.
    refusal : str or None
        Code of the reason why it is not evaluable (section ``intake`` of the catalogue).
    fault : str or None
        Why it was not read; it may be tried again.
    """

    folder: Path | None = None
    refusal: str | None = None
    fault: str | None = None


class StudyReader(Protocol):
    """What the node needs of whoever reads."""

    def read(self, images: Path) -> AbstractContextManager[Reading]:
        """Read the study of one folder; the result folder exists within the context."""

    def stop(self) -> None:
        """Break off what is under way; may be called from another thread."""


class WorkerReader:
    """Reads by a worker process, started when the first study comes, and anew when it has ended.

    Parameters
    ----------
    settings : ReadingSettings
        The worker's command, settings of the network, and when to give up.
    folder : Path
        For results under way; what an earlier worker left in it is removed.
    """

    def __init__(self, settings: ReadingSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._worker: subprocess.Popen[str] | None = None
        self._replies: queue.Queue[str | None] = queue.Queue()
        self._stopped = threading.Event()
        shutil.rmtree(folder, ignore_errors=True)
        # The worker of a node that was killed may be writing here still; its folders are its own.
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def read(self, images: Path) -> Iterator[Reading]:
        """Read the study of one folder.

        Parameters
        ----------
        images : Path
            Its DICOM files; the folder's name becomes the result's.

        Yields
        ------
        Reading
            The result folder lies in a temporary one and is removed after the block, unless it was moved.
        """
        output = self._folder / uuid4().hex
        try:
            yield self._read(images, output)
        finally:
            shutil.rmtree(output, ignore_errors=True)

    def stop(self) -> None:
        """End the worker, also in the middle of a study."""
        self._stopped.set()
        if self._worker is not None:
            self._worker.kill()

    def _read(self, images: Path, output: Path) -> Reading:
        arguments = ["run", "--config_file", "configs/inference.json", "--bundle_root", str(BUNDLE_ROOT)]
        for name, value in self._settings.arguments.items():
            arguments += [f"--{name}", str(value)]
        arguments += ["--dataset_dir", str(images), "--output_dir", str(output)]
        try:
            status = self._ask(arguments)
        except OSError as error:
            return Reading(fault=f"worker_not_started ({type(error).__name__})")
        if status is None:
            self._end_worker()
            return Reading(fault="worker_ended")
        if status not in (_EVALUATED, _NOT_EVALUABLE):
            return Reading(fault=f"exit_status_{status}")
        return _result_in(output)

    def _ask(self, arguments: Sequence[str]) -> int | None:
        """Send one request; return its status, None where the worker ended or had to be ended."""
        identifier = uuid4().hex
        request = json.dumps({"id": identifier, "arguments": list(arguments)}) + "\n"
        worker = self._worker if self._worker is not None and self._worker.poll() is None else self._started()
        try:
            _send(worker, request)
        except BrokenPipeError:
            # It ended while it waited, e.g. because memory ran short: a fresh one is asked once.
            _send(self._started(), request)
        return self._reply(identifier)

    def _reply(self, identifier: str) -> int | None:
        give_up = time.monotonic() + 60 * self._settings.minutes
        while time.monotonic() < give_up and not self._stopped.is_set():
            try:
                line = self._replies.get(timeout=_CHECK_SECONDS)
            except queue.Empty:
                continue
            if line is None:
                return None
            if line.startswith("{") and (reply := json.loads(line)).get("id") == identifier:
                return int(reply["status"])
        return None

    def _started(self) -> subprocess.Popen[str]:
        self._end_worker()
        command = [part.replace("{python}", sys.executable) for part in self._settings.worker]
        self._replies = queue.Queue()
        # Its log is not kept: it names files and may quote a header. The result says why a study was refused.
        self._worker = subprocess.Popen(
            command,
            cwd=BUNDLE_ROOT,
            env=os.environ | {"PYTHONUTF8": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        threading.Thread(target=_collect, args=(self._worker.stdout, self._replies), daemon=True).start()
        return self._worker

    def _end_worker(self) -> None:
        if self._worker is None:
            return
        self._worker.kill()
        self._worker.wait()
        with suppress(BrokenPipeError):
            _stream(self._worker.stdin).close()
        self._worker = None


def _send(worker: subprocess.Popen[str], request: str) -> None:
    _stream(worker.stdin).write(request)
    _stream(worker.stdin).flush()


def _collect(lines: IO[str], replies: queue.Queue[str | None]) -> None:
    with lines:
        for line in lines:
            replies.put(line)
    replies.put(None)


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise ValueError("the worker was started without a pipe")
    return stream


def _result_in(output: Path) -> Reading:
    results = sorted(output.glob(f"*/{RESULT_FILE}"))
    if len(results) != 1:
        # Two patients under one Study Instance UID, or images of other studies: whose result would it be?
        return Reading(refusal=SEVERAL_PATIENTS if results else NO_RESULT)
    document = json.loads(results[0].read_text(encoding="utf-8"))
    if document["status"] == "not_evaluable":
        return Reading(folder=results[0].parent, refusal=str(document["reason"]["code"]))
    return Reading(folder=results[0].parent)
