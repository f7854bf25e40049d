"""The networks of published systems have the shapes, sizes and rules that their papers state."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import SEResNext101
from torch import Tensor, nn

from scripts.networks.backbone import Backbone, Pooling
from scripts.networks.densenet40 import DenseNet40
from scripts.networks.joint_backbone import JointBackbone
from scripts.networks.radnet import RADnet
from scripts.networks.scan_rules import Consecutive, slice_attention, strongest
from scripts.networks.se_resnext import SEResNeXt101Features
from scripts.networks.sequence_model import MergedSliceNetworks, distances
from scripts.networks.slice_system import SliceClassifierSystem

torch.set_num_threads(1)


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


class Tiny(Backbone):
    """A slice becomes one pixel per stride of 4."""

    channels, stride, frozen_layers = 5, 4, 0
    pooling: ClassVar[Pooling] = "mean"

    def __init__(self) -> None:
        super().__init__([nn.Conv2d(3, 5, 4, stride=4)])


def test_the_baseline_of_radnet_has_forty_layers_and_the_original_number_of_parameters():
    network = DenseNet40(in_channels=3)
    layers = sum(isinstance(layer, nn.Conv2d) for layer in network.modules())
    assert layers + 1 == 40, "and the classifier"
    assert parameters(network) + network.channels * 10 + 10 == 1_019_722, (
        "Huang et al., table 2: 1.0 M, for ten classes"
    )


def test_its_three_blocks_lie_at_strides_two_four_and_eight():
    maps = list(DenseNet40().blocks(torch.rand(1, 1, 64, 64)))
    assert [each.shape[1:] for each in maps] == [(160, 32, 32), (304, 16, 16), (448, 8, 8)]


def test_radnet_segments_at_the_size_of_the_image_and_answers_for_every_slice_of_a_neighbourhood():
    found = RADnet(DenseNet40(), reach=1).learn(torch.rand(2, 3, 1, 32, 32))
    assert [each.shape for each in found.logits] == [(2, 3, 6)]
    assert [each.shape for each in found.pixels] == [(6, 1, 32, 32)] * 3


@pytest.mark.parametrize(("reach", "segmentations", "branches"), [(0, True, 3), (0, False, 0)])
def test_the_two_baselines_of_radnet_read_single_slices(reach: int, segmentations: bool, branches: int):
    network = RADnet(DenseNet40(), reach=reach, segmentations=segmentations)
    assert network.lstm is None
    assert len(network.learn(torch.rand(1, 1, 1, 32, 32)).pixels) == branches


def test_a_slice_of_radnet_knows_its_neighbourhood_and_nothing_beyond():
    network = RADnet(DenseNet40(), reach=2).eval()
    embeddings = torch.randn(9, 448)
    changed = embeddings.clone()
    changed[7] += 1.0
    positions = torch.arange(9.0)
    moved = (network.slice_logits(embeddings, positions) != network.slice_logits(changed, positions)).any(dim=1)
    assert moved.tolist() == [False] * 5 + [True] * 4


@pytest.mark.parametrize(("step_mm", "asked"), [(1.0, 3), (2.0, 3), (2.4, 3), (2.5, 2), (3.0, 2), (5.0, 1), (10.0, 1)])
def test_radnets_three_consecutive_slices_become_fewer_where_slices_are_thicker_than_the_papers(
    step_mm: float, asked: int
):
    assert Consecutive().asked_for(step_mm * torch.arange(20)) == asked
    assert Consecutive(extent_mm=None).asked_for(step_mm * torch.arange(20)) == 3


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=12), st.floats(-5, 5))
@settings(max_examples=50, deadline=None)
def test_a_scan_passes_a_threshold_exactly_where_three_consecutive_slices_do(values: list[float], threshold: float):
    logits = torch.tensor(values)[:, None]
    found = Consecutive(extent_mm=None)(logits, torch.arange(len(values), dtype=torch.float32))
    # As the tensors hold them, in single precision
    reached = logits[:, 0] >= torch.tensor(threshold)
    runs = any(bool(reached[start : start + 3].all()) for start in range(len(values) - 2))
    assert bool(found[0] >= torch.tensor(threshold)) == runs


def test_the_strongest_slice_decides_otherwise():
    assert strongest(torch.tensor([[0.0, 2.0], [1.0, -1.0]]), torch.arange(2.0)).tolist() == [1.0, 2.0]


def test_slices_are_ranked_by_their_probability():
    attention = slice_attention(torch.tensor([[-3.0], [2.0], [-40.0]]))
    assert attention.sum().item() == pytest.approx(1.0)
    assert attention.argsort(descending=True).tolist() == [1, 0, 2]


def test_se_resnext101_has_its_layers_and_the_parameters_of_the_published_one():
    backbone = SEResNeXt101Features(pretrained=False)
    convolutions = [
        name
        for name, layer in backbone.named_modules()
        if isinstance(layer, nn.Conv2d) and "project" not in name and "se_layer" not in name
    ]
    assert len(convolutions) + 1 == 101, "and the classifier"
    assert parameters(backbone) + 2048 * 1000 + 1000 == 48_955_416, "the published 48.96 M"
    with torch.inference_mode():
        assert backbone.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 2048, 2, 2)


def as_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give parameters the names and shapes of the file that MONAI points to."""
    changes = [
        ("se_layer.fc.0", "se_module.fc1"),
        ("se_layer.fc.2", "se_module.fc2"),
        ("project.conv", "downsample.0"),
        ("project.adn.N", "downsample.1"),
        *((f"conv{number}.conv", f"conv{number}") for number in "123"),
        *((f"conv{number}.adn.N", f"bn{number}") for number in "123"),
    ]
    published = {}
    for ours, tensor in state.items():
        name = ours
        for found, replacement in changes:
            name = name.replace(found, replacement)
        published[name] = tensor[..., None, None] if "se_module" in name and tensor.ndim == 2 else tensor
    return published


