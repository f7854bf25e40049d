"""Taking a result out of the application: its report, its folder, a line in a table, an image of the view."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import qt

from ..messages import message
from ..result.findings_csv import ExportError, append_findings, exported_study
from .result_view import ResultView
from .view_image import ViewImageError, save_view_image
from .widgets import Tone, Widgets, ask_for_file, open_with_system, show_banner


class ResultExport:
    """The buttons below a result.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    view : ResultView
        Knows which result is shown.
    """

    def __init__(self, ui: Widgets, view: ResultView) -> None:
        self._ui = ui
        self._view = view
        self._folders: dict[str, Path] = {}
        self.dialog: qt.QFileDialog | None = None
        ui.reportButton.clicked.connect(self.open_report)
        ui.folderButton.clicked.connect(self.open_folder)
        ui.tableButton.clicked.connect(self._ask_for_table)
        ui.imageButton.clicked.connect(self._ask_for_image)

    def remember_folder(self, input_id: str, folder: Path) -> None:
        """Remember where the result of a volume lies; the scene does not carry it."""
        self._folders[input_id] = folder

    def forget(self) -> None:
        """Forget all folders: the scene was closed, and IDs will be given anew."""
        self._folders.clear()

    def refresh(self) -> None:
        """Offer what can be done with the result that is shown."""
        folder = self.folder
        self._ui.reportButton.setEnabled(folder is not None and (folder / "report.html").is_file())
        self._ui.folderButton.setEnabled(folder is not None and folder.is_dir())
        show_banner(self._ui.exportLabel, "", Tone.PLAIN)

    @property
    def folder(self) -> Path | None:
        """Folder of the result that is shown; None where it is not known."""
        node = self._view.input_node
        return None if node is None else self._folders.get(node.GetID())

    def open_report(self) -> None:
        """Open the report in the browser."""
        if self.folder is not None:
            open_with_system(self.folder / "report.html")

    def open_folder(self) -> None:
        """Open the result folder."""
        if self.folder is not None:
            open_with_system(self.folder)

    def save_table(self, path: Path) -> None:
        """Add the findings as one line to a table."""
        node, result = self._view.input_node, self._view.result
        if node is None or result is None:
            return
        try:
            append_findings(path, [exported_study(replace(result, folder=self.folder), node.GetName())])
        except ExportError as error:
            show_banner(self._ui.exportLabel, str(error), Tone.PROBLEM)
        else:
            show_banner(self._ui.exportLabel, message("export.added", name=path.name), Tone.QUIET)

    def save_view_image(self, path: Path) -> None:
        """Write the slice view into an image file."""
        node, result = self._view.input_node, self._view.result
        if node is None or result is None:
            return
        try:
            save_view_image(node, result, path)
        except ViewImageError as error:
            show_banner(self._ui.exportLabel, str(error), Tone.PROBLEM)
        else:
            show_banner(self._ui.exportLabel, message("export.saved", name=path.name), Tone.QUIET)

    def _ask_for_table(self) -> None:
        title = message("export.table_title")
        self.dialog = ask_for_file(self._ui.resultSection, title, "findings.csv", self.save_table, grows=True)

    def _ask_for_image(self) -> None:
        title = message("export.image_title")
        self.dialog = ask_for_file(self._ui.resultSection, title, "slice.png", self.save_view_image)
