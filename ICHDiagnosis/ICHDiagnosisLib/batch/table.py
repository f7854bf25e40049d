"""The table of a batch: what the panel shows of it, and where each row's results lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..bundle.run import longest_name, safe_name
from ..messages import message
from ..result.content import Result


class StudyStatus(Enum):
    """Where one entry of a batch stands."""

    WAITING = "waiting"
    RUNNING = "running"
    EVALUATED = "evaluated"
    NOT_EVALUABLE = "not evaluable"
    FAILED = "failed"
    CANCELLED = "cancelled"

    def label(self) -> str:
        """Return the text for the user."""
        return {
            StudyStatus.WAITING: message("status.waiting"),
            StudyStatus.RUNNING: message("status.running"),
            StudyStatus.EVALUATED: message("status.evaluated"),
            StudyStatus.NOT_EVALUABLE: message("status.not_evaluable"),
            StudyStatus.FAILED: message("status.failed"),
            StudyStatus.CANCELLED: message("status.cancelled"),
        }[self]


@dataclass(frozen=True)
class BatchRow:
    """One row of the table.

    Attributes
    ----------
    name : str
        Name of the folder, file or volume.
    status : StudyStatus
        Where it stands.
    reason : str
        Why it failed, was not evaluable, or was not shown; one line.
    results : tuple of Result
        Its results: one, or several where a folder held several studies.
    made_before : bool
        Whether the results are those of an earlier batch.
    output_dir : Path or None
        Folder of its results and its ``run.log``.
    """

    name: str
    status: StudyStatus = StudyStatus.WAITING
    reason: str = ""
    results: tuple[Result, ...] = ()
    made_before: bool = False
    output_dir: Path | None = None


@dataclass(frozen=True)
class BatchUpdate:
    """What has happened since the last call.

    Attributes
    ----------
    rows : tuple of BatchRow
        The whole table, in the order of the studies.
    running : bool
        Whether the batch goes on.
    finished : bool
        True once, with the update in which it ended.
    stage : str
        What is being done to the study that runs.
    fraction : float
        Fraction of the whole batch that is done, 0..1.
    lines : tuple of str
        New lines of the log.
    """

    rows: tuple[BatchRow, ...] = ()
    running: bool = False
    finished: bool = False
    stage: str = ""
    fraction: float = 0.0
    lines: tuple[str, ...] = ()


def output_folders(names: Sequence[str], output_folder: Path) -> list[Path]:
    """Return a folder for each entry, the same ones for the same names in every batch; like names are numbered."""
    folders: list[Path] = []
    taken: set[str] = set()
    longest = longest_name(output_folder, len(" (1000)"))
    for name in names:
        stem, number = safe_name(name, longest), 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{safe_name(name, longest)} ({number})"
        taken.add(stem.casefold())
        folders.append(output_folder / stem)
    return folders
