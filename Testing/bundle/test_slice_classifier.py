"""The slice classifier: how its logits move attention and outputs, and that nothing is left of it where unwanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_networks import drct1, drct2, outputs_of
from torch import Tensor, nn

from scripts.networks.branches import weighted_mean
from scripts.networks.drct import DrCT1, DrCT2, Reading, mean_of_readings
from scripts.networks.vgg16 import VGG16Features

torch.set_num_threads(1)

WITH_CLASSIFIER = {"heads": {"slice_classifier": True}}


def features(slices: int, seed: int = 1) -> Tensor:
    return torch.rand(2, slices, 512, generator=torch.Generator().manual_seed(seed)) * 5


def high_res_embeddings(keys: Tensor) -> Tensor:
    """Other features for every slice, the same ones whenever it is asked for."""
    table = features(6, seed=9)
    return table.gather(1, keys[..., None].expand(-1, -1, 512))


def read(network: DrCT1, of: Tensor | None = None) -> Reading:
    with torch.no_grad():
        return network.read(features(network.slices) if of is None else of, high_res_embeddings)


def silenced(network: DrCT1) -> DrCT1:
    """Set the output layers of the slice classifiers to 0."""
    for name, parameter in network.named_parameters():
        if "slice_classifier.output" in name:
            nn.init.zeros_(parameter)
    return network


def decisive(network: DrCT1) -> DrCT1:
    """Let the logits of slices differ by some units."""
    for name, parameter in network.named_parameters():
        if name.endswith("slice_classifier.output.weight"):
            nn.init.normal_(parameter, std=0.2)
    return network


def heads_of(network: DrCT1) -> dict[str, Tensor]:
    return {name: value for name, value in network.state_dict().items() if not name.startswith("backbone.")}


@pytest.mark.parametrize("make", [drct1, drct2])
def test_without_a_slice_classifier_the_network_has_no_weights_for_it_and_no_slice_logits(make: Callable[..., DrCT1]):
    without, with_it = make(), make(**WITH_CLASSIFIER)
    added = heads_of(with_it).keys() - heads_of(without).keys()
    assert not heads_of(without).keys() - heads_of(with_it).keys()
    assert added
    assert all(name.split(".")[1] == "slice_classifier" for name in added)
    reading = read(without)
    assert reading.slice_logits.shape == (2, without.slices, 6)
    assert reading.key_slice_logits.shape == (2, reading.key_slices.shape[1], 6)
    assert not reading.slice_logits.any()
    assert not reading.key_slice_logits.any()


@pytest.mark.parametrize("make", [drct1, drct2])
def test_slice_logits_of_0_leave_every_output_as_it_was(make: Callable[..., DrCT1]):
    without, with_it = make(), silenced(make(**WITH_CLASSIFIER))
    with_it.load_state_dict(heads_of(without), strict=False)
    before, after = read(without), read(with_it)
    assert torch.equal(before.logits, after.logits)
    assert torch.equal(before.slice_attention, after.slice_attention)
    assert all(torch.equal(*pair) for pair in zip(before.branch_logits, after.branch_logits, strict=True))


def test_a_slices_logit_of_the_first_label_shifts_attention_to_it():
    network = silenced(drct2(**WITH_CLASSIFIER))
    before = read(network).slice_attention
    decisive(network)
    after = read(network)
    merged = mean_of_readings(after.slice_logits, after.key_slices, after.key_slice_logits)
    expected = (before.log() + merged[..., 0]).softmax(dim=1)
    torch.testing.assert_close(after.slice_attention, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(after.slice_attention, before, atol=0.01)
    with torch.no_grad():
        for part in (network.primary, network.aps):
            part.slice_classifier.output.weight[1:] *= -3
    torch.testing.assert_close(read(network).slice_attention, after.slice_attention)


def test_a_slice_that_is_sure_of_a_haemorrhage_is_read_again():
    network = drct2(key_slices=2, **WITH_CLASSIFIER)
    with torch.no_grad():
        network.primary.slice_classifier.output.weight[0] = 0.05
        network.primary.slice_classifier.output.bias.zero_()
    of = features(6)
    of[0, 4] += 3
    of[1, 1] += 3
    reading = read(network, of)
    with torch.no_grad():
        assert network.primary(of)[2].argmax(dim=1).tolist() == [4, 1]
    assert 4 in reading.key_slices[0]
    assert 1 in reading.key_slices[1]


def test_a_slices_logits_do_not_depend_on_its_neighbours():
    network = decisive(drct2(**WITH_CLASSIFIER))
    of = features(6)
    changed = of.clone()
    changed[:, 3] += 2
    before, after = read(network, of).slice_logits, read(network, changed).slice_logits
    others = [0, 1, 2, 4, 5]
    torch.testing.assert_close(before[:, others], after[:, others])
    assert not torch.allclose(before[:, 3], after[:, 3], atol=0.01)


def test_the_mean_of_the_slices_by_attention_is_added_to_the_primary_answer():
    network = decisive(drct1(**WITH_CLASSIFIER))
    of_rows = outputs_of(network.primary.classifier)
    reading = read(network)
    by_hand = torch.stack(
        [
            sum(
                weight * logits
                for weight, logits in zip(reading.slice_attention[scan], reading.slice_logits[scan], strict=True)
            )
            for scan in range(2)
        ]
    )
    torch.testing.assert_close(reading.logits, of_rows[0] + by_hand)
    assert by_hand.abs().max() > 0.05


def test_the_key_slices_speak_by_their_shares_and_both_networks_by_halves():
    network = decisive(drct2(**WITH_CLASSIFIER))
    of_aps, of_fusion = outputs_of(network.aps.classifier), outputs_of(network.fusion)
    reading = read(network)
    # Shares are those of the first reading, which chose the slices.
    with torch.no_grad():
        first = network.primary(features(network.slices))[2]
    attention = first.gather(1, reading.key_slices)
    shares = attention / attention.sum(dim=1, keepdim=True)
    high_res_logits = torch.einsum("bk,bkl->bl", shares, reading.key_slice_logits)
    all_logits = torch.einsum("bm,bml->bl", first, reading.slice_logits)
    torch.testing.assert_close(reading.branch_logits[1], of_aps[0] + high_res_logits)
    torch.testing.assert_close(reading.logits, of_fusion[0] + (all_logits + high_res_logits) / 2)
    with torch.no_grad():
        torch.testing.assert_close(
            reading.key_slice_logits, network.aps.slice_classifier(high_res_embeddings(reading.key_slices))
        )


@pytest.mark.parametrize("make", [drct1, drct2])
def test_forward_and_read_agree_with_a_slice_classifier(make: Callable[..., Any]):
    network = decisive(make(**WITH_CLASSIFIER))
    image = torch.randn(2, 3, network.slices, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        reading = network.read(network.embeddings_of(image), network.high_resolution_of(image))
        torch.testing.assert_close(network(image), reading.logits, atol=1e-5, rtol=1e-4)


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 1000))
def test_a_weighted_mean_lies_between_the_logits_of_the_slices(slices: int, labels: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, slices, labels, generator=generator)
    shares = torch.randn(3, slices, generator=generator).softmax(dim=1)
    mean = weighted_mean(logits, shares)
    assert (mean <= logits.amax(dim=1) + 1e-5).all()
    assert (mean >= logits.amin(dim=1) - 1e-5).all()
    alike = logits[:, :1].expand(-1, slices, -1)
    torch.testing.assert_close(weighted_mean(alike, shares), logits[:, 0], atol=1e-5, rtol=1e-4)


def test_the_heads_settings_alone_decide_whether_there_is_a_slice_classifier():
    assert not DrCT2(VGG16Features(), slices=4, key_slices=2).heads.slice_classifier
    assert DrCT2(VGG16Features(), slices=4, key_slices=2, heads={"slice_classifier": True}).heads.slice_classifier
