"""The worklist of a folder of results: the bundle writes it. No Qt."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from ..bundle.command import BundleRequest
from ..bundle.process import BundleRunner
from ..bundle.short_run import run_to_end
from ..messages import MessageError
from ..result.worklist import PAGE_FILE


class WorklistError(MessageError):
    """The worklist could not be written; the message is one line for the user."""


def worklist_command(request: BundleRequest) -> list[str]:
    """Build the command line that writes the worklist of ``request.dataset_dir``.

    To be given to :class:`ICHDiagnosisLib.bundle.process.BundleProcess` as ``build``.
    """
    return [str(request.python), "-m", "scripts.worklist", "--results", str(request.dataset_dir)]


def write_worklist(
    runner: BundleRunner, python: Path, bundle_root: Path, results: Path, keep_alive: Callable[[], None]
) -> Path:
    """Have the bundle write the worklist of all results in a folder; takes a second or two.

    Parameters
    ----------
    runner : BundleRunner
        Made with :func:`worklist_command`; its ``cancel()`` ends this call with an error.
    python : Path
        Python that runs the bundle.
    bundle_root : Path
        Folder of the bundle.
    results : Path
        Folder of the results of batches and analyses, or of a triage; the worklist lists them all.
    keep_alive : callable
        Called again and again while waiting (``slicer.app.processEvents``).

    Returns
    -------
    Path
        The page, to be opened in a browser.

    Raises
    ------
    WorklistError
        If it could not be written.
    BundleMissingError, ProcessStartError, AlreadyRunningError
        As :meth:`BundleProcess.start`.
    """
    with tempfile.TemporaryDirectory(prefix="ich-worklist-") as log_folder:
        request = BundleRequest(python, bundle_root, results, Path(log_folder))
        outcome, lines = run_to_end(runner, request, keep_alive)
        if outcome.exit_status != 0:
            raise WorklistError("batch.no_worklist", reason=lines[-1] if lines else outcome.message)
    return results / PAGE_FILE
