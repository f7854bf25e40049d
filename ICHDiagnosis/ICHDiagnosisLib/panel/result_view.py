"""One result in the panel: impression, warnings, findings, plot and layers; or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import slicer

from ..messages import message
from ..parameters import Parameters
from ..result.content import Certainty, Result
from ..scene.layers import ShownResult, shown_result
from ..scene.slice_positions import jump_to_finding, jump_to_lesion
from .findings_table import FindingsTable
from .layer_controls import LayerControls
from .slice_navigation import SliceNavigation
from .volumes_table import VolumesTable
from .widgets import Tone, Widgets, show_banner

_TONES = {Certainty.POSITIVE: Tone.PROBLEM, Certainty.BORDERLINE: Tone.WARNING, Certainty.NEGATIVE: Tone.QUIET}


class ResultView:
    """Shows the result that the scene holds of one volume.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    parameters : callable
        Returns the parameters of the scene, or None.
    """

    def __init__(self, ui: Widgets, parameters: Callable[[], Parameters | None]) -> None:
        self._ui = ui
        self._input: slicer.vtkMRMLScalarVolumeNode | None = None
        self._result: Result | None = None
        self.table = FindingsTable(ui.findingsTable, self.go_to_finding)
        self.volumes = VolumesTable(ui.volumesTable, self.go_to_lesion)
        self.navigation = SliceNavigation(ui)
        self.layers = LayerControls(ui, parameters)
        self.clear()

    @property
    def result(self) -> Result | None:
        """The result that is shown; without its folder, for the scene does not carry that."""
        return self._result

    @property
    def input_node(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume whose result is shown."""
        return self._input

    def show(self, input_node: slicer.vtkMRMLScalarVolumeNode, shown: ShownResult, notices: Sequence[str] = ()) -> None:
        """Show a result that is on the scene; nothing of the scene is changed.

        Parameters
        ----------
        input_node : vtkMRMLScalarVolumeNode
            Its volume.
        shown : ShownResult
            Its nodes.
        notices : sequence of str
            What else the user should know.
        """
        result = shown.result
        self._input, self._result = input_node, result
        ui = self._ui
        self._show_impression(result)
        warnings = [notice.message for notice in result.study.quality]
        warnings += [shown.caveat] if shown.caveat else []
        show_banner(ui.warningLabel, "\n".join(f"⚠ {text}" for text in [*warnings, *notices]), Tone.WARNING)
        ui.provenanceLabel.text = _provenance_line(result)
        ui.evaluatedFrame.setVisible(result.evaluated)
        ui.resultSection.setVisible(True)
        if result.evaluated:
            self.table.show(result.findings)
            self.volumes.show(result.stated_lesions)
            self.navigation.show(input_node, result)
            self.layers.show(input_node, shown, result)

    def clear(self) -> None:
        """Show no result."""
        self._input = self._result = None
        self.navigation.clear()
        self.layers.clear()
        self._ui.resultSection.setVisible(False)

    def go_to_leading_finding(self) -> None:
        """Go where a reader would begin: to the lesion, else to the likeliest positive finding, else to key slice 1."""
        shown = None if self._input is None else shown_result(self._input)
        if shown is None or self._result is None or not self._result.evaluated:
            return
        lesions = self._result.stated_lesions
        if shown.attribution_label is not None:
            self.go_to_finding(shown.attribution_label)
        elif lesions is not None:
            self.layers.show_map_of(None)
            self.go_to_lesion(tuple(group.key for group in lesions.groups))
        else:
            self.layers.show_map_of(None)
            self.navigation.go_to_first_key_slice()

    def go_to_lesion(self, groups: tuple[str, ...]) -> None:
        """Go to the lesion of some compartments, where it is largest; layers stay as they are."""
        if self._input is None or shown_result(self._input) is None:
            return
        index = jump_to_lesion(self._input, groups)
        if index is None:
            self.navigation.go_to_first_key_slice()
        else:
            self.navigation.show_place(index)

    def go_to_finding(self, key: str) -> None:
        """Go to a finding in the brain window: to its lesion where there is one, else to its strongest evidence.

        Beside a lesion's contour the attribution map stays off until it is chosen.
        """
        shown = None if self._input is None else shown_result(self._input)
        if shown is None or self._result is None:
            return
        self.table.select(key)
        lesions = self._result.stated_lesions
        if lesions is not None and shown.attribution_label is None:
            self.layers.show_map_of(None)
            groups = tuple(group.key for group in lesions.groups if key in group.labels)
            self.go_to_lesion(groups or tuple(group.key for group in lesions.groups))
            return
        self.layers.show_map_of(key)
        if key in shown.attribution_maps:
            self.navigation.show_place(jump_to_finding(self._input, key))
        else:
            self.navigation.go_to_first_key_slice()

    def _show_impression(self, result: Result) -> None:
        label, impression = self._ui.impressionLabel, result.impression
        if impression is not None:
            show_banner(label, impression.text, _TONES[impression.certainty])
            self._ui.cautionLabel.text = impression.caution
        elif result.reason is not None:
            show_banner(label, message("result.not_evaluable", reason=result.reason.message), Tone.WARNING)
            self._ui.cautionLabel.text = message("result.not_evaluable_caution")


def _provenance_line(result: Result) -> str:
    parts = [f"{result.model.name} {result.model.version}", result.model.network]
    if result.operating_point:
        parts.append(message("result.operating_point", name=result.operating_point))
    if result.device:
        parts.append(result.device)
    # "total" is the sum of the stages, which some results state beside them.
    seconds = sum(time for stage, time in result.seconds.items() if stage != "total")
    if seconds:
        parts.append(message("result.seconds", seconds=seconds))
    return " · ".join(parts)
