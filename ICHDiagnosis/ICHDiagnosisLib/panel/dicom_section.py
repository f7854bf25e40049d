"""The button that exports the shown result as DICOM, and whether the objects go into the DICOM database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import qt

from ..analysis import CannotStartError, PackagesMissingError
from ..dicom_export import DicomExport
from ..install.requirements import MissingPackage
from ..messages import message
from ..scene.volume_input import is_from_dicom
from .result_export import ResultExport
from .result_view import ResultView
from .widgets import Tone, Widgets, ask_for_folder, show_banner


class DicomSection:
    """The DICOM row below a result.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    view : ResultView
        Knows which result is shown.
    folders : ResultExport
        Knows where it lies.
    export : DicomExport
        Does the work.
    on_busy : callable
        Called when an export begins and when it ends.
    """

    def __init__(
        self, ui: Widgets, view: ResultView, folders: ResultExport, export: DicomExport, on_busy: Callable[[], None]
    ) -> None:
        self._ui = ui
        self._view = view
        self._folders = folders
        self._export = export
        self._on_busy = on_busy
        self.ask_to_install: Callable[[Sequence[MissingPackage], Callable[[], None]], None] | None = None
        self.dialog: qt.QFileDialog | None = None
        ui.dicomButton.clicked.connect(self._ask_for_folder)
        ui.dicomDatabaseBox.setEnabled(export.has_database)

    @property
    def exporting(self) -> bool:
        """Whether an export is under way."""
        return self._export.running

    def refresh(self) -> None:
        """Offer the export where the result was read from the original DICOM files."""
        node, result, folder = self._view.input_node, self._view.result, self._folders.folder
        from_files = result is not None and all(entry.sop_instance_uid for entry in result.slices)
        offered = from_files and node is not None and is_from_dicom(node) and folder is not None and folder.is_dir()
        self._ui.dicomButton.setEnabled(offered and not self.exporting)
        self._ui.dicomButton.toolTip = message("dicom.hint" if offered else "dicom.hint_not_offered")

    def export_into(self, chosen: Path) -> None:
        """Export into a folder of its own inside the chosen one."""
        node, folder = self._view.input_node, self._folders.folder
        if node is None or folder is None:
            return
        try:
            self._export.start(node, folder, chosen, self._ui.dicomDatabaseBox.checked)
        except PackagesMissingError as error:
            if self.ask_to_install is not None:
                self.ask_to_install(error.missing, lambda: self.export_into(chosen))
        except CannotStartError as error:
            show_banner(self._ui.exportLabel, str(error), Tone.PROBLEM)
        else:
            show_banner(self._ui.exportLabel, message("dicom.writing"), Tone.QUIET)
            self._on_busy()

    def poll(self) -> None:
        """Show how an export ended."""
        ending = self._export.poll()
        if ending is None:
            return
        self._on_busy()
        show_banner(self._ui.exportLabel, ending.text, Tone.PROBLEM if ending.folder is None else Tone.QUIET)

    def _ask_for_folder(self) -> None:
        self.dialog = ask_for_folder(self._ui.resultSection, message("dicom.title"), self.export_into)
