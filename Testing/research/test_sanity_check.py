"""Randomised weights: the right ones, reproducibly, on a copy; and maps that change with them, or do not."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_backbone import TinyBackbone
from torch import nn

from research.evidence.sanity_check import cascade, randomised, sanity_check
from research.metrics.map_agreement import Agreement, compare_maps, summarise
from scripts.inferer import StudyInferer
from scripts.networks.drct import DrCT1, DrCT2
from scripts.networks.lesion_decoder import LesionDecoder
from scripts.networks.vgg16 import VGG16Features
from scripts.reading_geometry import CropPlane, ReadingGeometry

torch.set_num_threads(1)

SIDE, SLICES = 48, 4


@pytest.fixture(scope="module")
def network() -> DrCT2:
    torch.manual_seed(3)
    network = DrCT2(VGG16Features(), slices=4, key_slices=2, high_res_size=64)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.3)
    return network.eval()


@pytest.fixture(scope="module")
def study() -> dict[str, Any]:
    shape = (SLICES, SIDE, SIDE)
    plane = CropPlane(0, SIDE, 0, SIDE, flip_rows=False, flip_columns=False)
    return {
        "image": torch.rand(3, *shape, generator=torch.Generator().manual_seed(1)) * 4 - 2,
        "geometry": ReadingGeometry(plane, tuple((index,) for index in range(SLICES)), shape),
        "head": np.ones(shape, dtype=bool),
    }


def changed_parameters(first: nn.Module, second: nn.Module) -> set[str]:
    others = dict(second.state_dict())
    return {name for name, value in first.state_dict().items() if not torch.equal(value, others[name])}


def test_the_cascade_runs_from_the_fusion_to_the_first_convolution_of_the_last_block(network: DrCT2):
    stages = cascade(network)
    block = [f"backbone.features.{number}" for number in (28, 26, 24)]
    assert [stage.name for stage in stages] == ["fusion", "aps", "primary", *block]
    assert stages[-1].modules == ("fusion", "aps", "primary", *block)
    assert [stage.name for stage in cascade(DrCT1(VGG16Features()))] == ["primary", *block]


def test_of_a_backbone_without_max_pooling_the_last_layers_are_randomised():
    stages = cascade(DrCT2(TinyBackbone(), slices=4, key_slices=2))
    assert [stage.name for stage in stages[3:]] == ["backbone.features.2", "backbone.features.0"]


def test_the_lesion_decoder_on_which_no_map_depends_stays(network: DrCT2):
    gained = DrCT1(TinyBackbone())
    gained.lesion_decoder = LesionDecoder([2], width=2)
    assert "lesion_decoder" not in {stage.name for stage in cascade(gained)}


def test_no_head_that_a_network_may_gain_is_forgotten(network: DrCT2):
    everything = randomised(network, cascade(network)[-1].modules, seed=0)
    unchanged = {name for name, _ in network.named_parameters()} - changed_parameters(network, everything)
    assert all(name.startswith("backbone.") or ".norm." in name for name in unchanged)
    gained = DrCT1(VGG16Features())
    gained.add_module("slice_head", nn.Linear(3, 2))
    assert cascade(gained)[0].name == "slice_head"


def test_a_network_without_the_parts_is_refused():
    with pytest.raises(ValueError, match="no heads"):
        cascade(nn.Linear(2, 2))
    with pytest.raises(AttributeError, match="fusion"):
        randomised(DrCT1(VGG16Features()), ["fusion"], seed=0)
    with pytest.raises(ValueError, match="no weights to randomise"):
        randomised(DrCT1(VGG16Features()), ["backbone.features.29"], seed=0)


def test_the_networks_own_weights_stay_and_only_the_named_parts_of_the_copy_change(network: DrCT2):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    changed = randomised(network, ["aps", "backbone.features.28"], seed=5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    names = changed_parameters(network, changed)
    assert names
    assert all(name.startswith(("aps.", "backbone.features.28.")) for name in names)
    weights = {name for name, _ in network.named_parameters() if name.startswith(("aps.", "backbone.features.28."))}
    assert weights - names == {"aps.normalisation.norm.weight", "aps.normalisation.norm.bias"}


def test_random_weights_keep_the_scale_of_the_trained_ones(network: DrCT2):
    changed = randomised(network, ["backbone.features.26"], seed=1)
    trained, random = network.backbone.features[26].weight, changed.get_submodule("backbone.features.26").weight
    assert random.std().item() == pytest.approx(trained.std().item(), rel=0.01)
    assert abs((random * trained).mean().item()) < 0.01 * trained.var().item()


def test_the_same_seed_gives_the_same_weights_in_every_stage(network: DrCT2):
    stages = cascade(network)
    early, late = (randomised(network, stage.modules, seed=2) for stage in (stages[0], stages[-1]))
    assert all(
        torch.equal(value, late.state_dict()[name])
        for name, value in early.state_dict().items()
        if name.startswith("fusion.")
    )
    assert not changed_parameters(late, randomised(network, stages[-1].modules, seed=2))
    other = changed_parameters(early, randomised(network, stages[0].modules, seed=3))
    assert other == {name for name in early.state_dict() if name.startswith("fusion.")}


def noise(seed: int, shape: tuple[int, ...] = (3, 16, 16)) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=shape)


def test_maps_are_compared_by_order_and_structure():
    first, second = noise(0), noise(1)
    same = compare_maps(first, 3 * first)
    assert (same.rank_correlation, same.structural_similarity) == (pytest.approx(1.0), pytest.approx(1.0))
    assert compare_maps(first, -first).rank_correlation == pytest.approx(-1.0)
    assert compare_maps(np.abs(first), np.abs(first) ** 3).rank_correlation == pytest.approx(1.0)
    other = compare_maps(first, second)
    assert abs(other.rank_correlation or 1) < 0.1
    assert abs(other.structural_similarity or 1) < 0.1


def test_spearmans_correlation_by_hand():
    first, second = np.array([[[1.0, 2.0, 3.0, 4.0]]]), np.array([[[10.0, 30.0, 20.0, 40.0]]])
    found = compare_maps(first, second)
    # Ranks differ by 0, 1, 1, 0: 1 - 6 * 2 / (4 * 15).
    assert found.rank_correlation == pytest.approx(0.8)
    assert found.structural_similarity is None
    assert "smaller than 7 pixels" in (found.reason or "")


def test_only_the_head_counts():
    first, second = noise(0), noise(1)
    head = np.zeros(first.shape, dtype=bool)
    head[1, 4:12, 4:12] = True
    inside = np.where(head, first, second)
    assert compare_maps(first, inside, head).structural_similarity == pytest.approx(1.0)
    assert compare_maps(first, inside, head).rank_correlation == pytest.approx(1.0)
    assert (compare_maps(first, inside).rank_correlation or 1) < 0.5
    with pytest.raises(ValueError, match="head is empty"):
        compare_maps(first, second, np.zeros_like(head))
    with pytest.raises(ValueError, match="must be equal"):
        compare_maps(first, second[:2])


def test_a_map_without_values_has_no_agreement_but_a_reason():
    assert compare_maps(noise(0), np.zeros((3, 16, 16))) == Agreement(None, None, "a map is the same everywhere")
    broken = noise(0)
    broken[0, 0, 0] = math.nan
    assert compare_maps(broken, noise(1)).reason == "a map holds NaN"


def test_maps_that_do_not_need_the_weights_are_found_out(network: DrCT2):
    edges = np.stack([noise(0), noise(1)])
    found = summarise([sanity_check(network, lambda _: edges)])
    assert [stage.rank_correlation for stage in found] == [pytest.approx(1.0)] * 6
    assert not any(stage.changed for stage in found)


def test_grad_cam_changes_with_the_weights(network: DrCT2, study: dict[str, Any]):
    inferer = StudyInferer(precision="float32")

    def maps_of(changed: nn.Module) -> NDArray[np.number]:
        assert isinstance(changed, DrCT1)
        return np.stack([stored.voxels for stored in inferer(study, changed).label_maps])

    check = sanity_check(network, maps_of, study["head"], seed=4)
    assert list(check) == [stage.name for stage in cascade(network)]
    assert all(len(agreements) == 6 for agreements in check.values())
    found = summarise([check])
    assert found[-1].changed
    assert all(stage.maps + stage.not_compared == 6 for stage in found)
    json.dumps([dataclasses.asdict(stage) for stage in found], allow_nan=False)


def test_the_summary_counts_what_could_not_be_compared():
    checks = [
        {"fusion": (Agreement(0.8, 0.6), Agreement(None, None, "zero"))},
        {"fusion": (Agreement(0.4, None, "x"),)},
    ]
    (stage,) = summarise(checks)
    assert stage.rank_correlation == pytest.approx(0.6)
    assert (stage.structural_similarity, stage.maps, stage.not_compared) == (0.6, 2, 1)
    assert not stage.changed
    (nothing,) = summarise([{"fusion": (Agreement(None, None, "zero"),)}])
    assert (nothing.rank_correlation, nothing.changed) == (None, True)
    for wrong in ([], [{"fusion": ()}, {"aps": ()}]):
        with pytest.raises(ValueError, match="same stages"):
            summarise(wrong)
