"""A small network and images of a study, prepared as inference prepares them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from scripts.inferer import StudyInferer, StudyReading
from scripts.networks.backbone import Backbone
from scripts.networks.drct import DrCT1, DrCT2
from scripts.networks.vgg16 import VGG16Features
from scripts.reading_geometry import CropPlane, ReadingGeometry

SIDE, HIGH_RES = 32, 48
INPUT_SLICES = 5


def a_network(kind: type[DrCT1] = DrCT2, backbone: Callable[[], Backbone] = VGG16Features, **settings: Any) -> Any:
    """A small network whose labels differ; its backbone is whole, with activations of a usable size."""
    torch.manual_seed(7)
    if issubclass(kind, DrCT2):
        settings = {"key_slices": 2, "high_res_size": HIGH_RES} | settings
    network = kind(backbone(), **({"slices": 3} | settings))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.3)
    return network.eval()


def an_entry(input_slices: int = INPUT_SLICES, high_res: bool = False) -> dict[str, Any]:
    """Images that are the original slices themselves."""
    image = torch.rand(3, input_slices, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    plane = CropPlane(0, SIDE, 0, SIDE, flip_rows=False, flip_columns=False)
    original_shape = (input_slices, SIDE, SIDE)
    entry = {
        "image": image,
        "geometry": ReadingGeometry(plane, tuple((index,) for index in range(input_slices)), original_shape),
        "head": np.ones(original_shape, dtype=bool),
    }
    if high_res:
        enlarged = functional.interpolate(image.movedim(0, 1), size=(HIGH_RES, HIGH_RES), mode="bilinear")
        entry["high_res"] = enlarged.movedim(0, 1)
    return entry


def read(network: DrCT1, entry: dict[str, Any], **settings: Any) -> StudyReading:
    return StudyInferer(**({"precision": "float32"} | settings))(entry, network)
