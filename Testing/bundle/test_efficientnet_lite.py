"""EfficientNet-Lite0 in plain PyTorch computes what the package's own implementation does, at every size."""

from __future__ import annotations

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet

from scripts.messages import ExpectedError
from scripts.networks import efficientnet_lite
from scripts.networks.efficientnet_lite import EfficientNetLite0

torch.set_num_threads(1)


def with_imagenet_weights() -> EfficientNetLite0:
    backbone = EfficientNetLite0()
    backbone.load_state_dict(backbone.pretrained_state())
    return backbone.eval()


@torch.no_grad()
def test_the_feature_maps_are_those_of_the_package():
    theirs = EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(efficientnet_lite._imagenet_state())
    ours, image = with_imagenet_weights(), torch.rand(2, 3, 224, 224)
    torch.testing.assert_close(ours(image), theirs.extract_features(ours.normalise(image)), atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("size", [64, 160, 192, 288])
def test_the_levels_have_strides_of_4_8_16_and_32(size: int):
    backbone = EfficientNetLite0().eval()
    levels = backbone.levels(torch.rand(1, 3, size, size))
    assert [each.shape[1] for each in levels] == list(backbone.level_channels)
    assert [size // each.shape[-1] for each in levels] == [4, 8, 16, 32]
    assert levels[-1].shape[1] == backbone.channels


@torch.no_grad()
def test_the_last_level_is_what_the_backbone_returns():
    backbone, image = EfficientNetLite0().eval(), torch.rand(1, 3, 64, 64)
    assert torch.equal(backbone.levels(image)[-1], backbone(image))


def test_embeddings_are_maximum_plus_mean():
    maps = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]]])
    assert EfficientNetLite0().pool(maps).tolist() == [[4.0]]


def test_weights_other_than_those_examined_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(efficientnet_lite, "_SHA256", "0" * 64)
    with pytest.raises(ExpectedError, match="EfficientNetLite0"):
        EfficientNetLite0().pretrained_state()
