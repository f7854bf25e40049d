"""A study read from both sides: the mean of two readings, whose maps lie where the slices do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from entries_of_studies import a_network, an_entry, read

from scripts.inferer import ImageSource
from scripts.networks.backbone import Backbone
from scripts.networks.efficientnet_lite import EfficientNetLite0
from scripts.networks.vgg16 import VGG16Features
from scripts.precision import choose_precision

torch.set_num_threads(1)


def mirrored(entry: dict[str, Any]) -> dict[str, Any]:
    """The same study, left and right exchanged."""
    return entry | {key: entry[key].flip(-1) for key in ("image", "high_res") if key in entry}


@pytest.mark.parametrize("backbone", [VGG16Features, EfficientNetLite0])
def test_a_study_read_from_both_sides_and_its_mirror_image_are_read_alike(backbone: type[Backbone]):
    network = a_network(backbone=backbone)
    settings = {"mirrored_views": True, "attribution_scale": 1.0}
    own, other = (read(network, entry, **settings) for entry in (an_entry(), mirrored(an_entry())))
    torch.testing.assert_close(own.probabilities, other.probabilities, atol=1e-4, rtol=0)
    torch.testing.assert_close(own.slice_attention, other.slice_attention, atol=1e-4, rtol=0)
    assert any(stored.voxels.any() for stored in own.label_maps)
    for first, second in zip(own.label_maps, other.label_maps, strict=True):
        assert np.abs(first.voxels.astype(int) - second.voxels[..., ::-1]).max() <= 1
    if own.lesions is not None:
        assert np.abs(own.lesions.probability.astype(int) - other.lesions.probability[..., ::-1]).max() <= 1
    once = read(network, an_entry())
    assert (own.mirrored_views, once.mirrored_views) == (True, False)
    assert not torch.allclose(own.probabilities, once.probabilities, atol=1e-4)


def test_the_embedding_of_a_slice_read_from_both_sides_is_the_mean_of_both():
    network, entry, precision = a_network(), an_entry(), choose_precision(torch.device("cpu"), "float32")
    once, again, both = (
        ImageSource(each, network, precision, 2, 2, lambda *_: None, mirrored_views=twice).embeddings()
        for each, twice in ((entry, False), (mirrored(entry), False), (entry, True))
    )
    torch.testing.assert_close(both, (once + again) / 2, atol=1e-5, rtol=1e-4)
