"""The report of a result during a sitting with AI: a copy that names no file, in the browser; the time runs on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..reader_study.blinded_report import ReportMissingError, write_blinded_report
from ..reader_study.protocol import Case, stem
from ..reader_study.session import SittingSession
from ..result.content import Result, ResultError
from .widgets import open_with_system

COUNTS_TO_LEAVE = 10
"""Seconds in which the browser must have come to the front: later, another window is another program."""


@dataclass(frozen=True)
class StudyAtHand:
    """The study that is read: its case, its result, and the name that the reader knows."""

    case: Case
    result: Result
    name: str


class SittingReport:
    """Opens the report, and tells whether a window that covers the application is the browser with it.

    Reading the report is reading: its time counts. Whatever comes to the front after it is not told from it.

    Parameters
    ----------
    study : callable
        Returns the study that is being read with its result; None where there is none.
    step : callable
        Takes a step of the sitting.
    state : callable
        Tells the reader why there is no report.
    """

    def __init__(
        self,
        study: Callable[[], StudyAtHand | None],
        step: Callable[[Callable[[SittingSession], object]], None],
        state: Callable[[str], None],
    ) -> None:
        self._study = study
        self._step = step
        self._state = state
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._counts_left = 0
        self._covers = False

    def open(self) -> None:
        """Write the report's copy, record that it is opened, and hand it to the browser."""
        study = self._study()
        if study is None:
            return
        try:
            copy = self._write(study)
        except (ReportMissingError, ResultError) as error:
            self._state(str(error))
            return
        self._step(SittingSession.note_report)
        # A step that cannot be written ends the sitting.
        if self._folder is not None:
            self._counts_left = COUNTS_TO_LEAVE
            open_with_system(copy)

    def is_read(self, in_front: bool) -> bool:
        """Tell whether the application leaves the front for the report, or comes back from it."""
        if not in_front and self._counts_left:
            self._counts_left, self._covers = 0, True
            return True
        if in_front and self._covers:
            self._covers = False
            return True
        return False

    def count(self, in_front: bool) -> None:
        """Wait no longer for a browser that did not come to the front; to be called once a second."""
        if in_front and self._counts_left:
            self._counts_left -= 1

    def close(self) -> None:
        """Remove the copy."""
        self._counts_left, self._covers = 0, False
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _write(self, study: StudyAtHand) -> Path:
        self.close()
        report = study.result.file_path("report.html")
        self._folder = tempfile.TemporaryDirectory(prefix="ich-reading-")
        names = (study.result.study.source_name, report.parent.name, study.case.path.name, stem(study.case.path))
        return write_blinded_report(report, names, study.name, Path(self._folder.name))
