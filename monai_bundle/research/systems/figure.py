"""The one figure of the systems: accuracy against time of the processor, coloured by the quality of the maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from research.systems.cost import Cost
from research.systems.label_placement import Box, placed
from research.systems.measured import CHANCE, MeasuredSystem
from research.systems.training import is_shipped
from scripts.systems import System

FAMILIES = {
    "shipped": ("*", 250, "this project's network"),
    "ich_app": ("D", 38, "ICH app's networks"),
    "gradcam": ("^", 58, "Grad-CAM by architecture"),
    "other": ("o", 58, "other published systems"),
}
"""Beginning of a system's name to marker, its size and its name in the legend."""

COLOURS = "viridis_r"
SIZE = (10.0, 6.4)
ROOM_BELOW = 0.08
"""AUC below the lowest interval, where legend and note stand."""
INK, GREY = "#222222", "#8a8a8a"
SHIPPED_EDGE, SHIPPED_INK = "#d55e00", "#b34a00"
FAR = 12.0
"""Points from which on a line joins a name to its dot."""


@dataclass(frozen=True)
class Dot:
    """One system of the figure.

    Attributes
    ----------
    name : str
        Label; empty where the point bears none.
    family : str
        Of :data:`FAMILIES`.
    seconds, accuracy, low, high : float
        Time of the processor (s), AUC of slices and its interval.
    pointing : float or None
        Share of slices on which the map's strongest voxel lies in the haemorrhage.
    learnt : bool
        Whether the interval lies above chance.
    chance : float
        AUC that the height of the slices alone gives; .5 where that was not measured.
    """

    name: str
    family: str
    seconds: float
    accuracy: float
    low: float
    high: float
    pointing: float | None
    learnt: bool
    chance: float = CHANCE


def dots(measured: Mapping[str, MeasuredSystem], costs: Mapping[str, Cost], known: Sequence[System]) -> list[Dot]:
    """Return the systems that have both an answer for slices with its interval and a time, the best first.

    Of the ICH app's twelve the best alone is named, so that names remain legible.
    """
    found = []
    for system in known:
        each, cost = measured.get(system.name), costs[system.name]
        if each is None or cost.seconds is None:
            continue
        auc = each.slice_auc
        if auc.value is None or auc.low is None or auc.high is None:
            continue
        pointing = each.maps["pointing_game"].value
        found.append(
            Dot(
                short_name(system),
                family(system),
                cost.seconds,
                *(auc.value, auc.low, auc.high),
                pointing,
                bool(each.learnt()),
                CHANCE if auc.random_baseline is None else auc.random_baseline,
            )
        )
    found.sort(key=lambda dot: (-dot.accuracy, dot.name))
    best = next((dot for dot in found if dot.family == "ich_app"), None)
    return [Dot(**{**vars(dot), "name": ""}) if dot.family == "ich_app" and dot is not best else dot for dot in found]


def short_name(system: System) -> str:
    """Return what a system is called in the figure."""
    if is_shipped(system):
        return "shipped DrCT2"
    head, _, kind = system.title.partition(" of the comparison")[0].partition(" (")[0].partition(": ")
    if head == "ICH app":
        return f"ICH app, {kind.removesuffix(' of its networks').partition(',')[0]}"
    name = head.partition(",")[0]
    return f"{name} ({system.name.rpartition('_')[2].upper()})" if name.startswith("DrCT") else name


def family(system: System) -> str:
    """Return the group that a system's marker shows."""
    if is_shipped(system):
        return "shipped"
    return next((name for name in FAMILIES if system.name.startswith(name)), "other")


def draw(
    measured: Mapping[str, MeasuredSystem], costs: Mapping[str, Cost], known: Sequence[System], path: Path
) -> None:
    """Draw the figure as SVG, the same bytes for the same numbers; where there is nothing to show, no file is left."""
    shown = dots(measured, costs, known)
    if not shown:
        path.unlink(missing_ok=True)
        return
    with matplotlib.rc_context({"svg.hashsalt": "ich-diagnosis", "svg.fonttype": "path", "font.family": "sans-serif"}):
        figure = figure_of(shown)
        partial = path.with_suffix(".partial")
        figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})
    partial.replace(path)


def figure_of(shown: Sequence[Dot]) -> Figure:
    """Lay the figure out."""
    figure = Figure(figsize=SIZE, dpi=72)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.075, 0.12, 0.79, 0.75))
    _frame(axes, shown)
    most = max([dot.pointing for dot in shown if dot.pointing is not None] or [1.0])
    colours = ScalarMappable(Normalize(0.0, max(most, 0.05)), COLOURS)
    for dot in shown:
        _plot(axes, dot, colours)
    _name(axes, [dot for dot in shown if dot.name], shown)
    bar = figure.colorbar(colours, cax=figure.add_axes((0.885, 0.12, 0.018, 0.75)))
    bar.outline.set_visible(False)
    bar.set_label(
        "Maps: strongest voxel lies in the haemorrhage\n(share of slices with haemorrhage)", fontsize=9, color=INK
    )
    bar.ax.tick_params(labelsize=8.5, color=GREY)
    figure.text(
        0.075,
        0.945,
        "Published networks on the same scans: accuracy, time and maps",
        fontsize=13,
        color=INK,
        weight="bold",
    )
    figure.text(
        0.075,
        0.905,
        "Higher: more accurate. Further left: faster. Darker: better map. Lines: 95 % intervals, patients resampled.",
        fontsize=9.5,
        color="#555555",
    )
    return figure


