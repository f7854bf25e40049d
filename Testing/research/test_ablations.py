"""What only the ablations use: other key slices, one pass."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from research.evidence.ablations import KeySliceChoice, at_random, choose_key_slices, evenly, single_pass
from scripts.networks.drct import DrCT1, DrCT2
from scripts.networks.vgg16 import VGG16Features

torch.set_num_threads(1)


def attention_of(batch: int, slices: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, slices, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)


@given(
    st.sampled_from(["attention", "random", "even"]),
    st.integers(1, 3),
    st.integers(1, 40).flatmap(lambda slices: st.tuples(st.just(slices), st.integers(1, slices))),
)
def test_every_choice_gives_ascending_positions_without_repetition(
    how: KeySliceChoice, batch: int, numbers: tuple[int, int]
):
    slices, count = numbers
    positions = choose_key_slices(attention_of(batch, slices), count, how)
    assert positions.shape == (batch, count)
    assert positions.dtype == torch.int64
    assert (positions.diff(dim=1) > 0).all()
    assert 0 <= positions.min() <= positions.max() < slices


def test_by_attention_is_what_the_network_reads():
    torch.manual_seed(0)
    network = DrCT2(VGG16Features(), slices=6, key_slices=3).eval()
    features = torch.rand(2, 6, 512, generator=torch.Generator().manual_seed(1)) * 5
    with torch.no_grad():
        reading = network.read(features, lambda positions: torch.zeros(*positions.shape, 512))
    assert torch.equal(choose_key_slices(reading.slice_attention, 3, "attention"), reading.key_slices)


def test_most_attention_by_hand():
    attention = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.4, 0.1, 0.3, 0.2]])
    assert choose_key_slices(attention, 2, "attention").tolist() == [[1, 3], [0, 2]]


def test_even_spacing_by_hand():
    assert evenly(32, 4).tolist() == [4, 12, 20, 28]
    assert evenly(5, 2).tolist() == [1, 3]
    for count in (4, 8, 16):
        assert evenly(16, count).diff().unique().tolist() == [16 // count]


def test_a_random_choice_is_repeatable_and_differs_between_scans_and_seeds():
    attention = attention_of(2, 32)
    first = choose_key_slices(attention, 8, "random", seed=1)
    assert torch.equal(first, choose_key_slices(attention, 8, "random", seed=1))
    assert not torch.equal(first, choose_key_slices(attention, 8, "random", seed=2))
    assert not torch.equal(first[0], first[1])


def test_every_subset_is_equally_likely():
    drawn = at_random(6000, 4, 2, torch.Generator().manual_seed(0))
    counts = Counter(tuple(row) for row in drawn.tolist())
    assert len(counts) == 6
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(ValueError, match="5 key slices of 4"):
        choose_key_slices(attention_of(1, 4), 5, "even")
    with pytest.raises(ValueError, match="attention, random, even, not 'best'"):
        choose_key_slices(attention_of(1, 4), 2, "best")


def test_a_single_pass_is_the_primary_network_with_the_settings_of_both():
    network = single_pass(
        backbone=VGG16Features(), labels=2, slices=6, key_slices=3, high_res_size=64, fusion="by_position"
    )
    assert type(network) is DrCT1
    assert network.slices == 6
