"""What a system costs: parameters, operations and seconds of one reading, counted on the network itself."""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from research.evidence.network_reading import CONFIGURATION
from scripts.inferer import ImageSource
from scripts.networks.inference_form import fuse_for_inference
from scripts.networks.study_network import FeatureMaps, StudyNetwork, evenly_spaced_mm
from scripts.precision import choose_precision
from scripts.systems import SHIPPED_CONFIGURATION, System

SLICES = 32
"""Input slices of the scan that is read: a routine head CT."""
WARM_UP = 8
SEED = 0
"""Of the weights and embeddings that are counted: they decide which slices are key slices, and how many differ."""


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
        Time of the processor, all threads together, median (s), which other work on the machine changes little; None
        where it was not measured.
    threads : int
        Of the processor.
    input : str
        Channels and sizes of the images; where fewer than all slices are read at a size, how many. Key slices of a scan
        of several sub-stacks may be the same: another scan may have more or fewer.
    """

    parameters: int
    gflop: float
    seconds: float | None
    threads: int
    input: str


def cost_of(system: System, repeats: int = 0) -> Cost:
    """Build a system with random weights, the same each time, and count one reading; trained ones take as long.

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
    sizes: dict[str, int] = parser.get_parsed_content("image_sizes")
    channels = len(parser.get_parsed_content("windows"))
    mirrored = bool(parser.get_parsed_content("mirrored_views"))
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        network: StudyNetwork = parser.get_parsed_content("network_def").eval()
        source = CountedSource(network, channels, sizes, mirrored)
        with counter:
            network.read_study(source)
    parameters = sum(each.numel() for each in network.parameters())
    seconds = None
    if repeats:
        images = {name: torch.rand(channels, SLICES, size, size) for name, size in sizes.items()}
        fuse_for_inference(network)
        # The first reading is slower, whatever its length.
        _read(network, {name: image[:, :WARM_UP] for name, image in images.items()}, mirrored)
        seconds = statistics.median(_timed(network, images, mirrored) for _ in range(repeats))
    described = f"{channels} x " + ", ".join(_described(size, source.slices.get(size)) for size in sizes.values())
    operations = round(counter.get_total_flops() / 1e9, 1)
    return Cost(parameters, operations, seconds, torch.get_num_threads(), described)


def _described(size: int, slices: int | None) -> str:
    return f"{size} x {size}" + ("" if slices in (None, SLICES) else f" ({slices} slices)")


class CountedSource:
    """A scan whose slices go through the backbone without numbers, so that counting a large network takes no time.

    A :class:`~scripts.networks.study_network.SliceSource`; what stands behind is computed on random embeddings.

    Parameters
    ----------
    network : StudyNetwork
        Its backbone and lesion decoder, if there is one, are counted.
    channels : int
        Of the input.
    sizes : dict
        ``image`` and, where slices are read again, ``high_res``: rows and columns.
    mirrored : bool
        Whether each is read from both sides.

    Attributes
    ----------
    slices : dict
        Size to how many slices were read at it.
    """

    def __init__(self, network: StudyNetwork, channels: int, sizes: dict[str, int], mirrored: bool = False) -> None:
        decoder: nn.Module | None = getattr(network, "lesion_decoder", None)
        self.backbone = copy.deepcopy(network.backbone).to("meta")
        self.decoder = None if decoder is None else copy.deepcopy(decoder).to("meta")
        self.channels, self.sizes, self.width = channels, sizes, network.embedding_width
        self.views = 2 if mirrored else 1
        self.slices: dict[int, int] = {}

    def embeddings(self) -> Tensor:
        """Return random embeddings (input slices, channels)."""
        return self._read(SLICES, self.sizes["image"])

    def high_resolution(self, input_slices: Tensor, size: int) -> Tensor:
        """Return random embeddings (n, channels)."""
        return self._read(len(input_slices), size)

    def positions_mm(self) -> Tensor:
        """Return even positions."""
        return evenly_spaced_mm(SLICES)

    def feature_maps(self) -> tuple[FeatureMaps, ...]:
        """Return nothing: maps are not counted."""
        return ()

    def lesion_logits(self) -> tuple[FeatureMaps, ...]:
        """Return nothing: they have no numbers."""
        return ()

    def saliency_logits(self) -> tuple[FeatureMaps, ...]:
        """Return nothing: they have no numbers."""
        return ()

    def _read(self, count: int, size: int) -> Tensor:
        self.slices[size] = self.slices.get(size, 0) + count
        image = torch.empty(count * self.views, self.channels, size, size, device="meta")
        if self.decoder is None:
            # A vision transformer's last block is part of its pooling.
            self.backbone.pool(self.backbone(image))
        else:
            self.decoder(self.backbone.levels(image))
        return torch.rand(count, self.width)


def _timed(network: StudyNetwork, images: dict[str, Tensor], mirrored: bool) -> float:
    since = time.process_time()
    _read(network, images, mirrored)
    return round(time.process_time() - since, 3)


def _read(network: StudyNetwork, images: dict[str, Tensor], mirrored: bool) -> None:
    chosen = choose_precision(torch.device("cpu"), "auto")
    with torch.no_grad():
        network.read_study(ImageSource(images, network, chosen, 8, 2, lambda *_: None, mirrored))
