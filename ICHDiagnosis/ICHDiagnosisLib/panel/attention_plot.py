"""Slice attention as bars over the original slices, key slices marked; a click on a bar leads to its slice.

Where the result states the slice classifier's values, a lower row of bars shows those of any haemorrhage, on a scale of
their own from 0 to 1.

Painted into a label's pixmap, with an event filter for clicks, tool tips and changes of size: there is no widget class
of our own that PythonQt would have to call back for painting. That PythonQt hands the filter its mouse events as such
is proven in the test host only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import qt

from ..messages import message
from ..result.content import OriginalSlice, percent
from ..scene.segments import KEY_SLICES_COLOUR

LEFT, RIGHT, TOP, BOTTOM = 6, 6, 16, 16
OUTPUT_ROW, _BETWEEN_ROWS = 20, 5
"""Heights in pixels: of the row of the slice classifier's values, and of what separates it from the attention."""
_BAR, _AXIS, _CURRENT = (110, 140, 180), (120, 128, 136), (220, 60, 50)
OUTPUT_COLOUR = (86, 99, 111)
_KEY = KEY_SLICES_COLOUR
_KEY_EDGE = (150, 120, 0)


@dataclass(frozen=True)
class Span:
    """The pixels of one bar: from ``begin`` (included) to ``end`` (not included)."""

    begin: int
    end: int

    @property
    def painted(self) -> int:
        """Width that is painted: one pixel less where bars are wide enough for a gap between them."""
        width = self.end - self.begin
        return width - 1 if width > 3 else width


