"""Findings, slice attention and the slices' labels as table nodes, the attention plot, and the provenance as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import slicer
import vtk

from ..messages import message
from ..result.content import Considered, Finding, OriginalSlice, Result
from ..result.lesions import Code, Lesions
from . import result_nodes
from .segments import KEY_SLICES_COLOUR

ATTENTION_COLOUR = (110, 140, 180)


def slice_column() -> str:
    """Return the name of the column that counts original slices."""
    return message("table.slice")


def attention_column() -> str:
    """Return the name of the column of attention weights in percent."""
    return message("table.attention")


def slice_output_column(finding: Finding) -> str:
    """Return the name of the column of the slice classifier's values for one label in percent."""
    return message("table.slice_output", label=finding.short_name)


def show_findings(result: Result, input_node: slicer.vtkMRMLVolumeNode) -> None:
    """Write the findings into a table node: one row per label, in the order of the vocabulary."""
    name = message("node.findings", name=input_node.GetName())
    table = result_nodes.provide_node("vtkMRMLTableNode", input_node, result_nodes.FINDINGS, name)
    findings = result.findings
    _fill(
        table,
        {
            message("table.finding"): [finding.name for finding in findings],
            message("table.probability"): [finding.probability for finding in findings],
            message("table.threshold"): [finding.threshold for finding in findings],
            message("table.positive"): [_yes_or_no(finding.positive) for finding in findings],
            message("table.finding_code"): [_code_text(finding.finding) for finding in findings],
            message("table.region_code"): [_region_text(finding) for finding in findings],
            message("table.label"): [finding.key for finding in findings],
            message("table.default_threshold"): [_yes_or_no(finding.default_threshold) for finding in findings],
        },
    )


def show_volumes(lesions: Lesions, input_node: slicer.vtkMRMLVolumeNode) -> None:
    """Write the volumes of lesions into a table node, ml: the total first; limits that were not measured are NaN."""
    name = message("node.volumes", name=input_node.GetName())
    table = result_nodes.provide_node("vtkMRMLTableNode", input_node, result_nodes.LESION_VOLUMES, name)
    groups = [lesions.group(volume.group) for volume in lesions.volumes]
    _fill(
        table,
        {
            message("table.compartment"): [
                message("volume.total") if group is None else group.name for group in groups
            ],
            message("table.volume"): [volume.ml for volume in lesions.volumes],
            message("table.low"): [math.nan if volume.low_ml is None else volume.low_ml for volume in lesions.volumes],
            message("table.high"): [
                math.nan if volume.high_ml is None else volume.high_ml for volume in lesions.volumes
            ],
        },
    )


def _yes_or_no(value: bool) -> str:
    return message("table.yes") if value else message("table.no")


def _region_text(finding: Finding) -> str:
    codes = [finding.region, *([] if finding.region_modifier is None else [finding.region_modifier])]
    return ", ".join(map(_code_text, codes))


def _code_text(code: Code) -> str:
    return f"{code.scheme} {code.value} {code.meaning}"


def show_attention(result: Result, input_node: slicer.vtkMRMLVolumeNode) -> None:
    """Write slice attention and the slices' labels into table nodes; plot the attention, key slices marked."""
    name = input_node.GetName()
    every_slice = result_nodes.provide_node(
        "vtkMRMLTableNode", input_node, result_nodes.ATTENTION, message("node.attention", name=name)
    )
    _fill(every_slice, _slice_columns(result, result.slices))
    key_slices = result_nodes.provide_node(
        "vtkMRMLTableNode", input_node, result_nodes.KEY_SLICES, message("node.key_slices", name=name)
    )
    ranks = [key_slice.key_rank or 0 for key_slice in result.key_slices]
    _fill(key_slices, {**_slice_columns(result, result.key_slices), message("table.rank"): ranks})
    _plot(input_node, every_slice, key_slices)


def _slice_columns(result: Result, slices: Sequence[OriginalSlice]) -> dict[str, Sequence[str | float]]:
    """Lay out slices; a column per label where the slice classifier's values are known, NaN where a slice has none."""
    columns: dict[str, Sequence[str | float]] = {
        slice_column(): [original.index for original in slices],
        message("table.position"): [original.position_mm for original in slices],
        attention_column(): [100 * original.attention for original in slices],
    }
    if all(original.probabilities is None for original in result.slices):
        return columns
    for finding in result.findings:
        columns[slice_output_column(finding)] = [
            math.nan if original.probabilities is None else 100 * original.probabilities[finding.key]
            for original in slices
        ]
    return columns


