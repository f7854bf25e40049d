"""Findings and slice attention as table nodes, the attention plot, and the provenance as text."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import vtk

from ..result.content import Result
from . import result_nodes
from .segments import KEY_SLICES_COLOUR

SLICE_COLUMN = "Slice index"
ATTENTION_COLUMN = "Attention (%)"
ATTENTION_COLOUR = (110, 140, 180)


def show_findings(result: Result, input_node: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLTableNode:
    """Write the findings into a table node: one row per label, in the order of the vocabulary."""
    name = f"{input_node.GetName()}: ICHDiagnosis findings"
    table = result_nodes.provide_node("vtkMRMLTableNode", input_node, result_nodes.FINDINGS, name)
    _fill(
        table,
        {
            "Finding": [finding.name for finding in result.findings],
            "Probability": [finding.probability for finding in result.findings],
            "Threshold": [finding.threshold for finding in result.findings],
            "Positive": ["yes" if finding.positive else "no" for finding in result.findings],
            "Finding code": [f"{f.finding.scheme} {f.finding.value} {f.finding.meaning}" for f in result.findings],
            "Region code": [f"{f.region.scheme} {f.region.value} {f.region.meaning}" for f in result.findings],
            "Label": [finding.key for finding in result.findings],
            "Threshold chosen": ["yes" if finding.threshold_chosen else "no" for finding in result.findings],
        },
    )
    return table


def show_attention(result: Result, input_node: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLPlotChartNode:
    """Write slice attention into table nodes and plot it, key slices marked."""
    name = input_node.GetName()
    every_slice = result_nodes.provide_node(
        "vtkMRMLTableNode", input_node, result_nodes.ATTENTION, f"{name}: ICHDiagnosis slice attention"
    )
    _fill(
        every_slice,
        {
            SLICE_COLUMN: [s.index for s in result.slices],
            "Position (mm)": [s.position_mm for s in result.slices],
            ATTENTION_COLUMN: [100 * s.attention for s in result.slices],
            "Read": ["yes" if s.read else "no" for s in result.slices],
        },
    )
    key_slices = result_nodes.provide_node(
        "vtkMRMLTableNode", input_node, result_nodes.KEY_SLICES, f"{name}: ICHDiagnosis key slices"
    )
    _fill(
        key_slices,
        {
            SLICE_COLUMN: [s.index for s in result.key_slices],
            "Position (mm)": [s.position_mm for s in result.key_slices],
            ATTENTION_COLUMN: [100 * s.attention for s in result.key_slices],
            "Rank": [s.key_rank or 0 for s in result.key_slices],
        },
    )
    return _plot(input_node, every_slice, key_slices)


def _plot(
    input_node: slicer.vtkMRMLVolumeNode, every_slice: slicer.vtkMRMLTableNode, key_slices: slicer.vtkMRMLTableNode
) -> slicer.vtkMRMLPlotChartNode:
    series = slicer.vtkMRMLPlotSeriesNode
    bars = _series(input_node, result_nodes.ATTENTION_SERIES, "Slice attention", every_slice, ATTENTION_COLOUR)
    bars.SetPlotType(series.PlotTypeScatterBar)
    marks = _series(input_node, result_nodes.KEY_SLICE_SERIES, "Key slices", key_slices, KEY_SLICES_COLOUR)
    marks.SetPlotType(series.PlotTypeScatter)
    marks.SetLineStyle(series.LineStyleNone)
    marks.SetMarkerStyle(series.MarkerStyleDiamond)
    marks.SetMarkerSize(12)
    title = f"{input_node.GetName()}: ICHDiagnosis slice attention"
    chart = result_nodes.provide_node("vtkMRMLPlotChartNode", input_node, result_nodes.CHART, title)
    chart.RemoveAllPlotSeriesNodeIDs()
    chart.AddAndObservePlotSeriesNodeID(bars.GetID())
    chart.AddAndObservePlotSeriesNodeID(marks.GetID())
    chart.SetTitle("Slice attention: where the network looked")
    chart.SetXAxisTitle(f"{SLICE_COLUMN} (0 = first stored slice)")
    chart.SetYAxisTitle(ATTENTION_COLUMN)
    chart.SetLegendVisibility(True)
    return chart


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
    series.SetXColumnName(SLICE_COLUMN)
    series.SetYColumnName(ATTENTION_COLUMN)
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
    name = f"{input_node.GetName()}: ICHDiagnosis provenance"
    text = result_nodes.provide_node("vtkMRMLTextNode", input_node, result_nodes.PROVENANCE, name)
    text.SetText(provenance(result))
    document = result_nodes.provide_node(
        "vtkMRMLTextNode", input_node, result_nodes.DOCUMENT, f"{input_node.GetName()}: ICHDiagnosis result"
    )
    document.SetHideFromEditors(True)
    document.SetText(result.document)
    return document


def provenance(result: Result) -> str:
    """Say in plain lines which model said what of which study, on which device, at which thresholds."""
    model, study = result.model, result.study
    lines = [
        model.notice,
        "",
        f"Model: {model.name} {model.version}, network {model.network}, trained on {model.trained_on}",
        *(f"Weights: {name}, SHA-256 {digest}" for name, digest in model.weights_sha256.items()),
        f"Device: {result.device or 'none'}, precision {result.precision or 'none'}",
        f"Study: {study.source_name}, series {study.series_uid or 'unknown'}, {study.slices or 'unknown'} slices",
        *(f"Quality: {warning.message}" for warning in study.quality),
        f"Operating point: {result.operating_point or 'none'}",
        *(
            f"{f.name}: probability {f.probability:.3f}, threshold {f.threshold:.3f}"
            f"{'' if f.threshold_chosen else ' (not chosen)'}, "
            f"{'positive' if f.positive else 'negative'}"
            for f in result.findings
        ),
    ]
    if result.reason is not None:
        lines.append(f"Not evaluable: {result.reason.message}")
    lines += ["", "Grad-CAM and slice attention show what the network used: evidence, not the outline of a bleed."]
    return "\n".join(lines)