def spans(width: int, count: int) -> list[Span]:
    """Divide the width of a plot (pixels) among bars, with nothing left between them for a click to fall into."""
    inner = max(width - LEFT - RIGHT, count)
    edges = [LEFT + inner * index // count for index in range(count + 1)]
    return [Span(begin, end) for begin, end in itertools.pairwise(edges)]


def bar_at(x: float, width: int, count: int) -> int | None:
    """Return the bar under a pixel, or None beside them."""
    for index, span in enumerate(spans(width, count)):
        if span.begin <= x < span.end:
            return index
    return None


class AttentionPlot:
    """Paints into a label of the panel.

    Parameters
    ----------
    label : QLabel
        Of fixed height; takes any width.
    on_slice : callable
        Called with the index of the original slice whose bar was clicked.
    """

    def __init__(self, label: qt.QLabel, on_slice: Callable[[int], None]) -> None:
        self._label = label
        self._on_slice = on_slice
        self._slices: tuple[OriginalSlice, ...] = ()
        self._current: int | None = None
        self._filter = _PlotEvents(label, self)
        label.installEventFilter(self._filter)

    def close(self) -> None:
        """Listen to the label no longer."""
        self._label.removeEventFilter(self._filter)

    def show(self, slices: Sequence[OriginalSlice]) -> bool:
        """Show the attention of every original slice; return whether the slice classifier's values are too."""
        self._slices = tuple(slices)
        self._current = None
        self.paint()
        return self._has_outputs

    def set_current(self, index: int | None) -> None:
        """Mark the original slice that the views show."""
        self._current = index
        self.paint()

    def click(self, x: float) -> None:
        """Go to the slice under a pixel, if there is one."""
        found = self._under(x)
        if found is not None:
            self._on_slice(found.index)

    def hint(self, x: float) -> str:
        """State what the bar under a pixel stands for; empty beside the bars."""
        found = self._under(x)
        if found is None:
            return ""
        number, share = found.index + 1, 100 * found.attention
        if found.key_rank is None:
            text = message("slice.attention", number=number, percent=share)
        else:
            text = message("slice.attention_of_key_slice", number=number, percent=share, rank=found.key_rank)
        if found.haemorrhage is None:
            return text
        return message("slice.output", attention=text, probability=percent(found.haemorrhage))

    @property
    def _has_outputs(self) -> bool:
        return any(original.haemorrhage is not None for original in self._slices)

    def _under(self, x: float) -> OriginalSlice | None:
        index = bar_at(x, self._label.width, len(self._slices)) if self._slices else None
        return None if index is None else self._slices[index]

    def paint(self) -> None:
        """Paint at the label's present size."""
        width, height = self._label.width, self._label.height
        if not self._slices or width <= LEFT + RIGHT or height <= TOP + BOTTOM:
            return
        ratio = self._label.devicePixelRatioF()
        pixmap = qt.QPixmap(round(width * ratio), round(height * ratio))
        pixmap.setDevicePixelRatio(ratio)
        pixmap.fill(qt.QColor(255, 255, 255))
        painter = qt.QPainter()
        painter.begin(pixmap)
        bottom = BOTTOM + (OUTPUT_ROW + _BETWEEN_ROWS if self._has_outputs else 0)
        self._paint_bars(painter, width, height - bottom)
        self._paint_outputs(painter, width, height - BOTTOM)
        self._paint_axis(painter, width, height)
        painter.end()
        self._label.setPixmap(pixmap)

    def _paint_bars(self, painter: qt.QPainter, width: int, base: int) -> None:
        highest = max(original.attention for original in self._slices) or 1.0
        for original, span in zip(self._slices, spans(width, len(self._slices)), strict=True):
            length = round((base - TOP) * original.attention / highest)
            is_key = original.key_rank is not None
            colour = _KEY if is_key else _BAR
            painter.fillRect(span.begin, base - length, span.painted, length, qt.QColor(*colour))
            if is_key:
                middle = span.begin + span.painted // 2
                painter.fillRect(span.begin, base - length, span.painted, 2, qt.QColor(*_KEY_EDGE))
                _write(painter, str(original.key_rank), middle, base - length - 3, _KEY_EDGE)

    def _paint_outputs(self, painter: qt.QPainter, width: int, base: int) -> None:
        if self._has_outputs:
            painter.fillRect(LEFT, base - OUTPUT_ROW - _BETWEEN_ROWS, width - LEFT - RIGHT, 1, qt.QColor(*_AXIS))
        for original, span in zip(self._slices, spans(width, len(self._slices)), strict=True):
            if original.haemorrhage is not None:
                length = round(OUTPUT_ROW * original.haemorrhage)
                painter.fillRect(span.begin, base - length, span.painted, length, qt.QColor(*OUTPUT_COLOUR))

    def _paint_axis(self, painter: qt.QPainter, width: int, height: int) -> None:
        base = height - BOTTOM
        painter.fillRect(LEFT, base, width - LEFT - RIGHT, 1, qt.QColor(*_AXIS))
        places = spans(width, len(self._slices))
        last = len(self._slices) - 1
        if self._current is not None:
            here = places[self._current]
            painter.fillRect(here.begin, base + 1, max(here.painted, 2), 3, qt.QColor(*_CURRENT))
        labelled = sorted({0, last, *([] if self._current is None else [self._current])})
        for index in labelled:
            crowded = index in (0, last) and self._current is not None and 0 < abs(index - self._current) <= last * 0.08
            if not crowded:
                colour = _CURRENT if index == self._current else _AXIS
                _write(painter, str(index + 1), (places[index].begin + places[index].end) // 2, height - 2, colour)


def _write(painter: qt.QPainter, text: str, middle: int, base: int, colour: tuple[int, int, int]) -> None:
    """Write a short text around a place, on a base line, without leaving the plot to the left."""
    painter.setPen(qt.QColor(*colour))
    width = painter.fontMetrics().horizontalAdvance(text)
    painter.drawText(max(middle - width // 2, 1), base, text)


class _PlotEvents(qt.QObject):
    """Listens to the label's events and lets all of them pass."""

    def __init__(self, label: qt.QLabel, plot: AttentionPlot) -> None:
        super().__init__(label)
        self._plot = plot

    def eventFilter(self, label: qt.QLabel, event: qt.QEvent) -> bool:  # noqa: N802 - Qt's name
        kind = event.type()
        if kind == qt.QEvent.Resize:
            self._plot.paint()
        elif kind == qt.QEvent.MouseButtonPress:
            self._plot.click(_x(event))
        elif kind == qt.QEvent.ToolTip:
            hint = self._plot.hint(event.pos().x())
            qt.QToolTip.showText(event.globalPos(), hint, label)
        return False


def _x(event: qt.QEvent) -> float:
    """Return where the mouse is, in the label's pixels; Qt 5 and Qt 6 name it differently."""
    return event.position().x() if hasattr(event, "position") else event.localPos().x()
