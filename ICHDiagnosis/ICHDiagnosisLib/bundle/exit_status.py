"""How a run ended: exit status and last log lines to a message and what to do about it. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ..messages import message

EVALUATED = 0
SOME_NOT_EVALUABLE = 3
CANCELLED = 130
_KILLED = frozenset({-9, 137})
# Ends by signal: -n from the operating system, 128 + n from the supervisor: SIGILL, SIGTRAP, SIGABRT, SIGBUS (7 on
# Linux, 10 on macOS), SIGFPE, SIGSEGV.
_CRASH_SIGNALS = (4, 5, 6, 7, 8, 10, 11)
# Windows reports an NTSTATUS (Microsoft, [MS-ERREF] 2.3.1): access violation, illegal instruction, division by zero,
# stack overflow, heap corruption, stack buffer overrun.
_WINDOWS_CRASHED = (0xC0000005, 0xC000001D, 0xC0000094, 0xC00000FD, 0xC0000374, 0xC0000409)
_CRASHED = frozenset(
    {*_WINDOWS_CRASHED, *(-number for number in _CRASH_SIGNALS), *(128 + number for number in _CRASH_SIGNALS)}
)
_WINDOWS_NO_MEMORY = frozenset({0xC0000017, 0xC000012D})
# A library that is not there, lacks an entry point, or failed to initialise
_WINDOWS_LIBRARY = frozenset({0xC0000135, 0xC0000139, 0xC0000142})
_LAUNCHER = re.compile(r"\[.*\] exit abnormally - Report the problem\.?")


class Ending(Enum):
    """The four ways in which a run ends."""

    EVALUATED = "evaluated"
    SOME_NOT_EVALUABLE = "some not evaluable"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Remedy(Enum):
    """What the module can offer to do about a failure."""

    NONE = "none"
    RUN_ON_CPU = "run on CPU"
    FREE_MEMORY = "free memory"
    FREE_DISK_SPACE = "free disk space"
    CHECK_INSTALLATION = "check installation"
    READ_LOG = "read log"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    ending : Ending
        Evaluated, some not evaluable, failed or cancelled.
    exit_status : int
        Of the process; -n or 128 + n where signal n ended it.
    message : str
        One sentence for the user.
    suggestion : str
        What the user can do; empty when there is nothing to do.
    remedy : Remedy
        What the module can offer (a button).
    """

    ending: Ending
    exit_status: int
    message: str
    suggestion: str = ""
    remedy: Remedy = Remedy.NONE

    @property
    def has_results(self) -> bool:
        """Whether the run wrote result folders."""
        return self.ending in (Ending.EVALUATED, Ending.SOME_NOT_EVALUABLE)


_LINES_OF_AN_ERROR = 60
_OUT_OF_GPU_MEMORY = re.compile(
    r"(CUDA|HIP|MPS backend) out of memory|OutOfMemoryError|CUDA error: out of memory"
    r"|(CUDNN|CUBLAS)_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_GPU_UNUSABLE = re.compile(
    r"not compiled with CUDA|No CUDA GPUs are available|no kernel image is available|CUDA driver|CUDA error"
    r"|no NVIDIA driver|(CUDNN|CUBLAS)_STATUS_\w+",
    re.IGNORECASE,
)
_OUT_OF_MEMORY = re.compile(
    r"MemoryError|DefaultCPUAllocator|not enough memory|Cannot allocate memory|bad_alloc|Errno 12\b", re.IGNORECASE
)
_DISK_FULL = re.compile(
    r"No space left on device|not enough space on the disk|quota exceeded|File too large|Errno (28|27|122)\b",
    re.IGNORECASE,
)
_INSTALLATION = re.compile(
    r"ModuleNotFoundError|No module named|ImportError|DLL load failed|sha-?256|checksum|cannot start ", re.IGNORECASE
)
# The order is the order of trust: a full disk or card also leaves follow-up errors of the later kinds in the log.
_RECOGNISED = (
    (_OUT_OF_GPU_MEMORY, Remedy.RUN_ON_CPU),
    (_DISK_FULL, Remedy.FREE_DISK_SPACE),
    (_OUT_OF_MEMORY, Remedy.FREE_MEMORY),
    (_GPU_UNUSABLE, Remedy.RUN_ON_CPU),
    (_INSTALLATION, Remedy.CHECK_INSTALLATION),
)
_ERROR_LINE = re.compile(r"\b(ERROR|CRITICAL|error:|\w*(Error|Exception):)")
_LOG_PREFIX = re.compile(
    r"^(\d{4}-\d\d-\d\d[ T][\d:.,]+)?[\s\-|:]*(\[?(ERROR|CRITICAL)\]?[\s\-|:]+)((root|scripts(\.\w+)*)[\s\-|:]+)?"
)


