"""Pixels' logits of a network with a lesion decoder: where they lie, and how two resolutions are merged."""

from __future__ import annotations

import pytest
import torch

from scripts.networks.lesion_decoder import LesionDecoder
from scripts.networks.study_network import FeatureMaps, merged_pixels

torch.set_num_threads(1)


@torch.no_grad()
@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_logits_have_the_size_of_the_finest_level(size: tuple[int, int]):
    levels = [torch.rand(3, 8, *size), torch.rand(3, 16, size[0] // 2, size[1] // 2)]
    logits = LesionDecoder([8, 16], labels=6, width=8).eval()(levels)
    assert logits.shape == (3, 6, *size)


@torch.no_grad()
def test_before_training_every_pixel_is_unlikely_to_show_blood():
    logits = LesionDecoder([8, 16]).eval()([torch.zeros(1, 8, 8, 8), torch.zeros(1, 16, 4, 4)])
    assert (logits.sigmoid() < 0.1).all()


def test_key_slices_are_averaged_with_their_first_reading_on_the_finer_grid():
    everything = FeatureMaps(torch.zeros(3, 1, 4, 4), torch.arange(3))
    again = FeatureMaps(torch.full((1, 1, 8, 8), 2.0), torch.tensor([1]))
    merged = merged_pixels((everything, again), 3)
    assert merged is not None
    assert merged.shape == (3, 1, 8, 8)
    assert merged[1].eq(1.0).all()
    assert merged[[0, 2]].eq(0.0).all()


def test_a_network_without_decoder_has_no_lesion_logits():
    assert merged_pixels((), 3) is None


@torch.no_grad()
def test_a_marked_pixel_stays_where_it_is_when_resolutions_merge():
    coarse = torch.zeros(1, 1, 4, 4)
    fine = torch.zeros(1, 1, 8, 8)
    coarse[0, 0, 1, 2], fine[0, 0, 2:4, 4:6] = 4.0, 4.0
    parts = (FeatureMaps(coarse, torch.arange(1)), FeatureMaps(fine, torch.arange(1)))
    merged = merged_pixels(parts, 1)
    assert merged is not None
    row, column = divmod(int(merged[0, 0].argmax()), 8)
    assert (row // 2, column // 2) == (1, 2)
