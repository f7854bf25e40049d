"""The networks against the paper's equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import SmallBackbone, drct1, drct2, inputs_of, outputs_of
from torch.nn import functional

from scripts.networks.attention import (
    BiGRUEncoder,
    FeatureAttention,
    FeatureNormalisation,
    SliceAttention,
    mean_with_neighbours,
)
from scripts.networks.backbone import pool
from scripts.networks.drct import DrCT1, DrCT2
from scripts.networks.vgg16 import VGG16Features
from scripts.training.cached_scans import CachedFeaturesNetwork, parameter_groups
from scripts.training.losses import DrCTLoss

torch.set_num_threads(1)

LITERAL: dict[str, Any] = {
    "feature_attention": "softmax",
    "aggregation": "flatten",
    "fusion": "first_rows",
}
# torchvision 0.x, vgg16().features: place of each convolution in the sequence, channels in and out.
TORCHVISION_CONVOLUTIONS = {
    0: (3, 64),
    2: (64, 64),
    5: (64, 128),
    7: (128, 128),
    10: (128, 256),
    12: (256, 256),
    14: (256, 256),
    17: (256, 512),
    19: (512, 512),
    21: (512, 512),
    24: (512, 512),
    26: (512, 512),
    28: (512, 512),
}


def test_the_backbone_has_torchvisions_parameters():
    expected: dict[str, tuple[int, ...]] = {}
    for place, (channels_in, channels_out) in TORCHVISION_CONVOLUTIONS.items():
        expected[f"features.{place}.weight"] = (channels_out, channels_in, 3, 3)
        expected[f"features.{place}.bias"] = (channels_out,)
    assert {name: tuple(tensor.shape) for name, tensor in VGG16Features().state_dict().items()} == expected


def test_the_backbone_gives_512_maps_of_a_sixteenth_of_the_size():
    with torch.no_grad():
        maps = VGG16Features()(torch.randn(2, 3, 64, 48))
    assert maps.shape == (2, 512, 4, 3)
    assert maps.min() >= 0


def test_the_backbone_brings_windows_to_imagenets_mean_and_standard_deviation_itself():
    windows = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    backbone = VGG16Features()
    with torch.no_grad():
        expected = backbone.features((windows - mean[:, None, None]) / std[:, None, None])
        assert torch.equal(backbone(windows), expected)


def test_the_frozen_and_the_trained_stage_together_are_the_backbone_and_share_its_weights():
    backbone = VGG16Features()
    windows = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(backbone.trained_stage()(backbone.frozen_stage()(windows)), backbone(windows))
    staged = [*backbone.frozen_stage().parameters(), *backbone.trained_stage().parameters()]
    assert [id(parameter) for parameter in staged] == [id(parameter) for parameter in backbone.parameters()]


def test_the_maximum_of_the_map_before_the_fifth_pooling_is_that_of_the_map_behind_it():
    maps = torch.rand(3, 512, 14, 14, generator=torch.Generator().manual_seed(1))
    seven_by_seven = functional.max_pool2d(maps, 2)
    assert seven_by_seven.shape[-2:] == (7, 7)
    assert torch.equal(pool(maps), functional.adaptive_max_pool2d(seven_by_seven, 1).flatten(1))


def test_literal_feature_attention_is_equation_3():
    features = torch.rand(2, 3, 512, generator=torch.Generator().manual_seed(1)) * 4
    attended, weights = FeatureAttention("softmax", 512, 0.5, "scan").train()(features)
    for scan in range(2):
        for position in range(3):
            z = features[scan, position].double().numpy()
            w = np.exp(z) / np.exp(z).sum()
            np.testing.assert_allclose(weights[scan, position].numpy(), w, rtol=1e-4)
            np.testing.assert_allclose(attended[scan, position].numpy(), w * z, rtol=1e-4)


@pytest.mark.parametrize("over", ["scan", "batch"])
def test_scaled_feature_attention_keeps_its_weights_summing_to_one_and_its_values_at_a_usable_scale(over):
    features = torch.rand(4, 8, 512, generator=torch.Generator().manual_seed(1)) * 40
    attended, weights = FeatureAttention("scaled_softmax", 512, 0.0, over).train()(features)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(4, 8))
    assert 0.5 < attended.std() < 2.0


@pytest.mark.parametrize("wrong", [{"feature_attention": "sharp"}, {"aggregation": "mean"}])
def test_an_unknown_choice_is_refused_by_name(wrong: dict[str, str]):
    with pytest.raises(ValueError, match=next(iter(wrong.values()))):
        DrCT1(VGG16Features(), **wrong)
    with pytest.raises(ValueError, match="fusion must be"):
        DrCT2(VGG16Features(), fusion="sum")
    with pytest.raises(ValueError, match="key_slices"):
        DrCT2(VGG16Features(), slices=8, key_slices=9)


def test_a_scan_is_normalised_by_its_own_slices_whatever_the_scanner_adds_to_every_feature():
    torch.manual_seed(4)
    network = DrCT1(VGG16Features(), slices=6, heads={"normalisation": "scan"}).eval()
    features = torch.rand(1, 6, 512) * 30
    here, elsewhere = (
        network.read(scan, lambda keys: torch.zeros(*keys.shape, 512)).logits for scan in (features, 1.3 * features + 5)
    )
    torch.testing.assert_close(here, elsewhere, atol=1e-4, rtol=1e-4)


def test_standardising_over_the_batch_keeps_what_training_saw():
    normalise = FeatureNormalisation("batch", 4).train()
    torch.manual_seed(5)
    for _ in range(200):
        normalise(torch.randn(2, 6, 4) * 3 + 7)
    told = normalise.eval()(torch.full((1, 6, 4), 10.0))
    torch.testing.assert_close(told, torch.ones(1, 6, 4), atol=0.2, rtol=0)
    with pytest.raises(ValueError, match="normalisation must be"):
        FeatureNormalisation("slice", 4)


def test_the_encoder_runs_through_the_stack_in_both_directions():
    torch.manual_seed(0)
    encoder = BiGRUEncoder(512, 8, 10)
    features = torch.randn(1, 5, 512)
    changed_first, changed_last = features.clone(), features.clone()
    changed_first[:, 0] += 1
    changed_last[:, -1] += 1
    rows = encoder(features)
    assert rows.shape == (1, 5, 10)
    assert not torch.allclose(encoder(changed_first)[:, -1], rows[:, -1])
    assert not torch.allclose(encoder(changed_last)[:, 0], rows[:, 0])
    assert rows.abs().max() <= 1


def test_the_encoder_is_equation_4():
    torch.manual_seed(0)
    encoder = BiGRUEncoder(512, 8, 10)
    features = torch.randn(1, 5, 512)
    activations, _ = encoder.recurrent(features)
    linear = encoder.output[0]
    expected = torch.tanh(activations @ linear.weight.T + linear.bias)
    torch.testing.assert_close(encoder(features), expected)


def test_slice_attention_is_a_softmax_over_the_slices():
    torch.manual_seed(0)
    attention = SliceAttention(10)
    rows = torch.randn(2, 7, 10)
    scores = (rows @ attention.score.weight.T + attention.score.bias)[..., 0]
    expected = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
    found = attention(rows, torch.zeros(2, 7))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2))


def test_a_slice_that_stands_alone_gets_less_attention_than_two_neighbours_where_logits_are_smoothed():
    attention, smoothed = SliceAttention(10), SliceAttention(10, smoothing=2)
    smoothed.load_state_dict(attention.state_dict())
    rows, logits = torch.zeros(1, 9, 10), torch.full((1, 9), -4.0)
    logits[0, 1], logits[0, 5:7] = 3.0, 2.0
    assert attention(rows, logits).argmax() == 1
    assert smoothed(rows, logits).argmax() in (5, 6)
    twice = mean_with_neighbours(mean_with_neighbours(logits[..., None]))[..., 0]
    torch.testing.assert_close(smoothed(rows, logits), attention(rows, twice))


@pytest.mark.parametrize("labels", [6, 9])
@pytest.mark.parametrize("make", [drct1, drct2])
def test_forward_gives_one_logit_per_label(make: Callable[..., DrCT1], labels: int):
    network = make(labels=labels)
    assert network(torch.randn(2, 3, network.slices, 32, 32)).shape == (2, labels)


def test_forward_runs_through_vgg16_itself():
    torch.manual_seed(3)
    network = DrCT2(VGG16Features(), slices=3, key_slices=2, high_res_size=48).eval()
    with torch.no_grad():
        logits = network(torch.randn(1, 3, 3, 32, 32))
    assert logits.shape == (1, 6)
    assert logits.isfinite().all()


def test_the_slices_of_a_batch_do_not_mix():
    network = drct2()
    image = torch.randn(2, 3, 6, 32, 32, generator=torch.Generator().manual_seed(1))
    together = network(image)
    torch.testing.assert_close(together, torch.cat([network(image[:1]), network(image[1:])]), atol=1e-5, rtol=1e-4)


def test_key_slices_are_those_of_most_attention_in_anatomical_order():
    network = drct2()
    features = torch.randn(3, 6, 512) * 3
    reading = network.read(features, lambda keys: torch.zeros(*keys.shape, 512))
    torch.testing.assert_close(reading.slice_attention.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(reading.feature_attention.sum(dim=2), torch.ones(3, 6))
    for attention, keys in zip(reading.slice_attention, reading.key_slices, strict=True):
        assert keys.tolist() == sorted(keys.tolist())
        assert set(keys.tolist()) == set(attention.argsort(descending=True)[:3].tolist())


def test_key_slices_are_enlarged_and_looked_at_again():
    network = drct2()
    assert isinstance(network.backbone, SmallBackbone)
    image = torch.randn(2, 3, 6, 16, 16, generator=torch.Generator().manual_seed(1))
    reading = network.read(network.embeddings_of(image), network.high_resolution_of(image))
    all_slices, key_slices = network.backbone.seen
    assert all_slices.shape == (12, 3, 16, 16)
    wanted = torch.cat([image[scan][:, keys].movedim(1, 0) for scan, keys in enumerate(reading.key_slices)])
    expected = functional.interpolate(wanted, size=(32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(key_slices, expected)


def test_drct1_has_no_key_slices_and_no_branches():
    reading = drct1().read(torch.randn(2, 4, 512), pytest.fail)
    assert reading.key_slices.shape == (2, 0)
    assert reading.branch_logits == ()


@pytest.mark.parametrize("fusion", ["by_position", "first_rows"])
def test_rows_of_key_slices_are_added_where_the_configuration_says(fusion: str):
    network = drct2(aggregation="flatten", fusion=fusion)
    primary, aps, fused = outputs_of(network.primary), outputs_of(network.aps), inputs_of(network.fusion)
    reading = network.read(torch.randn(2, 6, 512) * 3, lambda keys: torch.randn(*keys.shape, 512))
    rows, key_rows = primary[0][1], aps[0][1]
    added = fused[0].view_as(rows) - rows
    for scan in range(2):
        places = reading.key_slices[scan].tolist() if fusion == "by_position" else [0, 1, 2]
        expected = torch.zeros_like(added[scan])
        expected[places] = key_rows[scan]
        torch.testing.assert_close(added[scan], expected, atol=1e-6, rtol=1e-4)


def test_rows_are_weighed_by_slice_attention():
    network = drct1()
    encoder, primary = outputs_of(network.primary.encoder), outputs_of(network.primary)
    reading = network.read(torch.randn(2, 4, 512), pytest.fail)
    torch.testing.assert_close(primary[0][1], encoder[0] * reading.slice_attention[..., None])


def test_added_rows_of_key_slices_weigh_as_much_as_all_rows_do():
    network = drct2(aggregation="attention")
    encoder, aps = outputs_of(network.aps.encoder), outputs_of(network.aps)
    reading = network.read(torch.randn(1, 6, 512) * 3, lambda keys: torch.randn(*keys.shape, 512))
    attention = reading.slice_attention[0, reading.key_slices[0]]
    expected = encoder[0][0] * (attention / attention.sum())[:, None]
    torch.testing.assert_close(aps[0][1][0], expected)


def test_the_literal_reading_flattens_all_rows():
    network = drct2(**LITERAL)
    width = network.heads.width
    assert network.primary.classifier[0].in_features == 6 * width
    assert network.aps.classifier[0].in_features == 3 * width
    assert network.fusion[0].in_features == 6 * width
    assert network(torch.randn(1, 3, 6, 32, 32)).shape == (1, 6)


@pytest.mark.parametrize(
    "settings", [{}, LITERAL, {"heads": {"slice_classifier": True}}], ids=["default", "literal", "with evidence"]
)
def test_the_loss_reaches_every_weight_of_the_heads(settings: dict[str, Any]):
    network = drct2(**settings).train()
    torch.manual_seed(0)
    features, target = torch.rand(8, 2, 6, 512) * 5, torch.randint(0, 2, (8, 7, 6)).float()
    DrCTLoss()(CachedFeaturesNetwork(network)(features), target).backward()
    unreached = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A constant added to every score leaves the softmax as it is.
    assert set(unreached) <= {"primary.slice_attention.score.bias"}


def test_cached_features_are_read_as_slices_are():
    network = drct2()
    image = torch.randn(2, 3, 6, 32, 32, generator=torch.Generator().manual_seed(1))
    reading = network.read(network.embeddings_of(image), network.high_resolution_of(image))
    slices = image.movedim(1, 2).flatten(0, 1)
    high_res = functional.interpolate(slices, size=(32, 32), mode="bilinear")
    seen = [pool(network.backbone(images)).unflatten(0, (2, 6)) for images in (slices, high_res)]
    logits = CachedFeaturesNetwork(network)(torch.stack(seen, dim=1))["logits"]
    assert logits.shape == (2, 3, 6)
    expected = torch.stack((reading.logits, *reading.branch_logits), dim=1)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)


def test_the_aps_network_learns_at_its_own_rate_and_the_backbone_not_at_all():
    torch.manual_seed(0)
    network = DrCT2(VGG16Features(), slices=4, key_slices=2)
    groups = parameter_groups(network, 5e-4, 3e-4)
    assert [group["lr"] for group in groups] == [5e-4, 3e-4]
    names = {id(weight): name for name, weight in network.named_parameters()}
    main, aps = ({names[id(weight)] for weight in group["params"]} for group in groups)
    assert all(name.startswith("aps.") for name in aps)
    assert main | aps == {name for name in names.values() if not name.startswith("backbone.")}
    assert not main & aps