def crashed(exit_status: int) -> bool:
    """Tell whether a process was ended by a signal or a Windows fault, its library missing included, not by itself."""
    return exit_status < 0 or exit_status in _CRASHED | _KILLED | _WINDOWS_NO_MEMORY | _WINDOWS_LIBRARY


def explain_ending(exit_status: int, log_tail: Sequence[str], cancelled: bool = False) -> Outcome:
    """Turn an exit status and the end of the log into sentences.

    Parameters
    ----------
    exit_status : int
        Of the process: 0 all evaluated, 3 some not evaluable, 1 failure, 130 cancelled, else a crash.
    log_tail : sequence of str
        The last lines of the log, oldest first.
    cancelled : bool
        Whether the user asked to cancel: then nothing else needs an explanation.

    Returns
    -------
    Outcome
        With the bundle's own one-line error as the message where it gave one.
    """
    if cancelled or exit_status == CANCELLED:
        return Outcome(Ending.CANCELLED, exit_status, message("ending.cancelled"))
    if exit_status == EVALUATED:
        return Outcome(Ending.EVALUATED, exit_status, message("ending.complete"))
    if exit_status == SOME_NOT_EVALUABLE:
        return Outcome(
            Ending.SOME_NOT_EVALUABLE, exit_status, message("ending.some_not_evaluable"), message("ending.see_results")
        )
    return Outcome(Ending.FAILED, exit_status, *_explain_failure(exit_status, tuple(log_tail)))


def _explain_failure(exit_status: int, tail: tuple[str, ...]) -> tuple[str, str, Remedy]:
    """Return message, suggestion and remedy."""
    lines = tuple(line for line in tail if not _LAUNCHER.search(line))
    error = _last_error(lines)
    remedy = _recognise(exit_status, lines)
    if remedy is Remedy.RUN_ON_CPU:
        return *_explain_gpu_failure(lines, error), remedy
    if remedy is Remedy.FREE_MEMORY:
        return message("ending.out_of_memory"), message("ending.free_memory"), remedy
    if remedy is Remedy.FREE_DISK_SPACE:
        return message("ending.disk_full", error=error), message("ending.free_disk_space"), remedy
    if remedy is Remedy.CHECK_INSTALLATION:
        return error or message("ending.library_missing"), message("ending.check_installation"), remedy
    if len(lines) < len(tail) or exit_status in _CRASHED:
        return *_explain_crash(exit_status), Remedy.RUN_ON_CPU
    return error or message("ending.no_message", status=exit_status), message("ending.see_log"), remedy


def _explain_crash(exit_status: int) -> tuple[str, str]:
    if exit_status in _CRASHED:
        return message("ending.crashed", status=exit_status), message("ending.report_crash")
    # Behind a launcher a crash and a kill for lack of memory have the same status.
    return message("ending.killed_or_crashed"), message("ending.free_memory_or_cpu")


def _explain_gpu_failure(tail: tuple[str, ...], error: str) -> tuple[str, str]:
    if _OUT_OF_GPU_MEMORY.search("\n".join(tail)):
        return message("ending.gpu_memory"), message("ending.run_on_cpu_same_result")
    return message("ending.gpu_unusable", error=error), message("ending.run_on_cpu")


def _recognise(exit_status: int, tail: tuple[str, ...]) -> Remedy:
    """Return the remedy for the first known failure in the end of the log."""
    if exit_status in _WINDOWS_NO_MEMORY:
        return Remedy.FREE_MEMORY
    if exit_status in _WINDOWS_LIBRARY:
        return Remedy.CHECK_INSTALLATION
    errors = "\n".join(line for line in tail[-_LINES_OF_AN_ERROR:] if "warning" not in line.lower())
    for pattern, remedy in _RECOGNISED:
        if pattern.search(errors):
            return remedy
    return Remedy.FREE_MEMORY if exit_status in _KILLED else Remedy.READ_LOG


def _last_error(tail: tuple[str, ...]) -> str:
    """Return the last line that states an error, else the last line that is not empty."""
    lines = [line.strip() for line in tail if line.strip()]
    errors = [line for line in lines if _ERROR_LINE.search(line)]
    return _LOG_PREFIX.sub("", (errors or lines or [""])[-1])
