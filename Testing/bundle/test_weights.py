"""Weights on disk: what is written comes back, and what is not the right file is refused in one line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from tiny_backbone import TinyBackbone
from torch import nn
from weights_files import PretrainedBackbone, a_fresh_network, a_trained_network, write_bundle, write_metadata

from scripts.networks.drct import DrCT1, DrCT2
from scripts.weights import (
    MODEL_FILE,
    WeightsError,
    expected_sha256,
    load_backbone,
    load_network,
    model_identity,
    read_state,
    save_trained,
)

torch.set_num_threads(1)

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


@pytest.fixture(scope="module")
def trained_network() -> DrCT2:
    return a_trained_network()


@pytest.fixture
def bundle(tmp_path: Path, trained_network: DrCT2) -> Path:
    """A bundle's folder with weights that fit its metadata."""
    return write_bundle(tmp_path, trained_network)


def error_of_loading(bundle: Path, network: nn.Module | None = None, **settings: Any) -> str:
    """The message of the named error, which must be one line."""
    with pytest.raises(WeightsError) as caught:
        load_network(network or a_fresh_network(), bundle, **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert str(bundle) not in message
    return message


def test_weights_come_back_from_disk_as_they_were(bundle: Path, trained_network: DrCT2):
    loaded = load_network(a_fresh_network().train(), bundle)
    assert not loaded.training
    image = torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        probabilities, expected = (network(image).sigmoid() for network in (loaded, trained_network))
    torch.testing.assert_close(probabilities, expected, atol=1e-3, rtol=0)
    assert all(weight.dtype == torch.float32 for weight in loaded.parameters())


def test_the_trained_file_holds_the_whole_network_in_half_precision_but_for_statistics(
    bundle: Path, trained_network: DrCT2
):
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert state.keys() == trained_network.state_dict().keys()
    statistics = {name for name in state if name.endswith(("running_mean", "running_var"))}
    assert statistics
    for name, tensor in state.items():
        kept = tensor.dtype if name in statistics or not tensor.is_floating_point() else torch.float16
        assert tensor.dtype == kept
        assert kept in {torch.float16, torch.float32, torch.int64}
    for name in statistics:
        assert torch.equal(state[name], trained_network.state_dict()[name])


def test_statistics_that_half_precision_cannot_hold_come_back(tmp_path: Path):
    network = a_trained_network()
    norm = network.primary.feature_attention.normalisation.norm
    norm.running_var[:2] = torch.tensor([3e5, 1e-9])
    write_bundle(tmp_path, network)
    loaded = load_network(a_fresh_network(), tmp_path).primary.feature_attention.normalisation.norm
    assert torch.equal(loaded.running_var, norm.running_var)


def test_no_pretrained_weights_are_asked_for_where_the_file_holds_the_backbone(bundle: Path, trained_network: DrCT2):
    class Unreachable(TinyBackbone):
        pretrained = True

    network = load_network(a_fresh_network(Unreachable()), bundle)
    expected = trained_network.backbone.features[0].weight.half().float()
    assert torch.equal(network.backbone.features[0].weight, expected)
    with pytest.raises(NotImplementedError):
        load_network(a_fresh_network(Unreachable()), bundle, None)


def test_a_file_of_version_0_4_takes_the_layers_that_it_leaves_out_from_the_pretrained_backbone(bundle: Path):
    path = bundle / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    left_out = [f"backbone.features.0.{kind}" for kind in ("weight", "bias")]
    kept = {name: tensor for name, tensor in state.items() if name not in left_out}
    torch.save(kept, path)
    write_metadata(bundle, hashlib.sha256(path.read_bytes()).hexdigest())
    layers = load_network(a_fresh_network(PretrainedBackbone()), bundle).backbone.features
    assert layers[0].weight.unique().tolist() == [0.25]
    assert torch.equal(layers[2].weight, state["backbone.features.2.weight"].float())


def test_training_begins_with_the_pretrained_backbone_and_leaves_the_heads(bundle: Path):
    network = a_fresh_network(PretrainedBackbone())
    before = network.fusion[0].weight.clone()
    backbone = load_backbone(network, bundle)
    assert not any(weight.requires_grad for weight in backbone.parameters())
    assert backbone.features[0].weight.unique().tolist() == [0.25]
    assert torch.equal(network.fusion[0].weight, before)
    assert network.fusion[0].weight.requires_grad


def test_a_changed_file_is_refused(bundle: Path):
    path = bundle / "models" / "model.pt"
    path.write_bytes(path.read_bytes() + b"\0")
    message = error_of_loading(bundle)
    assert "models/model.pt" in message
    assert "sha256" in message


def test_a_missing_file_is_named(bundle: Path):
    (bundle / "models" / "model.pt").unlink()
    assert "models/model.pt" in error_of_loading(bundle)


def test_weights_of_another_shape_are_refused(bundle: Path):
    message = error_of_loading(bundle, a_fresh_network(labels=9))
    assert "models/model.pt" in message
    assert "does not fit" in message


def test_weights_of_another_network_are_refused(bundle: Path):
    assert "does not fit" in error_of_loading(bundle, DrCT1(TinyBackbone(), slices=4))


@pytest.mark.parametrize(
    "content", [b"", b"no weights", b"torn", b"PK\3\4 cut off"], ids=["empty", "text", "another text", "cut off"]
)
def test_a_file_of_ones_own_that_holds_no_weights_is_refused(bundle: Path, content: bytes):
    (bundle / "models" / "own.pt").write_bytes(content)
    assert "models/own.pt" in error_of_loading(bundle, model_file="models/own.pt")


def test_a_checkpoint_that_holds_more_than_weights_is_refused(bundle: Path):
    torch.save({"network": {"a": torch.zeros(1)}, "epoch": 3}, bundle / "models" / "own.pt")
    assert "models/own.pt" in error_of_loading(bundle, model_file="models/own.pt")


def test_a_file_that_would_run_code_is_refused(bundle: Path):
    torch.save({"a": Path("x")}, bundle / "models" / "own.pt")
    assert "models/own.pt" in error_of_loading(bundle, model_file="models/own.pt")


def test_metadata_without_weights_are_refused(bundle: Path):
    (bundle / "configs" / "metadata.json").write_text(json.dumps({"version": "1"}), encoding="utf-8")
    assert "configs/metadata.json" in error_of_loading(bundle)


def test_a_shipped_file_without_a_stated_sha256_is_refused(bundle: Path):
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    del metadata["weights"]["models/model.pt"]
    path.write_text(json.dumps(metadata), encoding="utf-8")
    assert "no sha256 for models/model.pt" in error_of_loading(bundle)
    assert "no sha256 for" in error_of_loading(bundle, model_file="./configs/../models/model.pt")


def identity_of(bundle: Path, model_file: str) -> dict[str, str]:
    """The stated hashes, with the rest of the metadata as the bundle ships them."""
    shipped = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    stated = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    (bundle / "configs" / "metadata.json").write_text(json.dumps(shipped | stated), encoding="utf-8")
    return model_identity(bundle, a_fresh_network(), model_file).weights_sha256


@pytest.mark.parametrize("model_file", ["models/model.pt", "models/own.pt"])
def test_the_identity_has_the_hash_of_the_file_that_is_loaded(bundle: Path, model_file: str):
    save_trained(a_fresh_network(), bundle / "models" / "own.pt")
    found = identity_of(bundle, model_file)
    assert found == {model_file: hashlib.sha256((bundle / model_file).read_bytes()).hexdigest()}


def test_the_identity_does_not_name_a_folder_outside_the_bundle(bundle: Path, tmp_path_factory: pytest.TempPathFactory):
    own = tmp_path_factory.mktemp("elsewhere") / "own.pt"
    save_trained(a_fresh_network(), own)
    assert list(identity_of(bundle, str(own))) == ["own.pt"]


def test_the_identity_of_a_missing_file_is_refused_by_name(bundle: Path):
    with pytest.raises(WeightsError, match=r"models/own\.pt: cannot be read"):
        identity_of(bundle, "models/own.pt")


def test_inference_loads_and_states_one_and_the_same_file():
    config = json.loads((BUNDLE / "configs" / "inference.json").read_text(encoding="utf-8"))
    assert config["model_file"] == "models/model.pt"
    load, fuse = config["initialize"][-2:]
    assert load["_target_"] == "scripts.weights.load_network"
    assert load["model_file"] == config["reader"]["model"]["model_file"] == "@model_file"
    assert fuse["_target_"] == "scripts.networks.inference_form.fuse_for_inference"


OLD_NAMES = {"slice_classifier": "evidence", "encoder": "dependencies"}


def test_weights_that_were_written_before_parameters_were_renamed_are_read(bundle: Path, trained_network: DrCT2):
    def old(name: str) -> str:
        parts = [OLD_NAMES.get(part, part) for part in name.split(".")]
        if name.startswith("primary."):
            parts = ["standardise" if part == "normalisation" else part for part in parts]
        return ".".join(parts)

    path = bundle / "models" / "model.pt"
    state = {old(name): tensor for name, tensor in torch.load(path, weights_only=True).items()}
    assert {"primary.dependencies.output.0.weight", "primary.feature_attention.standardise.norm.weight"} <= state.keys()
    torch.save(state, path)
    write_metadata(bundle, hashlib.sha256(path.read_bytes()).hexdigest())
    loaded = load_network(a_fresh_network(), bundle).state_dict()
    for name, tensor in trained_network.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, atol=2e-2, rtol=1e-3)


