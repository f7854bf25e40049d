"""Past analyses in the panel: search, open again, compare two of one patient, forget.

Whose study it is, is shown if the user has allowed that, and comes from the loaded volume: the history does not know.
"""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

from ..history import History, HistoryError, PastAnalysis
from ..messages import message
from ..result.content import ResultError
from ..result.earlier_version import earlier_impression
from ..result.reader import read_result
from ..scene.patient import patient_of
from ..scene.study_volume import StudyNotLoadedError
from ..scene.volume_geometry import GeometryError
from ..settings import ModuleSettings
from ..study_opening import OpenedStudy, StudyOpener
from .comparison_view import ComparisonError, ComparisonView, LoadedResult
from .widgets import Tone, Widgets, open_with_system, show_banner

DATE, STUDY, IMPRESSION = range(3)


class HistorySection:
    """The list of past analyses.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    history : History
        What was recorded.
    settings : ModuleSettings
        Whether analyses are recorded.
    opener : StudyOpener
        Puts a study on the scene again.
    on_opened : callable
        Called with a study that was put on the scene again.
    """

    def __init__(
        self,
        ui: Widgets,
        history: History,
        settings: ModuleSettings,
        opener: StudyOpener,
        on_opened: Callable[[OpenedStudy], None],
    ) -> None:
        self._ui = ui
        self._history = history
        self._settings = settings
        self._opener = opener
        self._on_opened = on_opened
        self.show_settings()
        ui.keepHistoryBox.toggled.connect(self._on_keep)
        self._analyses: tuple[PastAnalysis, ...] = ()
        header = ui.historyTable.horizontalHeader()
        header.setSectionResizeMode(DATE, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(STUDY, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(IMPRESSION, qt.QHeaderView.Stretch)
        ui.historySearch.textChanged.connect(self._on_search)
        ui.historyTable.itemSelectionChanged.connect(self._update_buttons)
        ui.historyTable.cellDoubleClicked.connect(self._on_double_click)
        ui.historyOpenButton.clicked.connect(self.open)
        ui.historyDeleteButton.clicked.connect(self.delete)
        ui.historyCompareButton.clicked.connect(self.compare)
        ui.patientAttributesBox.toggled.connect(self._on_show_patient)
        ui.historySection.contentsCollapsed.connect(self._on_collapsed)
        self.comparison = ComparisonView(ui)
        show_banner(ui.patientLabel, "", Tone.PLAIN)
        show_banner(ui.historyLabel, "", Tone.PLAIN)
        self._update_buttons()

    def show_settings(self) -> None:
        """Show whether analyses are recorded."""
        self._ui.keepHistoryBox.checked = self._settings.keep_history
        self._ui.patientAttributesBox.checked = self._settings.show_patient

    def refresh(self) -> None:
        """List what is recorded, if the list is unfolded: nobody waits for what is not shown."""
        if self._ui.historySection.collapsed:
            return
        try:
            self._analyses = self._history.search(self._ui.historySearch.text)
        except HistoryError as error:
            self._analyses = ()
            show_banner(self._ui.historyLabel, str(error), Tone.PROBLEM)
        table = self._ui.historyTable
        table.setRowCount(len(self._analyses))
        for row, analysis in enumerate(self._analyses):
            for column, text in enumerate(_cells(analysis)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                table.setItem(row, column, item)
        table.clearSelection()
        self._update_buttons()

    @property
    def chosen(self) -> PastAnalysis | None:
        """The analysis whose row is selected; None where there are none or several."""
        return self.all_chosen[0] if len(self.all_chosen) == 1 else None

    @property
    def all_chosen(self) -> tuple[PastAnalysis, ...]:
        """The analyses whose rows are selected."""
        rows = sorted({item.row() for item in self._ui.historyTable.selectedItems()})
        return tuple(self._analyses[row] for row in rows if row < len(self._analyses))

    def forget_volumes(self) -> None:
        """Take off the panel what is about a scene that closes: the patient and the comparison."""
        self.comparison.close()
        show_banner(self._ui.patientLabel, "", Tone.PLAIN)

    def open(self) -> None:
        """Show a past result on its volume, which is loaded where it still can be; else open its report."""
        analysis = self.chosen
        if analysis is None:
            return
        self.forget_volumes()
        qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            opened = self._opener.open(analysis.result_folder, analysis.study)
        except StudyNotLoadedError as error:
            show_banner(self._ui.historyLabel, message("history.report_opened", reason=error), Tone.WARNING)
            open_with_system(analysis.result_folder / "report.html")
        except (ResultError, GeometryError, HistoryError) as error:
            show_banner(self._ui.historyLabel, str(error), Tone.PROBLEM)
        else:
            show_banner(self._ui.historyLabel, "", Tone.PLAIN)
            self._on_opened(opened)
        finally:
            qt.QApplication.restoreOverrideCursor()

    def compare(self) -> None:
        """Show the two selected analyses side by side, on their volumes, which are loaded where they still can be."""
        self.forget_volumes()
        qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            # The list has the latest first.
            later, earlier = self.all_chosen
            first, second = self._provided(earlier), self._provided(later)
            self.comparison.show(first, second)
        except (ComparisonError, ResultError, GeometryError, StudyNotLoadedError, HistoryError) as error:
            show_banner(self._ui.historyLabel, str(error), Tone.PROBLEM)
        else:
            show_banner(self._ui.historyLabel, "", Tone.PLAIN)
            self.show_patient([first[0], second[0]])
        finally:
            qt.QApplication.restoreOverrideCursor()

    def _provided(self, analysis: PastAnalysis) -> LoadedResult:
        result = read_result(analysis.result_folder)
        return self._opener.provide_volume(result, analysis.result_folder, analysis.study), result

    def delete(self) -> None:
        """Forget the selected analysis; its result folder stays."""
        analysis = self.chosen
        if analysis is None:
            return
        try:
            self._history.delete(analysis.identifier)
        except HistoryError as error:
            show_banner(self._ui.historyLabel, str(error), Tone.PROBLEM)
        else:
            text = message("history.forgotten", folder=analysis.result_folder)
            show_banner(self._ui.historyLabel, text, Tone.QUIET)
        self.refresh()

    def _on_keep(self, keep: bool) -> None:
        self._settings.keep_history = keep

    def _on_search(self, _text: str) -> None:
        self.refresh()

    def _on_collapsed(self, _collapsed: bool) -> None:
        self.refresh()

    def _on_double_click(self, _row: int, _column: int) -> None:
        self.open()

    def _on_show_patient(self, show: bool) -> None:
        self._settings.show_patient = show
        if not show:
            show_banner(self._ui.patientLabel, "", Tone.PLAIN)

    def show_patient(self, nodes: list[slicer.vtkMRMLScalarVolumeNode]) -> None:
        """Show the patient attributes of volumes, if that is allowed."""
        if self._settings.show_patient:
            lines = dict.fromkeys(_patient_line(node) for node in nodes)
            show_banner(self._ui.patientLabel, "\n".join(lines), Tone.QUIET)

    def _update_buttons(self) -> None:
        analysis = self.chosen
        self._ui.historyOpenButton.setEnabled(analysis is not None and analysis.can_be_opened)
        self._ui.historyDeleteButton.setEnabled(analysis is not None)
        two = [chosen.can_be_opened for chosen in self.all_chosen] == [True, True]
        self._ui.historyCompareButton.setEnabled(two)
        self._ui.historyCompareButton.toolTip = message("compare.choose_two")


def _cells(analysis: PastAnalysis) -> tuple[str, str, str]:
    date = analysis.date.astimezone().strftime("%Y-%m-%d %H:%M")
    positive = sum(finding.positive for finding in analysis.findings)
    return date, analysis.study, analysis.impression or earlier_impression(positive).text


def _patient_line(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    patient = patient_of(node)
    parts = [
        message("patient.name", value=patient.name.replace("^", " ").strip()) if patient.name else "",
        message("patient.id", value=patient.identifier) if patient.identifier else "",
        message("patient.sex", value=patient.sex) if patient.sex else "",
        message("patient.birth_date", value=_date(patient.birth_date)) if patient.birth_date else "",
        message("patient.study_date", value=_date(patient.study_date)) if patient.study_date else "",
    ]
    return " · ".join(filter(None, parts)) or message("patient.none")


def _date(value: str) -> str:
    """Write a date of DICOM (PS3.5, value representation DA) as ISO 8601 has it."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value
