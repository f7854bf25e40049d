"""Plots of the report, drawn from the measured file alone: the same metrics give the same file, byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

from research.evidence.formatting import label_name
from research.metrics.attention_by_height import AttentionByHeight
from research.metrics.classification import FEW
from research.metrics.confidence import Interval
from research.metrics.curves import PrecisionRecallCurve, RocCurve
from research.metrics.picked_slices import PickedPositions
from research.metrics.reliability import Reliability

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444", "#8c6d31", "#7b4fa3")
"""For colour-blind readers (Okabe and Ito), the last three added for CQ500's nine labels."""

FILES = {
    "roc": "roc_scans.svg",
    "precision_recall": "precision_recall_scans.svg",
    "reliability": "reliability.svg",
    "roc_slices": "roc_slices.svg",
    "attention": "attention_by_height.svg",
    "positions": "key_slice_positions.svg",
    "key_slices": "f1_by_key_slices.svg",
}
"""What is drawn, and its file."""

_SQUARE, _WIDE = (5.6, 5.2), (7.2, 3.8)
_REFERENCE: dict[str, Any] = {"color": "#999999", "linewidth": 0.9, "linestyle": (0, (4, 3))}


def draw(measured: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw all plots.

    Parameters
    ----------
    measured : mapping
        See :func:`~research.evidence.measure.measure`.
    folder : Path
        Created if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shipped, files = measured["shipped"], {key: folder / name for key, name in FILES.items()}
    scans = shipped["scans"]
    plot_roc({label_name(key): _roc(curve) for key, curve in scans["roc"].items()}, files["roc"], "Scans")
    recalls = {label_name(key): PrecisionRecallCurve(**curve) for key, curve in scans["precision_recall"].items()}
    plot_precision_recall(recalls, files["precision_recall"], "Scans")
    plot_reliability(_reliability(shipped), files["reliability"], "Scans")
    plot_attention_by_height(AttentionByHeight(**shipped["attention_by_height"]), files["attention"])
    if "roc" in shipped["slices"]:
        plot_roc({"any haemorrhage": _roc(shipped["slices"]["roc"])}, files["roc_slices"], "Single slices")
    else:
        files.pop("roc_slices").unlink(missing_ok=True)
    ours = measured["drct2"]
    if ours:
        plot_positions(PickedPositions(**ours["picked_positions"]), files["positions"])
    else:
        files.pop("positions").unlink(missing_ok=True)
    if ours and ours["f1_by_key_slices"]["random"] and len(ours["f1_by_key_slices"]["attention"]) > 1:
        plot_f1_by_key_slices(ours["f1_by_key_slices"], files["key_slices"])
    else:
        files.pop("key_slices").unlink(missing_ok=True)
    return list(files.values())


def _reliability(shipped: Mapping[str, Any]) -> dict[str, Reliability]:
    """Return the diagram of every label that enough scans show, and a second of those that calibration changed."""
    diagrams = {}
    for key, found in shipped["scans"]["reliability"].items():
        if shipped["scans"]["raw"]["labels"][key]["positive"] < FEW:
            continue
        diagrams[label_name(key)] = Reliability(**found["before"])
        if found["after"] != found["before"]:
            diagrams[f"{label_name(key)}, calibrated"] = Reliability(**found["after"])
    return diagrams


def _roc(curve: Mapping[str, Any]) -> RocCurve:
    return RocCurve(**{**curve, "auc": Interval(**curve["auc"])})


def plot_roc(curves: Mapping[str, RocCurve], path: Path, title: str = "") -> None:
    """Draw receiver operating characteristics, one per name, with the bands of the first.

    Parameters
    ----------
    curves : mapping
        Name in the legend to its curve; an empty one has its reason there.
    path : Path
        Ends in ``.svg`` or ``.png``.
    title : str
        Above the plot.
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], **_REFERENCE)
        for number, (name, curve) in enumerate(curves.items()):
            colour = COLOURS[number % len(COLOURS)]
            if number == 0 and curve.grid:
                axes.fill_between(curve.grid, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
            display = RocCurveDisplay(fpr=np.array(curve.false_positive), tpr=np.array(curve.sensitivity))
            display.plot(axes, curve_kwargs={"color": colour, "label": _roc_legend(name, curve)})
        axes.set(xlabel="1 − specificity", ylabel="Sensitivity")
        _unit_square(axes, "lower right")

    _save(draw, path, _SQUARE, title)


def plot_precision_recall(curves: Mapping[str, PrecisionRecallCurve], path: Path, title: str = "") -> None:
    """Draw precision over recall, one curve per name, each with its random baseline; see :func:`plot_roc`."""

    def draw(axes: Axes) -> None:
        for number, (name, curve) in enumerate(curves.items()):
            colour = COLOURS[number % len(COLOURS)]
            if curve.average_precision is None or curve.prevalence is None:
                legend = f"{name}: {curve.remark}"
            else:
                legend = f"{name} {curve.average_precision:.2f} (random baseline {curve.prevalence:.2f})"
                axes.axhline(curve.prevalence, color=colour, linewidth=0.7, linestyle=(0, (2, 3)))
            display = PrecisionRecallDisplay(precision=np.array(curve.precision), recall=np.array(curve.recall))
            display.plot(axes, curve_kwargs={"color": colour, "label": legend})
        axes.set(xlabel="Recall (sensitivity)", ylabel="Precision")
        _unit_square(axes, "lower left")

    _save(draw, path, _SQUARE, title)


def plot_reliability(diagrams: Mapping[str, Reliability], path: Path, title: str = "") -> None:
    """Draw observed over predicted proportion of positives, e.g. before and after calibration.

    Parameters
    ----------
    diagrams : mapping
        Name in the legend to its points; a larger point has more scans.
    path, title
        See :func:`plot_roc`.
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], **_REFERENCE)
        for number, (name, points) in enumerate(diagrams.items()):
            colour = COLOURS[number % len(COLOURS)]
            error = points.expected_calibration_error
            legend = f"{name}: no scan" if error is None else f"{name} (calibration error {error:.3f})"
            total = max(sum(points.count), 1)
            axes.plot(points.predicted, points.observed, color=colour, linewidth=1, label=legend)
            axes.scatter(points.predicted, points.observed, [12 + 400 * n / total for n in points.count], color=colour)
        axes.set(xlabel="Predicted probability", ylabel="Proportion of positive scans")
        _unit_square(axes, "lower right")

    _save(draw, path, _SQUARE, title)


