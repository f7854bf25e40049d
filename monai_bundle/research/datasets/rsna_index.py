"""Index the headers of RSNA 2019's loose DICOM files: ``python -m research.datasets.rsna_index FOLDER --index FILE``.

The files are read by several processes and their rows committed as they come, so that a run that was interrupted, or
that finds new or changed files, reads only what the index lacks. Memory does not grow with the number of files.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
from tqdm import tqdm

from research.datasets.rsna_headers import FileState, IndexedFile, file_state, read_files
from research.datasets.rsna_store import open_store
from scripts.intake.study import IntakeError

FILES_AT_ONCE = 256
FILES_PER_COMMIT = 1024
"""What a run that is killed has to read again at most, besides what was being read."""
RSNA_FILES = 870_000
"""All images of stage 2, rounded: 752,803 to train and 121,232 to test."""
FAILED, CANCELLED = 1, 130

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexReport:
    """What one run did: files in the folder, read now, gone from the index, and damaged."""

    files: int
    read: int
    gone: int
    damaged: int

    def __str__(self) -> str:
        """Say it in one line."""
        kept = self.files - self.read
        return f"{self.files} files: {self.read} read, {kept} unchanged, {self.gone} gone; {self.damaged} damaged"


def index_folder(
    folder: str | Path, index: str | Path, processes: int | None = None, files_at_once: int = FILES_AT_ONCE
) -> IndexReport:
    """Bring the index of a folder up to date.

    Parameters
    ----------
    folder : path
        Holds ``ID_<9 hex digits>.dcm``, the folders in it are not read.
    index : path
        The SQLite database; made where there is none. One index serves one folder.
    processes : int, optional
        As many as there are processors if None; with 1, this process reads.
    files_at_once : int
        What a process is handed at a time.

    Raises
    ------
    IntakeError
        If the folder holds no such file, the index cannot be used, or a reading process was ended from outside.
    """
    root = Path(folder)
    with open_store(index, create=True) as store:
        there, gone, waiting = store.compare(_states(root))
        if there == 0:
            raise IntakeError("index.no_files", name=root.name)
        count = min(processes or os.cpu_count() or 1, -(-waiting // files_at_once))
        with (
            tqdm(total=waiting, desc="headers", unit="file", disable=not waiting) as progress,
            closing(_read(root, store.waiting(files_at_once), count)) as rows_read,
        ):
            for rows in _gathered(rows_read, FILES_PER_COMMIT):
                store.add(rows)
                progress.update(len(rows))
        store.finish()
        return IndexReport(there, waiting, gone, sum(1 for _ in store.faults()))


def _states(folder: Path) -> Iterator[FileState]:
    """Yield the state of a folder's files one by one; its listing is never held."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("ID_") and entry.name.endswith(".dcm") and (state := file_state(entry)):
                    yield state
    except OSError as error:
        raise IntakeError("index.unlisted", name=folder.name, fault=error.strerror) from None


def _read(folder: Path, batches: Iterable[list[FileState]], processes: int) -> Generator[list[IndexedFile], None, None]:
    """Read batches of files, in this process or in several; what is handed out and not yet read stays bounded."""
    if processes <= 1:
        for batch in batches:
            yield read_files(str(folder), batch)
        return
    # Spawned on every system: a forked copy of a process with threads (torch's, tqdm's) can hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(processes, context, initializer=_leave_interrupts_to_the_parent)
    running: set[Future[list[IndexedFile]]] = set()
    try:
        for batch in batches:
            running.add(executor.submit(read_files, str(folder), batch))
            if len(running) >= 2 * processes:
                yield from _first_of(running)
        while running:
            yield from _first_of(running)
    except BrokenProcessPool:
        raise IntakeError("index.ended", name=folder.name) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _gathered(parts: Iterable[list[IndexedFile]], count: int) -> Iterator[list[IndexedFile]]:
    """Join parts until they hold at least so many rows; the last may hold fewer."""
    rows: list[IndexedFile] = []
    for part in parts:
        rows += part
        if len(rows) >= count:
            yield rows
            rows = []
    if rows:
        yield rows


def _first_of(running: set[Future[list[IndexedFile]]]) -> Iterator[list[IndexedFile]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    running -= done
    for future in done:
        yield future.result()


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def measure(folder: str | Path, files: int, processes: int | None = None) -> str:
    """Measure the rate of indexing, without keeping an index.

    The folder's files stand under so many names (links) in a temporary folder, so that a few real files are enough.
    Each is then read more than once and comes from memory: a disk that is slower than the processors is not seen.

    Parameters
    ----------
    folder : path
        Holds at least one ``ID_<9 hex digits>.dcm``.
    files : int
        How many to index.
    processes : int, optional
        As for :func:`index_folder`.

    Returns
    -------
    str
        Files per second, the time that RSNA's 870,000 files would take at this rate, processor time per file (not on
        Windows, which does not tell that of other processes) and how much this process grew.
    """
    sources = [Path(folder).resolve() / state.name for state in itertools.islice(_states(Path(folder)), files)]
    with tempfile.TemporaryDirectory() as temporary:
        links = Path(temporary) / "files"
        links.mkdir()
        for number, source in zip(range(files), itertools.cycle(sources), strict=False):
            (links / f"ID_{number:09x}.dcm").symlink_to(source)
        before, started, processor = psutil.Process().memory_info().rss, time.perf_counter(), _processor_seconds()
        report = index_folder(links, Path(temporary) / "index.sqlite", processes)
        seconds = time.perf_counter() - started
        grown = (psutil.Process().memory_info().rss - before) / 1e6
        each = (_processor_seconds() - processor) / report.read * 1e3
        megabytes = (Path(temporary) / "index.sqlite").stat().st_size / report.read * RSNA_FILES / 1e6
    rate = report.read / seconds
    return (
        f"{report.read} files in {seconds:.1f} s with {processes or os.cpu_count()} processes: {rate:.0f} files/s"
        f"{f', {each:.2f} ms of processor time each' if os.name == 'posix' else ''}; "
        f"{RSNA_FILES} files at this rate: {RSNA_FILES / rate / 60:.0f} minutes and an index of {megabytes:.0f} MB; "
        f"this process grew by {grown:.0f} MB"
    )


def _processor_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main(arguments: Sequence[str] | None = None) -> int:
    """Index or measure; return the exit status: 0 done, 1 failure, 130 cancelled."""
    parser = argparse.ArgumentParser(
        prog="python -m research.datasets.rsna_index", description="Index RSNA 2019's files."
    )
    parser.add_argument("folder", type=Path, help="holds ID_*.dcm: stage_2_train")
    parser.add_argument("--index", type=Path, help="SQLite file to make or to bring up to date")
    parser.add_argument("--processes", type=int, help="reading processes (default: one per processor)")
    parser.add_argument(
        "--measure", type=int, metavar="FILES", help="measure the rate with so many files, keep nothing"
    )
    options = parser.parse_args(arguments)
    if (options.index is None) == (options.measure is None):
        parser.error("give either --index or --measure")
    if any(number is not None and number < 1 for number in (options.processes, options.measure)):
        parser.error("--processes and --measure start at 1")
    try:
        if options.measure:
            logger.info(measure(options.folder, options.measure, options.processes))
        else:
            logger.info("%s: %s", options.index.name, index_folder(options.folder, options.index, options.processes))
    except IntakeError as error:
        logger.error("%s", error)
        return FAILED
    except KeyboardInterrupt:
        logger.warning("cancelled; run the command again, it goes on from there")
        return CANCELLED
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main())
