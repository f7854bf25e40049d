"""Many studies, one after the other: a table of results that grows, can be cancelled, and goes on where it stopped.

Usage, from a panel::

    batch.start(studies_in_folder(folder, settings.output_folder), settings)   # errors as AnalysisLogic.start
    ...
    update = batch.poll()                                                   # from the same timer as the analysis
    show(update.rows, update.stage, update.fraction)
    if update.finished: ...
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..analysis import CannotStartError, PackagesMissingError, check_output_folder, stage_name
from ..bundle.command import BundleMissingError, UnsafeSettingError
from ..bundle.exit_status import Ending, Outcome
from ..bundle.location import BundleIdentity, bundle_identity
from ..bundle.process import ProcessStartError
from ..bundle.run import BundleRun, RunSettings
from ..bundle.systems import weights_of
from ..install.requirements import MissingPackage
from ..messages import message
from ..result.content import Result, ResultError
from ..result.reader import read_result
from ..scene.show_result import show_result
from ..scene.volume_geometry import GeometryError
from ..scene.volume_input import VolumeNotWritableError
from .record import BatchRecord, forget_record, record_of, results_made_before, write_record
from .studies import BatchStudy
from .table import BatchRow, BatchUpdate, StudyStatus, output_folders

_log = logging.getLogger(__name__)

_CANNOT_RUN = (BundleMissingError, ProcessStartError, UnsafeSettingError, VolumeNotWritableError, OSError)


class Batch:
    """Runs one batch at a time.

    Parameters
    ----------
    run : BundleRun
        The seam to the bundle; the analysis has the same one, so that only one of them runs.
    find_missing : callable
        Returns the packages that are missing; called by :meth:`start` only.
    record : callable
        Adds a result to the history: (result, its volume's or file's name, where its CT lies).
    """

    def __init__(
        self,
        run: BundleRun,
        find_missing: Callable[[], tuple[MissingPackage, ...]],
        record: Callable[[Result, str, Path | None], object] = lambda result, name, place: None,
    ) -> None:
        self._run = run
        self._find_missing = find_missing
        self._record = record
        self._studies: tuple[BatchStudy, ...] = ()
        self._rows: list[BatchRow] = []
        self._settings: RunSettings | None = None
        self._identity: BundleIdentity | None = None
        self._current: int | None = None
        self._pending: BatchRecord | None = None

    @property
    def rows(self) -> tuple[BatchRow, ...]:
        """The table; that of the last batch once it has ended."""
        return tuple(self._rows)

    @property
    def running(self) -> bool:
        """Whether a batch has been started and has not ended."""
        return self._current is not None

    def start(self, studies: Sequence[BatchStudy], settings: RunSettings) -> None:
        """Start a batch; the first study is taken up by the next :meth:`poll`.

        Raises
        ------
        PackagesMissingError
            If packages must be installed first.
        CannotStartError
            If something runs already, there are no studies, or no folder was chosen for the results.
        """
        if self.running or self._run.running:
            raise CannotStartError("run.busy")
        if not studies:
            raise CannotStartError("batch.no_studies")
        check_output_folder(settings.output_folder)
        packages = self._find_missing()
        if packages:
            raise PackagesMissingError(packages)
        try:
            identity, own = bundle_identity(self._run.bundle_root), weights_of(self._run.bundle_root, settings.system)
            # Results of another system, or of other weights of it, are no reason to leave a study out.
            self._identity = replace(identity, weights_sha256={**identity.weights_sha256, **own})
        except BundleMissingError as error:
            raise CannotStartError(error.code, **error.values) from error
        folders = output_folders([study.name for study in studies], settings.output_folder)
        self._studies, self._settings = tuple(studies), settings
        self._rows = [BatchRow(study.name, output_dir=folder) for study, folder in zip(studies, folders, strict=True)]
        self._current = 0

    def poll(self) -> BatchUpdate:
        """Go on with the batch: take up a study, follow it, or put down its result."""
        if self._current is None:
            return BatchUpdate(self.rows)
        status = self._rows[self._current].status
        if status is StudyStatus.CANCELLED:
            return self._end(())
        if status is StudyStatus.WAITING:
            self._take_up(self._current)
            return self._update() if self._rows[self._current].status is StudyStatus.RUNNING else self._next()
        update = self._run.poll()
        if update.outcome is None:
            done = 0.0 if update.progress is None else update.progress.fraction
            return self._update(stage_name(update.progress), done, update.lines)
        self._rows[self._current] = self._finished_row(self._current, update.outcome)
        if update.outcome.ending is Ending.CANCELLED:
            return self._end(update.lines)
        return self._next(update.lines)

    def cancel(self) -> None:
        """End the study at hand and leave the rest; return at once, the end comes with a later :meth:`poll`."""
        if self._current is None:
            return
        self._cancel_waiting()
        if self._run.running:
            self._run.cancel()

    def close(self) -> None:
        """End the batch, if there is one, with its process, and wait for that."""
        if self._current is None:
            return
        self._cancel_waiting()
        self._run.close()
        if self._rows[self._current].status is StudyStatus.RUNNING:
            self._rows[self._current] = replace(self._rows[self._current], status=StudyStatus.CANCELLED)
        self._current = None

    def _take_up(self, index: int) -> None:
        """Start a study, or use the results that were made before."""
        study, row = self._studies[index], self._rows[index]
        assert self._settings is not None and self._identity is not None and row.output_dir is not None
        try:
            record = record_of(study.cache_key(), self._identity, self._settings)
            before = results_made_before(record, row.output_dir)
            if before:
                self._rows[index] = self._shown(study, replace(_result_row(row, before), made_before=True))
                return
            forget_record(row.output_dir)
            self._run.start(study.write, row.output_dir, self._settings)
        except _CANNOT_RUN as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            self._rows[index] = replace(row, status=StudyStatus.FAILED, reason=reason)
            return
        self._pending = record
        self._rows[index] = replace(row, status=StudyStatus.RUNNING)

    def _finished_row(self, index: int, outcome: Outcome) -> BatchRow:
        row, study = self._rows[index], self._studies[index]
        if not outcome.has_results:
            status = StudyStatus.CANCELLED if outcome.ending is Ending.CANCELLED else StudyStatus.FAILED
            return replace(row, status=status, reason=f"{outcome.message} {outcome.suggestion}".strip())
        folders = self._run.result_folders()
        try:
            results = tuple(read_result(folder) for folder in folders)
        except ResultError as error:
            return replace(row, status=StudyStatus.FAILED, reason=str(error))
        if not results:
            return replace(row, status=StudyStatus.FAILED, reason=message("batch.no_result"))
        assert self._pending is not None and row.output_dir is not None
        try:
            write_record(self._pending, row.output_dir, folders)
        except OSError as error:
            _log.warning("%s cannot be resumed: %s", row.name, error.strerror)
        for result in results:
            self._record(result, row.name, study.place)
        return self._shown(study, _result_row(row, results))

    def _shown(self, study: BatchStudy, row: BatchRow) -> BatchRow:
        """Put the result of a volume of the scene on the scene; where it does not fit, its row states why."""
        node = study.volume_node
        if node is None or len(row.results) != 1:
            return row
        try:
            show_result(row.results[0], node)
        except (ResultError, GeometryError) as error:
            return replace(row, status=StudyStatus.FAILED, reason=str(error))
        return row

    def _next(self, lines: tuple[str, ...] = ()) -> BatchUpdate:
        assert self._current is not None
        following = self._current + 1
        if following == len(self._rows) or self._rows[following].status is StudyStatus.CANCELLED:
            return self._end(lines)
        self._current = following
        return self._update(lines=lines)

    def _end(self, lines: tuple[str, ...]) -> BatchUpdate:
        self._cancel_waiting()
        self._current = None
        return BatchUpdate(self.rows, finished=True, fraction=1.0, lines=lines)

    def _cancel_waiting(self) -> None:
        self._rows = [
            replace(row, status=StudyStatus.CANCELLED) if row.status is StudyStatus.WAITING else row
            for row in self._rows
        ]

    def _update(self, stage: str = "", done: float = 0.0, lines: tuple[str, ...] = ()) -> BatchUpdate:
        assert self._current is not None
        fraction = (self._current + done) / len(self._rows)
        return BatchUpdate(self.rows, True, False, stage, fraction, lines)


def _result_row(row: BatchRow, results: tuple[Result, ...]) -> BatchRow:
    refusals = [result.reason.message for result in results if result.reason is not None]
    status = StudyStatus.NOT_EVALUABLE if refusals else StudyStatus.EVALUATED
    return replace(row, status=status, reason="; ".join(refusals), results=results)
