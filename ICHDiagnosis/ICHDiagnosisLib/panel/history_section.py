"""Past analyses in the panel: search, open again, compare two of one patient, forget.

Whose study it is, is shown if the user has allowed that, and comes from the loaded volume: the history does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
import slicer

from ..history import History, HistoryError, PastAnalysis
from ..messages import message
from ..result.content import Result, ResultError
from ..result.earlier_version import earlier_impression
from ..result.reader import read_result
from ..scene.patient import patient_of
from ..scene.show_result import show_result
from ..scene.volume_geometry import GeometryError, series_uid_of
from ..settings import ModuleSettings
from .comparison_view import ComparisonError, ComparisonView, LoadedResult
from .study_inputs import head_ct_candidates
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
    on_shown : callable
        Called with the volume and the folder of a result that was put on the scene again, and with what the user
        should know of it.
    """

    def __init__(
        self,
        ui: Widgets,
        history: History,
        settings: ModuleSettings,
        on_shown: Callable[[slicer.vtkMRMLScalarVolumeNode, Path, list[str]], None],
    ) -> None:
        self._ui = ui
        self._history = history
        self._settings = settings
        self._on_shown = on_shown
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
        """Show a past result on its volume if that is loaded, else open its report.

        The volume must be the one that was read: by its series UID, or, without one, by its name and its geometry.
        """
        analysis = self.chosen
        if analysis is None:
            return
        self.forget_volumes()
        try:
            result = read_result(analysis.result_folder)
            node = _loaded_volume(analysis, result)
            if node is not None:
                show_result(result, node)
        except (ResultError, GeometryError) as error:
            show_banner(self._ui.historyLabel, str(error), Tone.PROBLEM)
            return
        if node is not None:
            show_banner(self._ui.historyLabel, "", Tone.PLAIN)
            self._show_patient([node])
            notice = message("history.shown_by_name")
            self._on_shown(node, analysis.result_folder, [] if series_uid_of(node) else [notice])
            return
        show_banner(self._ui.historyLabel, message("history.report_opened"), Tone.QUIET)
        open_with_system(analysis.result_folder / "report.html")

    def compare(self) -> None:
        """Show the two selected analyses side by side, on their loaded volumes."""
        self.forget_volumes()
        try:
            # The list has the latest first.
            later, earlier = self.all_chosen
            first, second = _loaded(earlier), _loaded(later)
            self.comparison.show(first, second)
        except (ComparisonError, ResultError, GeometryError) as error:
            show_banner(self._ui.historyLabel, str(error), Tone.PROBLEM)
            return
        show_banner(self._ui.historyLabel, "", Tone.PLAIN)
        self._show_patient([first[0], second[0]])

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

    def _show_patient(self, nodes: list[slicer.vtkMRMLScalarVolumeNode]) -> None:
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


def _loaded_volume(analysis: PastAnalysis, result: Result) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the loaded volume that a past analysis was made from, else None."""
    for node in head_ct_candidates():
        uid = series_uid_of(node)
        is_same = uid == result.study.series_uid if uid is not None else node.GetName() == analysis.study
        if is_same:
            return node
    return None


def _loaded(analysis: PastAnalysis) -> LoadedResult:
    """Return the loaded volume of an analysis and its result.

    Raises
    ------
    ComparisonError
        If the volume is not loaded.
    ResultError
        If the result cannot be read.
    """
    result = read_result(analysis.result_folder)
    node = _loaded_volume(analysis, result)
    if node is None:
        raise ComparisonError("compare.not_loaded", study=analysis.study)
    return node, result


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
