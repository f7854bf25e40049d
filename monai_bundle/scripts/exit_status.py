"""How a run ends: 0 all studies evaluated, 3 some not evaluable, 1 failure (of one study or all), 130 cancelled.

A configuration wraps its fallible steps in :func:`or_exit` and runs its engine through :func:`run`, so that a user's
mistake ends in one line instead of a traceback; an error that nobody foresaw keeps its traceback.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import torch

from scripts.intake.study import IntakeError
from scripts.output.folder import OutputError
from scripts.settings import SettingError
from scripts.study_evaluator import StudyEvaluator
from scripts.weights import WeightsError

EVALUATED, FAILED, NOT_EVALUABLE, CANCELLED = 0, 1, 3, 130

Result = TypeVar("Result")
logger = logging.getLogger(__name__)


def or_exit(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function; a named error of the bundle's own ends the process with one line and status 1.

    Ctrl-C and SIGTERM end it with one line and status 130; SIGTERM does so from the first call on.
    """
    _cancel_on_sigterm()
    try:
        return _or_fail(function, *arguments)
    except KeyboardInterrupt:
        logger.warning("cancelled")
        sys.exit(CANCELLED)


def _or_fail(function: Callable[..., Result], *arguments: Any) -> Result:
    try:
        return function(*arguments)
    except (IntakeError, WeightsError, SettingError, OutputError) as error:
        logger.error("%s", error)
    except torch.cuda.OutOfMemoryError:
        logger.error("the GPU's memory is full: close other programs that use it, or run again with --device cpu")
    sys.exit(FAILED)


def run(evaluator: StudyEvaluator) -> None:
    """Evaluate all studies and end the process with the contract's exit status.

    Ctrl-C and SIGTERM cancel: what is being written is removed, finished studies stay.
    """
    _cancel_on_sigterm()
    try:
        _or_fail(evaluator.run)
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
