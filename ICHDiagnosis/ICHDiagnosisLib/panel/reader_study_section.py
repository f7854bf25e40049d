"""The reader study in the panel: made or opened, sittings begun, results computed beforehand, and the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import qt
import slicer

from ..analysis import CannotStartError, PackagesMissingError
from ..batch.studies import StudyOnDisk, studies_in_folder
from ..batch.table import BatchUpdate
from ..install.requirements import MissingPackage
from ..messages import MessageError, message
from ..reader_study.ai_results import RESULTS_FOLDER, ResultsMissingError, cases_without_result, folder_name, results_of
from ..reader_study.conclusion import conclude
from ..reader_study.protocol import FILE_NAME, Case, ProtocolError, Sitting, create_protocol
from ..reader_study.store import SittingError, StudyStore
from ..reader_study.truth import read_series_names, read_truth
from ..result.content import Result, ResultError
from ..scene.case_volume import load_case, remove_case, scene_holds_studies
from ..scene.show_result import check_fit
from ..scene.volume_geometry import GeometryError
from ..series_choice import series_of_cases
from ..settings import ModuleSettings
from .result_view import ResultView
from .sitting_controls import SittingControls
from .widgets import Tone, Widgets, open_with_system, show_banner

_Outcome = TypeVar("_Outcome")
StartComputing = Callable[[tuple[StudyOnDisk, ...], Path], None]


class ReaderStudySection:
    """Sets up a reader study and follows it.

    Parameters
    ----------
    ui_path : str
        The ``.ui`` file of the reader study.
    panel : QWidget
        The module's panel, into which its widgets are put.
    panel_ui : Widgets
        The widgets of the panel by name.
    result_view : ResultView
        Shows results in the sitting with AI.
    settings : ModuleSettings
        Which reader study was open last.
    compute : callable
        Starts computing results of studies into a folder.

    Attributes
    ----------
    on_changed : callable
        Called when a sitting has begun or ended, or computing has begun.
    """

    def __init__(
        self,
        ui_path: str,
        panel: qt.QWidget,
        panel_ui: Widgets,
        result_view: ResultView,
        settings: ModuleSettings,
        compute: StartComputing,
    ) -> None:
        self._root = slicer.util.loadUI(ui_path)
        self.ui: Widgets = slicer.util.childWidgetVariables(self._root)
        self._settings = settings
        self._compute = compute
        self._store: StudyStore | None = None
        self._blocked = ""
        self._cancelled = False
        self._busy = False
        self.on_changed: Callable[[], None] = lambda: None
        self.on_missing: Callable[[tuple[MissingPackage, ...], Callable[[], None]], None] = lambda missing, retry: None
        self.ask_for_terms: Callable[[Callable[[], None]], bool] = lambda retry: False
        self.cancel_computing: Callable[[], None] = lambda: None
        self.choose_series: Callable[[Path], str] = lambda study: ""
        layout = panel.layout()
        layout.insertWidget(1, self.ui.sittingFrame)
        layout.insertWidget(layout.indexOf(panel_ui.historySection) + 1, self.ui.readerStudySection)
        self.sitting = SittingControls(self.ui, panel_ui, panel, result_view, self._on_sitting_ended)
        self._connect()
        folder = settings.reader_study_folder
        if folder is not None:
            self.ui.studyFolderEdit.currentPath = str(folder)
        self._show_progress(None, "")
        self.refresh()

    def _connect(self) -> None:
        ui = self.ui
        ui.studyFolderEdit.currentPathChanged.connect(self._on_folder)
        ui.createStudyButton.clicked.connect(self.create)
        ui.participantEdit.textChanged.connect(self._on_participant)
        ui.beginWithoutButton.clicked.connect(self.begin_without_ai)
        ui.beginWithButton.clicked.connect(self.begin_with_ai)
        ui.computeResultsButton.clicked.connect(self.compute)
        ui.evaluateButton.clicked.connect(self.evaluate)
        ui.studyCancelButton.clicked.connect(self._on_cancel)

    def close(self) -> None:
        """Interrupt a sitting: the scene or the application closes."""
        self._cancelled = True
        self.sitting.leave()

    def block(self, reason: str) -> None:
        """Keep sittings from being begun while something else runs; an empty reason lets them again."""
        self._blocked = reason
        self._update_buttons()

    def refresh(self) -> None:
        """Show the reader study of the chosen folder, or what is needed to make one."""
        ui = self.ui
        folder = Path(ui.studyFolderEdit.currentPath)
        self._store = None
        problem = ""
        if folder.is_absolute() and (folder / FILE_NAME).is_file():
            try:
                self._store = StudyStore(folder)
            except ProtocolError as error:
                problem = str(error)
        ui.newStudyFrame.setVisible(folder.is_absolute() and self._store is None and not problem)
        ui.studyFrame.setVisible(self._store is not None)
        if self._store is not None:
            self._settings.reader_study_folder = folder
            if not ui.resultsFolderEdit.currentPath:
                ui.resultsFolderEdit.currentPath = str(folder / RESULTS_FOLDER)
        show_banner(ui.studyLabel, problem or self._state(), Tone.PROBLEM if problem else Tone.QUIET)
        self._update_buttons()

    def create(self) -> None:
        """Make a reader study of the chosen studies."""
        ui = self.ui
        folder, cases = Path(ui.studyFolderEdit.currentPath), Path(ui.casesFolderEdit.currentPath)
        truth_file = ui.truthFileEdit.currentPath
        try:
            if not cases.is_absolute():
                raise ProtocolError("protocol.no_cases")
            truth = read_truth(Path(truth_file)) if truth_file else None
            paths = [study.path for study in studies_in_folder(cases, folder)]
            if truth_file:
                paths = [path for path in paths if path.resolve() != Path(truth_file).resolve()]
            named = read_series_names(Path(truth_file)) if truth_file else {}
            series, chosen = self._with_wait_cursor(lambda: series_of_cases(paths, named, self.choose_series))
            protocol = create_protocol(folder, paths, truth, ui.washoutBox.value, series)
        except MessageError as error:
            self._state_problem(error)
        except OSError as error:
            show_banner(ui.studyLabel, error.strerror or str(error), Tone.PROBLEM)
        else:
            self.refresh()
            lines = [message("study.made", cases=len(protocol.cases)), *chosen]
            show_banner(ui.studyLabel, "\n".join(lines), Tone.QUIET)

    @staticmethod
    def _with_wait_cursor(action: Callable[[], _Outcome]) -> _Outcome:
        qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            return action()
        finally:
            qt.QApplication.restoreOverrideCursor()

    def begin_without_ai(self) -> None:
        """Begin or go on with the sitting without AI."""
        self._begin(Sitting.WITHOUT_AI)

    def begin_with_ai(self) -> None:
        """Begin or go on with the sitting with AI."""
        self._begin(Sitting.WITH_AI)

    def compute(self) -> None:
        """Compute the results that are not there yet; their findings are not shown."""
        if self._store is None or self.ask_for_terms(self.compute):
            return
        folder = Path(self.ui.resultsFolderEdit.currentPath)
        missing = cases_without_result(self._store.protocol.cases, folder)
        if not missing:
            show_banner(self.ui.studyLabel, message("study.computed"), Tone.QUIET)
            return
        try:
            studies = [StudyOnDisk(case.path, given_name=folder_name(case), series=case.series) for case in missing]
            self._compute(tuple(studies), folder)
        except PackagesMissingError as error:
            self.on_missing(error.missing, self.compute)
        except CannotStartError as error:
            self._state_problem(error)
        else:
            self.on_changed()

    def show_computing(self, update: BatchUpdate) -> None:
        """Show how far computing is: numbers of studies, no findings."""
        done = sum(bool(row.results) for row in update.rows)
        if not update.finished:
            text = message("study.computing", done=done, count=len(update.rows))
            self._show_progress(update.fraction, text)
            return
        self._show_progress(None, "")
        failed = [row for row in update.rows if not row.results]
        if failed:
            name, reason = failed[0].name, failed[0].reason or failed[0].status.label()
            text = message("study.not_all_computed", count=len(failed), name=name, reason=reason)
            show_banner(self.ui.studyLabel, text, Tone.PROBLEM)
        else:
            show_banner(self.ui.studyLabel, message("study.computed"), Tone.QUIET)
        self._update_buttons()

    def evaluate(self) -> None:
        """Write page and tables, and open the page."""
        if self._store is None:
            return
        try:
            results = results_of(self._store.protocol.cases, Path(self.ui.resultsFolderEdit.currentPath))
        except ResultsMissingError:
            # The column of the network alone is left out; what readers did does not depend on it.
            results = {}
        try:
            page = conclude(self._store, results)
        except MessageError as error:
            self._state_problem(error)
        else:
            show_banner(self.ui.studyLabel, message("study.evaluated", folder=page.parent), Tone.QUIET)
            open_with_system(page)

    def _begin(self, sitting: Sitting) -> None:
        store = self._store
        if store is None:
            return
        participant = self.ui.participantEdit.text.strip().upper()
        reason = self.ui.overrideReasonEdit.text
        try:
            if self._blocked:
                raise SittingError("study.busy")
            if scene_holds_studies():
                raise SittingError("study.scene_not_empty")
            store.check_sitting(participant, sitting, reason)
            results: Mapping[str, Result] = {}
            if sitting is Sitting.WITH_AI:
                results = results_of(store.protocol.cases, Path(self.ui.resultsFolderEdit.currentPath))
            if not self._all_can_be_shown(store.protocol.cases, results):
                show_banner(self.ui.studyLabel, message("study.cancelled"), Tone.QUIET)
                return
            session = store.open_sitting(participant, sitting, reason)
        except MessageError as error:
            self._state_problem(error)
            return
        self.sitting.start(session, store.protocol, results)
        self.on_changed()

    def _all_can_be_shown(self, cases: tuple[Case, ...], results: Mapping[str, Result]) -> bool:
        """Load every study once, and lay its result on it, so that nothing fails in the middle; False if cancelled.

        Raises
        ------
        CaseNotLoadedError, ResultsMissingError
            Of the first that cannot be shown.
        """
        self._busy, self._cancelled = True, False
        try:
            for position, case in enumerate(cases, start=1):
                text = message("study.checking", position=position, count=len(cases))
                self._show_progress((position - 1) / len(cases), text)
                slicer.app.processEvents()
                if self._cancelled:
                    return False
                name = message("reading.volume", position=position)
                node = load_case(case.path, name, case.identifier, case.series)
                try:
                    if results:
                        check_fit(results[case.identifier], node)
                except (ResultError, GeometryError) as error:
                    raise ResultsMissingError(
                        "ai.no_fit", case=case.identifier, name=case.path.name, error=error
                    ) from error
                finally:
                    remove_case(node)
        finally:
            self._busy = False
            self._show_progress(None, "")
        return True

    def _state(self) -> str:
        if self._store is None:
            return ""
        protocol, participants = self._store.protocol, self._store.participants
        readers = ", ".join(participants) or message("study.no_readers")
        lines = [
            message("study.ready", cases=len(protocol.cases), weeks=protocol.washout_weeks, readers=readers),
            *self._state_of_participant(self._store),
        ]
        return "\n".join(lines)

    def _state_of_participant(self, store: StudyStore) -> list[str]:
        participant = self.ui.participantEdit.text.strip().upper()
        lines = []
        try:
            records = [record for sitting in Sitting if (record := store.record(participant, sitting)) is not None]
            for record in records:
                done, count = len(record.finished), len(record.order)
                label = record.sitting.label()
                lines.append(message("study.progress", participant=participant, done=done, count=count, sitting=label))
            if records and records[0].complete and len(records) == 1:
                earliest = store.washout(participant).earliest.isoformat()
                lines.append(message("study.next_with_ai", participant=participant, earliest=earliest))
        except SittingError:
            # No pseudonym yet, or half typed.
            return []
        except MessageError as error:
            return [str(error)]
        return lines

    def _state_problem(self, error: MessageError) -> None:
        show_banner(self.ui.studyLabel, str(error), Tone.PROBLEM)

    def _show_progress(self, fraction: float | None, text: str) -> None:
        bar = self.ui.studyProgressBar
        bar.setVisible(fraction is not None)
        self.ui.studyCancelButton.setVisible(fraction is not None)
        if fraction is not None:
            bar.value = round(100 * fraction)
            show_banner(self.ui.studyLabel, text, Tone.PLAIN)
        self._update_buttons()

    def _update_buttons(self) -> None:
        free = self._store is not None and not self._blocked and not self._busy
        ui = self.ui
        for button in (ui.beginWithoutButton, ui.beginWithButton, ui.computeResultsButton, ui.evaluateButton):
            button.setEnabled(free)
        ui.createStudyButton.setEnabled(not self._blocked)

    def _on_folder(self, _path: str) -> None:
        self.ui.resultsFolderEdit.currentPath = ""
        self.refresh()

    def _on_participant(self, _text: str) -> None:
        self.refresh()

    def _on_cancel(self) -> None:
        self._cancelled = True
        self.cancel_computing()

    def _on_sitting_ended(self, text: str, tone: Tone) -> None:
        self.refresh()
        self.on_changed()
        show_banner(self.ui.studyLabel, text, tone)
