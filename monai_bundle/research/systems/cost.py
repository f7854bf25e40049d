"""What a system costs: parameters, operations and seconds of one reading, counted on the network itself."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from monai.bundle import ConfigParser
from torch.utils.flop_counter import FlopCounterMode

from research.evidence.network_reading import CONFIGURATION
from scripts.inferer import ImageSource
from scripts.networks.inference_form import fuse_for_inference
from scripts.networks.study_network import StudyNetwork
from scripts.precision import choose_precision
from scripts.systems import SHIPPED_CONFIGURATION, System

SLICES = 32
"""Input slices of the scan that is read: a routine head CT."""


@dataclass(frozen=True)
class Cost:
    """Of reading one scan of :data:`SLICES` input slices, without maps.

    Attributes
    ----------
    parameters : int
        Of the whole network.
    gflop : float
        Floating-point operations, a multiplication and an addition being two (GFLOP).
    seconds : float or None
        Wall time, median (s); None where it was not measured.
    threads : int
        Of the processor.
    input : str
        Channels and sizes of the images.
    """

    parameters: int
    gflop: float
    seconds: float | None
    threads: int
    input: str


def cost_of(system: System, repeats: int = 0) -> Cost:
    """Build a system with random weights, which take as long as trained ones, and count one reading.

    Parameters
    ----------
    system : System
        Of the bundle in whose folder this runs.
    repeats : int
        Readings that are timed after those that are counted; none leaves seconds out.
    """
    parser = ConfigParser()
    own = [] if system.configuration.endswith(SHIPPED_CONFIGURATION) else [system.configuration]
    parser.read_config([CONFIGURATION, *own])
    network: StudyNetwork = parser.get_parsed_content("network_def").eval()
    sizes: dict[str, int] = parser.get_parsed_content("image_sizes")
    channels = len(parser.get_parsed_content("windows"))
    images = {name: torch.rand(channels, SLICES, size, size) for name, size in sizes.items()}
    parameters = sum(each.numel() for each in network.parameters())
    counter = FlopCounterMode(display=False)
    with counter:
        _read(network, images, "float32")
    operations = counter.get_total_flops() / 1e9
    seconds = None
    if repeats:
        fuse_for_inference(network)
        _read(network, images, "auto")
        seconds = statistics.median(_timed(network, images) for _ in range(repeats))
    described = f"{channels} x " + ", ".join(f"{size} x {size}" for size in sizes.values())
    return Cost(parameters, round(operations, 1), seconds, torch.get_num_threads(), described)


def _timed(network: StudyNetwork, images: dict[str, torch.Tensor]) -> float:
    since = time.perf_counter()
    _read(network, images, "auto")
    return round(time.perf_counter() - since, 2)


def _read(network: StudyNetwork, images: dict[str, torch.Tensor], precision: str) -> None:
    chosen = choose_precision(torch.device("cpu"), precision)  # type: ignore[arg-type] # one of its names
    with torch.no_grad():
        network.read_study(ImageSource(images, network, chosen, 8, 2, lambda *_: None))
