"""The worklist in the panel: every result of a folder by urgency, and each row opens its study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt

from ..history import HistoryError
from ..messages import MessageError, message
from ..result.content import ResultError
from ..result.worklist import PAGE_FILE, WorklistRow, read_worklist, study_place
from ..scene.study_volume import StudyNotLoadedError
from ..scene.volume_geometry import GeometryError
from ..settings import ModuleSettings
from ..study_opening import OpenedStudy, StudyOpener
from .widgets import Tone, Widgets, open_with_system, show_banner

URGENCY, STUDY, IMPRESSION = range(3)
LONGEST_LIST = 5_000
"""Rows that the table shows, the most urgent; the page in the browser has all of them."""


class WorklistSection:
    """Lists the results of a folder, and opens them.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    settings : ModuleSettings
        Holds the folder for results.
    opener : StudyOpener
        Puts a study on the scene.
    write : callable
        Has the worklist of a folder written; returns its page.
    on_opened : callable
        Called with a study that was put on the scene.
    """

    def __init__(
        self,
        ui: Widgets,
        settings: ModuleSettings,
        opener: StudyOpener,
        write: Callable[[Path], Path],
        on_opened: Callable[[OpenedStudy], None],
    ) -> None:
        self._ui = ui
        self._settings = settings
        self._opener = opener
        self._write = write
        self._on_opened = on_opened
        self._folder = Path()
        self._rows: tuple[WorklistRow, ...] = ()
        self._blocked = False
        header = ui.worklistTable.horizontalHeader()
        header.setSectionResizeMode(URGENCY, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(STUDY, qt.QHeaderView.Interactive)
        header.setSectionResizeMode(IMPRESSION, qt.QHeaderView.Stretch)
        ui.worklistButton.clicked.connect(self.show)
        ui.worklistOpenButton.clicked.connect(self.open)
        ui.worklistReportButton.clicked.connect(self.open_report)
        ui.worklistPageButton.clicked.connect(self.open_page)
        ui.worklistTable.itemSelectionChanged.connect(self._update_buttons)
        ui.worklistTable.cellDoubleClicked.connect(self._on_double_click)
        ui.worklistFrame.setVisible(False)
        show_banner(ui.worklistLabel, "", Tone.PLAIN)
        self._update_buttons()

    @property
    def chosen(self) -> WorklistRow | None:
        """The study whose row is selected; None where there is none."""
        rows = sorted({item.row() for item in self._ui.worklistTable.selectedItems()})
        return self._rows[rows[0]] if rows and rows[0] < len(self._rows) else None

    def block(self, blocked: bool) -> None:
        """Keep studies from being opened while something runs, or let them again."""
        self._blocked = blocked
        self._update_buttons()

    def show(self) -> None:
        """Have the worklist of the chosen folder written, and list it; without a choice that of the results' folder."""
        text = self._ui.worklistFolderEdit.currentPath
        folder = Path(text) if Path(text).is_absolute() else self._settings.output_folder
        qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
        self._ui.worklistButton.setEnabled(False)
        problem = ""
        try:
            try:
                self._write(folder)
            except MessageError as error:
                # The folder may be somebody else's, who has written its worklist.
                problem = str(error)
            self._list(folder, read_worklist(folder))
        except ResultError as error:
            show_banner(self._ui.worklistLabel, problem or str(error), Tone.PROBLEM)
        else:
            count, shown = len(self._rows), min(len(self._rows), LONGEST_LIST)
            lines = [problem] if problem else []
            lines.append(message("worklist.listed", count=count, folder=folder.name))
            lines += [message("worklist.cut", shown=shown)] if shown < count else []
            show_banner(self._ui.worklistLabel, "\n".join(lines), Tone.WARNING if problem else Tone.QUIET)
        finally:
            self._ui.worklistButton.setEnabled(True)
            qt.QApplication.restoreOverrideCursor()

    def open(self) -> None:
        """Put the chosen study on the scene, its CT and its result."""
        row = self.chosen
        if row is None or self._blocked:
            return
        if row.folder is None:
            text = message("worklist.no_result", study=row.study_id, reason=row.text)
            show_banner(self._ui.worklistLabel, text, Tone.PROBLEM)
            return
        qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            place = study_place(self._folder, row.study_id)
            places = [] if place is None or place.path is None else [place.path]
            studies = Path(self._ui.batchFolderEdit.currentPath)
            opened = self._opener.open(row.folder, row.study_id, places, studies if studies.is_absolute() else None)
        except StudyNotLoadedError as error:
            text = message("worklist.from_archive", study=row.study_id) if self._is_of_archive(row) else str(error)
            show_banner(self._ui.worklistLabel, text, Tone.PROBLEM)
        except (ResultError, GeometryError, HistoryError) as error:
            show_banner(self._ui.worklistLabel, str(error), Tone.PROBLEM)
        else:
            show_banner(self._ui.worklistLabel, message("worklist.opened", study=row.study_id), Tone.QUIET)
            self._on_opened(opened)
        finally:
            qt.QApplication.restoreOverrideCursor()

    def open_report(self) -> None:
        """Open the report of the chosen study in the browser."""
        row = self.chosen
        if row is not None and row.folder is not None:
            open_with_system(row.folder / "report.html")

    def open_page(self) -> None:
        """Open the whole worklist in the browser."""
        open_with_system(self._folder / PAGE_FILE)

    def _list(self, folder: Path, rows: tuple[WorklistRow, ...]) -> None:
        self._folder, self._rows = folder, rows
        table = self._ui.worklistTable
        table.setRowCount(min(len(rows), LONGEST_LIST))
        for number, row in enumerate(rows[:LONGEST_LIST]):
            for column, text in enumerate((_urgency(row), row.study_id, row.text)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                table.setItem(number, column, item)
        table.clearSelection()
        self._ui.worklistFrame.setVisible(True)
        self._update_buttons()

    def _is_of_archive(self, row: WorklistRow) -> bool:
        place = study_place(self._folder, row.study_id)
        return place is not None and place.path is None

    def _update_buttons(self) -> None:
        row = self.chosen
        ui = self._ui
        ui.worklistOpenButton.setEnabled(row is not None and not self._blocked)
        has_report = row is not None and row.folder is not None and (row.folder / "report.html").is_file()
        ui.worklistReportButton.setEnabled(has_report)

    def _on_double_click(self, _row: int, _column: int) -> None:
        self.open()


def _urgency(row: WorklistRow) -> str:
    names = {
        "likely": message("urgency.likely"),
        "possible": message("urgency.possible"),
        "other": message("urgency.other"),
        "unread": message("urgency.unread"),
        "negative": message("urgency.negative"),
    }
    return names.get(row.urgency, row.urgency)
