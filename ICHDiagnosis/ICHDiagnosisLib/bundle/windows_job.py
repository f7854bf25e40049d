"""A Windows Job Object: processes that end together, at the latest when the application ends, however it ends.

Every process started by a member of the job is a member too. The job kills its members when its last handle
closes (``JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE``); the application holds the only handle, and Windows closes the handles
of a process that ends or crashes. Source: Microsoft, "Job Objects". Standard library only.

Python is put into the job right after it was started; the bundle starts no process before its imports are done, which
takes seconds, so nothing can slip out between.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import wintypes
from typing import Any, Protocol

from ..messages import message

KILL_ON_JOB_CLOSE = 0x2000
EXTENDED_LIMIT_INFORMATION = 9


class BasicLimits(ctypes.Structure):
    """``JOBOBJECT_BASIC_LIMIT_INFORMATION``."""

    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """``JOBOBJECT_EXTENDED_LIMIT_INFORMATION``; the six counters are ``IO_COUNTERS``."""

    _fields_ = (
        ("BasicLimitInformation", BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class Kernel32(Protocol):
    """The five functions of kernel32.dll that a job needs."""

    CreateJobObjectW: Any
    SetInformationJobObject: Any
    AssignProcessToJobObject: Any
    TerminateJobObject: Any
    CloseHandle: Any


class WindowsJob:
    """One job: put processes in, end all of them at once.

    Parameters
    ----------
    kernel32 : Kernel32, optional
        The library to call; ``kernel32.dll`` otherwise.

    Raises
    ------
    OSError
        If Windows refuses the job.
    """

    def __init__(self, kernel32: Kernel32 | None = None) -> None:
        self._kernel32 = kernel32 or _load_kernel32()
        self._handle = self._kernel32.CreateJobObjectW(None, None)
        if not self._handle:
            raise OSError(message("run.windows_refused"))
        limits = ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = KILL_ON_JOB_CLOSE
        accepted = self._kernel32.SetInformationJobObject(
            self._handle, EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits)
        )
        if not accepted:
            self.close()
            raise OSError(message("run.windows_refused"))

    def add(self, process_handle: int) -> None:
        """Put a process, and with it all that it will start, into the job.

        Parameters
        ----------
        process_handle : int
            Handle (not identifier) of the process.

        Raises
        ------
        OSError
            If Windows refuses.
        """
        if not self._kernel32.AssignProcessToJobObject(self._handle, process_handle):
            raise OSError(message("run.windows_refused"))

    def end_all(self, exit_status: int) -> None:
        """End every process of the job with this exit status, at once."""
        if self._handle:
            self._kernel32.TerminateJobObject(self._handle, exit_status)

    def close(self) -> None:
        """Close the handle: what still runs in the job is ended by Windows."""
        handle, self._handle = self._handle, None
        if handle:
            self._kernel32.CloseHandle(handle)


def _load_kernel32() -> Kernel32:
    if sys.platform == "win32":
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.CreateJobObjectW.argtypes = (ctypes.c_void_p, wintypes.LPCWSTR)
        kernel32.CreateJobObjectW.restype = wintypes.HANDLE
        kernel32.SetInformationJobObject.argtypes = (wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD)
        kernel32.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
        kernel32.TerminateJobObject.argtypes = (wintypes.HANDLE, wintypes.UINT)
        kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
        return kernel32
    raise OSError("job objects exist on Windows only")