def _plot(
    input_node: slicer.vtkMRMLVolumeNode, every_slice: slicer.vtkMRMLTableNode, key_slices: slicer.vtkMRMLTableNode
) -> None:
    series = slicer.vtkMRMLPlotSeriesNode
    bars = _series(input_node, result_nodes.ATTENTION_SERIES, message("plot.attention"), every_slice, ATTENTION_COLOUR)
    bars.SetPlotType(series.PlotTypeScatterBar)
    marks = _series(
        input_node, result_nodes.KEY_SLICE_SERIES, message("plot.key_slices"), key_slices, KEY_SLICES_COLOUR
    )
    marks.SetPlotType(series.PlotTypeScatter)
    marks.SetLineStyle(series.LineStyleNone)
    marks.SetMarkerStyle(series.MarkerStyleDiamond)
    marks.SetMarkerSize(12)
    name = message("node.attention", name=input_node.GetName())
    chart = result_nodes.provide_node("vtkMRMLPlotChartNode", input_node, result_nodes.CHART, name)
    chart.RemoveAllPlotSeriesNodeIDs()
    chart.AddAndObservePlotSeriesNodeID(bars.GetID())
    chart.AddAndObservePlotSeriesNodeID(marks.GetID())
    chart.SetTitle(message("plot.title"))
    chart.SetXAxisTitle(message("plot.slices"))
    chart.SetYAxisTitle(attention_column())
    chart.SetLegendVisibility(True)


def _series(
    input_node: slicer.vtkMRMLVolumeNode,
    role: str,
    name: str,
    table: slicer.vtkMRMLTableNode,
    colour: tuple[int, int, int],
) -> slicer.vtkMRMLPlotSeriesNode:
    # A series' name is what the chart's legend shows.
    series = result_nodes.provide_node("vtkMRMLPlotSeriesNode", input_node, role, name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(slice_column())
    series.SetYColumnName(attention_column())
    series.SetColor(*(channel / 255 for channel in colour))
    return series


def _fill(table: slicer.vtkMRMLTableNode, columns: dict[str, Sequence[str | float]]) -> None:
    """Replace a table's columns; a saved scene keeps their types."""
    was_modifying = table.StartModify()
    table.RemoveAllColumns()
    for name, values in columns.items():
        column = _column(values)
        column.SetName(name)
        table.AddColumn(column)
    table.SetUseColumnTitleAsColumnHeader(True)
    table.SetLocked(True)
    table.EndModify(was_modifying)


def _column(values: Sequence[str | float]) -> vtk.vtkAbstractArray:
    if any(isinstance(value, str) for value in values):
        column = vtk.vtkStringArray()
    elif all(isinstance(value, int) for value in values):
        column = vtk.vtkIntArray()
    else:
        column = vtk.vtkDoubleArray()
    for value in values:
        column.InsertNextValue(value)
    return column


def show_provenance(result: Result, input_node: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLTextNode:
    """Write where the result came from into a text node, and the whole result into another, hidden one (returned)."""
    name = input_node.GetName()
    text = result_nodes.provide_node(
        "vtkMRMLTextNode", input_node, result_nodes.PROVENANCE, message("node.provenance", name=name)
    )
    text.SetText(provenance(result))
    document = result_nodes.provide_node(
        "vtkMRMLTextNode", input_node, result_nodes.DOCUMENT, message("node.document", name=name)
    )
    document.SetHideFromEditors(True)
    document.SetText(result.document)
    return document


def provenance(result: Result) -> str:
    """State in plain lines which model computed what of which study, on which device, at which thresholds."""
    model, study, none = result.model, result.study, message("provenance.none")
    lines = [
        model.notice,
        "",
        message(
            "provenance.model",
            name=model.name,
            version=model.version,
            network=model.network,
            trained_on=model.trained_on,
        ),
        *(message("provenance.weights", name=name, digest=digest) for name, digest in model.weights_sha256.items()),
        message("provenance.device", device=result.device or none, precision=result.precision or none),
        message("provenance.views", views=_views(result.mirrored_views)),
        message(
            "provenance.study", name=study.source_name, series=study.series_uid or none, slices=study.slices or none
        ),
        *(message("provenance.quality", warning=warning.message) for warning in study.quality),
        *(_considered_line(line) for line in study.considered),
        message("provenance.operating_point", name=result.operating_point or none),
        *(_finding_line(finding) for finding in result.findings),
    ]
    if result.impression is not None:
        lines.append(message("provenance.impression", impression=result.impression.text))
    if result.reason is not None:
        lines.append(message("result.not_evaluable", reason=result.reason.message))
    return "\n".join([*lines, "", message("provenance.evidence")])


def _views(mirrored: bool | None) -> str:
    if mirrored is None:
        return message("provenance.none")
    return message("provenance.both_sides" if mirrored else "provenance.one_side")


def _considered_line(line: Considered) -> str:
    if line.outcome == "read":
        return message("provenance.read", item=line.item, reason=line.reason).strip()
    return message("provenance.passed_over", item=line.item, reason=line.reason)


def _finding_line(finding: Finding) -> str:
    outcome = message("finding.positive") if finding.positive else message("finding.negative")
    values = {"probability": finding.probability, "threshold": finding.threshold, "outcome": outcome}
    if finding.default_threshold:
        return message("provenance.finding_at_default", name=finding.name, **values)
    return message("provenance.finding", name=finding.name, **values)
