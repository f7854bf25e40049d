"""Weights on disk: plain state dicts, checked against the sha256 in the metadata before they are opened."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from scripts.diagnosis import ModelIdentity
from scripts.messages import ExpectedError
from scripts.networks.backbone import Backbone
from scripts.networks.study_network import StudyNetwork
from scripts.systems import system_of

MODEL_FILE = "models/model.pt"

RENAMED_PARTS = {"dependencies": "encoder", "evidence": "slice_classifier", "standardise": "normalisation"}
"""Parts of parameters' names in files written up to version 0.3, and what they are called now."""

# What unpickling raises of a damaged file (Python's documentation of pickle: "other exceptions may also be raised").
_DAMAGE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError)

logger = logging.getLogger(__name__)


class WeightsError(ExpectedError):
    """Weights are missing or are not the ones that the metadata names."""


def read_metadata(bundle_root: str | Path) -> dict[str, object]:
    """Return the bundle's ``configs/metadata.json``."""
    content: dict[str, object] = json.loads((Path(bundle_root) / "configs" / "metadata.json").read_text("utf-8"))
    return content


def expected_sha256(bundle_root: str | Path) -> dict[str, str]:
    """Return the sha256 of each weight file, by its path inside the bundle, as the metadata states it."""
    stated = read_metadata(bundle_root).get("weights")
    if not isinstance(stated, dict):
        raise WeightsError("weights.metadata")
    return {str(name): str(digest) for name, digest in stated.items()}


def read_state(bundle_root: str | Path, name: str, expected: str | None) -> dict[str, Tensor]:
    """Open one weight file as float32 tensors, under the names that parameters have now.

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
        raise WeightsError("weights.sha256", file=name, found=found[:12], expected=expected[:12])
    state = _plain_tensors(name, content)
    return {
        current_name(key): tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()
    }


def current_name(parameter: str) -> str:
    """Return a parameter's present name; files written before a renaming stay readable."""
    return ".".join(RENAMED_PARTS.get(part, part) for part in parameter.split("."))


def _content(bundle_root: str | Path, name: str) -> bytes:
    try:
        return (Path(bundle_root) / name).read_bytes()
    except OSError as error:
        system = system_of(bundle_root, name) if isinstance(error, FileNotFoundError) else None
        if system is not None and name != MODEL_FILE:
            raise WeightsError("weights.system_missing", title=system.title, file=name, name=system.name) from error
        raise WeightsError("weights.unreadable", file=name, fault=error.strerror) from error


def _plain_tensors(name: str, content: bytes) -> dict[str, Tensor]:
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        raise WeightsError("weights.damaged", file=name) from error
    if not (isinstance(state, dict) and all(isinstance(tensor, Tensor) for tensor in state.values())):
        raise WeightsError("weights.more_than_tensors", file=name)
    return state


def load_network(network: StudyNetwork, bundle_root: str | Path, model_file: str | None = MODEL_FILE) -> StudyNetwork:
    """Fill a network with its trained weights and put it into evaluation mode.

    The trained file holds the whole network, so that nothing else is read. Files written up to version 0.4 leave out
    the layers that the pretrained backbone has; those are then read from there. A file that the metadata does not
    name, such as one's own training, is opened without a checksum, as plain tensors all the same. What nothing holds
    keeps its random weights, with a warning.

    Parameters
    ----------
    network : StudyNetwork
        Filled in place.
    bundle_root : path
        The bundle's folder.
    model_file : str or None
        Path inside the bundle; None for a network that was never trained.

    Raises
    ------
    WeightsError
        If a file is missing, changed, or belongs to a network of another shape, or if the metadata state no sha256 of
        a file that is shipped.
    ExpectedError
        If pretrained weights are needed and cannot be had.
    """
    state: dict[str, Tensor] = {}
    if model_file is not None:
        state = read_state(bundle_root, model_file, _stated_sha256(bundle_root, model_file))
    if not holds_backbone(state, network.backbone):
        state = pretrained_state(network.backbone) | state
    if has_random_backbone(network.backbone, state):
        logger.warning("%s has no pretrained weights: it has random ones", type(network.backbone).__name__)
    state = _backbone_state(network.backbone) | state
    if model_file is None:
        logger.warning("%s: model_file is null, so its heads have random weights", type(network).__name__)
        state = network.state_dict() | state
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise _misfit(model_file, error) from error
    return network.eval()


