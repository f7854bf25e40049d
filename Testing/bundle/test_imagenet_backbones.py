"""The networks of the ICH app and of the comparison of Grad-CAM: published sizes, one pass, names of weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scripts.networks.backbone import Backbone
from scripts.networks.imagenet_backbones import (
    DenseNet121Features,
    EfficientNetB2Features,
    ImageNetBackbone,
    ResNet18Features,
    ResNet34Features,
    ResNet50Features,
    ResNet101Features,
    VGG16Averaged,
    VGG19Averaged,
)
from scripts.networks.imagenet_files import ImageNetFile
from scripts.networks.imagenet_weights import ImageNetWeightsError, weights_folder
from scripts.networks.slice_ensemble import TWELVE, member_of
from scripts.networks.vision_transformer import VisionTransformer, ViTBase, ViTLarge, ViTSmall

torch.set_num_threads(1)

SIDE = 64


class SlenderTransformer(VisionTransformer):
    """The same structure at a size that takes no time."""

    channels, depth, heads = 16, 2, 2


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def statistics(network: nn.Module) -> int:
    return sum(
        each.numel() for name, each in network.named_buffers() if name.endswith(("mean", "var")) and "running" in name
    )


@pytest.mark.parametrize(
    ("backbone", "published"),
    [
        # torchvision's numbers (18, 34, 50 and 101 layers; VGG; ViT) without their last fully connected layers.
        (ResNet18Features, 11_689_512 - 513_000),
        (ResNet34Features, 21_797_672 - 513_000),
        (ResNet50Features, 25_557_032 - 2_049_000),
        (ResNet101Features, 44_549_160 - 2_049_000),
        (VGG16Averaged, 138_357_544 - 123_642_856),
        (VGG19Averaged, 143_667_240 - 123_642_856),
        (ViTSmall, 22_050_664 - 385_000),
        (ViTBase, 86_567_656 - 769_000),
        (ViTLarge, 304_326_632 - 1_025_000),
    ],
)
def test_a_network_has_as_many_parameters_as_published(backbone: Callable[..., Backbone], published: int):
    with torch.device("meta"):
        assert parameters(backbone(pretrained=False)) == published


@pytest.mark.parametrize(
    ("name", "stated", "counted_by_keras_alone"),
    [
        # ICH app, table 3. Keras counts the constants of its normalisation layer for EfficientNet-B2, and gives every
        # convolution of ResNet50 a bias.
        ("ich_app_efficientnet_windows_plain", 7_949_695, 7),
        ("ich_app_resnet_windows_plain", 23_850_758, 26_560),
        ("ich_app_densenet_adjacent_optimised", 7_169_478, 0),
    ],
)
def test_a_member_of_the_ich_app_has_the_size_of_its_table_3_which_settles_the_width_of_its_output(
    name: str, stated: int, counted_by_keras_alone: int
):
    assert name in TWELVE
    with torch.device("meta"):
        network = member_of(name)
    assert parameters(network) + statistics(network) + counted_by_keras_alone == stated
    assert [type(layer).__name__ for layer in network.head] == ["Dropout", "Linear", "ReLU", "Linear"]
    assert network.head[0].p == 0.125
    assert (network.head[1].out_features, network.head[3].out_features) == (128, 6)


@pytest.mark.parametrize("backbone", [ResNet18Features, DenseNet121Features, EfficientNetB2Features, VGG19Averaged])
def test_one_pass_gives_maps_of_the_stated_stride_and_their_mean_as_embedding(backbone: Any):
    network = backbone(pretrained=False).eval()
    with torch.no_grad():
        maps = network(torch.rand(1, 3, SIDE, SIDE))
    assert maps.shape == (1, network.channels, SIDE // network.stride, SIDE // network.stride)
    torch.testing.assert_close(network.pool(maps), maps.mean(dim=(-2, -1)))
    assert network.starts_from() == "random weights"


def test_a_transformers_maps_are_its_patches_and_grad_cam_reaches_them_through_the_last_block():
    network = SlenderTransformer(pretrained=False).eval()
    maps = network(torch.rand(2, 3, 64, 48)).detach().requires_grad_()
    assert maps.shape == (2, 2 * 16, 4, 3)
    embedding = network.pool(maps)
    assert embedding.shape == (2, 16)
    gradient = torch.autograd.grad(embedding[:, 3].sum(), maps)[0]
    assert (gradient[:, :16].abs().sum(dim=(0, 1)) > 0).all(), "every patch has its part"
    assert not gradient[:, 16:].any(), "the classification token belongs to no place"


def test_in_training_the_classification_token_learns():
    network = SlenderTransformer(pretrained=False).train()
    network.pool(network(torch.rand(1, 3, 32, 32))).sum().backward()
    assert network.class_token.grad.abs().sum() > 0
    assert network.patches.weight.grad.abs().sum() > 0


def test_a_transformer_is_the_plain_sequence_of_its_blocks():
    network = SlenderTransformer(pretrained=False).eval()
    image = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        tokens = network.patches(network.normalise(image)).flatten(2).mT
        tokens = torch.cat([network.class_token, tokens], dim=1) + network.positions
        for block in network.blocks:
            tokens = block(tokens)
        torch.testing.assert_close(network.pool(network(image)), network.last_normalisation(tokens)[:, 0])


def published_names(network: ImageNetBackbone) -> dict[str, Tensor]:
    """Return what a published file holds: every parameter under the file's name, and none of the counters."""
    state = network.state_dict()
    return {
        network.file_name(name): torch.full_like(each, 0.5)
        for name, each in state.items()
        if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize(
    ("backbone", "examples"),
    [
        (ResNet18Features, {"conv1.weight", "bn1.running_var", "layer2.0.downsample.0.weight", "layer4.1.bn2.bias"}),
        (
            DenseNet121Features,
            {
                "features.conv0.weight",
                "features.denseblock1.denselayer2.norm.1.weight",
                "features.norm5.bias",
                "features.denseblock4.denselayer16.conv.2.weight",
                "features.transition3.conv.weight",
            },
        ),
        (
            EfficientNetB2Features,
            {"_conv_stem.weight", "_blocks.0._bn1.weight", "_blocks.22._project_conv.weight", "_bn1.bias"},
        ),
        (VGG19Averaged, {"features.0.weight", "features.34.bias"}),
    ],
)
def test_weights_are_found_under_the_names_of_the_published_file(
    backbone: Any, examples: set[str], monkeypatch: pytest.MonkeyPatch
):
    network = backbone(pretrained=False)
    published = published_names(network)
    assert examples <= set(published)
    monkeypatch.setattr(ImageNetFile, "read", lambda _: published)
    found = network.pretrained_state()
    assert found.keys() == network.state_dict().keys()
    assert all((found[name] == 0.5).all() for name in found if not name.endswith("num_batches_tracked"))
    published.popitem()
    with pytest.raises(ImageNetWeightsError, match=backbone.weights.name):
        network.pretrained_state()


def test_a_transformers_names_are_torchvisions():
    names = published_names(SlenderTransformer(pretrained=False))
    assert {
        *("class_token", "conv_proj.weight", "encoder.pos_embedding", "encoder.ln.bias"),
        "encoder.layers.encoder_layer_1.ln_2.weight",
        "encoder.layers.encoder_layer_0.self_attention.in_proj_weight",
        "encoder.layers.encoder_layer_0.mlp.linear_2.bias",
    } <= set(names)
    assert ViTSmall.weights is None
    with pytest.raises(NotImplementedError, match="SlenderTransformer has no pretrained weights"):
        SlenderTransformer().pretrained_state()


def test_what_is_on_this_machine_is_used_and_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights_folder().mkdir(parents=True)
    assert not ResNet18Features().pretrained
    (weights_folder() / ResNet18Features.weights.name).write_bytes(b"here")
    assert ResNet18Features().starts_from() == "ImageNet weights (resnet18-f37072fd.pth)"


def test_running_statistics_of_efficientnet_keep_up_with_a_short_training():
    layers = [each for each in EfficientNetB2Features(pretrained=False).modules() if isinstance(each, nn.BatchNorm2d)]
    # After the 240 steps of a training here, what is left of the initial statistics must not count.
    assert layers
    assert all(each.momentum is not None and (1 - each.momentum) ** 240 < 1e-6 for each in layers)
