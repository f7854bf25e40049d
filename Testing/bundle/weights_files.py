"""Writes a bundle's folder with the weights of a small network and the metadata that state its hash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tiny_backbone import TinyBackbone
from torch import Tensor, nn

from scripts.networks.backbone import Backbone
from scripts.networks.drct import DrCT2
from scripts.weights import save_trained


def a_trained_network() -> DrCT2:
    torch.manual_seed(5)
    network = a_fresh_network(TinyBackbone(seed=7))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(0, 5)
            module.running_var.uniform_(1, 30)
    return network.eval()


def write_bundle(folder: Path, network: DrCT2) -> Path:
    """Write ``models/model.pt`` and metadata that fit it."""
    write_metadata(folder, save_trained(network, folder / "models" / "model.pt"))
    return folder


def write_metadata(bundle: Path, model_digest: str) -> None:
    (bundle / "configs").mkdir(exist_ok=True)
    weights = {"weights": {"models/model.pt": model_digest}}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(weights), encoding="utf-8")


def a_fresh_network(backbone: Backbone | None = None, **settings: Any) -> DrCT2:
    return DrCT2(backbone or TinyBackbone(), **({"slices": 4, "key_slices": 2, "high_res_size": 48} | settings))


class PretrainedBackbone(TinyBackbone):
    """A small backbone that training begins with other weights than the constructor's."""

    pretrained = True

    def pretrained_state(self) -> dict[str, Tensor]:
        return {name: torch.full_like(tensor, 0.25) for name, tensor in self.state_dict().items()}
