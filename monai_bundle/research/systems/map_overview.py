"""Draws the maps of all trained systems on one slice: ``docs/systems_maps.jpg``.

    python -m research.systems.map_overview                  what cache/systems holds, by the weights without fold 0
    python -m research.systems.map_overview --only radnet    some of them

The head is the demo's with haemorrhage, a phantom: patients' slices belong into no repository. The slice is that with
the largest area of blood. Each map is that of any haemorrhage, computed as the system's results have it and drawn on
one scale for the scan: 255 is the scan's largest value; evidence that lies on other slices leaves this one dark.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from research.evidence.network_reading import NetworkReader
from research.systems.evaluation import reader_of
from research.systems.figure import short_name
from research.systems.measured import MeasuredSystem, read_measured_systems
from research.systems.page import MARK
from research.systems.training import FOLDER, fold_weights, is_shipped
from scripts.cache import Cache
from scripts.explanation.maps import as_stored_map
from scripts.explanation.methods import METHODS
from scripts.intake.head import head_mask
from scripts.intake.study import CTStudy
from scripts.output.overlay import jpeg, overlay
from scripts.output.slice_images import brain_window, display_of
from scripts.phantom.rendering import Phantom
from scripts.synthesis.demo_phantoms import HEADS, draw_head
from scripts.systems import System, systems

OVERVIEW = Path("docs/systems_maps.jpg")
SLICES, PIXELS = 32, 512
COLUMNS = 7
_VERSION = 1
_PANEL = 224
_TRUTH = "#29c7ff"
WIDE, GAP, CAPTION, HEADER, DOTS = 1.7, 0.05, 0.42, 0.62, 110
"""Inches of a panel, between panels, below each and above all; dots per inch."""
HEADING: tuple[tuple[str, float, dict[str, Any]], ...] = (
    ("Where each system sees evidence for haemorrhage: one slice", 0.06, {"fontsize": 12, "weight": "bold"}),
    (
        "Brightest: the largest value of that system's scan; below 15 % of it clear. p: any haemorrhage in the scan. "
        "AUC: single slices of patients.",
        0.34,
        {"fontsize": 8.5, "color": "#555555"},
    ),
)

Panel = tuple[NDArray[np.uint8], NDArray[np.uint8] | None, str, str]
"""Image (height, width, 3), the truth whose contour is drawn on it, its name and what stands below the name."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DrawnMap:
    """One system's map on the slice that is drawn.

    Attributes
    ----------
    voxels : ndarray of uint8, shape (rows, columns)
        255: the scan's largest value.
    probability : float
        Of any haemorrhage in the scan, before calibration.
    """

    voxels: NDArray[np.uint8]
    probability: float


def largest_slice(phantom: Phantom) -> int:
    """Return the slice with the largest area of blood, whatever its kind."""
    return int(np.argmax(blood(phantom).sum(axis=(1, 2))))


def blood(phantom: Phantom) -> NDArray[np.bool_]:
    """Return the voxels of all haemorrhages, shape (slices, rows, columns)."""
    return np.any(list(phantom.masks.values()), axis=0)


def map_of(reader: NetworkReader, study: CTStudy, index: int) -> DrawnMap:
    """Read a study and explain any haemorrhage.

    Parameters
    ----------
    reader : NetworkReader
        One system with its weights.
    study : CTStudy
        In memory.
    index : int
        Original slice whose map is kept.
    """
    inputs = reader.inputs(study)
    output = reader.pass_with_graph(inputs)
    column = reader.labels.index("any")
    with torch.enable_grad():
        layers = METHODS[reader.inferer.method].explain(output, column)
    stored = as_stored_map(inputs["geometry"].resample_back(*layers), inputs["head"])
    return DrawnMap(stored.voxels[index], float(output.detached().probabilities[column]))


def weights_of(system: System, fold: int, folder: Path) -> Path | None:
    """Return what a system is drawn with: the weights of a fold, of the shipped one its own; None without any."""
    return Path(system.model_file) if is_shipped(system) else fold_weights(system, fold, folder)