def _frame(axes: Axes, shown: Sequence[Dot]) -> None:
    low = min(dot.low for dot in shown) - ROOM_BELOW
    axes.set(xscale="log", ylim=(max(low, 0.0), 1.02))
    fastest, slowest = min(dot.seconds for dot in shown), max(dot.seconds for dot in shown)
    axes.set_xlim(fastest / 1.8, slowest * 2.2)
    # Systems that were measured on the same folds have the same.
    chance = float(np.median([dot.chance for dot in shown]))
    axes.axhspan(0.0, chance, color="#f1efec", zorder=0, linewidth=0)
    axes.axhline(chance, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    by = "chance" if chance == CHANCE else f"a slice's height alone tells ({chance:.2f})"
    axes.text(
        0.006,
        0.015,
        f"shaded: no better than {by}; grey names: may be",
        transform=axes.transAxes,
        fontsize=8.5,
        color="#777777",
    )
    axes.set_ylabel("AUC of any haemorrhage on single slices", fontsize=10, color=INK)
    axes.set_xlabel(
        "Processor seconds for a scan of 32 slices, without maps (all threads together)", fontsize=10, color=INK
    )
    axes.xaxis.set_major_locator(LogLocator(10.0, (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=9, color=GREY)
    axes.grid(True, which="major", axis="both", color="#e6e6e6", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    present = [name for name in FAMILIES if any(dot.family == name for dot in shown)]
    handles = [
        Line2D(
            [], [], marker=FAMILIES[name][0], linestyle="", color="#777777", markersize=11 if name == "shipped" else 7
        )
        for name in present
    ]
    axes.legend(
        handles,
        [FAMILIES[name][2] for name in present],
        loc="upper right",
        frameon=True,
        framealpha=0.9,
        edgecolor="none",
        fontsize=8.5,
        ncols=2,
    )


def _plot(axes: Axes, dot: Dot, colours: ScalarMappable) -> None:
    marker, size, _ = FAMILIES[dot.family]
    shipped = dot.family == "shipped"
    colour = "white" if dot.pointing is None else colours.to_rgba(np.array([dot.pointing]))[0]
    axes.plot(
        [dot.seconds, dot.seconds],
        [dot.low, dot.high],
        color=SHIPPED_EDGE if shipped else GREY,
        linewidth=1.6 if shipped else 0.9,
        alpha=0.9 if shipped else 0.45 if dot.name else 0.22,
        zorder=2,
        solid_capstyle="butt",
    )
    axes.scatter(
        dot.seconds,
        dot.accuracy,
        size,
        color=colour,
        marker=marker,
        edgecolors=SHIPPED_EDGE if shipped else INK if dot.learnt else GREY,
        linewidths=1.5 if shipped else 0.7,
        zorder=4 if shipped else 3,
    )


def _name(axes: Axes, named: Sequence[Dot], shown: Sequence[Dot]) -> None:
    """Write the names where they cover nothing, with a thin line to points that are not beside them."""

    def at(dot: Dot) -> tuple[float, float]:
        x, y = axes.transData.transform((dot.seconds, dot.accuracy))
        return float(x), float(y)

    texts = [_text(axes, dot) for dot in named]
    # The figure has 72 dots an inch: extents are in points.
    extents = [text.get_window_extent() for text in texts]
    whole = axes.get_window_extent()
    inside = Box(whole.x0 + 2, whole.y0 + 2, whole.x1 - 2, whole.y1 - 2)
    sizes = [(extent.width + 4, extent.height + 1) for extent in extents]
    boxes = placed([at(dot) for dot in named], sizes, [at(dot) for dot in shown], inside)
    for dot, text, box in zip(named, texts, boxes, strict=True):
        x, y = at(dot)
        text.set_position(((box.left + box.right) / 2 - x, (box.bottom + box.top) / 2 - y))
        near = min(max(x, box.left), box.right) - x, min(max(y, box.bottom), box.top) - y
        if near[0] ** 2 + near[1] ** 2 > FAR**2:
            axes.annotate(
                "",
                (dot.seconds, dot.accuracy),
                xytext=near,
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 4},
                zorder=2.5,
            )


def _text(axes: Axes, dot: Dot) -> Annotation:
    shipped = dot.family == "shipped"
    return axes.annotate(
        dot.name,
        (dot.seconds, dot.accuracy),
        xytext=(0, 0),
        textcoords="offset points",
        fontsize=10 if shipped else 8.5,
        weight="bold" if shipped else "normal",
        color=SHIPPED_INK if shipped else INK if dot.learnt else "#777777",
        ha="center",
        va="center",
        zorder=5,
        path_effects=[withStroke(linewidth=2.2, foreground="white", alpha=0.85)],
    )
