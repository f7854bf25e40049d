"""Writes a bundle's folder with the weights of a small network and the metadata that state their hashes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scripts.networks.drct import DrCT2
from scripts.networks.vgg16 import VGG16Features
from scripts.weights import save_trained


def a_trained_network() -> DrCT2:
    torch.manual_seed(5)
    network = a_fresh_network()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(0, 5)
            module.running_var.uniform_(1, 30)
    # As the shipped backbone: what half precision can hold.
    network.backbone.half().float()
    return network.eval()


def write_backbone(path: Path, network: DrCT2) -> Path:
    torch.save({name: tensor.half() for name, tensor in network.backbone.state_dict().items()}, path)
    return path


def write_bundle(folder: Path, backbone_file: Path, network: DrCT2) -> Path:
    """Write ``models`` and metadata that fit them; the backbone's file is linked."""
    (folder / "models").mkdir()
    (folder / "models" / "backbone.pt").hardlink_to(backbone_file)
    write_metadata(folder, "not yet known")
    digest = save_trained(network, folder / "models" / "model.pt", folder)
    write_metadata(folder, digest)
    return folder


def write_metadata(bundle: Path, model_digest: str) -> None:
    (bundle / "configs").mkdir(exist_ok=True)
    backbone_digest = hashlib.sha256((bundle / "models" / "backbone.pt").read_bytes()).hexdigest()
    weights = {"models/backbone.pt": backbone_digest, "models/model.pt": model_digest}
    (bundle / "configs" / "metadata.json").write_text(json.dumps({"weights": weights}), encoding="utf-8")


def a_fresh_network(**settings: Any) -> DrCT2:
    return DrCT2(VGG16Features(), **({"slices": 4, "key_slices": 2, "high_res_size": 48} | settings))