def overview(
    phantom: Phantom,
    maps: Mapping[str, DrawnMap],
    measured: Mapping[str, MeasuredSystem],
    known: Sequence[System],
) -> NDArray[np.uint8]:
    """Lay the panels out: the CT, the truth, then the maps, that of the shipped network first, the others by AUC.

    Parameters
    ----------
    phantom : Phantom
        What was read.
    maps, measured : mapping
        By the system's name.
    known : sequence of System
        Those that are drawn, where they have a map.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    study, index = phantom.study, largest_slice(phantom)
    display = display_of(study, head_mask(study.voxels, study.spacing_mm))
    grey = display.sized(brain_window(study.voxels[index]), _PANEL)
    truth = display.sized((255 * blood(phantom)[index]).astype(np.uint8), _PANEL)
    drawn = sorted((each for each in known if each.name in maps), key=lambda each: _order(each, measured))
    plain = np.repeat(grey[..., None], 3, axis=2)
    panels: list[Panel] = [
        (plain, None, "CT (phantom)", "brain window, 0 to 80 HU"),
        (plain, truth, "truth", "contour of the blood"),
    ]
    for system in drawn:
        found = maps[system.name]
        image = overlay(grey, display.sized(found.voxels, _PANEL))
        panels.append((image, truth, panel_name(system), caption(found, measured.get(system.name))))
    return laid_out(panels)


def laid_out(panels: Sequence[Panel]) -> NDArray[np.uint8]:
    """Draw panels row by row below the heading; return pixels, shape (height, width, 3)."""
    columns = min(COLUMNS, len(panels))
    height, width = panels[0][0].shape[:2]
    high = WIDE * height / width
    rows = -(-len(panels) // columns)
    size = (columns * (WIDE + GAP) + GAP, HEADER + rows * (high + CAPTION))
    figure = Figure(figsize=size, dpi=DOTS)
    canvas = FigureCanvasAgg(figure)
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        left, bottom = GAP + column * (WIDE + GAP), size[1] - HEADER - row * (high + CAPTION) - high
        _panel(figure.add_axes((left / size[0], bottom / size[1], WIDE / size[0], high / size[1])), *panel)
    for text, down, style in HEADING:
        figure.text(GAP / size[0], 1 - down / size[1], text, va="top", **style)
    canvas.draw()
    pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3]
    return np.ascontiguousarray(pixels)


def caption(found: DrawnMap, measured: MeasuredSystem | None) -> str:
    """Return what stands below a system's name."""
    text = f"p {found.probability:.2f}"
    if measured is None:
        return f"{text}, not measured"
    auc = measured.slice_auc.value
    stated = "no slice answer" if auc is None else f"AUC {auc:.2f}"
    return f"{text}, {stated}{'' if measured.learnt() else ' ' + MARK}"


def panel_name(system: System) -> str:
    """Return a system's name in the overview: the ICH app's twelve need more than the figure tells."""
    if system.name.startswith("ich_app_") and "," in system.title:
        network, images, training = system.title.removeprefix("ICH app: ").split(", ")
        short = {"EfficientNet-B2": "EffNet-B2", "DenseNet121": "DenseNet", "optimised": "optim."}
        shown = images.removeprefix("three ").removesuffix(" slices")
        return f"{short.get(network, network)}, {shown}, {short.get(training, training)}"
    return short_name(system).removesuffix(" network")


def _order(system: System, measured: Mapping[str, MeasuredSystem]) -> tuple[bool, float, str]:
    each = measured.get(system.name)
    auc = None if each is None else each.slice_auc.value
    return not is_shipped(system), -(auc or 0.0), system.name


def _panel(panel: Axes, image: NDArray[np.uint8], truth: NDArray[np.uint8] | None, name: str, text: str) -> None:
    panel.imshow(image, interpolation="lanczos")
    if truth is not None:
        panel.contour(truth, [127], colors=_TRUTH, linewidths=0.8)
    panel.set_axis_off()
    panel.text(0.5, -0.02, name, transform=panel.transAxes, ha="center", va="top", fontsize=8, weight="bold")
    panel.text(0.5, -0.105, text, transform=panel.transAxes, ha="center", va="top", fontsize=7.5, color="#555555")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the phantom by every system that has weights, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some systems")
    parser.add_argument("--fold", type=int, default=0, help="whose held-out weights read (default: 0)")
    parser.add_argument("--weights", type=Path, default=FOLDER, help="folder with the weights of each system")
    parser.add_argument("--output", type=Path, default=OVERVIEW)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    known = [each for each in systems(".") if each.name in (arguments.only or [each.name])]
    phantom = draw_head(HEADS[0], SLICES, PIXELS)
    maps: dict[str, DrawnMap] = {}
    for system in tqdm(known, unit="system"):
        weights = weights_of(system, arguments.fold, arguments.weights)
        if weights is None:
            logger.info("%s has no weights without fold %d in %s", system.name, arguments.fold, arguments.weights)
            continue
        reader = reader_of(system, weights, {})
        key = [_VERSION, HEADS[0], SLICES, PIXELS, reader.key, reader.inferer.method]
        cache = Cache(FOLDER / system.name / "cache")
        maps[system.name] = cache.get(
            "phantom_map", key, partial(map_of, reader, phantom.study, largest_slice(phantom))
        )
    partial_file = arguments.output.with_name(arguments.output.name + ".partial")
    partial_file.write_bytes(jpeg(overview(phantom, maps, read_measured_systems(), known)))
    partial_file.replace(arguments.output)
    logger.info("%s: %d systems", arguments.output, len(maps))


if __name__ == "__main__":
    main()
