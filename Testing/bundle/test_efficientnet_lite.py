"""EfficientNet-Lite in plain PyTorch computes what the package's own implementation does, at every size."""

from __future__ import annotations

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet

from scripts.messages import ExpectedError
from scripts.networks.efficientnet_lite import (
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    SamePadding,
    imagenet_state,
)

torch.set_num_threads(1)


VARIANTS = (EfficientNetLite0, EfficientNetLite1, EfficientNetLite2)


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_feature_maps_are_those_of_the_package(variant: type[EfficientNetLite0]):
    # The package pads for one image size, which differs by variant.
    size = {0: 224, 1: 240, 2: 260}[variant.variant] // 32 * 32
    theirs = EfficientNet.from_name(f"efficientnet-lite{variant.variant}", image_size=size).eval()
    theirs.load_state_dict(imagenet_state(variant.variant, variant.sha256))
    ours, image = variant().eval(), torch.rand(1, 3, size, size)
    ours.load_state_dict(ours.pretrained_state())
    torch.testing.assert_close(ours(image), theirs.extract_features(ours.normalise(image)), atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("size", [64, 160, 192, 288])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_levels_have_strides_of_4_8_16_and_32(size: int, variant: type[EfficientNetLite0]):
    backbone = variant().eval()
    levels = backbone.levels(torch.rand(1, 3, size, size))
    assert [each.shape[1] for each in levels] == list(backbone.level_channels)
    assert [size // each.shape[-1] for each in levels] == [4, 8, 16, 32]
    assert levels[-1].shape[1] == backbone.channels
    frozen = backbone.frozen_stage()(torch.rand(1, 3, size, size))
    assert size // frozen.shape[-1] == 16


@torch.no_grad()
def test_the_last_level_is_what_the_backbone_returns():
    backbone, image = EfficientNetLite0().eval(), torch.rand(1, 3, 64, 64)
    assert torch.equal(backbone.levels(image)[-1], backbone(image))


def test_embeddings_are_maximum_plus_mean():
    maps = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]]])
    assert EfficientNetLite0().pool(maps).tolist() == [[4.0]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_other_than_those_examined_are_refused(
    variant: type[EfficientNetLite0], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(variant, "sha256", "0" * 64)
    with pytest.raises(ExpectedError, match=f"{variant.__name__} cannot be used .other sha256"):
        variant().pretrained_state()


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(ExpectedError, match="no efficientnet_lite4_pytorch_model"):
        imagenet_state(4, "")


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("size", [(8, 8), (32, 12)])
def test_even_padding_changes_no_result(kernel: int, stride: int, groups: int, size: tuple[int, int]):
    torch.manual_seed(0)
    convolution, maps = SamePadding(6, 12, kernel, stride, groups).eval(), torch.rand(2, 6, *size)
    even = convolution.evenly_padded()
    assert even.padding[0] == even.padding[1]
    torch.testing.assert_close(even(maps), convolution(maps), atol=1e-6, rtol=1e-5)