def test_the_shipped_file_holds_every_parameter_of_the_configured_network_in_20_megabytes():
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def")
    shipped = read_state(BUNDLE, MODEL_FILE, expected_sha256(BUNDLE)[MODEL_FILE])
    assert shipped.keys() == network.state_dict().keys()
    assert (BUNDLE / MODEL_FILE).stat().st_size <= 20_000_000
    assert [path.name for path in (BUNDLE / "models").iterdir()] == ["model.pt"]


def test_a_network_that_was_never_trained_says_so(bundle: Path, caplog: pytest.LogCaptureFixture):
    network = a_fresh_network()
    before = network.fusion[0].weight.clone()
    load_network(network, bundle, None)
    assert torch.equal(network.fusion[0].weight, before)
    assert "its heads have random weights" in caplog.text
    identity_of(bundle, "models/model.pt")
    identity = model_identity(bundle, network, None)
    assert identity.trained_on == "nothing: heads with random weights, backbone too"
    assert identity.weights_sha256 == {}
    with_pretrained = a_fresh_network(PretrainedBackbone())
    assert model_identity(bundle, with_pretrained, None).trained_on == "nothing: heads with random weights"


def test_a_backbone_without_pretrained_weights_is_random_until_a_trained_file_holds_it(
    bundle: Path, caplog: pytest.LogCaptureFixture
):
    load_network(a_fresh_network(), bundle, None)
    assert "TinyBackbone has no pretrained weights: it has random ones" in caplog.text
    identity_of(bundle, "models/model.pt")
    save_trained(a_fresh_network(), bundle / "own.pt")
    caplog.clear()
    load_network(a_fresh_network(), bundle, "own.pt")
    assert caplog.text == ""
    assert model_identity(bundle, a_fresh_network(), "own.pt").trained_on == "not known: weights of one's own"


def test_weights_that_half_precision_cannot_hold_are_not_written(bundle: Path):
    network = a_fresh_network()
    with torch.no_grad():
        network.primary.slice_attention.score.bias.fill_(1e6)
    with pytest.raises(ValueError, match=r"score\.bias: not finite in half precision"):
        save_trained(network, bundle / "own.pt")
    assert not (bundle / "own.pt").exists()