def holds_backbone(state: Mapping[str, Tensor], backbone: Backbone) -> bool:
    """Whether a network's weights hold all of its backbone's."""
    return _backbone_state(backbone).keys() <= state.keys()


def has_random_backbone(backbone: Backbone, state: Mapping[str, Tensor]) -> bool:
    """Whether a backbone has weights from nowhere: not pretrained, and not all of them in a trained state."""
    return not backbone.pretrained and not holds_backbone(state, backbone)


def pretrained_state(backbone: Backbone) -> dict[str, Tensor]:
    """Return a backbone's pretrained weights with the names that a network uses; nothing where it has none.

    Raises
    ------
    ExpectedError
        If they cannot be read or fetched.
    """
    if not backbone.pretrained:
        return {}
    return {f"backbone.{key}": tensor for key, tensor in backbone.pretrained_state().items()}


def _backbone_state(backbone: Backbone) -> dict[str, Tensor]:
    return {f"backbone.{key}": tensor for key, tensor in backbone.state_dict().items()}


def _stated_sha256(bundle_root: str | Path, model_file: str) -> str | None:
    """Return the sha256 that the metadata state; None for weights of one's own, of which they know nothing."""
    name = name_in_bundle(bundle_root, model_file)
    if name == MODEL_FILE:
        return _required_sha256(bundle_root, name)
    return expected_sha256(bundle_root).get(name)


def _misfit(model_file: str | None, fault: object) -> WeightsError:
    return WeightsError("weights.misfit", file=model_file, fault=" ".join(str(fault).split())[:200])


def _required_sha256(bundle_root: str | Path, name: str) -> str:
    """Return the stated sha256 of a file that is shipped: without one a changed file would pass unseen."""
    try:
        return expected_sha256(bundle_root)[name]
    except KeyError as error:
        raise WeightsError("weights.no_sha256", file=name) from error


def name_in_bundle(bundle_root: str | Path, name: str) -> str:
    """Return a weight file's path inside the bundle, or its bare name where it lies elsewhere.

    A result states it, and a result must not tell the folders of the machine that made it.
    """
    # Links are not followed: a linked models/model.pt is the bundle's all the same.
    root = Path(os.path.normpath(Path(bundle_root).absolute()))
    path = Path(os.path.normpath(root / name))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def load_backbone(network: StudyNetwork, bundle_root: str | Path, start_from: str | None = None) -> Backbone:
    """Fill a network's backbone with its pretrained weights, freeze it and return it.

    Parameters
    ----------
    network : StudyNetwork
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
    ExpectedError
        If the pretrained weights cannot be had.
    """
    state: dict[str, Tensor] = {}
    if start_from is not None:
        state = read_state(bundle_root, start_from, _stated_sha256(bundle_root, start_from))
    if not holds_backbone(state, network.backbone):
        state = pretrained_state(network.backbone) | state
    if has_random_backbone(network.backbone, state):
        logger.warning("%s has no pretrained weights: it starts from random ones", type(network.backbone).__name__)
    parts = {name for name, _ in network.named_children()}
    # DrCT1 may start from a DrCT2: it has no use for the APS network.
    state = {key: tensor for key, tensor in state.items() if key.split(".")[0] in parts}
    try:
        unknown = network.load_state_dict(state, strict=False).unexpected_keys
    except RuntimeError as error:
        raise _misfit(start_from, error) from error
    if unknown:
        raise _misfit(start_from, f"it has no {', '.join(unknown[:3])}")
    return network.backbone.requires_grad_(False)


