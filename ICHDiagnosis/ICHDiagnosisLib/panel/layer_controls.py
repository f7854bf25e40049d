"""What is laid over the CT: the attribution map's label, opacity and threshold, and all layers on or off."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from ..parameters import Parameters
from ..result.content import Result
from ..scene import layers
from ..scene.layers import ShownResult
from ..scene.views import set_brain_window
from .widgets import Widgets


class LayerControls:
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
        ui.attributionBox.currentIndexChanged.connect(self._on_attribution_map)
        ui.opacitySlider.valueChanged.connect(self._on_attribution_map)
        ui.thresholdSlider.valueChanged.connect(self._on_attribution_map)
        ui.layersButton.toggled.connect(self._on_layers)
        ui.brainWindowButton.clicked.connect(self._on_brain_window)
        ui.negativeMapsBox.toggled.connect(self._on_negative_maps)

    def show(self, input_node: slicer.vtkMRMLScalarVolumeNode, shown: ShownResult, result: Result) -> None:
        """Show the state that the layers have on the scene, and change nothing there."""
        self._input = input_node
        with_map = [finding for finding in result.findings if finding.key in shown.attribution_maps]
        if not self._ui.negativeMapsBox.checked:
            # A map that is on the scene already, of an earlier choice, can still be taken off.
            with_map = [finding for finding in with_map if finding.positive or finding.key == shown.attribution_label]
        box = self._ui.attributionBox
        blocked = box.blockSignals(True)
        while box.count > 1:
            box.removeItem(1)
        for finding in with_map:
            box.addItem(finding.short_name, finding.key)
        box.blockSignals(blocked)
        self.refresh(shown)

    def refresh(self, shown: ShownResult) -> None:
        """Follow a change that was made to the layers elsewhere."""
        ui = self._ui
        widgets = (ui.attributionBox, ui.opacitySlider, ui.thresholdSlider, ui.layersButton)
        blocked = [widget.blockSignals(True) for widget in widgets]
        keys = [ui.attributionBox.itemData(index) for index in range(ui.attributionBox.count)]
        ui.attributionBox.currentIndex = keys.index(shown.attribution_label) if shown.attribution_label in keys else 0
        ui.opacitySlider.value = round(100 * shown.opacity)
        ui.thresholdSlider.value = shown.threshold
        ui.layersButton.checked = shown.layers_visible
        for widget, before in zip(widgets, blocked, strict=True):
            widget.blockSignals(before)

    def clear(self) -> None:
        """Forget the result: its volume is no longer shown."""
        self._input = None

    def toggle_layers(self) -> None:
        """Show or hide all layers, as the button does."""
        if self._still_shown() is not None:
            self._ui.layersButton.toggle()

    def show_map_of(self, label: str | None) -> None:
        """Show the CT in the brain window, with the attribution map of a label (or none) as the user likes it.

        A negative finding has its map shown only if the user has asked for such maps.
        """
        parameters, shown = self._parameters(), self._still_shown()
        if self._input is None or shown is None or parameters is None:
            return
        chosen = label if label in shown.attribution_maps else None
        if chosen is not None and not (shown.result.finding(chosen).positive or self._ui.negativeMapsBox.checked):
            chosen = None
        set_brain_window(self._input)
        layers.toggle_layers(self._input, True)
        layers.set_attribution_map(self._input, chosen, parameters.opacity, parameters.mapThreshold)
        self.refresh(shown)

    def _on_attribution_map(self, *_value: object) -> None:
        parameters = self._parameters()
        if self._input is None or self._still_shown() is None or parameters is None:
            return
        box = self._ui.attributionBox
        label = box.itemData(box.currentIndex) if box.currentIndex > 0 else None
        opacity, threshold = self._ui.opacitySlider.value / 100, self._ui.thresholdSlider.value
        layers.set_attribution_map(self._input, label, opacity, threshold)
        with slicer.util.NodeModify(parameters):
            parameters.opacity, parameters.mapThreshold = opacity, threshold

    def _on_negative_maps(self, asked: bool) -> None:
        shown = self._still_shown()
        if self._input is None or shown is None:
            return
        label = shown.attribution_label
        if not asked and label is not None and not shown.result.finding(label).positive:
            layers.set_attribution_map(self._input, None, shown.opacity, shown.threshold)
            shown = layers.required_result(self._input)
        self.show(self._input, shown, shown.result)

    def _on_layers(self, visible: bool) -> None:
        if self._input is not None and self._still_shown() is not None:
            layers.toggle_layers(self._input, visible)

    def _on_brain_window(self) -> None:
        if self._input is not None and self._still_shown() is not None:
            set_brain_window(self._input)

    def _still_shown(self) -> ShownResult | None:
        """Return the result as the scene has it now: the user may have removed its nodes by hand."""
        return None if self._input is None else layers.shown_result(self._input)
