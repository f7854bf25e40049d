"""Read every study of a folder, a list or an archive on all cores, GPUs and machines, and sort them by urgency.

    python -m scripts.triage --source FOLDER|LIST.csv|LIST.jsonl|https://PACS/dicom-web --output FOLDER
                             [--address HEAD:PORT] [--workers N] [--minutes 10] [--depth 1] [--set KEY=VALUE]

It ends with 0 when all studies were evaluated, 3 when some were not evaluable, 1 when some failed or it could not go
on, 130 when it was cancelled (Ctrl-C, SIGTERM). Whatever ended it: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts.messages import ExpectedError, message
from scripts.progress import STEPS_PER_STUDY
from scripts.triage.sources import find_tasks
from scripts.triage.tasks import MINUTES, Limits, Settings, Tally, TriageError
from scripts.worklist.failures import STATE_FOLDER
from scripts.worklist.page import PAGE_FILE, write_worklist

EVALUATED, FAILED, NOT_EVALUABLE, CANCELLED = 0, 1, 3, 130
_PARTIALS = "partial"
_LOG_S, _PAGE_S, _PAGE_SHARE, _STALE_S = 30.0, 60.0, 20, 86_400.0

logger = logging.getLogger(__name__)


@dataclass
class Reporter:
    """Tells whoever started a triage how far it is, and keeps the worklist up to date meanwhile.

    Attributes
    ----------
    output : Path
        Folder of the worklist.
    began : float
        When (s, of a monotonic clock).
    """

    output: Path
    began: float = field(default_factory=time.monotonic)
    _logged: float = -1e9
    _page: float = field(default_factory=lambda: time.monotonic() + _PAGE_S)
    _shown: tuple[int, int] = (-1, -1)

    def __call__(self, tally: Tally) -> None:
        """Print a progress line where something has changed, from time to time a line in the log and a new page."""
        now = time.monotonic()
        if (tally.done, tally.total) != self._shown:
            self._shown = (tally.done, tally.total)
            steps = (tally.done * STEPS_PER_STUDY, tally.total * STEPS_PER_STUDY)
            sys.stdout.write("PROGRESS {}/{} reading\n".format(*steps))
            sys.stdout.flush()
        if now - self._logged >= _LOG_S:
            self._logged = now
            logger.info("%s", summary(tally, now - self.began))
        if now >= self._page:
            write_worklist(self.output)
            # A worklist that takes long is written less often.
            self._page = time.monotonic() + max(_PAGE_S, _PAGE_SHARE * (time.monotonic() - now))


def summary(tally: Tally, seconds: float) -> str:
    """State how far a triage is, and how long the rest takes if it goes on at this pace."""
    new = tally.done - tally.before
    rest = (tally.total - tally.done) * seconds / new if new else 0.0
    counts = {"evaluated": tally.evaluated, "not_evaluable": tally.not_evaluable, "failed": tally.failed}
    counts |= {"before": tally.before, "total": tally.total}
    pace = message("triage.pace", per_hour=3600 * new / seconds, minutes=rest / 60) if new and seconds else ""
    return message("triage.so_far", **counts) + pace


@contextmanager
def own_partials(output: Path) -> Iterator[Path]:
    """Yield a folder for what is half-written, gone at the end; those of runs that are over go at the beginning."""
    parent = output / STATE_FOLDER / _PARTIALS
    folder = parent / f"{socket.gethostname()}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    for other in parent.iterdir():
        if other != folder and _is_over(other):
            shutil.rmtree(other, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_over(partials: Path) -> bool:
    """Whether the run that these belong to has ended: its process is gone, or, on another computer, a day is over."""
    import psutil  # noqa: PLC0415 - needed here alone

    host, _, process = partials.name.rpartition("-")
    if host == socket.gethostname():
        return not (process.isdecimal() and psutil.pid_exists(int(process)))
    return time.time() - partials.stat().st_mtime > _STALE_S


def triage(options: argparse.Namespace) -> int:
    """Read every study of a source; return the exit status."""
    settings = Settings(
        output=options.output.resolve(),
        config_files=tuple(options.config_file),
        overrides=tuple(_override(text) for text in options.set),
    )
    settings.output.mkdir(parents=True, exist_ok=True)
    tasks = find_tasks(options.source, settings.output, options.depth)
    logger.info("%s", message("triage.found", studies=len(tasks)))
    # Ray is imported where it is used, after what can be wrong with the source has been said.
    from scripts.triage.ray_workers import RayWorkers, Share, engine, gpus, places_for  # noqa: PLC0415
    from scripts.triage.schedule import Schedule  # noqa: PLC0415

    report = Reporter(settings.output)
    with own_partials(settings.output) as partials, engine(options.address, options.workers):
        share = Share(options.cores, 1 / options.workers_per_gpu if gpus() else 0)
        workers = RayWorkers(settings, min(options.workers or places_for(share), len(tasks)), share)
        schedule = Schedule(tasks, workers, settings.output, partials, Limits(minutes=options.minutes))
        try:
            schedule.run(report)
        finally:
            workers.close()
            logger.info("%s", summary(schedule.tally, time.monotonic() - report.began))
            write_worklist(settings.output)
            logger.info("%s", message("triage.worklist", page=settings.output / PAGE_FILE))
    tally = schedule.tally
    return FAILED if tally.failed else NOT_EVALUABLE if tally.not_evaluable else EVALUATED


def _override(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or value.startswith(("$", "@", "%")):
        raise TriageError("triage.no_setting", text=text)
    return name, value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.triage", description=__doc__.splitlines()[0])
    parser.add_argument("--source", required=True, help="folder, list (.csv, .jsonl), or address of a DICOMweb service")
    parser.add_argument("--output", type=Path, required=True, help="folder of the results, seen by every machine")
    parser.add_argument("--address", help="head of a Ray cluster, host:port; without it this computer alone")
    parser.add_argument("--workers", type=_count, help="processes that read; one per core or GPU, if not given")
    parser.add_argument("--workers_per_gpu", type=_count, default=1, help="processes that share a GPU")
    parser.add_argument("--cores", type=_count, default=1, help="processor cores of each process")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="a study that takes longer is given up")
    parser.add_argument("--depth", type=_count, default=1, help="folders below the source at which studies lie")
    parser.add_argument("--config_file", nargs="+", default=["configs/inference.json"], help="of the bundle")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the configuration")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and every study; return the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return triage(options)
    except KeyboardInterrupt:
        logger.warning("%s", message("triage.cancelled"))
        return CANCELLED
    except ExpectedError as error:
        logger.error("%s", error)
        return FAILED
    except OSError as error:
        logger.error("%s", message("triage.not_written", fault=error.strerror or error))
        return FAILED


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    sys.exit(main())
