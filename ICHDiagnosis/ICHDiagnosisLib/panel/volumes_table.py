"""The table of lesion volumes: compartment in its colour, volume and limits; a click leads to the lesion."""

from __future__ import annotations

from collections.abc import Callable

import qt

from ..messages import message
from ..result.content import millilitres
from ..result.lesions import LesionGroup, Lesions, LesionVolume
from .findings_table import HEADER_HEIGHT, ROW_HEIGHT

NAME, VOLUME, LIMITS = range(3)


class VolumesTable:
    """Fills the table widget of the panel.

    Parameters
    ----------
    table : QTableWidget
        With three columns: compartment, volume, limits.
    on_chosen : callable
        Called with the keys of the compartments whose row was clicked: one, or all for the total.
    """

    def __init__(self, table: qt.QTableWidget, on_chosen: Callable[[tuple[str, ...]], None]) -> None:
        self._table = table
        self._on_chosen = on_chosen
        self._groups: list[tuple[str, ...]] = []
        header = table.horizontalHeader()
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        for column in (VOLUME, LIMITS):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setFixedHeight(HEADER_HEIGHT)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        table.cellClicked.connect(self._on_cell)

    def show(self, lesions: Lesions | None) -> None:
        """Show one row per volume, the total first; no table where there is nothing to state."""
        self._table.setVisible(lesions is not None)
        self._groups = []
        if lesions is None:
            return
        every_group = tuple(group.key for group in lesions.groups)
        limits = qt.QTableWidgetItem(message("volume.limits_header", percent=round(100 * lesions.level, 1)))
        self._table.setHorizontalHeaderItem(LIMITS, limits)
        # A lesion without a stated volume still has a row: the way to it.
        rows: list[LesionVolume | None] = [*lesions.volumes] if lesions.volumes else [None]
        self._table.setRowCount(len(rows))
        for row, volume in enumerate(rows):
            if volume is None:
                self._groups.append(every_group)
                self._fill_without_volume(row, lesions)
            else:
                self._groups.append((volume.group,) if lesions.group(volume.group) else every_group)
                self._fill(row, volume, lesions)
        self._table.clearSelection()
        self._table.setFixedHeight(HEADER_HEIGHT + ROW_HEIGHT * len(rows) + 4)

    def _fill_without_volume(self, row: int, lesions: Lesions) -> None:
        group = next(iter(lesions.groups), None)
        name = message("volume.total") if group is None else message("volume.group", name=group.name)
        texts = {NAME: name, VOLUME: message("volume.left_out"), LIMITS: ""}
        self._set_row(row, texts, f"{lesions.volumes_left_out or ''} {message('volume.go')}".strip(), group)

    def _fill(self, row: int, volume: LesionVolume, lesions: Lesions) -> None:
        group = lesions.group(volume.group)
        name = message("volume.total") if group is None else message("volume.group", name=group.name)
        limits = message("volume.no_limits")
        if volume.low_ml is not None and volume.high_ml is not None:
            limits = message("volume.limits", low=millilitres(volume.low_ml), high=millilitres(volume.high_ml))
        texts = {NAME: name, VOLUME: message("volume.ml", ml=millilitres(volume.ml)), LIMITS: limits}
        hint = message("volume.hint")
        if lesions.spacing_assumed:
            hint += f" {message('volume.spacing_assumed')}"
        self._set_row(row, texts, hint, group)

    def _set_row(self, row: int, texts: dict[int, str], hint: str, group: LesionGroup | None) -> None:
        for column, text in texts.items():
            item = qt.QTableWidgetItem(text)
            item.setToolTip(hint)
            if column == NAME and group is not None:
                swatch = qt.QPixmap(10, 10)
                swatch.fill(qt.QColor(*group.colour))
                item.setIcon(qt.QIcon(swatch))
            if column != NAME:
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            if group is None:
                font = item.font()
                font.setBold(True)
                item.setFont(font)
            self._table.setItem(row, column, item)

    def _on_cell(self, row: int, _column: int) -> None:
        self._on_chosen(self._groups[row])
