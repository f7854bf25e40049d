"""Training goes on from trained weights: what they replace, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_backbone import TinyBackbone
from weights_files import PretrainedBackbone, a_fresh_network, a_trained_network, write_bundle

from scripts.networks.drct import DrCT1, DrCT2
from scripts.weights import WeightsError, load_backbone, save_trained

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained_network() -> DrCT2:
    return a_trained_network()


@pytest.fixture
def bundle(tmp_path: Path, trained_network: DrCT2) -> Path:
    """A bundle's folder with weights that fit its metadata."""
    return write_bundle(tmp_path, trained_network)


@pytest.fixture
def fine_tuned(bundle: Path) -> str:
    """Weights of one's own whose last layer is not the pretrained one; the name of their file."""
    network = a_fresh_network(PretrainedBackbone())
    load_backbone(network, bundle)
    with torch.no_grad():
        network.backbone.features[2].weight.add_(1)
        network.fusion[0].bias.fill_(0.25)
    save_trained(network, bundle / "own.pt")
    return "own.pt"


def test_training_can_go_on_from_trained_weights(bundle: Path, fine_tuned: str):
    going_on = a_fresh_network()
    backbone = load_backbone(going_on, bundle, fine_tuned)
    assert not any(weight.requires_grad for weight in backbone.parameters())
    assert going_on.fusion[0].bias.unique().tolist() == [0.25]
    assert backbone.features[0].weight.unique().tolist() == [0.25]
    assert backbone.features[2].weight.unique().tolist() == [1.25]


def test_training_goes_on_from_a_file_elsewhere(
    bundle: Path, fine_tuned: str, tmp_path_factory: pytest.TempPathFactory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "own.pt"
    elsewhere.write_bytes((bundle / fine_tuned).read_bytes())
    network = a_fresh_network()
    load_backbone(network, bundle, str(elsewhere))
    assert network.fusion[0].bias.unique().tolist() == [0.25]


def error_of_going_on(bundle: Path, network: DrCT1, start_from: str) -> str:
    with pytest.raises(WeightsError) as caught:
        load_backbone(network, bundle, start_from)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_primary_network_alone_can_start_from_both(bundle: Path, fine_tuned: str):
    state = torch.load(bundle / fine_tuned, weights_only=True)
    network = DrCT1(TinyBackbone(), slices=4)
    load_backbone(network, bundle, fine_tuned)
    score = "primary.slice_attention.score.weight"
    assert torch.equal(network.state_dict()[score], state[score].float())


def test_training_does_not_go_on_from_weights_of_another_network(bundle: Path, fine_tuned: str):
    assert "own.pt does not fit the configured network" in error_of_going_on(
        bundle, a_fresh_network(labels=9), fine_tuned
    )
    with_classifier = a_fresh_network(heads={"slice_classifier": True})
    save_trained(with_classifier, bundle / "classifier.pt")
    message = error_of_going_on(bundle, a_fresh_network(), "classifier.pt")
    assert "does not fit" in message
    assert "it has no primary.slice_classifier." in message
    load_backbone(with_classifier, bundle, fine_tuned)


def test_training_goes_on_from_shipped_weights_only_if_they_are_what_the_metadata_name(bundle: Path):
    path = bundle / "models" / "model.pt"
    load_backbone(a_fresh_network(), bundle, "models/model.pt")
    path.write_bytes(path.read_bytes() + b"\0")
    assert "sha256" in error_of_going_on(bundle, a_fresh_network(), "models/model.pt")


def test_training_does_not_go_on_from_nothing(bundle: Path):
    assert "missing.pt: cannot be read" in error_of_going_on(bundle, a_fresh_network(), "missing.pt")
