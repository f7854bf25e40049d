"""End a child process and everything it started, also when the application itself is killed (POSIX).

Run as a script this file is the *supervisor*: a process between application and bundle, which ends the whole tree

* when the application closes its end of the *parent pipe*: a cancel, an orderly end, or a crash, since the
  operating system closes the pipe of a dead process;
* when it is itself asked to end (SIGTERM, SIGINT, SIGHUP);
* when the bundle has ended but left processes behind.

A pipe was chosen over ``prctl(PR_SET_PDEATHSIG)`` in the application, because that signal follows the *thread* that
started the child and needs code between fork and exec, which may deadlock in a process with threads. It was chosen over
standard input, because a PythonSlicer launcher (used only where ``interpreter.py`` found nothing behind it) passes open
descriptors on in every version, its standard input not on every system.

On Linux the supervisor adopts orphans (``PR_SET_CHILD_SUBREAPER``), so that even a descendant that called ``setsid``
and lost its parent stays below it in ``/proc``. On macOS the bundle's process group is ended (``killpg``); a descendant
that opens a session of its own escapes there. Windows needs no supervisor: see ``windows_job.py``.

Standard library only.
"""

from __future__ import annotations

import ctypes
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

RUN_VARIABLE = "ICHDIAGNOSIS_RUN"
CANCELLED = 130
CANNOT_START = 127
GRACE_SECONDS = 0.7
_KILL_SECONDS = 1.0
_POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")
_ON_LINUX = sys.platform.startswith("linux")


def descendants(root: int) -> set[int]:
    """Find the living processes below one process (Linux).

    Parameters
    ----------
    root : int
        Process identifier.

    Returns
    -------
    set of int
        Every descendant that runs; zombies are left out, for they hold nothing. Empty where there is no ``/proc``.
    """
    children: dict[int, list[int]] = defaultdict(list)
    zombies = set()
    for pid in _pids():
        # Fields 3 and 4 of proc(5) "stat"; the command before them is in brackets and may hold anything.
        fields = _read(_PROC / str(pid) / "stat").rpartition(b")")[2].split()
        if len(fields) < 2:
            continue
        children[int(fields[1])].append(pid)
        if fields[0] in (b"Z", b"X"):
            zombies.add(pid)
    found: set[int] = set()
    unseen = [root]
    while unseen:
        below = [pid for pid in children[unseen.pop()] if pid not in found]
        found.update(below)
        unseen.extend(below)
    return found - zombies


def members_of_run(token: str) -> set[int]:
    """Find the living processes that inherited a run's token in their environment (Linux).

    Parameters
    ----------
    token : str
        Value of the variable ``ICHDIAGNOSIS_RUN``.

    Returns
    -------
    set of int
        Process identifiers, whatever their parent or session; empty where there is no ``/proc``.
    """
    entry = f"{RUN_VARIABLE}={token}".encode()
    return {pid for pid in _pids() if entry in _read(_PROC / str(pid) / "environ").split(b"\0")}


def kill_run(token: str, supervisor: int, seconds: float = _KILL_SECONDS) -> set[int]:
    """Kill what is left of a run without asking, for the case that the supervisor is dead or does not answer.

    Parameters
    ----------
    token : str
        The run's token.
    supervisor : int
        Process identifier of the supervisor, which leads a process group.
    seconds : float
        How long to try (s).

    Returns
    -------
    set of int
        Processes that could not be ended in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        left = members_of_run(token)
        if not _ON_LINUX:
            _send_to_group(supervisor, signal.SIGKILL)
        _send(left, signal.SIGKILL)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(_POLL_SECONDS)


def supervise(command: list[str], parent_pipe: int) -> int:
    """Run a command until it ends or the parent pipe is closed, and leave no descendant behind.

    Parameters
    ----------
    command : list of str
        Program and arguments.
    parent_pipe : int
        Read end of a pipe whose other end the application holds.

    Returns
    -------
    int
        The command's exit status, 128 + n if signal n ended it, 130 if it was cancelled, 127 if it could not start.
    """
    os.set_inheritable(parent_pipe, False)
    stop_requests: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: stop_requests.append(received))
    try:
        child = subprocess.Popen(
            command,
            start_new_session=True,
            preexec_fn=_ties_to_supervisor(),  # noqa: PLW1509 - safe: the supervisor has a single thread
        )
    except OSError as error:
        logging.error("cannot start %s: %s", command[0], error.strerror)
        return CANNOT_START
    status = None
    while status is None and not stop_requests:
        if select.select([parent_pipe], [], [], 0.05)[0]:
            break
        status = _reap(child.pid)
    _end_descendants(child.pid, GRACE_SECONDS if status is None else 0.0)
    child.returncode = CANCELLED if status is None else status
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _ties_to_supervisor() -> Callable[[], None] | None:
    """Adopt orphans from now on; return what a child does before exec so that it dies with the supervisor (Linux)."""
    if not _ON_LINUX:
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    supervisor = os.getpid()

    def die_with_supervisor() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != supervisor:
            os._exit(CANCELLED)

    return die_with_supervisor


def _end_descendants(group: int, grace_seconds: float) -> None:
    """Ask every descendant to end, and kill those that have not after the time of grace (s)."""
    kill_from = time.monotonic() + grace_seconds
    if grace_seconds > 0:
        _send_to_group(group, signal.SIGTERM)
        _send(descendants(os.getpid()), signal.SIGTERM)
    while _any_left(group) and time.monotonic() < kill_from + _KILL_SECONDS:
        if time.monotonic() >= kill_from:
            _send_to_group(group, signal.SIGKILL)
            _send(descendants(os.getpid()), signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
        _reap(group)


def _any_left(group: int) -> bool:
    if _ON_LINUX:
        return bool(descendants(os.getpid()))
    return _send_to_group(group, 0)


def _reap(child: int) -> int | None:
    """Collect every ended child, adopted ones too; return the status of the one that matters, if it ended now."""
    status = None
    while True:
        try:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == child:
            status = os.waitstatus_to_exitcode(wait_status)


def _send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError:
            logging.warning("process %d belongs to somebody else now and was left alone", pid)


def _send_to_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # macOS answers "not permitted" for a group of zombies.
        return False
    return True


def _pids() -> list[int]:
    if not _PROC.is_dir():
        return []
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _read(path: Path) -> bytes:
    """Read a file of /proc; empty when its process has ended or belongs to somebody else."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(supervise(sys.argv[2:], int(sys.argv[1])))