def plot_attention_by_height(attention: AttentionByHeight, path: Path, title: str = "") -> None:
    """Draw attention over the height of the head, beside the positive slices (DrCT2, figure 7)."""
    lines = {
        f"attention, {attention.positive_scans} scans with haemorrhage": attention.attention_positive,
        f"attention, {attention.negative_scans} scans without": attention.attention_negative,
    }

    def draw(axes: Axes) -> None:
        bins = len(attention.edges) - 1
        middles = [(low + high) / 2 for low, high in pairwise(attention.edges)]
        for number, (name, values) in enumerate(lines.items()):
            if values is not None:
                axes.plot(middles, values, marker="o", markersize=4, color=COLOURS[number], label=name)
        axes.axhline(1 / bins, **_REFERENCE, label="uniform attention")
        axes.set(xlabel="Height in the scan (0 lowest slice, 1 highest)", ylabel="Proportion of attention", xlim=(0, 1))
        axes.set_ylim(bottom=0)
        if attention.positive_slices is not None:
            beside = axes.twinx()
            beside.bar(middles, attention.positive_slices, 0.9 / bins, color="#bbbbbb", zorder=0)
            beside.set(ylabel="Proportion of slices that are positive", ylim=(0, 1))
            axes.set_zorder(beside.get_zorder() + 1)
            axes.patch.set_visible(False)
        axes.legend(frameon=False, fontsize=8.5)

    _save(draw, path, _WIDE, title)


def plot_positions(picked: PickedPositions, path: Path, title: str = "") -> None:
    """Draw how often the five slices with most attention lie at each position along the head (DrCT2, figure 7)."""

    def draw(axes: Axes) -> None:
        places = range(1, len(picked.counts) + 1)
        axes.bar(places, picked.counts, 0.85, color=COLOURS[0], label=f"{picked.scans} scans with haemorrhage")
        axes.axhline(picked.random_baseline, **_REFERENCE, label="drawn at random")
        axes.set(
            xlabel=f"Position in the scan (1 lowest, {len(picked.counts)} highest)",
            ylabel="Slices among the five with most attention",
        )
        axes.legend(frameon=False, fontsize=8.5)

    _save(draw, path, _WIDE, title)


def plot_f1_by_key_slices(
    found: Mapping[str, Sequence[tuple[int, Mapping[str, Any]]]], path: Path, title: str = ""
) -> None:
    """Draw F1 over the number of key slices, chosen by attention or at random (DrCT2, figure 6).

    Parameters
    ----------
    found : mapping
        Choice to pairs of number and F1 (with its interval and its random baseline).
    path, title
        See :func:`plot_roc`.
    """
    names = {"attention": "most attention", "random": "drawn at random"}

    def draw(axes: Axes) -> None:
        for number, (choice, pairs) in enumerate(found.items()):
            # A little apart, so that one bar of error does not hide the other.
            places = [count + 0.3 * number for count, _ in pairs]
            values = [float(metric["value"]) for _, metric in pairs]
            bars = np.array([[m["value"] - m["low"], m["high"] - m["value"]] for _, m in pairs], dtype=np.float64).T
            axes.errorbar(places, values, bars, color=COLOURS[number], marker="o", capsize=3, label=names[choice])
        chance = [metric["random_baseline"] for pairs in found.values() for _, metric in pairs]
        axes.axhline(float(np.mean(chance)), **_REFERENCE, label="chance")
        axes.set(xlabel="Key slices read again at high resolution", ylabel="F1, mean of the labels", ylim=(0, 1))
        axes.legend(frameon=False, fontsize=8.5)

    _save(draw, path, _WIDE, title)


def _roc_legend(name: str, curve: RocCurve) -> str:
    area = curve.auc
    if area.estimate is None:
        return f"{name}: {area.remark}"
    if area.low is None or area.high is None:
        return f"{name} {area.estimate:.2f} (no interval)"
    return f"{name} {area.estimate:.2f} ({area.low:.2f} to {area.high:.2f})"


def _unit_square(axes: Axes, corner: Literal["lower left", "lower right"]) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.legend(loc=corner, frameon=True, framealpha=0.85, edgecolor="none", fontsize=8.5)


def _save(draw: Callable[[Axes], None], path: Path, size: tuple[float, float], title: str) -> None:
    """Write the figure without date, version or random names.

    Raises
    ------
    ValueError
        If the path ends neither in ``.svg`` nor in ``.png``.
    """
    without = {".svg": {"Date": None, "Creator": None}, ".png": {"Software": None}}
    if path.suffix not in without:
        raise ValueError(f"{path.name}: plots are .svg or .png")
    # Letters as paths: a reader's fonts do not change the plot.
    with matplotlib.rc_context({"svg.hashsalt": "ich-diagnosis", "svg.fonttype": "path", "font.family": "sans-serif"}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(title, fontsize=11)
        figure.savefig(path, dpi=150, metadata=without[path.suffix])
