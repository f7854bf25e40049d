"""DrCT1 and DrCT2 to the letter, by one override each: what the paper states of them is what is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from scripts.networks.attention import FeatureAttention
from scripts.networks.drct import DrCT1, DrCT2
from scripts.systems import systems

torch.set_num_threads(1)

CONFIGS = Path(__file__).resolve().parents[2] / "monai_bundle" / "configs"


def configured(name: str, *, over: str = "inference", **overrides: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([CONFIGS / f"{over}.json", CONFIGS / f"{name}.json"])
    parser.update(overrides)
    return parser


@pytest.mark.parametrize(
    ("name", "kind", "slices", "labels"),
    [
        ("drct1_rsna", DrCT1, 28, 6),
        ("drct1_cq500", DrCT1, 32, 9),
        ("drct2_rsna", DrCT2, 28, 6),
        ("drct2_cq500", DrCT2, 32, 9),
    ],
)
def test_it_reads_as_many_slices_for_as_many_labels_as_the_paper(
    name: str, kind: type[DrCT1], slices: int, labels: int
):
    network = configured(name, high_res_size=64).get_parsed_content("network_def").eval()
    assert type(network) is kind
    assert (network.slices, network.labels) == (slices, labels)
    assert not network.has_slice_classifier, "the paper knows scan labels alone"
    with torch.inference_mode():
        assert network(torch.rand(1, 3, slices, 32, 32)).shape == (1, labels)


def test_features_are_weighted_by_the_plain_softmax_and_rows_are_flattened():
    network = configured("drct2_rsna").get_parsed_content("network_def").eval()
    attention = network.primary.feature_attention
    assert isinstance(attention, FeatureAttention)
    embeddings = torch.randn(1, 28, 512)
    attended, weights = attention(embeddings)
    assert torch.allclose(weights, embeddings.softmax(dim=-1)), "equation 3"
    assert torch.allclose(attended, weights * embeddings)
    first = next(layer for layer in network.primary.classifier if isinstance(layer, nn.Linear))
    assert first.in_features == 28 * network.heads.width
    assert network.key_slices == 16
    assert network.high_res_size == 512
    assert network.heads.dropout == 0.5


def test_it_learns_as_the_paper_states():
    parser = configured("drct2_cq500", over="train")
    loss = parser.get_parsed_content("loss")
    assert loss.branches == ("mse", "mse")
    assert (loss.slice_weight, loss.attention_weight) == (0.0, 0.0)
    optimizer = parser.get_parsed_content("optimizer")
    assert [group["lr"] for group in optimizer.param_groups] == [0.0005, 0.0003]
    network = parser.get_parsed_content("network_def")
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert not trained & {id(parameter) for parameter in network.backbone.parameters()}, "VGG16 is frozen"
    assert (parser["epochs"], parser["batch_size"]) == (100, 32)


def test_every_override_lies_flat_so_that_training_and_inference_both_take_it():
    for system in systems(CONFIGS.parent):
        if system.name == "shipped":
            continue
        content = json.loads((CONFIGS.parent / system.configuration).read_text("utf-8"))
        assert not [key for key in content if "#" in key], system.name
        assert Path(system.configuration).stem == system.name
