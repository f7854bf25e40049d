"""Whether exported files give for one study what torch gives, each step of the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from monai.utils import convert_to_tensor
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from research.export.exporting import BACKBONE, HEADS, KEY_SLICES, TORCHSCRIPT, Configured
from research.export.parts import Heads, KeySlices, SliceFeatures
from scripts.networks.drct import DrCT2
from scripts.reading_geometry import sub_stacks

RunFile = Callable[[str, Mapping[str, NDArray[Any]]], list[NDArray[Any]]]

LARGEST_DIFFERENCE = 1e-3
MICRO_BATCH = 4


@dataclass(frozen=True)
class Study:
    """What the network is given of one study: its first sub-stack of m slices.

    Attributes
    ----------
    image, high_res : Tensor, shapes (m, 3, image size, image size) and (m, 3, high_res size, high_res size)
        The same slices in both sizes, windows in 0..1.
    """

    image: Tensor
    high_res: Tensor


def read_study(configured: Configured, dataset_dir: Path, slices: int) -> Study:
    """Read the first study of a folder through the bundle's own preprocessing.

    Raises
    ------
    IntakeError
        If there is no study that can be read.
    """
    parser = configured.parser()
    parser["dataset_dir"] = str(dataset_dir)
    entry: Mapping[str, Any] = parser.get_parsed_content("dataset")[0]
    if "refusal" in entry:
        raise entry["refusal"]
    image, high_res = (convert_to_tensor(entry[key]).movedim(0, 1) for key in ("image", "high_res"))
    stack = torch.from_numpy(sub_stacks(len(image), slices)[0])
    return Study(image[stack], high_res[stack])


@torch.no_grad()
def differences(configured: Configured, folder: Path, study: Study) -> dict[str, float]:
    """Return the largest absolute difference between torch and the exported files, for each result.

    Parameters
    ----------
    configured : Configured
        What was exported.
    folder : Path
        Where the files lie.
    study : Study
        What both read.

    Returns
    -------
    dict of str to float
        ``"file: result"`` to a difference in the result's own unit; positions of key slices in slices.
    """
    network = configured.network().requires_grad_(False)
    ours, theirs = _through_torch(network, study), _through_onnx(folder, study)
    found = {name: _largest(ours[name], theirs[name]) for name in ours}
    stack = study.image.movedim(0, 1)[None]
    scripted = torch.jit.load(str(folder / TORCHSCRIPT))(stack)
    return found | {f"{TORCHSCRIPT}: logits": _largest(network(stack).numpy(), scripted.detach().numpy())}


def _through_torch(network: DrCT2, study: Study) -> dict[str, NDArray[Any]]:
    backbone, key_slices, heads = SliceFeatures(network), KeySlices(network), Heads(network)

    def run(part: torch.nn.Module, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return [result.numpy() for result in part(*map(torch.from_numpy, inputs.values()))]

    steps = {BACKBONE: backbone, KEY_SLICES: key_slices, HEADS: heads}
    return dict(_steps(lambda name, inputs: run(steps[name], inputs), study))


def _through_onnx(folder: Path, study: Study) -> dict[str, NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    sessions = {
        name: onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
        for name in (BACKBONE, KEY_SLICES, HEADS)
    }
    return dict(_steps(lambda name, inputs: sessions[name].run(None, dict(inputs)), study))


def _steps(run: RunFile, study: Study) -> Iterator[tuple[str, NDArray[Any]]]:
    """Read a study in the steps of docs/export.md; ``run`` takes a file's name and named inputs."""

    def read(images: Tensor) -> list[NDArray[Any]]:
        batches = [run(BACKBONE, {"slices": batch.numpy()}) for batch in images.split(MICRO_BATCH)]
        return [np.concatenate(results) for results in zip(*batches, strict=True)]

    maps, features, *lesion_logits = read(study.image)
    yield f"{BACKBONE}: maps", maps
    for pixels in lesion_logits:
        # As probabilities, which is what becomes of them: logits of pixels far from any blood are large.
        yield f"{BACKBONE}: lesion probabilities", special.expit(pixels)
    key_slices, slice_attention = run(KEY_SLICES, {"features": features[None]})
    yield f"{KEY_SLICES}: key_slices", key_slices
    yield f"{KEY_SLICES}: slice_attention", slice_attention
    high_res_maps, high_res_features, *_ = read(study.high_res[key_slices[0]])
    yield f"{BACKBONE}: maps of key slices", high_res_maps
    results = run(HEADS, {"features": features[None], "high_res_features": high_res_features[None]})
    for name, result in zip(Heads.interface.outputs, results, strict=True):
        yield f"{HEADS}: {name}", result


def _largest(first: NDArray[Any], second: NDArray[Any]) -> float:
    difference = np.abs(first.astype(np.float64) - second.astype(np.float64))
    # NaN is no agreement, and every comparison with it is false.
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")
