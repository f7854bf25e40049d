"""Stepping through key slices, and going to any original slice: the attention plot, two buttons, two keys."""

from __future__ import annotations

import slicer

from ..messages import message
from ..result.content import OriginalSlice, Result
from ..scene.layers import shown_result
from ..scene.slice_positions import jump_to_slice
from .attention_plot import AttentionPlot
from .widgets import Widgets


class SliceNavigation:
    """Moves the slice views over the original slices of one result.

    Key slices are stepped through in the order of the stack, as a reader scrolls, and round again at its ends.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    """

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        self._input: slicer.vtkMRMLScalarVolumeNode | None = None
        self._key_slices: list[OriginalSlice] = []
        self._current: int | None = None
        self.plot = AttentionPlot(ui.attentionPlot, self.go_to)
        ui.previousButton.clicked.connect(self.previous)
        ui.nextButton.clicked.connect(self.next)

    @property
    def current(self) -> int | None:
        """Index of the original slice that was gone to last."""
        return self._current

    def show(self, input_node: slicer.vtkMRMLScalarVolumeNode, result: Result) -> None:
        """Take up a result without moving the views."""
        self._input = input_node
        self._key_slices = sorted(result.key_slices, key=lambda key_slice: key_slice.index)
        for button in (self._ui.previousButton, self._ui.nextButton):
            button.setEnabled(bool(self._key_slices))
        self._ui.plotTitle.text = message("plot.hint_with_outputs" if self.plot.show(result.slices) else "plot.hint")
        self.show_place(None)

    def clear(self) -> None:
        """Forget the result: its volume is no longer shown."""
        self._input, self._key_slices, self._current = None, [], None

    def go_to(self, index: int) -> None:
        """Bring the views to an original slice."""
        if self._input is None or shown_result(self._input) is None:
            return
        jump_to_slice(self._input, index)
        self.show_place(index)

    def go_to_first_key_slice(self) -> None:
        """Bring the views to the key slice with the most attention."""
        if self._key_slices:
            self.go_to(min(self._key_slices, key=lambda key_slice: key_slice.key_rank or 0).index)

    def next(self) -> None:
        """Go to the next key slice of the stack, after the last one to the first."""
        self._step(1)

    def previous(self) -> None:
        """Go to the key slice before, before the first one to the last."""
        self._step(-1)

    def show_place(self, index: int | None) -> None:
        """Show at which original slice the views are, without moving them."""
        self._current = index
        self.plot.set_current(index)
        self._ui.sliceLabel.text = self._place()

    def _step(self, direction: int) -> None:
        indices = [key_slice.index for key_slice in self._key_slices]
        if not indices:
            return
        if self._current is None:
            self.go_to_first_key_slice()
            return
        ahead = [index for index in indices if (index - self._current) * direction > 0]
        if direction > 0:
            self.go_to(min(ahead, default=indices[0]))
        else:
            self.go_to(max(ahead, default=indices[-1]))

    def _place(self) -> str:
        count = len(self._key_slices)
        if not count:
            return message("slice.no_key_slices")
        if self._current is None:
            return message("slice.key_slices", count=count)
        for place, key_slice in enumerate(self._key_slices, start=1):
            if key_slice.index == self._current:
                return message("slice.key_slice", number=key_slice.index + 1, place=place, count=count)
        return message("slice.number", number=self._current + 1)
