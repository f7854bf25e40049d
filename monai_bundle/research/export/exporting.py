"""Whole checkpoint, TorchScript and ONNX of the configured network, through MONAI's own export commands."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch
from monai.bundle import ConfigParser, ckpt_export, onnx_export
from monai.networks.utils import convert_to_onnx

from research.export.parts import Heads, Interface, KeySlices, SliceFeatures
from scripts.diagnosis import ModelIdentity
from scripts.messages import message
from scripts.networks.drct import DrCT2
from scripts.settings import SettingError
from scripts.weights import load_network, model_identity

CHECKPOINT, TORCHSCRIPT = "checkpoint.pt", "model.ts"
BACKBONE, KEY_SLICES, HEADS = "backbone.onnx", "key_slices.onnx", "heads.onnx"
CONFIG_FILES = ("configs/inference.json", "configs/export.json")
METADATA_FILE = "configs/metadata.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Configured:
    """The bundle as its configuration and a user's settings describe it.

    Attributes
    ----------
    bundle_root : Path
        The bundle's folder.
    settings : dict
        Replace entries of the configuration.
    overrides : tuple of Path
        Configurations laid over the bundle's, e.g. one that names another backbone.
    """

    bundle_root: Path
    settings: dict[str, Any] = field(default_factory=dict)
    overrides: tuple[Path, ...] = ()

    @property
    def config_files(self) -> list[str]:
        """Return the configuration's files."""
        return [*(str(self.bundle_root / name) for name in CONFIG_FILES), *map(str, self.overrides)]

    def parser(self) -> ConfigParser:
        """Return the configuration, settings replaced."""
        parser = ConfigParser()
        parser.read_config(self.config_files)
        parser.update({"bundle_root": str(self.bundle_root), **self.settings})
        return parser

    def network(self, parser: ConfigParser | None = None) -> DrCT2:
        """Return the network with its weights.

        Raises
        ------
        SettingError
            If it is no DrCT2, the only network that is exported in pieces.
        WeightsError
            If the weights cannot be read.
        """
        parser = parser or self.parser()
        network = parser.get_parsed_content("network_def")
        if not isinstance(network, DrCT2):
            raise SettingError("settings.not_exported", network=type(network).__name__)
        load_network(network, self.bundle_root, parser.get_parsed_content("model_file"))
        return network

    def identity(self) -> ModelIdentity:
        """Return which model this is."""
        parser = self.parser()
        network = parser.get_parsed_content("network_def")
        return model_identity(self.bundle_root, network, parser.get_parsed_content("model_file"))


def complete_checkpoint(network: DrCT2, path: Path) -> Path:
    """Write all weights in float32, as MONAI's exports load them.

    The file holds the same tensors under the three names that exports ask for (``key_in_ckpt``): ``network`` for
    ``network_def``, ``backbone`` for ``backbone_def`` and ``part`` for the pieces.

    Parameters
    ----------
    network : DrCT2
        With its weights.
    path : Path
        The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = network.state_dict()
    part = {f"network.{key}": tensor for key, tensor in state.items()}
    torch.save({"network": state, "backbone": network.backbone.state_dict(), "part": part}, path)
    return path


def export(configured: Configured, folder: Path) -> list[Path]:
    """Write checkpoint, TorchScript and ONNX files.

    Parameters
    ----------
    configured : Configured
        What to export.
    folder : Path
        Where to; made if it is not there.

    Returns
    -------
    list of Path
        The files.
    """
    network = configured.network()
    checkpoint = complete_checkpoint(network, folder / CHECKPOINT)
    common: dict[str, Any] = {
        "ckpt_file": str(checkpoint),
        "meta_file": str(configured.bundle_root / METADATA_FILE),
        "config_file": configured.config_files,
        **configured.settings,
    }
    size = int(configured.parser().get_parsed_content("image_size"))
    # Traced: TorchScript's compiler does not know all that a backbone and the lesion decoder are written in.
    traced: dict[str, Any] = {"use_trace": True, "input_shape": (1, 3, network.slices, size, size)}
    ckpt_export(net_id="network_def", key_in_ckpt="network", filepath=str(folder / TORCHSCRIPT), **traced, **common)
    for name, net_id, interface, shape in (
        (BACKBONE, "slice_features_def", SliceFeatures(network).interface, (2, 3, size, size)),
        (KEY_SLICES, "key_slices_def", KeySlices.interface, (2, network.slices, network.embedding_width)),
    ):
        onnx_export(
            net_id,
            folder / name,
            key_in_ckpt="part",
            input_shape=shape,
            converter_kwargs=converter_kwargs(interface),
            **common,
        )
    # onnx_export makes up one random input; the heads take two.
    two_inputs = [torch.rand(2, count, network.embedding_width) for count in (network.slices, network.key_slices)]
    onnx.save(convert_to_onnx(Heads(network), two_inputs, **converter_kwargs(Heads.interface)), folder / HEADS)
    identity = configured.identity()
    for name in (BACKBONE, KEY_SLICES, HEADS):
        state_identity(folder / name, identity)
    return [checkpoint, *(folder / name for name in (TORCHSCRIPT, BACKBONE, KEY_SLICES, HEADS))]


def converter_kwargs(interface: Interface) -> dict[str, Any]:
    """Return what ``onnx_export`` must be told, lest it fix the batch to the example's."""
    return {
        "input_names": list(interface.inputs),
        "output_names": list(interface.outputs),
        "dynamic_axes": {name: dict(axes) for name, axes in interface.inputs.items()},
    }


def state_identity(path: Path, identity: ModelIdentity) -> None:
    """Write into an ONNX file which model it is and that it is for research: MONAI's export leaves that out."""
    model = onnx.load(path)
    onnx.helper.set_model_props(model, onnx_properties(identity))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def onnx_properties(identity: ModelIdentity) -> dict[str, str]:
    """Return the properties that an exported ONNX file states."""
    return {
        "name": identity.name,
        "version": identity.version,
        "network": identity.network,
        "labels": json.dumps(identity.labels),
        "weights_sha256": json.dumps(identity.weights_sha256),
        "trained_on": identity.trained_on,
        "notice": message("report.notice"),
    }


def as_settings(pairs: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return settings given as pairs of a name and a value in JSON.

    Raises
    ------
    SettingError
        If a value is not JSON.
    """
    settings = {}
    for name, value in pairs:
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError as error:
            raise SettingError("settings.no_json", name=name, value=value) from error
    return settings
