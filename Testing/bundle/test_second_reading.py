"""What the second reading of key slices changes: the slices' own answers, and the attention that is shown."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scripts.networks.attention import SliceAttention
from scripts.networks.drct import DrCT2, mean_of_readings
from scripts.networks.efficientnet_lite import EfficientNetLite0
from scripts.networks.study_network import attention_per_slice
from scripts.reading_geometry import sub_stacks
from scripts.training.cached_scans import read_whole_scan
from scripts.training.scan_features import ScanFeatures

torch.set_num_threads(1)
HEADS = {"slice_classifier": True, "slice_pooling": "smooth_maximum", "attention_smoothing": 1}


def a_network(slices: int = 8) -> DrCT2:
    torch.manual_seed(1)
    return DrCT2(EfficientNetLite0(), heads=HEADS, slices=slices, key_slices=3, high_res_size=32).eval()


def test_a_slice_that_was_read_twice_answers_with_the_mean_of_both_readings():
    first = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])
    again = torch.tensor([[[10.0], [20.0]]])
    merged = mean_of_readings(first, torch.tensor([[1, 3]]), again)
    assert merged[0, :, 0].tolist() == [1.0, 6.0, 3.0, 12.0]


def test_the_attention_after_it_is_that_of_the_merged_logits():
    torch.manual_seed(0)
    layer = SliceAttention(width=5, smoothing=2)
    rows, before, merged = torch.randn(2, 7, 5), torch.randn(2, 7), torch.randn(2, 7)
    with torch.no_grad():
        found = layer.after_second_reading(layer(rows, before), before, merged)
        torch.testing.assert_close(found, layer(rows, merged))


def test_blood_that_only_the_second_reading_sees_draws_attention():
    network = a_network()
    with torch.no_grad():
        # Of all that is pooled at high resolution, one feature speaks for a haemorrhage.
        network.aps.slice_classifier.output.weight.zero_()
        network.aps.slice_classifier.output.weight[0, 0] = 5.0
    image = torch.rand(1, 8, network.backbone.channels)
    again = image.clone()
    keys = network.choose(network.primary(image)[2])[0]
    blood, dark = int(keys[1]), int(keys[0])
    again[0, :, 0] = 0.0
    again[0, blood, 0] = 8.0

    def attention(high_res: Tensor) -> Tensor:
        return read_whole_scan(network, ScanFeatures(image, high_res, torch.arange(8))).slice_attention

    none = again.clone()
    none[0, blood, 0] = 0.0
    found, without = attention(again), attention(none)
    assert found[blood] > without[blood]
    assert found[blood] > found[dark]
    torch.testing.assert_close(found.sum(), torch.tensor(1.0))


def test_training_starts_from_the_attention_that_slice_logits_give():
    rows, logits = torch.randn(1, 6, 4), torch.randn(1, 6)
    started = SliceAttention(4, from_slice_logits=True)
    torch.testing.assert_close(started(rows, logits), logits.softmax(dim=-1))
    assert not torch.allclose(SliceAttention(4)(rows, logits), logits.softmax(dim=-1))


@given(st.integers(1, 70), st.integers(2, 12))
def test_equal_attention_stays_equal_however_often_a_slice_stands_in_a_sub_stack(count: int, size: int):
    stacks = torch.from_numpy(sub_stacks(count, size))
    attention = torch.full(stacks.shape, 1.0 / size)
    torch.testing.assert_close(attention_per_slice(attention, stacks, count), torch.full((count,), 1.0 / count))
