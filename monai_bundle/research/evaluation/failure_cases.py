"""Pictures of the worst failures for the model card: what was missed and what was seen where nothing is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from scripts.intake.study import CTStudy
from scripts.output.impression import percent
from scripts.output.slice_images import Display, brain_window, display_of

MOST_BYTES = 150_000
"""Largest picture: a model card is read in a browser, and a repository keeps every version."""

HEAT_LEVEL = 0.5
"""Share of the scan's largest value at which Grad-CAM is outlined."""

_HEAT_COLOUR, _MASK_COLOUR = "#ff9a1f", "#35d0e0"
_LONGEST_PIXELS = (300, 240, 180, 120)
_DPI = 100
_MARGIN, _TITLE, _FOOT = 8, 44, 62
_FEWEST_SLICES_WIDE = 2


@dataclass(frozen=True)
class Failure:
    """One scan that the model called wrongly.

    Attributes
    ----------
    index : int
        Place of the scan in the arrays that it was picked from.
    name : str
        Of the scan.
    probability : float
        That the model gave the label.
    truth : bool
        Whether the scan shows the label.
    """

    index: int
    name: str
    probability: float
    truth: bool

    @property
    def kind(self) -> str:
        """What went wrong, as file names and captions say it."""
        return "missed" if self.truth else "false alarm"


