"""TensorRT engines in the backbone's place: compiled for one picture size each, so there is one per size.

Untested with TensorRT itself, for want of a GPU; tested with TorchScript, which is how an engine is stored.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from scripts.networks.drct import DrCT1
from scripts.settings import SettingError


class BackbonePerSize(nn.Module):
    """Hands slices to the engine that was compiled for their size.

    Parameters
    ----------
    engines : mapping of int to nn.Module
        By height (= width) in pixels.
    """

    def __init__(self, engines: Mapping[int, nn.Module]) -> None:
        super().__init__()
        self.engines = nn.ModuleDict({str(size): engine for size, engine in engines.items()})

    def forward(self, slices: Tensor) -> Tensor:
        """Return maps (slices, 512, size / 16, size / 16) of slices (slices, 3, size, size).

        Raises
        ------
        SettingError
            If there is no engine for this size.
        """
        size = str(slices.shape[-1])
        if size not in self.engines or slices.shape[-2] != slices.shape[-1]:
            raise SettingError(
                f"no engine for slices of {slices.shape[-2]} x {slices.shape[-1]}, only for {', '.join(self.engines)}; "
                "export one more (docs/export.md)"
            )
        # An engine reads its input row by row, whatever layout the tensor was given for speed.
        maps: Tensor = self.engines[size](slices.contiguous())
        return maps


def with_engines(network: DrCT1, bundle_root: str | Path, engines: Mapping[str, str]) -> DrCT1:
    """Put engines in the place of a network's backbone; the heads stay as they are, for Grad-CAM needs their gradient.

    Parameters
    ----------
    network : DrCT1 or DrCT2
        With its weights, on its device.
    bundle_root : path
        The bundle's folder.
    engines : mapping of str to str
        Picture size to the engine's path inside the bundle.

    Raises
    ------
    SettingError
        If TensorRT is not installed or an engine cannot be read.
    """
    if importlib.util.find_spec("torch_tensorrt") is None:
        raise SettingError("torch_tensorrt is not installed; install it, or run without configs/inference_trt.json")
    # Its import registers the engine's type, without which torch.jit.load knows no engine.
    importlib.import_module("torch_tensorrt")
    device = next(network.parameters()).device
    loaded = {int(size): _load(Path(bundle_root) / path, device) for size, path in engines.items()}
    network.backbone = BackbonePerSize(loaded)  # type: ignore[assignment]  # stands in for VGG16Features
    return network


def _load(path: Path, device: torch.device) -> nn.Module:
    if not path.is_file():
        raise SettingError(f"{path.name} is not there; make it with trt_export (docs/export.md)")
    try:
        engine: nn.Module = torch.jit.load(str(path), map_location=device)
    except RuntimeError as error:
        raise SettingError(f"{path.name} cannot be read: {str(error).splitlines()[0]}; export it anew") from error
    return engine.eval()
