"""Every system's network, as its configuration builds it, reads slices and has the size of its paper's layers.

Counts are derived from the layers that the papers, and where these leave them open ``docs/SYSTEMS.md``, state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from scripts.inferer import ImageSource
from scripts.networks.drct import DrCT2
from scripts.networks.study_network import StudyNetwork, StudyOutput
from scripts.precision import choose_precision
from scripts.systems import systems

torch.set_num_threads(1)

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
SLICES, SIDE = 3, 64
LABELS = 6

ICH_APP = {"efficientnet": 1408, "resnet": 2048, "densenet": 1024}
"""Maps behind the last layer of EfficientNet-B2, ResNet50 and DenseNet121."""

MAPS = {
    "shipped": (1280, 32),
    **dict.fromkeys(("drct1_rsna", "drct1_cq500", "drct2_rsna", "drct2_cq500"), (512, 16)),
    **dict.fromkeys(("radnet", "densenet_a", "densenet40"), (16 + 36 * 12, 8)),
    **dict.fromkeys(("gradcam_resnet18", "gradcam_resnet34"), (512, 32)),
    **dict.fromkeys(("gradcam_resnet50", "gradcam_resnet101"), (2048, 32)),
    **dict.fromkeys(("gradcam_vgg16", "gradcam_vgg19"), (512, 16)),
    # Patch tokens, and the classification token beside them
    "gradcam_vit_small": (2 * 384, 16),
    "gradcam_vit_base": (2 * 768, 16),
    "gradcam_vit_large": (2 * 1024, 16),
    **{
        f"ich_app_{architecture}_{windows}_{training}": (channels, 32)
        for architecture, channels in ICH_APP.items()
        for windows in ("windows", "adjacent")
        for training in ("plain", "optimised")
    },
    "ich_app_ensemble": (4 * sum(ICH_APP.values()), 32),
    "rsna2019_winner": (2 * 2048, 32),
    "saliency_multitask": (256, 32),
}
"""Feature maps of each system, and the input pixels per cell of them along one axis."""

PIXEL_MAPS = {
    "radnet": ("lesion_logits", (1, SIDE, SIDE)),
    "densenet_a": ("lesion_logits", (1, SIDE, SIDE)),
    "saliency_multitask": ("saliency_logits", (1, SIDE, SIDE)),
}
"""What a system finds in the pixels of each slice."""


def configured(name: str) -> ConfigParser:
    """Return a system's configuration with small images, laid over that of inference as the command does."""
    files = [BUNDLE / "configs" / "inference.json"]
    if name != "shipped":
        files.append(BUNDLE / "configs" / f"{name}.json")
    parser = ConfigParser()
    parser.read_config(files)
    parser.update({"bundle_root": str(BUNDLE), "image_size": SIDE, "high_res_size": SIDE, "fetch_imagenet": False})
    # No file of members beside weights: the ensemble of all twelve
    parser["model_file"] = None
    return parser


def network_on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        network: nn.Module = configured(name).get_parsed_content("network_def")
    return network


def read(network: StudyNetwork, image: Tensor) -> StudyOutput:
    precision = choose_precision(torch.device("cpu"), "float32")
    source = ImageSource({"image": image}, network, precision, SLICES, SLICES, lambda _stage, _percentage: None)
    with torch.no_grad():
        return network.read_study(source)


def trainable(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters() if each.requires_grad)


# --- one pass of every system


def test_every_published_system_is_read_here():
    assert {system.name for system in systems(BUNDLE)} == set(MAPS)


