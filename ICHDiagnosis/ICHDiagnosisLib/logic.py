"""One analysis: the volume goes out, the bundle runs as a child process, the result comes in. No Qt.

Usage, from a panel::

    logic.start(input_node, settings)       # CannotStartError: show its message; PackagesMissingError: offer to install
    ...
    update = logic.poll()                   # from a timer, every 100 ms or so
    show(update.stage, update.fraction, update.lines)
    if update.ending is not None:
        show(update.ending.outcome.message, update.ending.outcome.suggestion)
        if update.ending.outcome.remedy is Remedy.RUN_ON_CPU:
            offer(logic.run_again_on_cpu)

``cancel()`` returns at once and the ending follows with a later ``poll()``; ``close()`` ends everything and waits, for
when the scene or the application closes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import slicer

from .analysis import (
    AnalysisEnding,
    AnalysisUpdate,
    CannotStartError,
    PackagesMissingError,
    check_input,
    stage_name,
)
from .bundle.command import BundleMissingError, UnsafeSettingError
from .bundle.exit_status import Ending, Outcome, Remedy
from .bundle.process import AlreadyRunningError, ProcessStartError
from .bundle.run import BundleRun, RunSettings, run_folder
from .history import History, HistoryError, PastFinding
from .install.requirements import MissingPackage
from .messages import message
from .parameters import DeviceChoice, Parameters
from .result.content import Result, ResultError
from .result.reader import read_result
from .scene.show_result import show_result
from .scene.study_volume import place_of
from .scene.volume_geometry import GeometryError
from .scene.volume_input import FileDatabase, VolumeNotWritableError, is_from_dicom, write_input

_log = logging.getLogger(__name__)

FindMissing = Callable[[], tuple[MissingPackage, ...]]


def settings_of(parameters: Parameters, output_folder: Path) -> RunSettings:
    """Return the settings of a run from what the user chose in the scene, and for this computer."""
    return RunSettings(
        output_folder=output_folder,
        device=parameters.device.torch_device,
        operating_point=parameters.operatingPoint,
        explanation_method=parameters.explanationMethod.value,
        use_original_files=parameters.useOriginalFiles,
        system=parameters.system,
    )


class AnalysisLogic:
    """Runs one analysis at a time.

    Parameters
    ----------
    run : BundleRun
        The seam to the bundle; the batch has the same one, so that only one of them runs.
    find_missing : callable
        Returns the packages that are missing; called by :meth:`start` only.
    history : History or None
        Where analyses are recorded; None for nowhere.
    database : FileDatabase or None
        Finds original DICOM files (``slicer.dicomDatabase``).
    """

    def __init__(
        self,
        run: BundleRun,
        find_missing: FindMissing,
        history: History | None = None,
        database: FileDatabase | None = None,
    ) -> None:
        self._run = run
        self._find_missing = find_missing
        self._history = history
        self._database = database
        self._running = False
        self._input_id = ""
        self._settings: RunSettings | None = None

    @property
    def running(self) -> bool:
        """Whether an analysis has been started and its ending not yet reported."""
        return self._running

    def start(self, input_node: slicer.vtkMRMLScalarVolumeNode, settings: RunSettings) -> None:
        """Write the input and start the bundle; returns as soon as the process runs.

        Raises
        ------
        PackagesMissingError
            If packages must be installed first.
        CannotStartError
            If an analysis (or a batch) runs, something is missing, or the input or output cannot be written.
        """
        if self._run.running:
            raise CannotStartError("run.busy")
        check_input(input_node, settings.output_folder)
        packages = self._find_missing()
        if packages:
            raise PackagesMissingError(packages)
        try:
            self._run.start(
                lambda folder: write_input(input_node, folder, self._database, settings.use_original_files),
                run_folder(settings.output_folder, input_node.GetName()),
                settings,
            )
        except (
            BundleMissingError,
            AlreadyRunningError,
            ProcessStartError,
            VolumeNotWritableError,
            UnsafeSettingError,
        ) as error:
            raise CannotStartError(error.code, **error.values) from error
        except OSError as error:
            raise CannotStartError("input.not_written", error=error.strerror or error) from error
        self._input_id, self._settings = input_node.GetID(), settings
        self._running = True

    def run_again_on_cpu(self) -> None:
        """Start the last analysis once more on the CPU, as the remedy ``RUN_ON_CPU`` offers.

        Raises
        ------
        CannotStartError
            As :meth:`start`; also where there was none, or its volume is gone.
        """
        input_node = slicer.mrmlScene.GetNodeByID(self._input_id) if self._input_id else None
        if self._settings is None or input_node is None:
            raise CannotStartError("run.nothing_to_repeat")
        self.start(input_node, replace(self._settings, device=DeviceChoice.CPU.torch_device))

    def poll(self) -> AnalysisUpdate:
        """Report what has happened since the last call; the result is shown and recorded by the call that ends it."""
        if not self.running:
            return AnalysisUpdate()
        update = self._run.poll()
        stage = stage_name(update.progress)
        fraction = None if update.progress is None else update.progress.fraction
        if update.outcome is None:
            return AnalysisUpdate(stage, fraction, update.lines)
        self._running = False
        ending = self._finish(update.outcome, self._run.result_folders())
        return AnalysisUpdate("", 1.0, update.lines, ending)

    def cancel(self) -> None:
        """Ask for the end of the analysis; return at once."""
        if self.running:
            self._run.cancel()

    def close(self) -> None:
        """End the analysis, if there is one, with its process and temporary files; wait for that (about 2 s)."""
        if self.running:
            self._run.close()
            self._running = False

    def _finish(self, outcome: Outcome, folders: list[Path]) -> AnalysisEnding:
        log_file = self._run.log_file
        if not outcome.has_results:
            return AnalysisEnding(outcome, log_file)
        try:
            result = _only_result(folders)
        except ResultError as error:
            return AnalysisEnding(_failed(outcome, str(error)), log_file)
        if result.reason is not None:
            reason = message("result.not_evaluable", reason=result.reason.message)
            outcome = replace(outcome, message=reason, suggestion="")
        ending = AnalysisEnding(outcome, log_file, result)
        input_node = slicer.mrmlScene.GetNodeByID(self._input_id)
        if input_node is None:
            return replace(ending, notices=(message("run.volume_removed"),))
        try:
            shown = show_result(result, input_node)
        except (ResultError, GeometryError) as error:
            return replace(ending, outcome=self._not_shown(outcome, error, input_node))
        notices = record_analysis(self._history, result, input_node.GetName(), place_of(input_node))
        return replace(ending, shown=shown, notices=notices)

    def _not_shown(
        self, outcome: Outcome, error: ResultError | GeometryError, input_node: slicer.vtkMRMLScalarVolumeNode
    ) -> Outcome:
        failure = _failed(outcome, str(error))
        read_from_files = self._settings is not None and self._settings.use_original_files and is_from_dicom(input_node)
        if isinstance(error, GeometryError) and read_from_files:
            # The volume was changed after loading, or its files are read otherwise than 3D Slicer reads them.
            return replace(failure, suggestion=message("run.without_original_files"))
        return failure


def _only_result(folders: list[Path]) -> Result:
    """Read the result of a run on one study."""
    if len(folders) != 1:
        raise ResultError("run.result_count", count=len(folders))
    return read_result(folders[0])


def record_analysis(
    history: History | None, result: Result, name: str, ct_place: Path | None = None
) -> tuple[str, ...]:
    """Add an analysis to the history; one that fails must not cost the user the result.

    Parameters
    ----------
    history : History or None
        Where to record; None for nowhere.
    result : Result
        What was found; a study that was not evaluable is not recorded.
    name : str
        Name of the volume or file, for a study without a Study Instance UID.
    ct_place : Path, optional
        Where its CT lies.

    Returns
    -------
    tuple of str
        What the user should know; empty where all went well.
    """
    if history is None or result.impression is None or result.folder is None:
        return ()
    findings = [PastFinding(finding.name, finding.probability, finding.positive) for finding in result.findings]
    try:
        study = result.study.study_uid or name
        history.record(study, result.impression.text, findings, result.model.version, result.folder, ct_place=ct_place)
    except HistoryError as error:
        _log.warning("the analysis is not in the history: %s", error)
        return (str(error),)
    notice, history.notice = history.notice, None
    return () if notice is None else (notice,)


def _failed(outcome: Outcome, reason: str) -> Outcome:
    """Turn the outcome of a run whose result cannot be used into a failure."""
    suggestion = message("ending.see_log")
    return replace(outcome, ending=Ending.FAILED, message=reason, suggestion=suggestion, remedy=Remedy.READ_LOG)
