"""The panel: it ties what the user does to the logic, and what the logic reports to the widgets.

What it shows lies in files of its own. The widgets come from ``Resources/UI/ICHDiagnosis.ui``. Proven in the test host
only: appearance, keyboard shortcuts (a slice view may want the same key), and the timing of the event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import qt
import slicer
import vtk

from ..analysis import AnalysisEnding, CannotStartError, PackagesMissingError
from ..bundle.exit_status import Remedy
from ..messages import message
from ..parameters import Parameters
from ..scene import result_nodes
from ..scene.layers import shown_result
from ..study_opening import OpenedStudy, StudyOpener
from .batch_section import BatchSection
from .dicom_section import DicomSection
from .history_section import HistorySection
from .installation_section import InstallationSection
from .module_logic import ModuleLogic
from .reader_study_section import ReaderStudySection
from .result_export import ResultExport
from .result_view import ResultView
from .run_controls import RunControls
from .shortcuts import Shortcuts
from .study_inputs import StudyInputs
from .widgets import Widgets
from .worklist_section import WorklistSection

POLL_MILLISECONDS = 100
THREAD_SECONDS = 0.04
NEXT_KEY, PREVIOUS_KEY, LAYERS_KEY = "N", "P", "H"


class Panel:
    """The module's panel.

    Parameters
    ----------
    logic : ModuleLogic
        Analysis, batch and history.
    ui_path : str
        The ``.ui`` file.

    Attributes
    ----------
    widget : qMRMLWidget
        To be put into the module's layout.
    ui : Widgets
        The widgets by name.
    """

    def __init__(self, logic: ModuleLogic, ui_path: str) -> None:
        self.logic = logic
        self.widget = slicer.util.loadUI(ui_path)
        self.ui: Widgets = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self._parameters: Parameters | None = None
        self._observer: int | None = None
        self._shown_input_id = ""
        self._read_state: tuple[str, bool] | None = None
        database = getattr(slicer, "dicomDatabase", None)
        self.inputs = StudyInputs(self.ui, logic.bundle_root, database, logic.settings, self.refresh)
        self.run = RunControls(self.ui)
        self.result = ResultView(self.ui, self.parameters)
        self.export = ResultExport(self.ui, self.result)
        self.dicom = DicomSection(self.ui, self.result, self.export, logic.dicom_export, self._on_busy)
        self.installation = InstallationSection(self.ui, logic.bundle_root, logic.settings, self.run, self._on_busy)
        self.dicom.ask_to_install = self.installation.ask
        opener = StudyOpener(logic.history, database)
        self.history = HistorySection(self.ui, logic.history, logic.settings, opener, self._on_opened)
        self.worklist = WorklistSection(self.ui, logic.settings, opener, logic.write_worklist, self._on_opened)
        self.batch = BatchSection(self.ui, logic.batch, logic.start_batch, self.parameters, logic.settings, database)
        self.batch.on_missing, self.batch.on_started = self.installation.ask, self._on_busy
        self.batch.ask_for_terms = self.installation.ask_for_terms
        self.reader_study = self._reader_study(Path(ui_path).with_name("ReaderStudy.ui"))
        self.ui.applyButton.clicked.connect(self.on_apply)
        self.ui.remedyButton.clicked.connect(self.on_remedy)
        self.ui.keepWarmBox.checked = logic.settings.keep_warm
        self.ui.keepWarmBox.toggled.connect(self._on_keep_warm)
        self._remedy = Remedy.NONE
        self._timer = qt.QTimer(self.widget)
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.timeout.connect(self.poll)
        keys = {NEXT_KEY: self.result.navigation.next, PREVIOUS_KEY: self.result.navigation.previous}
        self._shortcuts = Shortcuts(self.widget, {**keys, LAYERS_KEY: self.result.layers.toggle_layers})

    @property
    def running(self) -> bool:
        """Whether an analysis, a batch or an installation is under way."""
        batches = self.logic.batch.running or self.logic.results_batch.running
        return self.logic.analysis.running or batches or self.installation.installing

    def parameters(self) -> Parameters | None:
        """Return the parameters of the scene; None while it is closed."""
        return self._parameters

    def set_parameters(self, parameters: Parameters | None) -> None:
        """Show the parameters of a scene and its result; None while a scene is being closed."""
        if parameters is not None and parameters is self._parameters:
            # The node may be the same and the scene around it another one.
            self._shown_input_id = ""
            self.inputs.set_parameters(parameters, self.widget)
            self.refresh()
            return
        if self._parameters is not None and self._observer is not None:
            self._parameters.RemoveObserver(self._observer)  # type: ignore[attr-defined]
        self._parameters, self._observer, self._shown_input_id = parameters, None, ""
        self.inputs.set_parameters(parameters, self.widget)
        if parameters is None:
            self.reader_study.close()
            self.history.forget_volumes()
            self.export.forget()
            self.installation.withdraw()
            self.run.show_problem("")
            self.result.clear()
        else:
            event = vtk.vtkCommand.ModifiedEvent
            self._observer = parameters.AddObserver(event, self._on_modified)  # type: ignore[attr-defined]
        self.refresh()

    def enter(self) -> None:
        """Take up keyboard shortcuts and follow the scene again."""
        if self.reader_study.sitting.is_open:
            return
        self._shortcuts.enable(True)
        self.inputs.show_settings()
        self.inputs.list_systems()
        self.history.show_settings()
        self.history.refresh()
        self.refresh(anew=not self.running)

    def exit(self) -> None:
        """Give up keyboard shortcuts, for other modules have their own, and interrupt a sitting."""
        self.reader_study.close()
        self._shortcuts.enable(False)

    def close(self) -> None:
        """Stop for good, and let go of what outlives the panel: the scene's parameters and the widgets' events."""
        self._timer.stop()
        self.installation.close()
        self.exit()
        self.set_parameters(None)
        self.inputs.disconnect()
        self._shortcuts.close()
        self.result.navigation.plot.close()

    def refresh(self, anew: bool = False) -> None:
        """Follow parameters, scene and logic; the result is read again where the volume is another one, or ``anew``."""
        if self.reader_study.sitting.is_open:
            return
        self.inputs.refresh()
        if self.logic.batch.running or self.logic.results_batch.running or self.installation.installing:
            self.run.show_blocked(message("run.wait_or_cancel"))
        elif not self.logic.analysis.running:
            self.run.show_idle(self.inputs.missing())
        self.inputs.set_enabled(not self.running and self._parameters is not None)
        busy = self.logic.analysis.running or self.installation.installing or self.logic.results_batch.running
        self.batch.block(message("run.running") if busy else self.inputs.folder_problem)
        self.reader_study.block(message("run.running") if self.running else "")
        self.worklist.block(self.running or self._parameters is None)
        node = None if self._parameters is None else self._parameters.inputVolume
        identifier = "" if node is None else node.GetID()
        self._read_state = self._state_to_read()
        if anew or identifier != self._shown_input_id:
            if self._shown_input_id not in ("", identifier) and not self.running:
                self.run.show_problem("")
            self._shown_input_id = identifier
            self._show_result()

    def on_apply(self) -> None:
        """Start an analysis, or cancel the one that runs."""
        if self.logic.analysis.running:
            self.logic.analysis.cancel()
            self.run.show_cancelling()
            return
        self._begin(self.logic.start_analysis)

    def on_remedy(self) -> None:
        """Do what was offered after a failure."""
        if self._remedy is Remedy.RUN_ON_CPU:
            self._begin(self.logic.analysis.run_again_on_cpu)
        elif self._remedy is Remedy.CHECK_INSTALLATION:
            self.installation.check()
        else:
            self.run.open_log()

    def poll(self) -> None:
        """Show what has happened; called by the timer while anything is under way."""
        if self.logic.analysis.running:
            update = self.logic.analysis.poll()
            self.run.add_to_log(update.lines)
            if update.ending is None:
                self.run.show_progress(update.stage, update.fraction)
            else:
                self._on_ending(update.ending)
        if self.logic.batch.running:
            progress = self.logic.batch.poll()
            self.run.add_to_log(progress.lines)
            self.batch.show(progress)
            if progress.finished:
                self.history.refresh()
                self.refresh(anew=True)
        self.dicom.poll()
        if self.logic.results_batch.running:
            computed = self.logic.results_batch.poll()
            self.reader_study.show_computing(computed)
            if computed.finished:
                self.refresh()
        if self.installation.installing or self.installation.checking:
            # The event loop keeps the interpreter's lock: a thread runs only while this one gives it away.
            time.sleep(THREAD_SECONDS)
        self.installation.poll()
        if not self.running and not self.installation.checking and not self.dicom.exporting:
            self._timer.stop()

    def _reader_study(self, ui_path: Path) -> ReaderStudySection:
        logic = self.logic
        section = ReaderStudySection(
            str(ui_path), self.widget, self.ui, self.result, logic.settings, logic.compute_results
        )
        section.on_changed, section.on_missing = self._on_busy, self.installation.ask
        section.choose_series = logic.choose_series
        section.ask_for_terms, section.cancel_computing = self.installation.ask_for_terms, logic.results_batch.cancel
        return section

    def _begin(self, start: Callable[[], None]) -> None:
        self.installation.withdraw()
        if self.installation.ask_for_terms(lambda: self._begin(start)):
            return
        qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            start()
        except PackagesMissingError as error:
            self.installation.ask(error.missing, lambda: self._begin(start))
        except CannotStartError as error:
            self.run.show_problem(str(error))
        else:
            self.result.clear()
            self.run.show_started(message("stage.starting"))
            self._on_busy()
        finally:
            qt.QApplication.restoreOverrideCursor()

    def _on_ending(self, ending: AnalysisEnding) -> None:
        self._remedy = ending.outcome.remedy
        self.run.show_ending(ending.outcome, ending.log_file, ending.notices)
        folder = None if ending.result is None else ending.result.folder
        if ending.shown is not None and self._parameters is not None and folder is not None:
            node = ending.shown.document_node.GetNodeReference(result_nodes.INPUT)
            self.export.remember_folder(node.GetID(), folder)
            self._parameters.inputVolume = node
        self.refresh()
        self._show_result([] if ending.shown is not None else [message("result.of_earlier_analysis")])
        if ending.shown is not None:
            self.result.go_to_leading_finding()
        self.history.refresh()

    def _show_result(self, notices: Sequence[str] = ()) -> None:
        """Show the result that the scene holds of the chosen volume, or none."""
        node = None if self._parameters is None else self._parameters.inputVolume
        shown = None if node is None else shown_result(node)
        if node is not None and shown is not None:
            self.result.show(node, shown, notices)
        else:
            self.result.clear()
        self.export.refresh()
        self.dicom.refresh()

    def _on_opened(self, opened: OpenedStudy) -> None:
        if self._parameters is None:
            return
        self.history.forget_volumes()
        self.history.show_patient([opened.node])
        self.export.remember_folder(opened.node.GetID(), opened.folder)
        self._parameters.inputVolume = opened.node
        self.refresh()
        self._show_result(opened.notices)
        self.result.go_to_leading_finding()

    def _on_busy(self) -> None:
        """Follow the beginning or the end of something that takes time."""
        if self.installation.installing:
            # Windows does not replace the files of a package that is in use.
            self.logic.end_worker()
        self.refresh()
        self.dicom.refresh()
        if self.running or self.installation.checking or self.dicom.exporting:
            self._timer.start()

    def _on_keep_warm(self, keep: bool) -> None:
        self.logic.settings.keep_warm = keep
        if keep:
            self.logic.warm_up()
        else:
            self.logic.end_worker()

    def _on_modified(self, *_event: object) -> None:
        # Sliders are parameters too, and change nothing of what is read.
        if self._state_to_read() != self._read_state:
            self.refresh()

    def _state_to_read(self) -> tuple[str, bool] | None:
        if self._parameters is None:
            return None
        node = self._parameters.inputVolume
        return "" if node is None else node.GetID(), self._parameters.useOriginalFiles