@pytest.mark.parametrize("name", MAPS)
def test_a_system_reads_slices_as_its_configuration_builds_it(name: str):
    torch.manual_seed(0)
    parser = configured(name)
    network: StudyNetwork = parser.get_parsed_content("network_def").eval()
    labels = len(parser.get_parsed_content("label_keys"))
    assert labels == (9 if name.endswith("_cq500") else LABELS)
    output = read(network, torch.rand(len(parser["windows"]), SLICES, SIDE, SIDE))

    assert output.sub_stack_logits.shape == (1, labels)
    assert output.slice_logits.shape == (SLICES, labels)
    assert output.slice_attention.shape == (SLICES,)
    assert output.slice_attention.sum().item() == pytest.approx(1.0, abs=1e-5)
    channels, stride = MAPS[name]
    assert output.feature_maps[0].maps.shape == (SLICES, channels, SIDE // stride, SIDE // stride)
    for each in (output.sub_stack_logits, output.slice_logits, *(part.maps for part in output.feature_maps)):
        assert each.isfinite().all()
    if name in PIXEL_MAPS:
        kind, shape = PIXEL_MAPS[name]
        assert getattr(output, kind).shape == (SLICES, *shape)
        assert getattr(output, kind).isfinite().all()
    assert (len(output.key_slices) > 0) == isinstance(network, DrCT2)
    # DrCT to the letter knows scan labels alone
    assert bool(output.slice_logits.any()) != name.startswith("drct")


# --- sizes of layers


def linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def convolution(inputs: int, outputs: int, cells: int, bias: bool = False) -> int:
    """Return the parameters of a convolution whose kernel has so many cells, 9 for 3 x 3."""
    return cells * inputs * outputs + bias * outputs


def normalisation(channels: int) -> int:
    """Return a scale and a shift per channel."""
    return 2 * channels


def recurrent(gates: int, inputs: int, hidden: int, directions: int = 2) -> int:
    """Return the parameters of a layer of an LSTM (four gates) or GRU (three): each gate has two biases."""
    return directions * gates * (inputs + hidden + 2) * hidden


def widths_of(first: int, growth: int, layers: int) -> Iterable[int]:
    """Return what each layer of a dense block is given."""
    return range(first, first + layers * growth, growth)


# --- RADnet


def densenet40_size(growth: int, first: int = 16) -> int:
    """Return the size of three blocks of twelve layers without bottleneck, for one window."""
    size, channels = convolution(1, first, 9), first
    for block in range(3):
        if block:
            size += normalisation(channels) + convolution(channels, channels, 1)
        size += sum(normalisation(each) + convolution(each, growth, 9) for each in widths_of(channels, growth, 12))
        channels += 12 * growth
    return size + normalisation(channels)


def branch_size(channels: int, factor: int, width: int = 8) -> int:
    """Return the size of a 1 x 1 convolution and of a deconvolution that enlarges by a factor, with its kernel."""
    return convolution(channels, width, 1, bias=True) + convolution(width, 1, (2 * factor) ** 2, bias=True)


BRANCHES = tuple(branch_size(16 + 144 * block, 2**block) for block in (1, 2, 3))
"""Behind each block of 144 maps, enlarged by 2, 4 and 8 (figure 1)."""


@pytest.mark.parametrize(
    ("name", "branches", "lstm", "read_by_the_classifier"),
    [
        ("densenet40", (), 0, 448),
        ("densenet_a", BRANCHES, 0, 448),
        ("radnet", BRANCHES, recurrent(4, 448, 128), 2 * 128),
    ],
)
def test_radnet_and_its_baselines_have_the_size_of_blocks_branches_lstm_and_classifier(
    name: str, branches: Sequence[int], lstm: int, read_by_the_classifier: int
):
    network: Any = network_on_meta(name)
    assert trainable(network.backbone) == densenet40_size(growth=12)
    assert tuple(trainable(branch) for branch in network.branches) == tuple(branches)
    assert (trainable(network.lstm) if network.lstm is not None else 0) == lstm
    classifier = linear(read_by_the_classifier, LABELS)
    assert trainable(network) == densenet40_size(growth=12) + sum(branches) + lstm + classifier


# --- RSNA 2019 winner


def normalised_over_slices(inputs: int, outputs: int, slices: int) -> int:
    """Return the size of a convolution over so many slices and of the batch normalisation behind it."""
    return convolution(inputs, outputs, slices, bias=True) + normalisation(outputs)


def sequence_size(features: int, predictions: int, width: int = 128, hidden: int = 96) -> int:
    """Return the size of the sequence model of the released description, with heads for all labels."""
    related = convolution(features, width, 1, bias=True)
    related += recurrent(3, width, hidden) + recurrent(3, 2 * hidden, hidden) + linear(2 * hidden, LABELS)
    # Beside the predictions stand the distances to both neighbours.
    beside = normalised_over_slices(predictions + 2, width, 5) + 3 * normalised_over_slices(width, width, 3)
    merged = normalised_over_slices(width + 2 * hidden, width, 1)
    merged += recurrent(3, width, hidden) + linear(2 * hidden, LABELS)
    return related + beside + merged


def test_the_winners_sequence_model_has_the_size_of_its_recurrent_layers_convolutions_and_heads():
    network: Any = network_on_meta("rsna2019_winner")
    assert trainable(network.sequence) == sequence_size(features=2 * 2048, predictions=2 * LABELS)


def test_the_winner_is_two_slice_networks_with_a_classifier_each_and_the_sequence_model():
    network: Any = network_on_meta("rsna2019_winner")
    # The published SE-ResNeXt101 has a classifier of 1000 labels.
    slice_network = 48_955_416 - linear(2048, 1000) + linear(2048, LABELS)
    assert trainable(network) == 2 * slice_network + sequence_size(2 * 2048, 2 * LABELS)


# --- saliency multi-task


def encoder_size(growth: int = 32, first: int = 64) -> int:
    """Return the size of DenseNet-201 up to the third transition: blocks of 6, 12 and 48 layers with bottlenecks."""
    size, channels, between = convolution(3, first, 49) + normalisation(first), first, 4 * growth
    for layers in (6, 12, 48):
        for each in widths_of(channels, growth, layers):
            size += normalisation(each) + convolution(each, between, 1)
            size += normalisation(between) + convolution(between, growth, 9)
        channels += layers * growth
        size += normalisation(channels) + convolution(channels, channels // 2, 1)
        channels //= 2
    return size


def block_size(inputs: int, width: int, residual: bool) -> int:
    """Return the size of two 3 x 3 convolutions; with squeeze-and-excitation (ratio 16) and a shortcut if residual."""
    plain = convolution(inputs, width, 9) + convolution(width, width, 9) + 2 * normalisation(width)
    excitation = linear(width, width // 16) + linear(width // 16, width)
    return plain + residual * (excitation + convolution(inputs, width, 1))


def unet_size(beside: int, residual: bool = True) -> int:
    """Return the size of a UNet of five halvings whose decoder begins with maps of another encoder as well."""
    widths = (16, 32, 64, 128, 128, 128)
    encoder = sum(block_size(inputs, width, residual) for inputs, width in pairwise((3, *widths)))
    below = (widths[-1] + beside, *widths[-2:0:-1])
    decoder = sum(block_size(low + width, width, False) for low, width in zip(below, widths[-2::-1], strict=True))
    return encoder + decoder + linear(16, 1)


@pytest.mark.parametrize(("beside", "residual"), [(896, True), (0, True), (0, False)])
def test_the_unet_and_those_of_its_ablation_have_the_size_of_their_blocks(beside: int, residual: bool):
    parser = configured("saliency_multitask")
    target = "scripts.networks.residual_se_unet.ResidualSEUNet"
    parser.update({"backbone::unet": {"_target_": target, "residual": residual, "second_encoder": beside}})
    with torch.device("meta"):
        network = parser.get_parsed_content("backbone")
    assert trainable(network.unet) == unet_size(beside, residual)


def test_the_multi_task_network_is_encoder_unet_fusion_and_two_classifiers():
    network: Any = network_on_meta("saliency_multitask")
    backbone = network.backbone
    fusion = convolution(896 + 16, 256, 9) + normalisation(256)
    assert trainable(backbone.encoder) == encoder_size()
    assert trainable(backbone.unet) == unet_size(beside=896)
    assert trainable(backbone.fusion) == fusion
    classifiers = linear(256, LABELS) + linear(896, LABELS)
    assert trainable(network) == encoder_size() + unet_size(beside=896) + fusion + classifiers


# --- networks that classify slices by themselves


@pytest.mark.parametrize("name", [name for name in MAPS if name.startswith("gradcam_")])
def test_a_network_of_the_comparison_of_grad_cam_has_one_linear_layer_behind_its_embedding(name: str):
    network: Any = network_on_meta(name)
    channels = MAPS[name][0] // (2 if "_vit_" in name else 1)
    assert trainable(network) - trainable(network.backbone) == linear(channels, LABELS)
