"""One analysis: the volume goes out, the bundle runs as a child process, the result comes in. No Qt.

Usage, from a panel::

    logic.start(inputNode, settings)        # CannotStartError: show its message; PackagesMissingError: offer to install
    ...
    update = logic.poll()                   # from a timer, every 100 ms or so
    show(update.stage, update.fraction, update.lines)
    if update.ending is not None:
        show(update.ending.outcome.message, update.ending.outcome.suggestion)
        if update.ending.outcome.remedy is Remedy.RUN_ON_CPU:
            offer(logic.runAgainOnCPU)

``cancel()`` returns at once and the ending follows with a later ``poll()``; ``close()`` ends everything and waits, for
when the scene or the application closes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from .analysis import (
    AnalysisEnding,
    AnalysisState,
    AnalysisUpdate,
    CannotStartError,
    PackagesMissingError,
    stageName,
    whatIsMissing,
)
from .bundle.command import BundleMissingError
from .bundle.exit_status import Ending, Outcome, Remedy
from .bundle.process import AlreadyRunningError, ProcessStartError
from .bundle.run import BundleRun, RunSettings, runFolder
from .history import History, HistoryError, PastFinding
from .install.requirements import MissingPackage
from .parameters import DeviceChoice, Parameters
from .result.reader import Result, ResultError, read_result
from .scene.dicom_source import FileDatabase, isFromDICOM
from .scene.show_result import GeometryError, ShownResult, showResult
from .scene.volume_file import VolumeNotWritableError
from .scene.volume_input import writeInput

_log = logging.getLogger(__name__)

FindMissing = Callable[[], tuple[MissingPackage, ...]]
ShowResult = Callable[[Result, slicer.vtkMRMLScalarVolumeNode], ShownResult]


def settingsOf(parameters: Parameters) -> RunSettings:
    """Return the settings of a run from what the person chose."""
    return RunSettings(
        outputFolder=parameters.outputFolder,
        device=parameters.device.torchDevice,
        operatingPoint=parameters.operatingPoint,
        explanationMethod=parameters.explanationMethod.value,
        useOriginalFiles=parameters.useOriginalFiles,
    )


class AnalysisLogic:
    """Runs one analysis at a time.

    Parameters
    ----------
    run : BundleRun
        The seam to the bundle; the batch has the same one, so that only one of them runs.
    findMissing : callable
        Returns the packages that are missing; called by :meth:`start` only.
    history : History or None
        Where analyses are recorded; None for nowhere.
    database : FileDatabase or None
        Finds original DICOM files (``slicer.dicomDatabase``).
    show : callable
        Puts a result on the scene.
    """

    def __init__(
        self,
        run: BundleRun,
        findMissing: FindMissing,
        history: History | None = None,
        database: FileDatabase | None = None,
        show: ShowResult = showResult,
    ) -> None:
        self._run = run
        self._findMissing = findMissing
        self._history = history
        self._database = database
        self._show = show
        self._state = AnalysisState.IDLE
        self._inputID = ""
        self._settings: RunSettings | None = None

    @property
    def state(self) -> AnalysisState:
        """Idle before the first analysis, running, or done after one."""
        return self._state

    @property
    def running(self) -> bool:
        """Whether an analysis has been started and its ending not yet reported."""
        return self._state is AnalysisState.RUNNING

    def start(self, inputNode: slicer.vtkMRMLScalarVolumeNode, settings: RunSettings) -> None:
        """Write the input and start the bundle; returns as soon as the process runs.

        Raises
        ------
        PackagesMissingError
            If packages must be installed first.
        CannotStartError
            If an analysis (or a batch) runs, something is missing, or the input or output cannot be written.
        """
        if self._run.running:
            raise CannotStartError(_("An analysis is running: wait for its end or cancel it."))
        missing = whatIsMissing(inputNode, settings.outputFolder)
        if missing:
            raise CannotStartError(missing)
        packages = self._findMissing()
        if packages:
            raise PackagesMissingError(packages)
        try:
            self._run.start(
                lambda folder: writeInput(inputNode, folder, self._database, settings.useOriginalFiles),
                runFolder(settings.outputFolder, inputNode.GetName()),
                settings,
            )
        except (
            BundleMissingError,
            AlreadyRunningError,
            ProcessStartError,
            VolumeNotWritableError,
            ValueError,
        ) as error:
            raise CannotStartError(str(error)) from error
        except OSError as error:
            raise CannotStartError(
                _("The study could not be written for the analysis: {error}").format(error=error.strerror or error)
            ) from error
        self._inputID, self._settings = inputNode.GetID(), settings
        self._state = AnalysisState.RUNNING

    def runAgainOnCPU(self) -> None:
        """Start the last analysis once more on the CPU, as the remedy ``RUN_ON_CPU`` offers.

        Raises
        ------
        CannotStartError
            As :meth:`start`; also where there was none, or its volume is gone.
        """
        inputNode = slicer.mrmlScene.GetNodeByID(self._inputID) if self._inputID else None
        if self._settings is None or inputNode is None:
            raise CannotStartError(_("There is no analysis to run again."))
        self.start(inputNode, replace(self._settings, device=DeviceChoice.CPU.torchDevice))

    def poll(self) -> AnalysisUpdate:
        """Report what has happened since the last look; the result is shown and recorded by the call that ends it."""
        if not self.running:
            return AnalysisUpdate(self._state)
        update = self._run.poll()
        stage = stageName(update.progress)
        fraction = None if update.progress is None else update.progress.fraction
        if update.outcome is None:
            return AnalysisUpdate(self._state, stage, fraction, update.lines)
        self._state = AnalysisState.DONE
        ending = self._finish(update.outcome, self._run.resultFolders())
        return AnalysisUpdate(self._state, "", 1.0, update.lines, ending)

    def cancel(self) -> None:
        """Ask for the end of the analysis; return at once."""
        if self.running:
            self._run.cancel()

    def close(self) -> None:
        """End the analysis, if there is one, with its process and temporary files; wait for that (about 2 s)."""
        if self.running:
            self._run.close()
            self._state = AnalysisState.IDLE

    def _finish(self, outcome: Outcome, folders: list[Path]) -> AnalysisEnding:
        logFile = self._run.logFile
        if not outcome.has_results:
            return AnalysisEnding(outcome, logFile)
        try:
            result = _onlyResult(folders)
        except ResultError as error:
            return AnalysisEnding(_failed(outcome, str(error)), logFile)
        if result.reason is not None:
            message = _("Not evaluable: {reason}").format(reason=result.reason.message)
            outcome = replace(outcome, message=message, suggestion="")
        ending = AnalysisEnding(outcome, logFile, result, None, result.folder)
        inputNode = slicer.mrmlScene.GetNodeByID(self._inputID)
        if inputNode is None:
            notice = _("The volume is no longer in the scene; the result is in its folder.")
            return replace(ending, notices=(notice,))
        try:
            shown = self._show(result, inputNode)
        except (ResultError, GeometryError) as error:
            return replace(ending, outcome=self._notShown(outcome, error, inputNode))
        return replace(ending, shown=shown, notices=recordAnalysis(self._history, result, inputNode.GetName()))

    def _notShown(
        self, outcome: Outcome, error: ResultError | GeometryError, inputNode: slicer.vtkMRMLScalarVolumeNode
    ) -> Outcome:
        failure = _failed(outcome, str(error))
        readFromFiles = self._settings is not None and self._settings.useOriginalFiles and isFromDICOM(inputNode)
        if isinstance(error, GeometryError) and readFromFiles:
            # The volume was changed after loading, or its files are read otherwise than 3D Slicer reads them.
            return replace(failure, suggestion=_("Run again without the original DICOM files."))
        return failure


def _onlyResult(folders: list[Path]) -> Result:
    """Read the result of a run on one study."""
    if len(folders) != 1:
        raise ResultError(_("The analysis wrote {count} results where one was expected.").format(count=len(folders)))
    return read_result(folders[0])


def recordAnalysis(history: History | None, result: Result, name: str) -> tuple[str, ...]:
    """Add an analysis to the history; one that fails must not cost the person their result.

    Parameters
    ----------
    history : History or None
        Where to record; None for nowhere.
    result : Result
        What was found; a study that was not evaluable is not recorded.
    name : str
        Name of the volume or file, for a study without a Study Instance UID.

    Returns
    -------
    tuple of str
        What the person should be told; empty where all went well.
    """
    if history is None or not result.evaluated or result.folder is None:
        return ()
    findings = [PastFinding(finding.name, finding.probability, finding.positive) for finding in result.findings]
    try:
        history.record(result.study.study_uid or name, findings, result.model.version, result.folder)
    except HistoryError as error:
        _log.warning("the analysis is not in the history: %s", error)
        return (str(error),)
    notice, history.notice = history.notice, None
    return () if notice is None else (notice,)


def _failed(outcome: Outcome, message: str) -> Outcome:
    """Turn the outcome of a run whose result cannot be used into a failure."""
    return replace(
        outcome, ending=Ending.FAILED, message=message, suggestion=_("The log has the details."), remedy=Remedy.READ_LOG
    )
