"""The plot of slice attention: a bar per original slice, key slices marked; below it the slice classifier's output."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from scripts.diagnosis import SliceResult
from scripts.messages import Translation

_SIZE_INCHES = (10.4, 3.1)
_SIZE_WITH_SLICES_INCHES = (10.4, 4.1)
_DOTS_UP_TO = 80
"""Slices of more would lie closer than dots are wide: a line alone."""


@dataclass(frozen=True)
class Palette:
    """Colours of the plot on one kind of page."""

    text: str
    grid: str
    bar: str
    key_bar: str
    slice_mark: str


LIGHT = Palette(text="#3d4852", grid="#d9dee4", bar="#9db4c8", key_bar="#b3400c", slice_mark="#56636f")
DARK = Palette(text="#b9c3cd", grid="#39434d", bar="#5d7890", key_bar="#f0844c", slice_mark="#9ba8b4")


def attention_svg(
    slices: tuple[SliceResult, ...],
    key_slices: tuple[SliceResult, ...],
    palette: Palette,
    translation: Translation | None = None,
) -> bytes:
    """Draw the attention of every original slice, and below it the probability of any haemorrhage where there is one.

    Two plots on one axis of slices: on one scale, a share of attention and a probability would be compared.

    Parameters
    ----------
    slices : tuple of SliceResult
        All original slices, from first to last.
    key_slices : tuple of SliceResult
        Those to mark with their rank.
    palette : Palette
        Light or dark; the ground stays transparent.
    translation : Translation, optional
        Language of the axes; English unless given.

    Returns
    -------
    bytes
        SVG with its letters as paths, the same for the same input. Lower axis: slice number from 1, as viewers count;
        upper axis: position along the slice normal in mm.
    """
    translation = translation or Translation()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "ich-diagnosis", "font.family": "sans-serif"}):
        if haemorrhage_known(slices):
            figure = Figure(figsize=_SIZE_WITH_SLICES_INCHES)
            figure.subplots_adjust(left=0.075, right=0.995, bottom=0.12, top=0.87, hspace=0.16)
            axes, below = figure.subplots(2, sharex=True, height_ratios=(2.2, 1))
            _draw_slice_probabilities(below, slices, palette, translation)
        else:
            figure = Figure(figsize=_SIZE_INCHES)
            figure.subplots_adjust(left=0.075, right=0.995, bottom=0.16, top=0.83)
            axes = below = figure.add_subplot()
        _draw_bars(axes, slices, key_slices, palette)
        _label_axes(axes, below, slices, palette, translation)
        figure.align_ylabels()
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return stream.getvalue()


def haemorrhage_known(slices: tuple[SliceResult, ...]) -> bool:
    """Whether the slice classifier stated the probability of any haemorrhage on some slice."""
    return any(entry.haemorrhage is not None for entry in slices)


def _draw_slice_probabilities(
    axes: Axes, slices: tuple[SliceResult, ...], palette: Palette, translation: Translation
) -> None:
    """Draw steps, not a curve: nothing is known between slices, and nothing of slices that were not read."""
    numbers = [entry.index + 1 for entry in slices]
    values = [math.nan if entry.haemorrhage is None else entry.haemorrhage for entry in slices]
    dot = "o" if len(slices) <= _DOTS_UP_TO else ""
    axes.plot(
        numbers, values, drawstyle="steps-mid", color=palette.slice_mark, linewidth=1.1, marker=dot, markersize=3.6
    )
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([0, 0.5, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_ylabel(translation("report.slice_output_axis"), color=palette.text)


def _draw_bars(
    axes: Axes, slices: tuple[SliceResult, ...], key_slices: tuple[SliceResult, ...], palette: Palette
) -> None:
    numbers = [entry.index + 1 for entry in slices]
    attention = [entry.attention for entry in slices]
    marked = {entry.index for entry in key_slices}
    colours = [palette.key_bar if entry.index in marked else palette.bar for entry in slices]
    axes.bar(numbers, attention, width=0.82 if len(slices) < 120 else 1.0, color=colours, zorder=2)
    axes.axhline(1 / len(slices), color=palette.text, linewidth=0.9, linestyle=(0, (4, 3)), zorder=3)
    for entry in key_slices:
        axes.annotate(
            str(entry.key_rank),
            (entry.index + 1, entry.attention),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=palette.key_bar,
            weight="bold",
            size=11,
        )
    axes.set_xlim(0.25, len(slices) + 0.75)
    axes.set_ylim(0, max(*attention, 1 / len(slices)) * 1.16)


def _label_axes(
    axes: Axes, lowest: Axes, slices: tuple[SliceResult, ...], palette: Palette, translation: Translation
) -> None:
    """Write slice numbers below and the same slices' positions above: slices need not lie evenly."""
    locator = MaxNLocator(12, integer=True, steps=[1, 2, 5, 10])
    inner = [int(number) for number in locator.tick_values(1, len(slices)) if 1 < number <= len(slices)]
    numbers = [1, *(number for number in inner if number > 1 + len(slices) / 25)]
    lowest.set_xlabel(translation("report.slice_number"), color=palette.text)
    axes.set_ylabel(translation("report.attention_axis"), color=palette.text)
    axes.set_xticks(numbers)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    above = axes.twiny()
    above.set_xlim(axes.get_xlim())
    positions = [slices[number - 1].position_mm for number in numbers]
    above.set_xticks(numbers, [f"{round(position)}".replace("-", "−") for position in positions])
    above.set_xlabel(translation("report.slice_position"), color=palette.text)
    for frame in (axes, lowest):
        frame.grid(axis="y", color=palette.grid, linewidth=0.8)
        frame.set_axisbelow(True)
    for frame in (axes, lowest, above):
        frame.tick_params(colors=palette.text, length=0)
        for spine in frame.spines.values():
            spine.set_visible(False)
    for frame in (axes, lowest):
        frame.spines["bottom"].set(visible=True, color=palette.text)
