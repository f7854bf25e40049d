"""What the person chooses before Apply: the volume, and how it is read."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ..analysis import whatIsMissing
from ..bundle.command import BundleMissingError
from ..bundle.location import operatingPoints
from ..parameters import Parameters
from ..scene import result_nodes as own_nodes
from ..scene.dicom_source import FileDatabase, isFromDICOM, originalFiles
from .banner import Widgets


class StudyInputs:
    """Ties the input widgets to the parameters of the scene.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    bundleRoot : Path
        Folder of the bundle, which lists the operating points.
    database : FileDatabase or None
        Finds original DICOM files.
    """

    def __init__(self, ui: Widgets, bundleRoot: Path, database: FileDatabase | None) -> None:
        self._ui = ui
        self._database = database
        self._parameters: Parameters | None = None
        self._guiTag: int | None = None
        self._described: tuple[str, bool] | None = None
        self.problem = ""
        try:
            for name in operatingPoints(bundleRoot):
                ui.operatingPointBox.addItem(name.replace("_", " ").capitalize(), name)
        except BundleMissingError as error:
            self.problem = str(error)
        ui.operatingPointBox.currentIndexChanged.connect(self._onOperatingPoint)

    def setParameters(self, parameters: Parameters | None, root: qt.QWidget) -> None:
        """Show other parameters, or none while the scene is closed."""
        if self._parameters is not None and self._guiTag is not None:
            self._parameters.disconnectGui(self._guiTag)  # type: ignore[attr-defined] # made by the wrapper
        self._parameters, self._guiTag, self._described = parameters, None, None
        if parameters is None:
            return
        self._hideOwnVolumes()
        if parameters.inputVolume is None:
            parameters.inputVolume = self._firstVolume()
        self._showOperatingPoint(parameters)
        self._guiTag = parameters.connectGui(root)  # type: ignore[attr-defined] # made by the wrapper

    def refresh(self) -> None:
        """Follow the parameters: what is known of the chosen volume."""
        if self._parameters is None:
            return
        self._hideOwnVolumes()
        node = self._parameters.inputVolume
        state = ("" if node is None else node.GetID(), self._parameters.useOriginalFiles)
        if state != self._described:
            self._described = state
            self._ui.sourceLabel.text = "" if node is None else self._source(node, self._parameters.useOriginalFiles)

    def missing(self) -> str:
        """Say what the person must still do before Apply can work; empty when nothing."""
        if self._parameters is None:
            return _("There is no scene.")
        node = self._parameters.inputVolume
        if node is not None and node.GetAttribute(own_nodes.ROLE):
            return _("The chosen volume is a heat map of this module; choose a head CT.")
        return self.problem or whatIsMissing(node, self._parameters.outputFolder)

    def setEnabled(self, enabled: bool) -> None:
        """Let the person change the inputs, or not while something runs."""
        self._ui.inputSelector.setEnabled(enabled)
        self._ui.optionsFrame.setEnabled(enabled)

    def _source(self, node: slicer.vtkMRMLScalarVolumeNode, useOriginalFiles: bool) -> str:
        if not isFromDICOM(node):
            return _("Not from DICOM: read from its voxels, quality checks see no headers.")
        if not useOriginalFiles:
            return _("From DICOM: read from its voxels, as chosen under Options.")
        files = originalFiles(node, self._database)
        if files:
            return _("From DICOM: its {count} original files are read, headers included.").format(count=len(files))
        return _("From DICOM, but its original files were not found: read from its voxels.")

    def _hideOwnVolumes(self) -> None:
        """Keep heat maps out of the list of volumes."""
        ours = [node.GetID() for node in _volumes() if node.GetAttribute(own_nodes.ROLE)]
        model = self._ui.inputSelector.sortFilterProxyModel()
        if list(model.hiddenNodeIDs) != ours:
            model.hiddenNodeIDs = ours

    def _firstVolume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """Return the volume that the slice views show, or else the first one."""
        candidates = headCTCandidates()
        composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        shown = {composite.GetBackgroundVolumeID() for composite in composites}
        return next((node for node in candidates if node.GetID() in shown), next(iter(candidates), None))

    def _showOperatingPoint(self, parameters: Parameters) -> None:
        box = self._ui.operatingPointBox
        names = [box.itemData(index) for index in range(box.count)]
        if names and parameters.operatingPoint not in names:
            parameters.operatingPoint = names[0]
        blocked = box.blockSignals(True)
        box.currentIndex = names.index(parameters.operatingPoint) if names else -1
        box.blockSignals(blocked)

    def _onOperatingPoint(self, index: int) -> None:
        if self._parameters is not None and index >= 0:
            self._parameters.operatingPoint = self._ui.operatingPointBox.itemData(index)


def _volumes() -> list[slicer.vtkMRMLScalarVolumeNode]:
    return list(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))


def headCTCandidates() -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Return the volumes of the scene that are not our own heat maps, in the order of the scene."""
    return [node for node in _volumes() if not node.GetAttribute(own_nodes.ROLE) and not node.GetHideFromEditors()]