@dataclass(frozen=True, eq=False)
class FailureEvidence:
    """What is drawn of a failure.

    Attributes
    ----------
    study : CTStudy
        The scan.
    head : ndarray of bool, shape (slices, rows, columns)
        The pictures are cut to it.
    heat : ndarray of uint8, shape (slices, rows, columns)
        Grad-CAM of the label; 255 is the scan's largest magnitude (:class:`~scripts.explanation.StoredMap`).
    key_slices : tuple of int
        Stored slices to show, best first.
    mask : ndarray of bool, shape (slices, rows, columns), or None
        Outline of the haemorrhage, where somebody drew one.
    """

    study: CTStudy
    head: NDArray[np.bool_]
    heat: NDArray[np.uint8]
    key_slices: tuple[int, ...]
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Hold the arrays to the study.

        Raises
        ------
        ValueError
            If a shape differs, the map is not uint8, or there is no key slice inside the scan.
        """
        shape = self.study.voxels.shape
        if any(array is not None and array.shape != shape for array in (self.head, self.heat, self.mask)):
            raise ValueError(f"head, map and mask must have the study's shape {shape}")
        if self.heat.dtype != np.uint8:
            raise ValueError(f"the map must be uint8, 255 being the scan's largest value, not {self.heat.dtype}")
        if not self.key_slices or any(not 0 <= index < shape[0] for index in self.key_slices):
            raise ValueError(f"key slices {self.key_slices} of a scan of {shape[0]} slices")


@dataclass(frozen=True)
class FailurePicture:
    """A written picture and what a page says beside it."""

    file: str
    kind: str
    label: str
    probability: float
    caption: str


def worst_failures(
    probabilities: NDArray[np.floating],
    truth: NDArray[np.floating],
    names: Sequence[str],
    threshold: float,
    count: int = 3,
) -> tuple[tuple[Failure, ...], tuple[Failure, ...]]:
    """Pick the missed scans and the false alarms of one label whose probability is farthest from the truth.

    Parameters
    ----------
    probabilities, truth : ndarray, shape (scans,)
        Of one label; truth is 0, 1 or NaN where nobody judged.
    names : sequence of str
        Of the scans.
    threshold : float
        Probability from which the model calls a scan positive; only wrong calls are failures.
    count : int
        At most so many of each.

    Returns
    -------
    tuple of tuple of Failure
        False negatives and false positives, the worst first; of equals the first scan.
    """
    called = probabilities >= threshold
    return (
        _worst(np.flatnonzero((truth == 1) & ~called), probabilities, truth, names, count),
        _worst(np.flatnonzero((truth == 0) & called), probabilities, truth, names, count),
    )


def draw_failure(
    failure: Failure, evidence: FailureEvidence, label: str, attribution: str, most_slices: int = 4
) -> bytes:
    """Draw the key slices in the brain window with the outlines of Grad-CAM at 50 % and of the haemorrhage.

    Parameters
    ----------
    failure : Failure
        Its probability and kind stand in the title.
    evidence : FailureEvidence
        What is drawn.
    label : str
        Name of the label as a person reads it.
    attribution : str
        Source and licence of the scan, printed below; whether pictures of it may be published is for the caller to
        know.
    most_slices : int
        At most so many key slices.

    Returns
    -------
    bytes
        PNG of at most :data:`MOST_BYTES`, the same for the same input.

    Raises
    ------
    ValueError
        If the attribution is empty, or no size is small enough.
    """
    if not attribution.strip():
        raise ValueError("a picture of a patient's scan needs its source and licence")
    shown = replace(evidence, key_slices=evidence.key_slices[:most_slices])
    display = display_of(shown.study, shown.head)
    for longest in _LONGEST_PIXELS:
        picture = _png(_figure(failure, shown, display, longest, (label, attribution)))
        if len(picture) <= MOST_BYTES:
            return picture
    raise ValueError(f"{failure.name}: no picture of at most {MOST_BYTES} bytes")


def write_failure(
    folder: Path, failure: Failure, evidence: FailureEvidence, label: tuple[str, str], attribution: str
) -> FailurePicture:
    """Draw a failure into a folder.

    Parameters
    ----------
    folder : Path
        Exists.
    failure, evidence, attribution
        As :func:`draw_failure` takes them.
    label : tuple of str
        Key and name of the label.
    """
    key, name = label
    file = f"{failure.kind.replace(' ', '_')}_{key}_{failure.name}.png"
    (folder / file).write_bytes(draw_failure(failure, evidence, name, attribution))
    caption = f"{_title(failure, name)}. {attribution}"
    return FailurePicture(file, failure.kind, key, failure.probability, caption)


def _worst(
    wrong: NDArray[np.intp],
    probabilities: NDArray[np.floating],
    truth: NDArray[np.floating],
    names: Sequence[str],
    count: int,
) -> tuple[Failure, ...]:
    distance = np.abs(probabilities[wrong] - truth[wrong])
    order = wrong[np.argsort(-distance, kind="stable")][:count]
    return tuple(
        Failure(int(index), names[index], float(probabilities[index]), bool(truth[index] == 1)) for index in order
    )


def _title(failure: Failure, label: str) -> str:
    return f"{failure.kind.capitalize()}: {label}, probability {percent(failure.probability)}, scan {failure.name}"


def _figure(
    failure: Failure, evidence: FailureEvidence, display: Display, longest: int, words: tuple[str, str]
) -> Figure:
    label, attribution = words
    panels = [_panel_pixels(evidence, index, display, longest) for index in evidence.key_slices]
    height, width = panels[0][0].shape
    across = max(len(panels), _FEWEST_SLICES_WIDE) * (width + _MARGIN) + _MARGIN
    down = _TITLE + height + _FOOT
    figure = Figure(figsize=(across / _DPI, down / _DPI), dpi=_DPI, facecolor="black")
    for place, (index, (grey, heat, mask)) in enumerate(zip(evidence.key_slices, panels, strict=True)):
        left = _MARGIN + place * (width + _MARGIN)
        axes = figure.add_axes((left / across, _FOOT / down, width / across, height / down))
        _draw_panel(axes, grey, heat, mask)
        axes.text(4, 4, f"slice {index + 1}", color="white", fontsize=7, va="top")
        axes.text(4, height / 2, display.markers.left, color="white", fontsize=7, va="center")
    points = 72 / _DPI
    size = min(13 * points, 1.7 * across * points / len(_title(failure, label)))
    figure.text(0.5, 1 - 6 / down, _title(failure, label), color="white", fontsize=size, ha="center", va="top")
    figure.text(0.5, 1 - 27 / down, "Research use only", color="white", fontsize=7, ha="center", va="top")
    for words_below, colour, height_below in (
        (_heat_words(evidence), _HEAT_COLOUR, 44),
        (_mask_words(evidence), _MASK_COLOUR, 28),
    ):
        figure.text(_MARGIN / across, height_below / down, words_below, color=colour, fontsize=7)
    small = min(7.0, 1.9 * across * points / len(attribution))
    figure.text(_MARGIN / across, 10 / down, attribution, color="#b0b0b0", fontsize=small)
    return figure


def _heat_words(evidence: FailureEvidence) -> str:
    words = f"Grad-CAM ≥ {percent(HEAT_LEVEL)} of the scan's largest: evidence, not an outline"
    reached = evidence.heat[list(evidence.key_slices)].max() >= HEAT_LEVEL * 255
    return words if reached else f"{words}; not reached on these slices"


def _mask_words(evidence: FailureEvidence) -> str:
    if evidence.mask is None:
        return "Nobody outlined haemorrhage in this scan"
    if not evidence.mask.any():
        return "Haemorrhage as outlined by the readers: none in this scan"
    here = evidence.mask[list(evidence.key_slices)].any()
    return "Haemorrhage as outlined by the readers" + ("" if here else ": on other slices only")


def _panel_pixels(
    evidence: FailureEvidence, index: int, display: Display, longest: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None]:
    mask = None if evidence.mask is None else display.sized(evidence.mask[index].astype(np.uint8) * 255, longest)
    grey = display.sized(brain_window(evidence.study.voxels[index]), longest)
    return grey, display.sized(evidence.heat[index], longest), mask


def _draw_panel(axes: Axes, grey: NDArray[np.uint8], heat: NDArray[np.uint8], mask: NDArray[np.uint8] | None) -> None:
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    for values, colour, level in ((heat, _HEAT_COLOUR, HEAT_LEVEL * 255), (mask, _MASK_COLOUR, 127.5)):
        # Matplotlib warns of a level that is nowhere reached.
        if values is not None and values.min() < level < values.max():
            axes.contour(values, levels=[level], colors=[colour], linewidths=1.2)
    axes.set_axis_off()


def _png(figure: Figure) -> bytes:
    """Write with a palette of 64 colours: grey noise in true colour is what makes such pictures large."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    stream = io.BytesIO()
    palette = picture.quantize(64, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
