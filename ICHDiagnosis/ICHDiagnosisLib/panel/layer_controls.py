"""What is laid over the CT: the heat map's label, opacity and level, and all layers on or off."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from ..parameters import Parameters
from ..result.content import Result
from ..scene import show_result as scene
from ..scene.show_result import ShownResult
from .banner import Widgets
from .findings_table import tableName


class EvidenceControls:
    """Ties the widgets below the plot to the layers on the scene; what was chosen last is kept for the next result.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    parameters : callable
        Returns the parameters of the scene, or None.
    """

    def __init__(self, ui: Widgets, parameters: Callable[[], Parameters | None]) -> None:
        self._ui = ui
        self._parameters = parameters
        self._input: slicer.vtkMRMLScalarVolumeNode | None = None
        ui.heatMapBox.currentIndexChanged.connect(self._onHeatMap)
        ui.opacitySlider.valueChanged.connect(self._onHeatMap)
        ui.levelSlider.valueChanged.connect(self._onHeatMap)
        ui.layersButton.toggled.connect(self._onLayers)
        ui.brainWindowButton.clicked.connect(self._onBrainWindow)

    def show(self, inputNode: slicer.vtkMRMLScalarVolumeNode, shown: ShownResult, result: Result) -> None:
        """Show the state that the layers have on the scene, and change nothing there."""
        self._input = inputNode
        withMap = [finding for finding in result.findings if finding.key in shown.heatMapNodes]
        box = self._ui.heatMapBox
        blocked = box.blockSignals(True)
        while box.count > 1:
            box.removeItem(1)
        for finding in withMap:
            box.addItem(tableName(finding), finding.key)
        box.blockSignals(blocked)
        self.refresh(shown)

    def refresh(self, shown: ShownResult) -> None:
        """Follow a change that was made to the layers elsewhere."""
        ui = self._ui
        widgets = (ui.heatMapBox, ui.opacitySlider, ui.levelSlider, ui.layersButton)
        blocked = [widget.blockSignals(True) for widget in widgets]
        keys = [ui.heatMapBox.itemData(index) for index in range(ui.heatMapBox.count)]
        ui.heatMapBox.currentIndex = keys.index(shown.heatMapLabel) if shown.heatMapLabel in keys else 0
        ui.opacitySlider.value = round(100 * shown.opacity)
        ui.levelSlider.value = shown.level
        ui.layersButton.checked = shown.layersVisible
        for widget, before in zip(widgets, blocked, strict=True):
            widget.blockSignals(before)

    def clear(self) -> None:
        """Forget the result: its volume is no longer looked at."""
        self._input = None

    def toggleLayers(self) -> None:
        """Show or hide all layers, as the button does."""
        if self._stillShown() is not None:
            self._ui.layersButton.toggle()

    def lookAt(self, label: str | None) -> None:
        """Show the CT in the brain window with the heat map of a label (or none) at the chosen opacity and level."""
        parameters, shown = self._parameters(), self._stillShown()
        if self._input is None or shown is None or parameters is None:
            return
        chosen = label if label in shown.heatMapNodes else None
        scene.setBrainWindow(self._input)
        scene.toggleLayers(self._input, True)
        scene.setHeatMap(self._input, chosen, parameters.opacity, parameters.level)
        parameters.heatMapLabel = chosen or ""
        self.refresh(shown)

    def _onHeatMap(self, *_value: object) -> None:
        parameters = self._parameters()
        if self._input is None or self._stillShown() is None or parameters is None:
            return
        box = self._ui.heatMapBox
        label = box.itemData(box.currentIndex) if box.currentIndex > 0 else None
        opacity, level = self._ui.opacitySlider.value / 100, self._ui.levelSlider.value
        scene.setHeatMap(self._input, label, opacity, level)
        parameters.heatMapLabel, parameters.opacity, parameters.level = label or "", opacity, level

    def _onLayers(self, visible: bool) -> None:
        if self._input is not None and self._stillShown() is not None:
            scene.toggleLayers(self._input, visible)

    def _onBrainWindow(self) -> None:
        if self._input is not None and self._stillShown() is not None:
            scene.setBrainWindow(self._input)

    def _stillShown(self) -> ShownResult | None:
        """Return the result as the scene has it now: the person may have removed its nodes by hand."""
        return None if self._input is None else scene.shownResult(self._input)