def save_trained(network: StudyNetwork, path: Path) -> str:
    """Write all weights into one file, in half precision, and return its sha256.

    Half precision costs nothing that shows: the weights are of order 1, and the test of the shipped weights compares
    probabilities before and after to 1e-3. The statistics of batch normalisation stay as they are: a variance may be
    larger than half precision holds, and one that is rounded to 0 would be divided by.

    Raises
    ------
    ValueError
        If a value is too large for half precision.
    """
    state = {key: _as_stored(key, tensor) for key, tensor in network.state_dict().items()}
    too_large = [key for key, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if too_large:
        raise ValueError(f"{', '.join(too_large)}: not finite in half precision; the training has diverged")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _as_stored(key: str, tensor: Tensor) -> Tensor:
    statistic = key.rpartition(".")[2] in {"running_mean", "running_var"}
    return tensor.half() if tensor.is_floating_point() and not statistic else tensor


def model_identity(
    bundle_root: str | Path,
    network: StudyNetwork,
    model_file: str | None = MODEL_FILE,
    labels: Sequence[str] | None = None,
    system: Mapping[str, object] | None = None,
) -> ModelIdentity:
    """Return which model it is, as every result states it.

    Parameters
    ----------
    bundle_root : path
        The bundle's folder.
    network : StudyNetwork
        Its class is named, and its backbone where that has random weights.
    model_file : str or None
        The file that :func:`load_network` is given, hashed as it lies on disk: the metadata know nothing of weights of
        one's own.
    labels : sequence of str, optional
        What weights of one's own were trained for; the metadata say it of the shipped ones.
    system : mapping, optional
        The configuration's ``system``: its ``title`` is stated in the place of the network's class.

    Raises
    ------
    WeightsError
        If the file cannot be read.
    """
    metadata = read_metadata(bundle_root)
    files = [] if model_file is None else [model_file]
    own = model_file is None or name_in_bundle(bundle_root, model_file) not in expected_sha256(bundle_root)
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]  # type: ignore[index]
    return ModelIdentity(
        name=str(metadata["name"]),
        version=str(metadata["version"]),
        network=str((system or {}).get("title", type(network).__name__)),
        weights_sha256={
            name_in_bundle(bundle_root, name): hashlib.sha256(_content(bundle_root, name)).hexdigest() for name in files
        },
        labels=tuple(labels) if own and labels else tuple(channels[key] for key in sorted(channels, key=int)),
        trained_on=_trained_on(bundle_root, network.backbone, model_file) if own else str(metadata["data_source"]),
    )


def note_file(path: Path) -> Path:
    """Return the file beside a weight file that states what it was trained on."""
    return path.with_suffix(".json")


def labels_without_training(bundle_root: str | Path, model_file: str | None) -> tuple[str, ...]:
    """Return the labels that a weight file's note says no training scan stated: the network cannot answer them."""
    if model_file is None:
        return ()
    try:
        content = json.loads(note_file(Path(bundle_root) / model_file).read_text("utf-8"))
        return tuple(str(label) for label in content.get("labels_without_training", ()))
    except (OSError, ValueError, AttributeError, TypeError):
        return ()


def _stated_training(bundle_root: str | Path, model_file: str) -> str | None:
    try:
        content = json.loads(note_file(Path(bundle_root) / model_file).read_text("utf-8"))
        return str(content["trained_on"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _trained_on(bundle_root: str | Path, backbone: Backbone, model_file: str | None) -> str:
    if model_file is None:
        return "nothing: heads with random weights" + ("" if backbone.pretrained else ", backbone too")
    if stated := _stated_training(bundle_root, model_file):
        return stated
    if has_random_backbone(backbone, read_state(bundle_root, model_file, None)):
        return f"not known: weights of one's own; backbone {type(backbone).__name__} with random weights"
    return "not known: weights of one's own"
