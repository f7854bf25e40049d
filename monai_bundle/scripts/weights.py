"""Weights on disk: two plain state dicts, checked against the sha256 in the metadata before they are opened."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from scripts.diagnosis import ModelIdentity
from scripts.networks.drct import DrCT1
from scripts.networks.vgg16 import VGG16Features

BACKBONE_FILE = "models/backbone.pt"
MODEL_FILE = "models/model.pt"


class WeightsError(Exception):
    """Weights are missing or are not the ones that the metadata names; the message is one line with the remedy."""


def read_metadata(bundle_root: str | Path) -> dict[str, object]:
    """Return the bundle's ``configs/metadata.json``."""
    content: dict[str, object] = json.loads((Path(bundle_root) / "configs" / "metadata.json").read_text("utf-8"))
    return content


def expected_sha256(bundle_root: str | Path) -> dict[str, str]:
    """Return the sha256 of each weight file, by its path inside the bundle, as the metadata states it."""
    stated = read_metadata(bundle_root).get("weights")
    if not isinstance(stated, dict):
        raise WeightsError("configs/metadata.json: 'weights' must map files to their sha256; restore the file")
    return {str(name): str(digest) for name, digest in stated.items()}


def read_state(bundle_root: str | Path, name: str, expected: str | None) -> dict[str, Tensor]:
    """Open one weight file as float32 tensors.

    Parameters
    ----------
    bundle_root : path
        The bundle's folder.
    name : str
        Path inside the bundle.
    expected : str or None
        sha256 that the file must have; None to accept any, as after training one's own.

    Raises
    ------
    WeightsError
        If the file is missing, has another sha256 or holds anything but plain tensors.
    """
    content = _content(bundle_root, name)
    found = hashlib.sha256(content).hexdigest()
    if expected is not None and found != expected:
        raise WeightsError(
            f"{name}: sha256 {found[:12]}... is not {expected[:12]}... of configs/metadata.json; fetch the bundle "
            "again, or, for weights of your own, put their sha256 there"
        )
    state = _plain_tensors(name, content)
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}


def _content(bundle_root: str | Path, name: str) -> bytes:
    try:
        return (Path(bundle_root) / name).read_bytes()
    except OSError as error:
        raise WeightsError(f"{name}: cannot be read ({error.strerror}); fetch the bundle again") from error


def _plain_tensors(name: str, content: bytes) -> dict[str, Tensor]:
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{name}: cut off, damaged or no file of plain tensors; copy or train it again") from error
    if not (isinstance(state, dict) and all(isinstance(tensor, Tensor) for tensor in state.values())):
        raise WeightsError(f"{name}: holds more than one network's tensors; save the network's state dict alone")
    return state


def load_network(network: nn.Module, bundle_root: str | Path, model_file: str = MODEL_FILE) -> nn.Module:
    """Fill a network with the backbone's and the trained weights and put it into evaluation mode.

    ``model.pt`` may hold backbone layers of its own (fine-tuned ones), which then replace ImageNet's. Another file that
    the metadata does not name, such as one's own training, is opened without a checksum, as plain tensors all the same.

    Raises
    ------
    WeightsError
        If a file is missing, changed, or belongs to a network of another shape, or if the metadata state no sha256 of
        a file that is shipped.
    """
    expected = _stated_sha256(bundle_root, model_file)
    state = load_backbone_state(bundle_root) | read_state(bundle_root, model_file, expected)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise _misfit(model_file, error) from error
    return network.eval()


def _stated_sha256(bundle_root: str | Path, model_file: str) -> str | None:
    """Return the sha256 that the metadata state; None for weights of one's own, of which they know nothing."""
    name = name_in_bundle(bundle_root, model_file)
    if name == MODEL_FILE:
        return _required_sha256(bundle_root, name)
    return expected_sha256(bundle_root).get(name)


def _misfit(model_file: str | None, fault: object) -> WeightsError:
    one_line = " ".join(str(fault).split())[:200]
    return WeightsError(f"{model_file} does not fit the configured network; train it anew (make train): {one_line}")


def load_backbone_state(bundle_root: str | Path) -> dict[str, Tensor]:
    """Return the ImageNet backbone's state with the names that DrCT1 and DrCT2 use."""
    state = read_state(bundle_root, BACKBONE_FILE, _required_sha256(bundle_root, BACKBONE_FILE))
    return {f"backbone.{key}": tensor for key, tensor in state.items()}


