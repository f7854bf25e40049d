"""Images of the worst failures for the model card: false negatives and false positives."""

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
"""Largest image: a model card is read in a browser, and a repository keeps every version."""

CONTOUR_LEVEL = 0.5
"""Proportion of the scan's largest value at which the contour of Grad-CAM is drawn."""

_MAP_COLOUR, _MASK_COLOUR = "#ff9a1f", "#35d0e0"
_LONGEST_PIXELS = (300, 240, 180, 120)
_DPI = 100
_MARGIN, _TITLE, _FOOT = 8, 44, 62
_FEWEST_SLICES_WIDE = 2


@dataclass(frozen=True)
class Failure:
    """One scan with a wrong prediction.

    Attributes
    ----------
    index : int
        Place of the scan in the arrays that it was selected from.
    name : str
        Of the scan.
    probability : float
        Of the label.
    truth : bool
        Whether the scan shows the label.
    """

    index: int
    name: str
    probability: float
    truth: bool

    @property
    def kind(self) -> str:
        """What is wrong, for file names and captions."""
        return "false negative" if self.truth else "false positive"


@dataclass(frozen=True, eq=False)
class FailureMaps:
    """What is drawn of a failure.

    Attributes
    ----------
    study : CTStudy
        The scan.
    head : ndarray of bool, shape (slices, rows, columns)
        The images are cropped to it.
    attribution_map : ndarray of uint8, shape (slices, rows, columns)
        Grad-CAM of the label; 255 is the scan's largest magnitude (:class:`~scripts.explanation.StoredMap`).
    key_slices : tuple of int
        Original slices to show, largest attention first.
    mask : ndarray of bool, shape (slices, rows, columns), or None
        Annotation of the haemorrhage, where there is one.
    """

    study: CTStudy
    head: NDArray[np.bool_]
    attribution_map: NDArray[np.uint8]
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
        if any(array is not None and array.shape != shape for array in (self.head, self.attribution_map, self.mask)):
            raise ValueError(f"head, map and mask must have the study's shape {shape}")
        if self.attribution_map.dtype != np.uint8:
            raise ValueError(
                f"the map must be uint8, 255 being the scan's largest value, not {self.attribution_map.dtype}"
            )
        if not self.key_slices or any(not 0 <= index < shape[0] for index in self.key_slices):
            raise ValueError(f"key slices {self.key_slices} of a scan of {shape[0]} slices")


@dataclass(frozen=True)
class FailureImage:
    """A written image and its caption."""

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
    """Select the false negatives and false positives of one label whose probability is farthest from the truth.

    Parameters
    ----------
    probabilities, truth : ndarray, shape (scans,)
        Of one label; truth is 0, 1 or NaN where unknown.
    names : sequence of str
        Of the scans.
    threshold : float
        Probability from which a scan is predicted positive.
    count : int
        At most so many of each.

    Returns
    -------
    tuple of tuple of Failure
        False negatives and false positives, the worst first; of equals the first scan.
    """
    positive = probabilities >= threshold
    return (
        _worst(np.flatnonzero((truth == 1) & ~positive), probabilities, truth, names, count),
        _worst(np.flatnonzero((truth == 0) & positive), probabilities, truth, names, count),
    )


