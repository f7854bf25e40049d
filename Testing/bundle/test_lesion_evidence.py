"""The area of the lesion map counts in the answer, alike from images, from a cache and in an exported network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from entries_of_studies import an_entry
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scripts.cache import Cache
from scripts.inferer import ImageSource
from scripts.networks.backbone import Backbone
from scripts.networks.drct import DrCT1, DrCT2
from scripts.networks.efficientnet_lite import EfficientNetLite0
from scripts.networks.lesion_evidence import LesionEvidence, lesion_scores
from scripts.networks.vgg16 import VGG16Features
from scripts.precision import choose_precision
from scripts.training.prepared_features import prepared_features
from scripts.training.prepared_slices import PreparedGroup

torch.set_num_threads(1)
LABELS = 6
HEADS = {"slice_classifier": True, "slice_pooling": "smooth_maximum", "lesion_evidence": True}
FLOAT32 = choose_precision(torch.device("cpu"), "float32")


def a_network(**heads: bool) -> DrCT2:
    torch.manual_seed(0)
    settings = {"heads": HEADS | heads, "slices": 6, "key_slices": 3, "high_res_size": 64}
    return DrCT2(EfficientNetLite0(), **settings).eval()


def blood(share: float, size: int) -> Tensor:
    """Pixels' logits (1, labels, size, size) of which a share of the rows shows any haemorrhage, surely."""
    logits = torch.full((1, LABELS, size, size), -30.0)
    logits[:, 0, : round(share * size)] = 30.0
    return logits


@given(st.integers(1, 7))
def test_the_score_grows_with_the_area_and_is_the_same_at_another_resolution(eighths: int):
    share = eighths / 8
    fine, coarse = (lesion_scores(blood(share, size))[0] for size in (64, 16))
    torch.testing.assert_close(fine, coarse)
    assert fine[0] > lesion_scores(blood(share - 1 / 8, 64))[0, 0]
    # No other label's pixels show anything.
    assert fine[1:].abs().max() < 1e-6


def test_blood_on_one_slice_raises_its_logit_its_attention_and_the_answer():
    network = a_network()
    features = torch.rand(1, 6, network.backbone.channels)
    scores = torch.zeros(1, 6, LABELS)
    bleeding = scores.clone()
    bleeding[0, 2, 0] = 4.0

    def read(each: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stack = torch.cat([features, each], dim=-1)
        reading = network.read(stack, lambda keys: stack.gather(1, keys[..., None].expand(-1, -1, stack.shape[-1])))
        return reading.slice_logits[0], reading.slice_attention[0], reading.logits[0]

    with torch.no_grad():
        (slices, attention, answer), (bled, attended, found) = read(scores), read(bleeding)
    weight = float(network.primary.lesion_evidence.weight[0])
    assert weight > 0
    torch.testing.assert_close(bled - slices, weight * bleeding[0])
    assert attended[2] > attention[2]
    assert found[0] > answer[0]


def test_scores_of_images_and_of_the_cache_are_the_decoders_own(tmp_path: Path):
    network, entry = a_network(), an_entry()
    images = entry["image"].movedim(0, 1)
    source = ImageSource(entry, network, FLOAT32, 2, 2, lambda *_: None)
    with torch.no_grad():
        embeddings = source.embeddings()
        pixels = network.lesion_decoder(network.backbone.levels(images))
        torch.testing.assert_close(embeddings, network.embed(images), atol=1e-4, rtol=1e-3)
    assert embeddings.shape[1] == network.embedding_width == network.backbone.channels + LABELS
    torch.testing.assert_close(embeddings[:, -LABELS:], lesion_scores(pixels), atol=1e-4, rtol=1e-3)
    head = torch.zeros(4, 64, 64, dtype=torch.int16)
    head[:, 16:48, 16:48] = 40
    known = torch.ones(4, dtype=torch.bool)
    group = PreparedGroup("a", "scan", 0, True, head, head.byte() * 0, torch.zeros(4, LABELS), known, key="a")
    windows, sizes = [[40, 80], [80, 200], [600, 2800]], {"image": 64, "high_res": 64}
    (kept,) = prepared_features([group], network, windows, sizes, Cache(tmp_path), torch.device("cpu"), "float32")
    assert kept.image.shape[2] == network.embedding_width
    with torch.no_grad():
        torch.nn.init.constant_(network.lesion_decoder.output.bias, 2.0)
    (bleeding,) = prepared_features([group], network, windows, sizes, Cache(tmp_path), torch.device("cpu"), "float32")
    assert (bleeding.image[..., -LABELS:] > kept.image[..., -LABELS:] + 1).all(), "another decoder, other scores"


def test_the_mean_of_both_sides_has_the_score_of_the_mean_of_their_pixels():
    network, entry = a_network(), an_entry()
    source = ImageSource(entry, network, FLOAT32, 2, 2, lambda *_: None, mirrored_views=True)
    with torch.no_grad():
        embeddings = source.embeddings()
    (pixels,) = source.lesion_logits()
    torch.testing.assert_close(embeddings[:, -LABELS:], lesion_scores(pixels.maps))


def test_without_it_an_answer_does_not_know_the_decoder():
    network = a_network(lesion_evidence=False)
    assert network.embedding_width == network.backbone.channels
    image = torch.rand(1, 3, 6, 64, 64)
    with torch.no_grad():
        before = network(image)
        torch.nn.init.constant_(network.lesion_decoder.output.bias, 5.0)
        torch.testing.assert_close(network(image), before)


@pytest.mark.parametrize(
    ("backbone", "classified"), [(VGG16Features, True), (EfficientNetLite0, False)], ids=["no decoder", "no classifier"]
)
def test_a_network_without_decoder_or_slice_classifier_reads_without_that_evidence(
    backbone: Callable[[], Backbone], classified: bool
):
    network = DrCT1(backbone(), heads=HEADS | {"slice_classifier": classified}, slices=4).eval()
    assert not network.uses_lesion_scores
    assert network.embedding_width == network.backbone.channels
    assert network(torch.rand(1, 3, 4, 64, 64)).shape == (1, LABELS)


def test_the_evidence_is_weighted_per_label():
    evidence = LesionEvidence(2)
    with torch.no_grad():
        evidence.weight.copy_(torch.tensor([1.0, 2.0]))
        evidence.offset.copy_(torch.tensor([-1.0, 0.5]))
    features, added = evidence(torch.tensor([[[7.0, 8.0, 9.0, 3.0, 4.0]]]))
    assert features.tolist() == [[[7.0, 8.0, 9.0]]]
    assert added.tolist() == [[[2.0, 8.5]]]
