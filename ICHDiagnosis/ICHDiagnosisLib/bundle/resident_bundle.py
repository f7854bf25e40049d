"""Runs studies in a resident worker, which is warm from the second on, or each in a process of its own.

Most of the wait for a study is Python and torch starting, so one worker is kept and reads one study after the other.
Nothing depends on it: where it is switched off, cannot be started or ends in the middle of a study, that study is read
by a process of its own, from the beginning. Standard library only.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping

from ..messages import MessageError
from .command import BundleRequest, bundle_arguments, check_bundle
from .exit_status import CANCELLED, Ending, Outcome, Remedy, explain_ending
from .process import (
    CANCEL_SECONDS,
    AlreadyRunningError,
    BundleProcess,
    BundleRunner,
    RunUpdate,
    interpreter_of,
    open_log,
)
from .worker_process import WorkerProcess, WorkerSettings

_LOSSES = 2
"""Workers that may be lost in a row; then no other is started."""

_log = logging.getLogger(__name__)


def _always() -> WorkerSettings | None:
    return WorkerSettings()


class ResidentBundle:
    """Runs the bundle, one run at a time, warm where it can; a :class:`BundleRunner`.

    Parameters
    ----------
    environment : mapping of str to str, optional
        Environment to start from; this process's own otherwise. It is copied, never changed.
    settings : callable, optional
        Returns the worker's settings, or None where each study shall have a process of its own; asked whenever a worker
        could be started.
    one_shot : BundleRunner, optional
        Runs a study in a process of its own.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        settings: Callable[[], WorkerSettings | None] = _always,
        one_shot: BundleRunner | None = None,
    ) -> None:
        self._environment = environment
        self._settings = settings
        self._one_shot = one_shot or BundleProcess(environment)
        self._worker: WorkerProcess | None = None
        self._request: BundleRequest | None = None
        self._losses = 0

    def __del__(self) -> None:
        """Let the worker go with whoever held it: its own readers would keep it."""
        worker = getattr(self, "_worker", None)
        if worker is not None:
            worker.cancel()

    @property
    def running(self) -> bool:
        """Whether a run has been started and its outcome not yet reported."""
        return self._request is not None or self._one_shot.running

    @property
    def warm(self) -> bool:
        """Whether a worker runs."""
        return self._worker is not None and self._worker.advance() is None

    def warm_up(self, request: BundleRequest) -> None:
        """Start the worker, if none runs, and let it load what studies with these settings need; return at once.

        Parameters
        ----------
        request : BundleRequest
            Settings; its study and output folder are not used. What cannot be started is logged: a study will say why.
        """
        if self.running:
            return
        try:
            check_bundle(request.bundle_root)
            worker = self._worker_for(request)
            if worker is not None:
                worker.prepare(_without_study(bundle_arguments(request)))
        except (MessageError, OSError) as error:
            _log.warning("no worker of the bundle: %s", error)

    def start(self, request: BundleRequest) -> None:
        """Start one run; parameters and errors as :meth:`BundleProcess.start`."""
        if self.running:
            raise AlreadyRunningError("run.busy")
        check_bundle(request.bundle_root)
        if not self._hand_over(request):
            self._one_shot.start(request)

    def poll(self) -> RunUpdate:
        """Report what has happened since the last call; an empty update where nothing runs."""
        if self._request is None or self._worker is None:
            return self._one_shot.poll()
        worker, request = self._worker, self._request
        ended = worker.advance()
        # A worker that was asked to end by somebody else answers so before it does: its study is lost.
        status = None if worker.status == CANCELLED else worker.status
        if ended is None and (status is None or worker.cancelled):
            return RunUpdate(worker.take_lines(), worker.progress)
        self._request = None
        lines, progress = worker.take_lines(), worker.progress
        if worker.cancelled:
            self._worker = None
            self.warm_up(request)
            return RunUpdate(lines, progress, explain_ending(CANCELLED, (), cancelled=True))
        if status is not None:
            outcome = explain_ending(status, tuple(worker.tail))
            worker.finish()
            self._losses = 0
            return RunUpdate(lines, progress, outcome)
        self._worker = None
        self._losses += 1
        _log.warning("the worker of the bundle ended (status %s): the study is read by another process", ended)
        return RunUpdate(lines, progress, self._read_anew(request))

    def cancel(self) -> None:
        """Ask for the end of the run and of everything it started; return at once."""
        if self._request is not None and self._worker is not None:
            self._worker.cancel()
        self._one_shot.cancel()

    def close(self) -> None:
        """End the run, if there is one, and wait for it (at most about two seconds); an idle worker stays."""
        self._one_shot.close()
        if self._request is not None:
            self.end_worker()

    def end_worker(self) -> None:
        """End the worker with the study that it reads, and wait for that (at most about two seconds).

        Before packages that it has loaded are replaced, and when the module is closed.
        """
        worker, self._worker, self._request = self._worker, None, None
        if worker is None:
            return
        worker.cancel()
        deadline = time.monotonic() + CANCEL_SECONDS
        while worker.advance() is None and time.monotonic() < deadline:
            time.sleep(0.02)

    def _hand_over(self, request: BundleRequest) -> bool:
        """Give a study to the worker; return False where there is none to take it."""
        arguments = bundle_arguments(request)
        try:
            worker = self._worker_for(request)
        except OSError as error:
            _log.warning("no worker of the bundle: %s", error.strerror or error)
            return False
        if worker is None:
            return False
        log = open_log(request)
        try:
            worker.begin(arguments, log)
        except OSError:
            # It ended a moment ago.
            worker.finish()
            self.end_worker()
            return False
        self._request = request
        return True

    def _worker_for(self, request: BundleRequest) -> WorkerProcess | None:
        """Return a worker that can take this request, started where none runs; None where there shall be none."""
        settings = self._settings()
        if settings is None or self._losses >= _LOSSES:
            self.end_worker()
            return None
        interpreter = interpreter_of(request, self._environment)
        wanted = (interpreter, request.bundle_root, settings)
        worker = self._worker
        if worker is not None and (worker.interpreter, worker.bundle_root, worker.settings) != wanted:
            self.end_worker()
        if not self.warm:
            self._worker = WorkerProcess(*wanted)
        return self._worker

    def _read_anew(self, request: BundleRequest) -> Outcome | None:
        """Read a study whose worker was lost; return the outcome where not even that can be started."""
        for half_written in request.output_dir.glob(".*.partial"):
            shutil.rmtree(half_written, ignore_errors=True)
        try:
            self._one_shot.start(request)
        except MessageError as error:
            return Outcome(Ending.FAILED, 1, str(error), remedy=Remedy.READ_LOG)
        return None


def _without_study(arguments: list[str]) -> list[str]:
    """Leave out what belongs to a study."""
    left = list(arguments)
    for name in ("--dataset_dir", "--output_dir"):
        place = left.index(name)
        del left[place : place + 2]
    return left