def draw_failure(failure: Failure, maps: FailureMaps, label: str, attribution: str, most_slices: int = 4) -> bytes:
    """Draw the key slices in the brain window with the contours of Grad-CAM at 50 % and of the annotation.

    Parameters
    ----------
    failure : Failure
        Its probability and kind are in the title.
    maps : FailureMaps
        What is drawn.
    label : str
        Name of the label.
    attribution : str
        Source and licence of the scan, printed below; whether its images may be published is for the caller to know.
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
        raise ValueError("an image of a patient's scan needs its source and licence")
    shown = replace(maps, key_slices=maps.key_slices[:most_slices])
    display = display_of(shown.study, shown.head)
    for longest in _LONGEST_PIXELS:
        image = _png(_figure(failure, shown, display, longest, (label, attribution)))
        if len(image) <= MOST_BYTES:
            return image
    raise ValueError(f"{failure.name}: no image of at most {MOST_BYTES} bytes")


def write_failure(
    folder: Path, failure: Failure, maps: FailureMaps, label: tuple[str, str], attribution: str
) -> FailureImage:
    """Draw a failure into a folder.

    Parameters
    ----------
    folder : Path
        Exists.
    failure, maps, attribution
        As :func:`draw_failure` takes them.
    label : tuple of str
        Key and name of the label.
    """
    key, name = label
    file = f"{failure.kind.replace(' ', '_')}_{key}_{failure.name}.png"
    (folder / file).write_bytes(draw_failure(failure, maps, name, attribution))
    caption = f"{_title(failure, name)}. {attribution}"
    return FailureImage(file, failure.kind, key, failure.probability, caption)


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


def _figure(failure: Failure, maps: FailureMaps, display: Display, longest: int, captions: tuple[str, str]) -> Figure:
    label, attribution = captions
    panels = [_panel_pixels(maps, index, display, longest) for index in maps.key_slices]
    height, width = panels[0][0].shape
    across = max(len(panels), _FEWEST_SLICES_WIDE) * (width + _MARGIN) + _MARGIN
    down = _TITLE + height + _FOOT
    figure = Figure(figsize=(across / _DPI, down / _DPI), dpi=_DPI, facecolor="black")
    for place, (index, (grey, values, mask)) in enumerate(zip(maps.key_slices, panels, strict=True)):
        left = _MARGIN + place * (width + _MARGIN)
        axes = figure.add_axes((left / across, _FOOT / down, width / across, height / down))
        _draw_panel(axes, grey, values, mask)
        axes.text(4, 4, f"slice {index + 1}", color="white", fontsize=7, va="top")
        axes.text(4, height / 2, display.markers.left, color="white", fontsize=7, va="center")
    points = 72 / _DPI
    size = min(13 * points, 1.7 * across * points / len(_title(failure, label)))
    figure.text(0.5, 1 - 6 / down, _title(failure, label), color="white", fontsize=size, ha="center", va="top")
    figure.text(0.5, 1 - 27 / down, "Research use only", color="white", fontsize=7, ha="center", va="top")
    for legend, colour, height_below in (
        (_map_legend(maps), _MAP_COLOUR, 44),
        (_mask_legend(maps), _MASK_COLOUR, 28),
    ):
        figure.text(_MARGIN / across, height_below / down, legend, color=colour, fontsize=7)
    small = min(7.0, 1.9 * across * points / len(attribution))
    figure.text(_MARGIN / across, 10 / down, attribution, color="#b0b0b0", fontsize=small)
    return figure


def _map_legend(maps: FailureMaps) -> str:
    legend = f"Grad-CAM ≥ {percent(CONTOUR_LEVEL)} of the scan's largest: evidence, not anatomy"
    reached = maps.attribution_map[list(maps.key_slices)].max() >= CONTOUR_LEVEL * 255
    return legend if reached else f"{legend}; not reached on these slices"


def _mask_legend(maps: FailureMaps) -> str:
    if maps.mask is None:
        return "Haemorrhage is not annotated in this scan"
    if not maps.mask.any():
        return "Haemorrhage as annotated by the readers: none in this scan"
    here = maps.mask[list(maps.key_slices)].any()
    return "Haemorrhage as annotated by the readers" + ("" if here else ": on other slices only")


def _panel_pixels(
    maps: FailureMaps, index: int, display: Display, longest: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None]:
    mask = None if maps.mask is None else display.sized(maps.mask[index].astype(np.uint8) * 255, longest)
    grey = display.sized(brain_window(maps.study.voxels[index]), longest)
    return grey, display.sized(maps.attribution_map[index], longest), mask


def _draw_panel(
    axes: Axes, grey: NDArray[np.uint8], attribution: NDArray[np.uint8], mask: NDArray[np.uint8] | None
) -> None:
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    for values, colour, level in ((attribution, _MAP_COLOUR, CONTOUR_LEVEL * 255), (mask, _MASK_COLOUR, 127.5)):
        # Matplotlib warns of a level that is nowhere reached.
        if values is not None and values.min() < level < values.max():
            axes.contour(values, levels=[level], colors=[colour], linewidths=1.2)
    axes.set_axis_off()


def _png(figure: Figure) -> bytes:
    """Write with a palette of 64 colours: grey noise in true colour is what makes such images large."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    stream = io.BytesIO()
    palette = image.quantize(64, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
