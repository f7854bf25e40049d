"""What the user chooses before Apply: the volume, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
import slicer

from ..analysis import CannotStartError, check_input
from ..bundle.command import BundleMissingError
from ..bundle.location import operating_points
from ..bundle.systems import SHIPPED, installed_systems
from ..messages import message
from ..parameters import Parameters
from ..scene import result_nodes
from ..scene.volume_input import FileDatabase, is_from_dicom, original_files
from ..settings import ModuleSettings
from ..study_opening import head_ct_candidates
from .widgets import Widgets


class StudyInputs:
    """Ties the input widgets to the parameters of the scene, and the folder for results to the settings.

    The folder is connected by hand: the wrapper's connector writes each change back, which turns an empty line into
    ``.``, takes slashes away while they are typed, and moves the cursor.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    bundle_root : Path
        Folder of the bundle, which lists the operating points.
    database : FileDatabase or None
        Finds original DICOM files.
    settings : ModuleSettings
        Holds the folder for results.
    on_changed : callable
        Called when the folder for results was changed.

    Attributes
    ----------
    problem : str
        Why nothing can be started; empty where all is well.
    folder_problem : str
        Why what stands in the line of the folder cannot be used; empty where it is in use.
    """

    def __init__(
        self,
        ui: Widgets,
        bundle_root: Path,
        database: FileDatabase | None,
        settings: ModuleSettings,
        on_changed: Callable[[], None],
    ) -> None:
        self._ui = ui
        self._database = database
        self._settings = settings
        self._on_changed = on_changed
        self._parameters: Parameters | None = None
        self._connected: Parameters | None = None
        self._gui_tag: int | None = None
        self._described: tuple[str, bool] | None = None
        self.problem = ""
        self.folder_problem = ""
        try:
            for name in operating_points(bundle_root):
                ui.operatingPointBox.addItem(name.replace("_", " ").capitalize(), name)
        except BundleMissingError as error:
            self.problem = str(error)
        ui.operatingPointBox.currentIndexChanged.connect(self._on_operating_point)
        self._bundle_root = bundle_root
        self.list_systems()
        ui.systemBox.currentIndexChanged.connect(self._on_system)
        self.show_settings()
        ui.outputFolderEdit.currentPathChanged.connect(self._on_output_folder)
        # An empty line is no path to CTK, which then reports no path.
        ui.outputFolderEdit.validInputChanged.connect(self._on_output_folder_valid)

    def list_systems(self) -> None:
        """Offer the systems that are installed now; what the scene asks for stays, and a run says if it is gone."""
        box = self._ui.systemBox
        blocked = box.blockSignals(True)
        box.clear()
        for system in installed_systems(self._bundle_root):
            box.addItem(system.title, system.name)
        box.blockSignals(blocked)
        if self._parameters is not None:
            self._show_system(self._parameters)

    def show_settings(self) -> None:
        """Show the folder for results as it is set."""
        folder = str(self._settings.output_folder)
        if self._ui.outputFolderEdit.currentPath != folder:
            self._ui.outputFolderEdit.currentPath = folder

    def set_parameters(self, parameters: Parameters | None, root: qt.QWidget) -> None:
        """Show other parameters, or none while the scene is closed; widgets stay connected to the same ones."""
        self._parameters, self._described = parameters, None
        if parameters is None:
            return
        self._hide_own_volumes()
        if parameters.inputVolume is None:
            parameters.inputVolume = self._first_volume()
        self._show_operating_point(parameters)
        self._show_system(parameters)
        if parameters is not self._connected:
            self.disconnect()
            self._gui_tag = parameters.connectGui(root)  # type: ignore[attr-defined] # made by the wrapper
            self._connected = parameters
        else:
            # While a scene was read the list may have lacked the volume that the parameters name.
            self._ui.inputSelector.setCurrentNode(parameters.inputVolume)

    def disconnect(self) -> None:
        """Let the widgets go."""
        if self._connected is not None and self._gui_tag is not None:
            self._connected.disconnectGui(self._gui_tag)  # type: ignore[attr-defined] # made by the wrapper
        self._connected, self._gui_tag = None, None

    def refresh(self) -> None:
        """Follow the parameters: what is known of the chosen volume."""
        if self._parameters is None:
            return
        self._hide_own_volumes()
        node = self._parameters.inputVolume
        state = ("" if node is None else node.GetID(), self._parameters.useOriginalFiles)
        if state != self._described:
            self._described = state
            self._ui.sourceLabel.text = "" if node is None else self._source(node, self._parameters.useOriginalFiles)

    def missing(self) -> str:
        """State what the user must still do before Apply can work; empty when nothing."""
        if self._parameters is None:
            return message("input.no_scene")
        node = self._parameters.inputVolume
        if node is not None and node.GetAttribute(result_nodes.ROLE):
            return message("input.attribution_map")
        try:
            check_input(node, self._settings.output_folder)
        except CannotStartError as error:
            return self.problem or str(error)
        return self.problem or self.folder_problem

    def set_enabled(self, enabled: bool) -> None:
        """Let the user change the inputs, or not while something runs."""
        self._ui.inputSelector.setEnabled(enabled)
        self._ui.optionsFrame.setEnabled(enabled)

    def _source(self, node: slicer.vtkMRMLScalarVolumeNode, use_original_files: bool) -> str:
        if not is_from_dicom(node):
            return message("source.voxels")
        if not use_original_files:
            return message("source.voxels_by_choice")
        files = original_files(node, self._database)
        if files:
            return message("source.files", count=len(files))
        return message("source.files_not_found")

    def _hide_own_volumes(self) -> None:
        """Keep attribution maps out of the list of volumes."""
        ours = [node.GetID() for node in result_nodes.own_nodes() if node.IsA("vtkMRMLScalarVolumeNode")]
        model = self._ui.inputSelector.sortFilterProxyModel()
        if list(model.hiddenNodeIDs) != ours:
            model.hiddenNodeIDs = ours

    def _first_volume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """Return the volume that the slice views show, or else the first one."""
        candidates = head_ct_candidates()
        composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        shown = {composite.GetBackgroundVolumeID() for composite in composites}
        return next((node for node in candidates if node.GetID() in shown), next(iter(candidates), None))

    def _show_operating_point(self, parameters: Parameters) -> None:
        box = self._ui.operatingPointBox
        names = [box.itemData(index) for index in range(box.count)]
        if names and parameters.operatingPoint not in names:
            parameters.operatingPoint = names[0]
        blocked = box.blockSignals(True)
        box.currentIndex = names.index(parameters.operatingPoint) if names else -1
        box.blockSignals(blocked)

    def _show_system(self, parameters: Parameters) -> None:
        box = self._ui.systemBox
        names = [box.itemData(index) for index in range(box.count)]
        blocked = box.blockSignals(True)
        box.currentIndex = names.index(parameters.system) if parameters.system in names else -1
        box.blockSignals(blocked)
        # Each system explains as its authors did.
        self._ui.explanationBox.setEnabled(parameters.system == SHIPPED)

    def _on_system(self, index: int) -> None:
        if self._parameters is not None and index >= 0:
            self._parameters.system = self._ui.systemBox.itemData(index)
            self._show_system(self._parameters)

    def _on_output_folder(self, text: str) -> None:
        folder = Path(text)
        self.folder_problem = "" if folder.is_absolute() else message("input.no_folder")
        if folder.is_absolute():
            self._settings.output_folder = folder
        self._on_changed()

    def _on_output_folder_valid(self, valid: bool) -> None:
        if not valid:
            self._on_output_folder("")

    def _on_operating_point(self, index: int) -> None:
        if self._parameters is not None and index >= 0:
            self._parameters.operatingPoint = self._ui.operatingPointBox.itemData(index)
