"""The Windows job that ends the bundle with the application, as far as it can be seen from elsewhere."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

from ICHDiagnosisLib.bundle.windows_job import KILL_ON_JOB_CLOSE, ExtendedLimits, WindowsJob


class Kernel32Recorder:
    """Notes the calls, and accepts or refuses each as asked."""

    def __init__(self, refused: str = "") -> None:
        self.calls: list[tuple[str, tuple[object, ...]]] = []
        self.refused = refused
        self.limits = ExtendedLimits()

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: object) -> int:
            self.calls.append((name, arguments))
            if name == "SetInformationJobObject":
                ctypes.memmove(ctypes.byref(self.limits), arguments[2], arguments[3])
            return 0 if name == self.refused else 77

        return call


def test_a_windows_job_kills_its_members_with_its_last_handle():
    kernel32 = Kernel32Recorder()
    job = WindowsJob(kernel32)
    job.add(42)
    job.end_all(130)
    job.close()
    job.close()
    job.end_all(130)
    names = [name for name, _ in kernel32.calls]
    assert names == [
        "CreateJobObjectW",
        "SetInformationJobObject",
        "AssignProcessToJobObject",
        "TerminateJobObject",
        "CloseHandle",
    ]
    assert kernel32.limits.BasicLimitInformation.LimitFlags == KILL_ON_JOB_CLOSE
    assert kernel32.calls[2][1] == (77, 42)
    assert kernel32.calls[3][1] == (77, 130)
    assert ctypes.sizeof(ExtendedLimits) == 144


@pytest.mark.parametrize("refused", ["CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject"])
def test_a_refusal_by_windows_is_an_error(refused):
    with pytest.raises(OSError, match="refused"):
        WindowsJob(Kernel32Recorder(refused)).add(42)
