"""Workers that Ray places, watches and begins anew: on this computer alone, or on every machine of a cluster.

Ray knows which cores and GPUs are free on which machine, and notices when a process or a machine is gone. It is started
without its dashboard and its usage reports, and in a folder of its own. Its ports are open to the network; whoever has
not its token is refused.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from scripts.messages import ExpectedError
from scripts.triage.schedule import Finished, Lost, Ready
from scripts.triage.tasks import BUNDLE_ROOT, Outcome, Settings, Task, TriageError

# Before Ray is imported: nothing about a hospital's machines is sent anywhere.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Whoever starts a triage chooses its priority (nice); Ray would lower that of its workers by 15.
os.environ.setdefault("RAY_worker_niceness", "0")

try:
    import ray
except ImportError as error:
    raise TriageError("triage.no_ray") from error

_OBJECT_STORE_BYTES = 80 * 2**20
"""Nearly the least that Ray takes: tasks and outcomes are small, images and maps never pass through it."""
_STARTS, _BUSY = 3, "timed out during startup"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Share:
    """What one worker takes of a machine.

    Attributes
    ----------
    cores : float
        Processor cores; also the number of threads.
    gpus : float
        GPUs; below 1, several workers share one.
    """

    cores: float = 1
    gpus: float = 0


@contextlib.contextmanager
def engine(address: str | None, cores: int | None = None) -> Iterator[None]:
    """Be connected to Ray in this block.

    Parameters
    ----------
    address : str or None
        Of a cluster's head, e.g. ``"10.0.0.5:6379"``; None starts Ray on this computer until the block ends.
    cores : int, optional
        How many of this computer's cores are used; all unless given. A cluster knows its own.

    Raises
    ------
    TriageError
        If the cluster cannot be reached or Ray does not start.
    """
    folder = None if address else tempfile.mkdtemp(prefix="ich-")
    paths = os.pathsep.join(filter(None, [str(BUNDLE_ROOT), os.environ.get("PYTHONPATH")]))
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    place: dict[str, Any] = {"address": address, "runtime_env": {"working_dir": str(BUNDLE_ROOT)}}
    if folder:
        place = {"address": "local", "num_cpus": cores, "include_dashboard": False, "_temp_dir": folder}
        place["object_store_memory"] = _OBJECT_STORE_BYTES
        place["runtime_env"] = {"env_vars": {"PYTHONPATH": paths}}
    try:
        _begin_ray(address or "local", place | quiet)
        yield
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _begin_ray(address: str, settings: dict[str, Any]) -> None:
    """Start Ray or join a cluster; Ray gives a machine that is busy half a minute, and may then be asked again."""
    for start in range(1, _STARTS + 1):
        try:
            ray.init(**settings)
        except Exception as error:
            # Ray raises the plain class, too.
            ray.shutdown()
            fault = str(error).strip().partition("\n")[0][:200]
            if start == _STARTS or _BUSY not in fault:
                raise TriageError("triage.no_engine", address=address, fault=fault) from error
            logger.warning("Ray did not start in time; it is started again")
        else:
            return


def places_for(share: Share) -> int:
    """Return how many workers of this size the machines have room for now."""
    have = ray.cluster_resources()
    fits = [have.get("CPU", 0) / share.cores] if share.cores else []
    fits += [have.get("GPU", 0) / share.gpus] if share.gpus else []
    return max(1, int(min(fits)))


def gpus() -> float:
    """Return the number of GPUs of all machines."""
    return float(ray.cluster_resources().get("GPU", 0))


class Reading(Protocol):
    """What a worker does: :class:`scripts.triage.study_reader.StudyReader`."""

    def prepare(self) -> None:
        """Load the network."""

    def read(self, task: Task, partial: Path) -> Outcome:
        """Read a study."""


def study_reader(settings: Settings) -> Reading:
    """Return the reader of a worker's process; torch and MONAI are imported there alone."""
    from scripts.quick_start import hidden  # noqa: PLC0415

    with hidden():
        from scripts.triage.study_reader import StudyReader  # noqa: PLC0415
    return StudyReader(settings)


class _StudyActor:
    """A process of Ray's that reads one study after the other."""

    def __init__(self, make_reader: Callable[[Settings], Reading], settings: Settings) -> None:
        self._make_reader = make_reader
        self._settings = settings

    def prepare(self) -> str | None:
        """Load the network; return why that failed, if it did."""
        try:
            self._reader = self._make_reader(self._settings)
            self._reader.prepare()
        except ExpectedError as error:
            return str(error)
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:300]}"
        return None

    def read(self, task: Task, partial: Path) -> Outcome:
        """Read one study."""
        return self._reader.read(task, partial)


class RayWorkers:
    """As many actors as are asked for; those for which there is no room wait until a machine comes or is free.

    Parameters
    ----------
    settings : Settings
        How every study is read.
    count : int
        Number of workers.
    share : Share
        What each of them takes.
    make_reader : callable
        Called in the worker's process.
    """

    def __init__(
        self,
        settings: Settings,
        count: int,
        share: Share,
        make_reader: Callable[[Settings], Reading] = study_reader,
    ) -> None:
        self._settings = settings
        self._make_reader = make_reader
        self._class = ray.remote(_StudyActor)
        self._share = share
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, tuple[int, bool]] = {}
        for worker in range(count):
            self._begin(worker)

    def events(self, timeout_s: float) -> list[Ready | Finished | Lost]:
        """Return what has happened to workers; see :class:`scripts.triage.schedule.Workers`."""
        done, _ = ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        if done:
            # Whatever else has ended by now.
            done, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        return [self._event(call) for call in done]

    def give(self, worker: int, task: Task, partial: Path) -> None:
        """Have a worker read a study."""
        self._calls[self._actors[worker].read.remote(task, partial)] = (worker, False)

    def replace(self, worker: int) -> None:
        """End a worker's process and begin another one, on whichever machine has room."""
        self._calls = {call: entry for call, entry in self._calls.items() if entry[0] != worker}
        ray.kill(self._actors[worker], no_restart=True)
        self._begin(worker)

    def close(self) -> None:
        """End all of them."""
        for actor in self._actors.values():
            ray.kill(actor, no_restart=True)
        self._actors.clear()
        self._calls.clear()

    def _begin(self, worker: int) -> None:
        share = {"num_cpus": self._share.cores, "num_gpus": self._share.gpus}
        self._actors[worker] = self._class.options(**share).remote(self._make_reader, self._settings)
        self._calls[self._actors[worker].prepare.remote()] = (worker, True)

    def _event(self, call: Any) -> Ready | Finished | Lost:  # noqa: ANN401 - a reference of Ray's
        worker, preparing = self._calls.pop(call)
        try:
            answer = ray.get(call)
        except ray.exceptions.RayError as error:
            logger.warning("worker %d: %s", worker, type(error).__name__)
            self.replace(worker)
            return Lost(worker)
        if not preparing:
            return Finished(worker, answer)
        if answer is not None:
            raise TriageError("triage.not_prepared", fault=answer)
        return Ready(worker)