def test_weights_of_the_published_file_reach_every_parameter(monkeypatch: pytest.MonkeyPatch):
    whole = SEResNext101(spatial_dims=2, in_channels=3, num_classes=1)
    monkeypatch.setattr("scripts.networks.imagenet_files.ImageNetFile.read", lambda _: as_published(whole.state_dict()))
    backbone = SEResNeXt101Features(pretrained=False)
    state = backbone.pretrained_state()
    assert state.keys() == backbone.state_dict().keys()
    assert torch.equal(state["features.3.22.conv3.conv.weight"], whole.state_dict()["layer3.22.conv3.conv.weight"])
    backbone.load_state_dict(state)


def test_members_of_a_joint_backbone_read_their_own_channels_and_stand_side_by_side():
    joint = JointBackbone([Tiny(), Tiny()], [[0, 1, 2], [3, 4, 5]])
    image = torch.rand(2, 6, 16, 16)
    maps = joint(image)
    assert maps.shape == (2, 10, 4, 4)
    assert torch.equal(maps[:, 5:], joint.members[1](image[:, 3:]))
    first, second = joint.split(joint.pool(maps))
    assert torch.equal(torch.cat([first, second], dim=1), maps.mean(dim=(-2, -1)))
    assert joint.starts_from() == "random weights"


def test_maps_of_members_are_brought_to_one_size():
    class Fine(Tiny):
        stride = 2

        def __init__(self) -> None:
            Backbone.__init__(self, [nn.Conv2d(3, 5, 2, stride=2)])

    joint = JointBackbone([Tiny(), Fine()], [[0, 1, 2], [0, 1, 2]])
    assert joint(torch.rand(1, 3, 16, 16)).shape == (1, 10, 8, 8)
    assert joint.stride == 2


def test_a_joint_backbone_needs_channels_for_every_member_and_one_pooling():
    class Largest(Tiny):
        pooling = "max"

    with pytest.raises(ValueError, match="2 members, 1 lists"):
        JointBackbone([Tiny(), Tiny()], [[0, 1, 2]])
    with pytest.raises(ValueError, match="pool alike"):
        JointBackbone([Tiny(), Largest()], [[0, 1, 2], [0, 1, 2]])


def winner(sequence: bool = True) -> MergedSliceNetworks:
    torch.manual_seed(3)
    joint = JointBackbone([Tiny(), Tiny()], [[0, 1, 2], [3, 4, 5]])
    return MergedSliceNetworks(joint, sequence=sequence).eval()


def test_the_sequence_model_answers_for_every_slice_of_scans_of_any_length():
    network = winner()
    for count in (1, 2, 24, 61):
        logits = network.slice_logits(torch.randn(count, 10), 5.0 * torch.arange(count))
        assert logits.shape == (count, 6)
        assert logits.isfinite().all()


def test_it_has_the_layers_that_are_known_of_it():
    sequence = winner().sequence
    assert sequence is not None
    assert sequence.reduce[1].out_channels == 128
    assert (sequence.recurrent.num_layers, sequence.recurrent.hidden_size, sequence.recurrent.bidirectional) == (
        2,
        96,
        True,
    )
    dilations = [layer.dilation[0] for layer in sequence.convolutions.modules() if isinstance(layer, nn.Conv1d)]
    assert dilations == [1, 2, 4, 2]


def test_reading_from_the_head_down_gives_the_same_answer():
    network, embeddings = winner(), torch.randn(9, 10)
    positions = torch.tensor([0.0, 5.0, 10.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0])
    upwards = network.slice_logits(embeddings, positions)
    downwards = network.slice_logits(embeddings.flip(0), positions.flip(0)).flip(0)
    np.testing.assert_allclose(upwards.detach(), downwards.detach(), atol=1e-5)


def test_distances_are_those_to_both_neighbours_in_slabs():
    found = distances(torch.tensor([[0.0, 5.0, 15.0]]))
    assert found.tolist() == [[[0.0, 1.0], [1.0, 2.0], [2.0, 0.0]]]


def test_without_a_sequence_model_the_slice_networks_answer_together():
    network, embeddings = winner(sequence=False), torch.randn(4, 10)
    first, second = network.predictions(embeddings)
    assert torch.allclose(network.slice_logits(embeddings, torch.arange(4.0)), (first + second) / 2)
    with pytest.raises(ValueError, match="no sequence model"):
        network.learn_sequence(embeddings[None], torch.arange(4.0)[None])


def test_the_whole_network_reads_a_study_at_once():
    assert winner()(torch.rand(1, 6, 5, 16, 16)).shape == (1, 6)


def test_a_plain_slice_classifier_has_the_layers_that_its_configuration_states():
    network = SliceClassifierSystem(Tiny(), hidden=7, dropout=0.125).eval()
    assert [type(layer).__name__ for layer in network.head] == ["Dropout", "Linear", "ReLU", "Linear"]
    assert network.learn(torch.rand(2, 1, 3, 16, 16)).logits[0].shape == (2, 1, 6)
    assert network(torch.rand(2, 3, 4, 16, 16)).shape == (2, 6)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="scan_rule"):
        SliceClassifierSystem(Tiny(), scan_rule="majority")
