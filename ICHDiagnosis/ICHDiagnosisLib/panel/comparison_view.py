"""Two past analyses of one patient in the panel: what has changed, beside the two slice views.

Whether both are of one patient is the user's to say, who picks them: the history holds nothing by which it could know.
Where both volumes state a patient ID, these are compared in memory, and different ones are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import qt
import slicer

from ..messages import MessageError, message
from ..result.comparison import (
    TOTAL,
    ComparedFinding,
    ComparedVolume,
    Comparison,
    FindingChange,
    VolumeChange,
    compare,
)
from ..result.content import Finding, Result, millilitres, percent
from ..result.lesions import LesionVolume
from ..scene.patient import patient_of
from ..scene.show_result import show_result
from ..scene.side_by_side import SideBySide
from .findings_table import HEADER_HEIGHT
from .widgets import Tone, Widgets, show_banner

NAME, EARLIER, LATER, CHANGE = range(4)
LoadedResult = tuple[slicer.vtkMRMLScalarVolumeNode, Result]


class ComparisonError(MessageError):
    """The two analyses cannot be compared; the message is one line for the user."""


class ComparisonView:
    """Shows two results side by side.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    """

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        self.views: SideBySide | None = None
        header = ui.comparisonTable.horizontalHeader()
        header.setSectionResizeMode(NAME, qt.QHeaderView.ResizeToContents)
        for column in (EARLIER, LATER):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(CHANGE, qt.QHeaderView.Stretch)
        header.setFixedHeight(HEADER_HEIGHT)
        ui.linkViewsBox.toggled.connect(self._on_link)
        ui.closeComparisonButton.clicked.connect(self.close)
        ui.comparisonFrame.setVisible(False)
        # Of the table's, so that it ends with it.
        self._after_layout = qt.QTimer(ui.comparisonTable)
        self._after_layout.setSingleShot(True)
        self._after_layout.timeout.connect(self._fit_rows)

    def show(self, first: LoadedResult, second: LoadedResult) -> None:
        """Show two results on their volumes, the earlier one on the left.

        Which is earlier is told by the volumes' study dates; without them the order of the arguments holds.

        Raises
        ------
        ComparisonError
            If both are of one volume, or the volumes state different patients, or one has no findings.
        ResultError, GeometryError
            If a result does not lie on its volume.
        """
        notices = _check(first, second)
        dates = [patient_of(node).study_date for node, _result in (first, second)]
        if not all(dates):
            notices.append(message("compare.dates_unknown"))
        earlier, later = (second, first) if all(dates) and dates[1] < dates[0] else (first, second)
        comparison = compare(earlier[1], later[1])
        if not comparison.same_model:
            notices.append(message("compare.other_model"))
        self.close()
        for node, result in (earlier, later):
            show_result(result, node)
        self.views = SideBySide(earlier[0], later[0])
        notices.append(message("compare.by_head_top") if self.views.aligned else message("compare.no_head_top"))
        self._fill(comparison)
        names = (
            message("compare.view_earlier", name=earlier[0].GetName()),
            message("compare.view_later", name=later[0].GetName()),
        )
        self._ui.comparisonTitle.text = " · ".join(names)
        show_banner(self._ui.comparisonLabel, "\n".join(f"⚠ {text}" for text in notices), Tone.WARNING)
        self._ui.linkViewsBox.checked = True
        self._ui.comparisonFrame.setVisible(True)
        # The last column's width is known after the layout.
        self._after_layout.start(0)

    def close(self) -> None:
        """Take the comparison off the panel and bring the views back."""
        if self.views is not None:
            self.views.close()
            self.views = None
        self._ui.comparisonFrame.setVisible(False)

    def _fill(self, comparison: Comparison) -> None:
        rows = [_volume_cells(volume) for volume in comparison.volumes]
        rows += [_finding_cells(finding) for finding in comparison.findings]
        table = self._ui.comparisonTable
        table.setRowCount(len(rows))
        for row, cells in enumerate(rows):
            for column, text in enumerate(cells):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                table.setItem(row, column, item)

    def _fit_rows(self) -> None:
        """Give every row the height that its text needs in the columns as they have become."""
        table = self._ui.comparisonTable
        table.resizeRowsToContents()
        table.setFixedHeight(HEADER_HEIGHT + table.verticalHeader().length() + 4)

    def _on_link(self, linked: bool) -> None:
        if self.views is not None:
            self.views.linked = linked


def _check(first: LoadedResult, second: LoadedResult) -> list[str]:
    """Refuse what cannot be compared; return what the user must make sure of."""
    if first[0] is second[0]:
        raise ComparisonError("compare.same_volume")
    for node, result in (first, second):
        if not result.evaluated:
            raise ComparisonError("compare.not_evaluable", study=node.GetName())
    identifiers = [patient_of(node).identifier for node, _result in (first, second)]
    if not all(identifiers):
        return [message("compare.patient_unknown")]
    if identifiers[0] != identifiers[1]:
        raise ComparisonError("compare.other_patient")
    return []


def _finding_cells(finding: ComparedFinding) -> Sequence[str]:
    change = {
        FindingChange.NEW: message("compare.new"),
        FindingChange.GONE: message("compare.gone"),
        FindingChange.BOTH: message("compare.both"),
        FindingChange.NEITHER: message("compare.neither"),
        FindingChange.NOT_KNOWN: message("compare.not_known"),
    }[finding.change]
    if finding.close_to_threshold:
        change = message("compare.near_threshold", change=change)
    return finding.name, _probability(finding.earlier), _probability(finding.later), change


def _probability(finding: Finding | None) -> str:
    return "–" if finding is None else percent(finding.probability)


def _volume_cells(volume: ComparedVolume) -> Sequence[str]:
    name = message("volume.total") if volume.group == TOTAL else message("volume.group", name=volume.name)
    change = {
        VolumeChange.LARGER: message("compare.larger"),
        VolumeChange.SMALLER: message("compare.smaller"),
        VolumeChange.WITHIN_LIMITS: message("compare.within_limits"),
        VolumeChange.NO_LIMITS: message("compare.no_limits"),
        VolumeChange.NOT_STATED: message("compare.not_stated"),
    }[volume.change]
    difference = volume.difference_ml
    if difference is not None:
        sign = "+" if difference >= 0 else "−"
        change = message("compare.difference_ml", sign=sign, ml=millilitres(abs(difference)), change=change)
    return name, _millilitres(volume.earlier), _millilitres(volume.later), change


def _millilitres(volume: LesionVolume | None) -> str:
    if volume is None:
        return message("compare.none_stated")
    if volume.low_ml is None or volume.high_ml is None:
        return message("compare.volume", ml=millilitres(volume.ml))
    low, high = millilitres(volume.low_ml), millilitres(volume.high_ml)
    return message("compare.volume_limits", ml=millilitres(volume.ml), low=low, high=high)