def _required_sha256(bundle_root: str | Path, name: str) -> str:
    """Return the stated sha256 of a file that is shipped: without one a changed file would pass unseen."""
    try:
        return expected_sha256(bundle_root)[name]
    except KeyError as error:
        raise WeightsError(f"configs/metadata.json: 'weights' has no sha256 for {name}; restore the file") from error


def name_in_bundle(bundle_root: str | Path, name: str) -> str:
    """Return a weight file's path inside the bundle, or its bare name where it lies elsewhere.

    A result states it, and a result must not tell the folders of the machine that made it.
    """
    # Links are not followed: a linked models/model.pt is the bundle's all the same.
    root = Path(os.path.normpath(Path(bundle_root).absolute()))
    path = Path(os.path.normpath(root / name))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def load_backbone(network: DrCT1, bundle_root: str | Path, start_from: str | None = None) -> VGG16Features:
    """Fill a network's backbone with ImageNet's weights, freeze it and return it.

    Parameters
    ----------
    network : DrCT1
        Filled in place.
    bundle_root : path
        The bundle's folder.
    start_from : str, optional
        Trained weights to go on from: whatever they hold, of the heads or of the backbone, replaces what is there.
        Parts that the network lacks as a whole (the APS network, in DrCT1) are passed over.

    Raises
    ------
    WeightsError
        If a file is missing, changed, or belongs to a network of another shape.
    """
    state = load_backbone_state(bundle_root)
    if start_from is not None:
        state |= read_state(bundle_root, start_from, _stated_sha256(bundle_root, start_from))
    parts = {name for name, _ in network.named_children()}
    # DrCT1 may start from a DrCT2: it has no use for the second reading.
    state = {key: tensor for key, tensor in state.items() if key.split(".")[0] in parts}
    try:
        unknown = network.load_state_dict(state, strict=False).unexpected_keys
    except RuntimeError as error:
        raise _misfit(start_from, error) from error
    if unknown:
        raise _misfit(start_from, f"it has no {', '.join(unknown[:3])}")
    return network.backbone.requires_grad_(False)


def save_trained(network: nn.Module, path: Path, bundle_root: str | Path = ".") -> str:
    """Write all weights that are not ImageNet's, in half precision, and return the file's sha256.

    Half precision costs nothing that shows: the weights are of order 1, and the test of the shipped weights compares
    probabilities before and after to 1e-3. Layers of the backbone are written where they were fine-tuned.

    Raises
    ------
    ValueError
        If a value is too large for half precision.
    WeightsError
        If the ImageNet backbone cannot be read.
    """
    imagenet = load_backbone_state(bundle_root)
    state = {
        key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in network.state_dict().items()
        if key not in imagenet or not torch.equal(tensor.cpu(), imagenet[key])
    }
    too_large = [key for key, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if too_large:
        raise ValueError(f"{', '.join(too_large)}: not finite in half precision; the training has gone astray")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_identity(
    bundle_root: str | Path, network_name: str, model_file: str = MODEL_FILE, labels: Sequence[str] | None = None
) -> ModelIdentity:
    """Return which model speaks, as every result states it.

    Parameters
    ----------
    bundle_root : path
        The bundle's folder.
    network_name : str
        The network's class.
    model_file : str
        The file that :func:`load_network` is given. It and the backbone are hashed as they lie on disk: the metadata
        know nothing of weights of one's own.
    labels : sequence of str, optional
        What weights of one's own were trained to tell; the metadata say it of the shipped ones.

    Raises
    ------
    WeightsError
        If a weight file cannot be read.
    """
    metadata = read_metadata(bundle_root)
    own = name_in_bundle(bundle_root, model_file) not in expected_sha256(bundle_root)
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]  # type: ignore[index]
    return ModelIdentity(
        name=str(metadata["name"]),
        version=str(metadata["version"]),
        network=network_name,
        weights_sha256={
            name_in_bundle(bundle_root, name): hashlib.sha256(_content(bundle_root, name)).hexdigest()
            for name in (BACKBONE_FILE, model_file)
        },
        labels=tuple(labels) if own and labels else tuple(channels[key] for key in sorted(channels, key=int)),
        trained_on="not known: weights of one's own" if own else str(metadata["data_source"]),
    )
