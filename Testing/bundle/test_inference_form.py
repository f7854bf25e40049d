"""The network in its fastest form gives what it gave before, and keeps no batch normalisation of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from resnet18_backbone import ResNet18Features
from torch import nn

from scripts.inferer import ImageSource, slices_at_once
from scripts.networks.backbone import Backbone
from scripts.networks.drct import DrCT2
from scripts.networks.efficientnet_lite import EfficientNetLite0, EfficientNetLite2
from scripts.networks.inference_form import fuse_for_inference
from scripts.networks.vgg16 import VGG16Features
from scripts.precision import choose_precision

torch.set_num_threads(1)


def a_network(backbone: Callable[[], Backbone]) -> DrCT2:
    torch.manual_seed(3)
    # All slices are read again: of random weights' nearly equal attention, rounding would choose.
    network = DrCT2(backbone(), slices=4, key_slices=4, high_res_size=96, heads={"slice_classifier": True}).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return network


def numbers_of(network: DrCT2) -> dict[str, torch.Tensor]:
    source = ImageSource(images(), network, choose_precision(torch.device("cpu"), "float32"), 2, 1, silent)
    output = network.read_study(source)
    numbers: dict[str, Any] = {name: value for name, value in vars(output).items() if isinstance(value, torch.Tensor)}
    return {name: value.detach() for name, value in numbers.items()} | {
        f"maps {place}": maps.maps.detach() for place, maps in enumerate(output.feature_maps)
    }


def images() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(3, 5, size, size, generator=generator) for name, size in (("image", 64), ("high_res", 96))}


def silent(stage: str, percent: float) -> None:
    pass


@pytest.mark.parametrize("backbone", [EfficientNetLite0, EfficientNetLite2, VGG16Features, ResNet18Features])
def test_every_number_of_a_study_stays_to_rounding(backbone: type[Backbone]):
    network = a_network(backbone)
    before = numbers_of(network)
    after = numbers_of(fuse_for_inference(network))
    assert before.keys() == after.keys()
    assert ("lesion_logits" in before) == (backbone in (EfficientNetLite0, EfficientNetLite2))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-4, rtol=1e-3)


def test_efficientnet_and_decoder_have_no_normalisation_left_and_pad_evenly():
    network = fuse_for_inference(a_network(EfficientNetLite0))
    assert not [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    convolutions = [module for module in network.backbone.modules() if isinstance(module, nn.Conv2d)]
    assert {convolution.kernel_size for convolution in convolutions} == {(1, 1), (3, 3), (4, 4), (5, 5), (6, 6)}
    assert all(convolution.bias is not None for convolution in convolutions)


def test_a_network_in_training_is_refused():
    with pytest.raises(ValueError, match="evaluation mode"):
        fuse_for_inference(a_network(EfficientNetLite0).train())


def test_a_gpu_reads_all_slices_at_once_and_a_processor_a_few():
    assert slices_at_once(torch.device("cuda"), 8, 40) == 40
    assert slices_at_once(torch.device("cpu"), 8, 40) == 8
