"""Time the images' part of the network by several engines on the same slices: what the choice of one rests on.

    python -m research.bench.engines [--engines eager fused compiled onnxruntime openvino] [--repeats N]

The images' part is backbone and lesion decoder with random weights, at the sizes and in the batches of
``configs/inference.json``. Each engine runs in a process of its own; the first pass, with whatever an engine prepares,
is stated by itself, because a study from the terminal pays for it. OpenVINO is not among the project's packages.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from scripts.networks.backbone import Backbone
from scripts.networks.inference_form import fuse_for_inference
from scripts.networks.lesion_decoder import LesionDecoder
from scripts.precision import fastest_layout

BUNDLE_ROOT = Path(__file__).resolve().parents[2]
ENGINES = ("eager", "fused", "compiled", "onnxruntime", "openvino")
Engine = Callable[[Tensor], object]


@dataclass(frozen=True)
class Slices:
    """How many slices a study has at one size, and how many are read at once."""

    size: int
    count: int
    batch: int


class ImagesPart(nn.Module):
    """Backbone and lesion decoder: everything that reads pixels."""

    def __init__(self, backbone: Backbone, decoder: LesionDecoder) -> None:
        super().__init__()
        self.backbone, self.decoder = backbone, decoder

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last feature maps and the pixels' logits of slices (n, 3, height, width)."""
        levels = self.backbone.levels(image)
        return levels[-1], self.decoder(levels)


def configured() -> tuple[ImagesPart, tuple[Slices, ...]]:
    """Return the images' part as configured, untrained, and the slices of a scan of one sub-stack."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLE_ROOT / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def").eval()
    inferer = parser.get_parsed_content("inferer")
    sizes = (
        Slices(parser.get_parsed_content("image_size"), network.slices, inferer.micro_batch),
        Slices(parser.get_parsed_content("high_res_size"), network.key_slices, inferer.high_res_micro_batch),
    )
    return ImagesPart(network.backbone, network.lesion_decoder).eval(), sizes


def engine_of(name: str, network: ImagesPart, image: Tensor, folder: Path) -> Engine:
    """Prepare one engine for images of one shape."""
    if name == "eager":
        return network
    if name == "fused":
        return fastest_layout(fuse_for_inference(network))
    if name == "compiled":
        compiled: Engine = torch.compile(fastest_layout(fuse_for_inference(network)))
        return compiled
    file = folder / f"{image.shape[-1]}.onnx"
    torch.onnx.export(fuse_for_inference(network), (image,), file, dynamo=True, verbose=False)
    return _onnxruntime(file) if name == "onnxruntime" else _openvino(file)


def _onnxruntime(file: Path) -> Engine:
    import onnxruntime  # noqa: PLC0415 (the other engines run without it)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image.contiguous().numpy()})


def _openvino(file: Path) -> Engine:
    openvino = importlib.import_module("openvino")
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(file), "CPU", settings)
    return lambda image: compiled(image.contiguous().numpy())


@torch.no_grad()
def time_engine(name: str, repeats: int) -> dict[str, float]:
    """Return seconds of the preparation and first pass, and wall and processor seconds of the later ones (median)."""
    network, sizes = configured()
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(each.batch, 3, each.size, each.size, generator=generator) for each in sizes]
    with tempfile.TemporaryDirectory() as folder:
        since = time.perf_counter()
        engines = [engine_of(name, network, image, Path(folder)) for image in images]
        for engine, image in zip(engines, images, strict=True):
            engine(image)
        first = time.perf_counter() - since
        wall, processor = [], []
        for _ in range(repeats):
            since, since_processor = time.perf_counter(), time.process_time()
            for engine, image, each in zip(engines, images, sizes, strict=True):
                for _ in range(each.count // each.batch):
                    engine(image.contiguous(memory_format=torch.channels_last) if name != "eager" else image)
            wall.append(time.perf_counter() - since)
            processor.append(time.process_time() - since_processor)
    return {"first": first, "wall": statistics.median(wall), "processor": statistics.median(processor)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or, of one engine, its numbers as JSON."""
    parser = argparse.ArgumentParser(prog="python -m research.bench.engines", description=__doc__.splitlines()[0])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES[:-1]))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", choices=ENGINES, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.one:
        sys.stdout.write(json.dumps(time_engine(chosen.one, chosen.repeats)))
        return
    sys.stdout.write(f"{'seconds':<14}{'first':>10}{'wall':>10}{'processor':>12}\n")
    for name in chosen.engines:
        command = [sys.executable, "-m", "research.bench.engines", "--one", name, "--repeats", str(chosen.repeats)]
        done = subprocess.run(command, cwd=BUNDLE_ROOT, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        sys.stdout.write(f"{name:<14}{found['first']:>10.2f}{found['wall']:>10.2f}{found['processor']:>12.2f}\n")


if __name__ == "__main__":
    main()
