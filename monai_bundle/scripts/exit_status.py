"""How a run ends: 0 all studies evaluated, 3 some not evaluable, 1 failure (of one study or all), 130 cancelled.

A configuration calls :func:`install_handlers` in its ``initialize`` and runs its engine through :func:`run`. Whatever
then ends the process early, in an expression of the configuration or in the engine, ends it as the contract has it: an
error that a user can mend is one line, and an error that nobody foresaw keeps its traceback.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from types import FrameType, TracebackType

import torch

from scripts.messages import ExpectedError, message
from scripts.study_evaluator import StudyEvaluator

EVALUATED, FAILED, NOT_EVALUABLE, CANCELLED = 0, 1, 3, 130

logger = logging.getLogger(__name__)


def install_handlers() -> None:
    """From now on, end this process with the contract's exit status, and one line for an expected error.

    Python hands uncaught exceptions of the main thread to ``sys.excepthook``, KeyboardInterrupt among them, and takes
    the status of a SystemExit that the hook raises. SIGTERM cancels as Ctrl-C does.
    """
    sys.excepthook = _end
    _cancel_on_sigterm()


def one_line(error: BaseException) -> str | None:
    """Return the line for an expected error or a full GPU, also behind MONAI's RuntimeErrors; None for any other."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ExpectedError):
            return str(cause)
        if isinstance(cause, torch.cuda.OutOfMemoryError):
            return message("run.gpu_memory")
        cause = cause.__cause__
    return None


def ending_of(error: BaseException) -> int:
    """Log what ended a run, as the contract has it; return the exit status."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED if error.code else EVALUATED
    if isinstance(error, KeyboardInterrupt):
        logger.warning(message("run.cancelled"))
        return CANCELLED
    line = one_line(error)
    if line is None:
        sys.__excepthook__(type(error), error, error.__traceback__)
    else:
        logger.error("%s", line)
    return FAILED


def _end(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    sys.exit(ending_of(error))


def run(evaluator: StudyEvaluator) -> None:
    """Evaluate all studies and end the process with the contract's exit status.

    Ctrl-C and SIGTERM cancel: what is being written is removed, finished studies stay.
    """
    _cancel_on_sigterm()
    try:
        evaluator.run()
    except KeyboardInterrupt:
        logger.warning("cancelled after %d studies", sum(_counts(evaluator)))
        sys.exit(CANCELLED)
    logger.info("%d studies evaluated, %d not evaluable, %d failed", *_counts(evaluator))
    if evaluator.failures:
        sys.exit(FAILED)
    sys.exit(NOT_EVALUABLE if evaluator.refusals else EVALUATED)


def _counts(evaluator: StudyEvaluator) -> tuple[int, int, int]:
    return len(evaluator.diagnoses), len(evaluator.refusals), len(evaluator.failures)


def _cancel_on_sigterm() -> None:
    """Python refuses a handler from any thread but the main one, and delivers signals to that one alone."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _cancel)


def _cancel(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
