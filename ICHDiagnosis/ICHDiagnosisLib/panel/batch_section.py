"""Many studies in the panel: a folder or all loaded volumes, one after the other, with a table of results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt

from ..analysis import CannotStartError, PackagesMissingError
from ..batch.batch import Batch
from ..batch.studies import BatchStudy, loaded_volumes, studies_in_folder
from ..batch.table import BatchRow, BatchUpdate
from ..install.requirements import MissingPackage
from ..messages import message
from ..parameters import Parameters
from ..result.findings_csv import ExportError, append_findings, exported_study
from ..scene.volume_input import FileDatabase
from ..settings import ModuleSettings
from ..study_opening import head_ct_candidates
from .widgets import Tone, Widgets, ask_for_file, open_with_system, show_banner

STUDY, STATUS, RESULT = range(3)


class BatchSection:
    """Starts, follows and shows a batch.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    batch : Batch
        The batch.
    start : callable
        Starts it with the parameters of the scene.
    parameters : callable
        Returns the parameters of the scene, or None.
    settings : ModuleSettings
        Holds the folder for results.
    database : FileDatabase or None
        Finds original DICOM files.
    """

    def __init__(
        self,
        ui: Widgets,
        batch: Batch,
        start: Callable[[tuple[BatchStudy, ...]], None],
        parameters: Callable[[], Parameters | None],
        settings: ModuleSettings,
        database: FileDatabase | None,
    ) -> None:
        self._ui = ui
        self._batch = batch
        self._start = start
        self._parameters = parameters
        self._settings = settings
        self._database = database
        self._blocked = ""
        self.dialog: qt.QFileDialog | None = None
        self.on_missing: Callable[[tuple[MissingPackage, ...], Callable[[], None]], None] = lambda missing, retry: None
        self.on_started: Callable[[], None] = lambda: None
        self.ask_for_terms: Callable[[Callable[[], None]], bool] = lambda retry: False
        header = ui.batchTable.horizontalHeader()
        header.setSectionResizeMode(STUDY, qt.QHeaderView.Interactive)
        header.setSectionResizeMode(STATUS, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(RESULT, qt.QHeaderView.Stretch)
        ui.batchFolderButton.clicked.connect(self.start_folder)
        ui.batchVolumesButton.clicked.connect(self.start_volumes)
        ui.batchCancelButton.clicked.connect(self._on_cancel)
        ui.batchTable.cellDoubleClicked.connect(self._on_double_click)
        ui.batchExportButton.clicked.connect(self._ask_for_table)
        ui.batchFolderEdit.currentPathChanged.connect(self._on_folder)
        ui.batchFolderEdit.validInputChanged.connect(self._on_folder)
        show_banner(ui.batchLabel, "", Tone.PLAIN)
        ui.batchTable.setVisible(False)
        self._update_buttons()

    def start_folder(self) -> None:
        """Analyse every study of the chosen folder."""
        if self._parameters() is None:
            return
        try:
            studies = studies_in_folder(Path(self._ui.batchFolderEdit.currentPath), self._settings.output_folder)
        except OSError as error:
            show_banner(self._ui.batchLabel, error.strerror or str(error), Tone.PROBLEM)
            return
        self._begin(studies)

    def start_volumes(self) -> None:
        """Analyse every loaded volume."""
        parameters = self._parameters()
        if parameters is not None:
            self._begin(loaded_volumes(head_ct_candidates(), self._database, parameters.useOriginalFiles))

    def block(self, reason: str) -> None:
        """Keep a batch from being started while something else runs; an empty reason lets it again."""
        self._blocked = reason
        self._update_buttons()

    def show(self, update: BatchUpdate) -> None:
        """Show how far the batch is."""
        self._fill_table(update.rows)
        bar = self._ui.batchProgressBar
        bar.setVisible(update.running)
        bar.setRange(0, 100)
        bar.value = round(100 * update.fraction)
        if update.finished:
            done = sum(bool(row.results) for row in update.rows)
            text = message("batch.finished", done=done, count=len(update.rows))
            show_banner(self._ui.batchLabel, text, Tone.QUIET)
        elif update.running:
            show_banner(self._ui.batchLabel, update.stage, Tone.PLAIN)
        self._update_buttons()

    def save_table(self, path: Path) -> None:
        """Add every result of the batch as a line to a table."""
        lines = [exported_study(result, row.name) for row in self._batch.rows for result in row.results]
        try:
            append_findings(path, lines)
        except ExportError as error:
            show_banner(self._ui.batchLabel, str(error), Tone.PROBLEM)
        else:
            text = message("batch.lines_added", count=len(lines), name=path.name)
            show_banner(self._ui.batchLabel, text, Tone.QUIET)

    def _fill_table(self, rows: tuple[BatchRow, ...]) -> None:
        table = self._ui.batchTable
        table.setVisible(True)
        table.setRowCount(len(rows))
        for row, study in enumerate(rows):
            for column, text in enumerate(_cells(study)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                table.setItem(row, column, item)

    def _begin(self, studies: tuple[BatchStudy, ...]) -> None:
        if self.ask_for_terms(lambda: self._begin(studies)):
            return
        try:
            self._start(studies)
        except PackagesMissingError as error:
            self.on_missing(error.missing, lambda: self._begin(studies))
        except CannotStartError as error:
            show_banner(self._ui.batchLabel, str(error), Tone.PROBLEM)
        else:
            self.show(BatchUpdate(self._batch.rows, running=True))
            self.on_started()

    def _update_buttons(self) -> None:
        running = self._batch.running
        free = not running and not self._blocked
        ui = self._ui
        ui.batchFolderButton.setEnabled(free and Path(ui.batchFolderEdit.currentPath).is_absolute())
        ui.batchVolumesButton.setEnabled(free)
        for button in (ui.batchFolderButton, ui.batchVolumesButton):
            button.setVisible(not running)
        ui.batchCancelButton.setVisible(running)
        ui.batchProgressBar.setVisible(running)
        has_results = any(row.results for row in self._batch.rows)
        ui.batchExportButton.setVisible(not running and has_results)

    def _on_folder(self, _path_or_validity: str | bool) -> None:
        self._update_buttons()

    def _on_cancel(self) -> None:
        self._batch.cancel()

    def _on_double_click(self, row: int, _column: int) -> None:
        for result in self._batch.rows[row].results:
            if result.report is not None:
                open_with_system(result.report)

    def _ask_for_table(self) -> None:
        title = message("batch.table_title")
        self.dialog = ask_for_file(self._ui.batchTable, title, "findings.csv", self.save_table, grows=True)


def _cells(row: BatchRow) -> tuple[str, str, str]:
    status = row.status.label()
    if row.made_before:
        status = message("batch.made_before", status=status)
    impressions = [result.impression.text for result in row.results if result.impression is not None]
    return row.name, status, "; ".join(filter(None, (*impressions, row.reason)))
