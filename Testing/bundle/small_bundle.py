"""A bundle with a small network of random weights, so that no test depends on the shipped weights or waits for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from tiny_backbone import TinyBackbone
from weights_files import write_metadata

from scripts.networks.drct import DrCT2
from scripts.weights import save_trained

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
CONFIG_FILES = ("configs/inference.json", "configs/tiny.json")
SMALL = ("--device", "cpu", "--image_size", "32", "--high_res_size", "48", "--sub_stack_size", "8")
SMALL_NETWORK = ("--network_def#key_slices", "4")
_ARGUMENTS = (*SMALL, *SMALL_NETWORK)
OVERRIDES = tuple(
    (name.removeprefix("--"), value) for name, value in zip(_ARGUMENTS[::2], _ARGUMENTS[1::2], strict=True)
)


def write_small_bundle(root: Path) -> Path:
    """Write the bundle with its code linked; ``configs/tiny.json`` chooses the small backbone."""
    shutil.copytree(BUNDLE / "configs", root / "configs")
    for name in ("scripts", "docs"):
        (root / name).symlink_to(BUNDLE / name, target_is_directory=True)
    backbone = {"backbone": {"_target_": "tiny_backbone.TinyBackbone"}}
    (root / "configs" / "tiny.json").write_text(json.dumps(backbone), encoding="utf-8")
    write_model(root, seed=1)
    return root


def write_model(bundle: Path, seed: int) -> str:
    """Write a small network of random weights into a bundle; return its sha256."""
    torch.manual_seed(seed)
    description = json.loads((BUNDLE / "configs" / "inference.json").read_text(encoding="utf-8"))["network_def"]
    settings = {key: value for key, value in description.items() if not key.startswith("_") and key != "backbone"}
    settings |= {"labels": 6, "slices": 8, "key_slices": 4, "high_res_size": 48}
    digest = save_trained(DrCT2(TinyBackbone(seed), **settings).eval(), bundle / "models" / "model.pt")
    write_metadata(bundle, digest)
    stated = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    stated["weights"] = {"models/model.pt": digest}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(stated), encoding="utf-8")
    return digest
