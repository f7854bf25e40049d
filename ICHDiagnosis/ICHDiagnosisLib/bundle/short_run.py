"""A child process that is waited for, a second or two, while the window stays alive. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable

from .command import BundleRequest
from .exit_status import Outcome
from .process import BundleRunner

_POLL_SECONDS = 0.05


def run_to_end(
    runner: BundleRunner, request: BundleRequest, keep_alive: Callable[[], None]
) -> tuple[Outcome, list[str]]:
    """Start a run and wait for its end.

    Parameters
    ----------
    runner : BundleRunner
        Its ``cancel()`` ends this call as well.
    request : BundleRequest
        What to run.
    keep_alive : callable
        Called again and again while waiting (``slicer.app.processEvents``).

    Returns
    -------
    Outcome, list of str
        How it ended, and the lines that it wrote.

    Raises
    ------
    BundleMissingError, ProcessStartError, AlreadyRunningError
        As :meth:`BundleProcess.start`.
    """
    runner.start(request)
    outcome: Outcome | None = None
    lines: list[str] = []
    try:
        while outcome is None:
            keep_alive()
            time.sleep(_POLL_SECONDS)
            update = runner.poll()
            outcome = update.outcome
            lines += update.lines
    finally:
        runner.close()
    return outcome, lines
