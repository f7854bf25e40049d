"""The table of findings: probability against threshold as a bar, and a click that leads to the finding.

The bars are painted into pixmaps and shown by labels: PythonQt's item delegates in Python are fragile. That clicks pass
through the labels to the table is proven in the test host only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt

from ..messages import message
from ..result.content import Finding, percent

NAME, BAR, PERCENT, THRESHOLD, RESULT = range(5)
BAR_WIDTH, BAR_HEIGHT = 76, 14
ROW_HEIGHT, HEADER_HEIGHT = 22, 24
_TRACK, _NEGATIVE, _TICK = (222, 226, 230), (140, 150, 160), (30, 34, 38)


class FindingsTable:
    """Fills the table widget of the panel.

    Parameters
    ----------
    table : QTableWidget
        With five columns: finding, bar, probability, threshold, result.
    on_chosen : callable
        Called with the key of the finding whose row was clicked.
    """

    def __init__(self, table: qt.QTableWidget, on_chosen: Callable[[str], None]) -> None:
        self._table = table
        self._on_chosen = on_chosen
        self._keys: list[str] = []
        header = table.horizontalHeader()
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        for column in (BAR, PERCENT, THRESHOLD, RESULT):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(BAR, qt.QHeaderView.Fixed)
        table.setColumnWidth(BAR, BAR_WIDTH + 8)
        header.setFixedHeight(HEADER_HEIGHT)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        table.cellClicked.connect(self._on_cell)

    def show(self, findings: Sequence[Finding]) -> None:
        """Show one row per finding, in the order of the vocabulary, without scroll bars."""
        self._keys = [finding.key for finding in findings]
        self._table.setRowCount(len(findings))
        for row, finding in enumerate(findings):
            self._fill(row, finding)
        self._table.clearSelection()
        self._table.setFixedHeight(HEADER_HEIGHT + ROW_HEIGHT * len(findings) + 4)

    def select(self, key: str) -> None:
        """Highlight the row of a finding."""
        if key in self._keys:
            self._table.selectRow(self._keys.index(key))

    def _fill(self, row: int, finding: Finding) -> None:
        result = message("finding.positive") if finding.positive else message("finding.negative")
        texts = {
            NAME: finding.short_name,
            BAR: "",
            PERCENT: percent(finding.probability),
            THRESHOLD: percent(finding.threshold) + ("*" if finding.default_threshold else ""),
            RESULT: message("finding.close", result=result) if finding.close_to_threshold else result,
        }
        hint = message("finding.hint", name=finding.name, probability=finding.probability, threshold=finding.threshold)
        if finding.default_threshold:
            hint += f" {message('finding.default_threshold')}"
        for column, text in texts.items():
            item = qt.QTableWidgetItem(text)
            item.setToolTip(hint)
            if column in (PERCENT, THRESHOLD):
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            if finding.positive:
                font = item.font()
                font.setBold(True)
                item.setFont(font)
            self._table.setItem(row, column, item)
        label = self._table.cellWidget(row, BAR)
        if label is None:
            label = qt.QLabel()
            label.setAlignment(qt.Qt.AlignCenter)
            label.setAttribute(qt.Qt.WA_TransparentForMouseEvents)
            self._table.setCellWidget(row, BAR, label)
        label.setPixmap(probability_bar(finding, self._table.devicePixelRatioF()))

    def _on_cell(self, row: int, _column: int) -> None:
        self._on_chosen(self._keys[row])


def probability_bar(finding: Finding, pixel_ratio: float = 1.0) -> qt.QPixmap:
    """Paint a probability as a bar, in the finding's colour where it is positive, with a tick at the threshold."""
    pixmap = qt.QPixmap(round(BAR_WIDTH * pixel_ratio), round(BAR_HEIGHT * pixel_ratio))
    pixmap.setDevicePixelRatio(pixel_ratio)
    painter = qt.QPainter()
    painter.begin(pixmap)
    painter.fillRect(0, 0, BAR_WIDTH, BAR_HEIGHT, qt.QColor(*_TRACK))
    colour = finding.colour if finding.positive else _NEGATIVE
    painter.fillRect(0, 0, round(BAR_WIDTH * finding.probability), BAR_HEIGHT, qt.QColor(*colour))
    tick = min(round(BAR_WIDTH * finding.threshold), BAR_WIDTH - 2)
    painter.fillRect(tick, 0, 2, BAR_HEIGHT, qt.QColor(*_TICK))
    painter.end()
    return pixmap
