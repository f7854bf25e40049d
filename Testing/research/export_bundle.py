"""A bundle with small images, the shipped backbone and untrained heads: the input of the tests of the export."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from training_runs import BUNDLE, copy_of_bundle

from research.export.exporting import Configured
from scripts.weights import MODEL_FILE, read_state

SMALL = {"image_size": 32, "high_res_size": 64, "sub_stack_size": 6, "network_def#key_slices": 3}


def a_bundle(folder: Path) -> Configured:
    """Copy the bundle; its heads tell slices apart, so that no choice of key slices hangs on rounding."""
    root = copy_of_bundle(folder)
    torch.manual_seed(0)
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    parser.update(SMALL)
    network = parser.get_parsed_content("network_def")
    for name, parameter in network.named_parameters():
        if not name.startswith("backbone."):
            parameter.data.mul_(2)
    shipped = read_state(BUNDLE, MODEL_FILE, None)
    state = network.state_dict() | {key: tensor for key, tensor in shipped.items() if key.startswith("backbone.")}
    (root / MODEL_FILE).parent.mkdir()
    torch.save(state, root / MODEL_FILE)
    state_digest(root, MODEL_FILE)
    return Configured(root, dict(SMALL))


def state_digest(root: Path, name: str) -> None:
    path = root / "configs" / "metadata.json"
    metadata: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    metadata["weights"][name] = hashlib.sha256((root / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(metadata), encoding="utf-8")
