"""One study through the network: every input slice read, maps equal to the whole network's, bounded and reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from entries_of_studies import HIGH_RES, INPUT_SLICES, SIDE, a_network, an_entry, read
from resnet18_backbone import ResNet18Features
from torch import Tensor

from scripts.inferer import ImageSource, StudyInferer
from scripts.networks.backbone import Backbone, pool
from scripts.networks.drct import DrCT1, DrCT2
from scripts.networks.study_network import SliceSource, StudyOutput
from scripts.networks.vgg16 import VGG16Features
from scripts.precision import choose_precision
from scripts.reading_geometry import sub_stacks
from scripts.settings import SettingError
from scripts.training.cached_scans import read_whole_scan
from scripts.training.scan_features import ScanFeatures

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network() -> DrCT2:
    return a_network()


def whole_network_maps(network: DrCT2, entry: dict[str, Any]) -> tuple[Tensor, list[Tensor]]:
    """Each sub-stack through ``forward``, a gradient for each call of the backbone, added by input slice."""
    calls: list[Tensor] = []

    keys: list[Tensor] = []
    original = network.high_res_embeddings

    def observed(image: Tensor, positions: Tensor) -> Tensor:
        keys.append(positions)
        return original(image, positions)

    samples = torch.from_numpy(sub_stacks(entry["image"].shape[1], network.slices))
    hook = network.backbone.register_forward_hook(lambda _module, _inputs, output: calls.append(output))
    with patch.object(network, "high_res_embeddings", observed):
        logits = torch.cat([network(entry["image"][None, :, sample]) for sample in samples])
    hook.remove()
    maps = []
    for label in range(logits.shape[1]):
        gradients = torch.autograd.grad(logits[:, label].mean(), calls, retain_graph=True)
        stored = torch.zeros(entry["geometry"].original_shape)
        for number, (cells, gradient) in enumerate(zip(calls, gradients, strict=True)):
            sample = samples[number // 2]
            read_indices = sample if number % 2 == 0 else sample[keys[number // 2][0]]
            layer = torch.zeros(len(stored), *cells.shape[-2:])
            contribution = (gradient.sum(dim=(-2, -1), keepdim=True) * cells).sum(dim=1).detach()
            layer.index_add_(0, read_indices, contribution)
            stored += entry["geometry"].resample_back(layer)
        maps.append(stored)
    return logits.detach(), maps


@pytest.mark.parametrize("backbone", [VGG16Features, ResNet18Features])
def test_sub_stacks_of_shared_embeddings_give_what_the_whole_network_gives(backbone: type[Backbone]):
    network, entry = a_network(backbone=backbone), an_entry()
    logits, maps = whole_network_maps(network, entry)
    reading = read(network, entry)
    torch.testing.assert_close(reading.probabilities, logits.sigmoid().mean(dim=0), atol=1e-5, rtol=0)
    for ours, plain in zip(reading.label_maps, maps, strict=True):
        assert ours.scale == pytest.approx(plain.abs().max().item(), rel=1e-3)
        expected = (plain.clamp(min=0) / plain.abs().max() * 255).round().numpy()
        assert np.abs(ours.voxels - expected).max() <= 1
        assert ours.voxels.any()


def test_high_resolution_images_are_used_where_there_are_any(network: DrCT2):
    without, with_high_res, other = an_entry(), an_entry(high_res=True), an_entry(high_res=True)
    other["high_res"] = -other["high_res"]
    expected = read(network, without).probabilities
    torch.testing.assert_close(read(network, with_high_res).probabilities, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(read(network, other).probabilities, expected, atol=1e-3)


@pytest.mark.parametrize("input_slices", [1, 2, 3, 7])
def test_a_study_of_any_length_is_read(network: DrCT2, input_slices: int):
    reading = read(network, an_entry(input_slices))
    assert reading.slice_attention.shape == (input_slices,)
    assert reading.slice_attention.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (reading.slice_attention > 0).all()
    assert reading.feature_attention is None
    assert len(reading.label_maps) == 6
    assert all(stored.voxels.shape == (input_slices, SIDE, SIDE) for stored in reading.label_maps)
    assert ((reading.probabilities > 0) & (reading.probabilities < 1)).all()


def test_the_attention_of_an_input_slice_is_its_mean_over_its_places_in_the_sub_stacks(network: DrCT2):
    entry = an_entry()
    samples = sub_stacks(INPUT_SLICES, network.slices)
    expected, places = torch.zeros(INPUT_SLICES), torch.zeros(INPUT_SLICES)
    with torch.no_grad():
        for sample in samples:
            image = entry["image"][None, :, sample]
            attention = network.read(network.embeddings_of(image), network.high_resolution_of(image)).slice_attention[0]
            for index, share in zip(sample, attention, strict=True):
                expected[index] += share
                places[index] += 1
    expected /= places
    torch.testing.assert_close(read(network, entry).slice_attention, expected / expected.sum(), atol=1e-5, rtol=0)


def test_the_size_of_micro_batches_changes_nothing(network: DrCT2):
    one = read(network, an_entry(), micro_batch=1, high_res_micro_batch=1)
    all_at_once = read(network, an_entry(), micro_batch=100, high_res_micro_batch=100)
    torch.testing.assert_close(one.probabilities, all_at_once.probabilities, atol=1e-5, rtol=0)


def test_every_slice_passes_the_backbone_once_and_only_key_slices_again(network: DrCT2):
    seen: list[tuple[int, ...]] = []
    hook = network.backbone.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape))
    try:
        read(network, an_entry(), micro_batch=2, high_res_micro_batch=1)
    finally:
        hook.remove()
    images = [shape[0] for shape in seen if shape[-1] == SIDE]
    high_res = [shape[0] for shape in seen if shape[-1] == HIGH_RES]
    assert images == [2, 2, 1]
    assert set(high_res) == {1}
    assert len(high_res) <= 2 * len(sub_stacks(INPUT_SLICES, network.slices))


def test_the_caller_may_have_turned_gradients_off(network: DrCT2):
    with torch.no_grad():
        reading = read(network, an_entry())
    assert any(stored.voxels.any() for stored in reading.label_maps)


def test_no_gradient_reaches_the_weights(network: DrCT2):
    read(network, an_entry())
    assert all(weight.grad is None for weight in network.parameters())


def test_drct1_is_explained_too():
    reading = read(a_network(DrCT1), an_entry(high_res=True))
    assert any(stored.voxels.any() for stored in reading.label_maps)


def test_nine_labels_get_nine_maps():
    reading = read(a_network(labels=9), an_entry())
    assert len(reading.label_maps) == len(reading.probabilities) == 9
    assert reading.feature_attention is None


def test_grad_cam_plus_plus_can_be_chosen(network: DrCT2):
    plain, weighted = read(network, an_entry()), read(network, an_entry(), method="gradcam++")
    torch.testing.assert_close(plain.probabilities, weighted.probabilities)
    assert any(stored.voxels.any() for stored in weighted.label_maps)
    assert any(
        not np.array_equal(first.voxels, second.voxels)
        for first, second in zip(plain.label_maps, weighted.label_maps, strict=True)
    )


def test_slice_evidence_can_be_explained():
    network = a_network(heads={"slice_classifier": True})
    plain, own = read(network, an_entry()), read(network, an_entry(), method="slice_gradcam")
    torch.testing.assert_close(plain.probabilities, own.probabilities)
    for first, second in zip(plain.label_maps, own.label_maps, strict=True):
        assert not np.array_equal(first.voxels, second.voxels)


def test_a_slice_that_many_sub_stacks_hold_counts_once_in_slice_evidence():
    network = a_network(heads={"slice_classifier": True}, slices=4)
    entry = an_entry(6)
    source = ImageSource(entry, network, choose_precision(torch.device("cpu"), "float32"), 8, 2, lambda *_: None)
    output = network.read_study(source)
    assert sub_stacks(6, 4).size > 6
    with torch.no_grad():
        alone = network.primary.slice_classifier(pool(network.backbone(entry["image"].movedim(0, 1)))[None])[0]
    torch.testing.assert_close(output.slice_logits.detach(), alone, atol=1e-5, rtol=1e-4)


def test_feature_attention_is_mapped_on_request(network: DrCT2):
    reading = read(network, an_entry(), write_feature_attention=True)
    assert reading.feature_attention is not None
    assert reading.feature_attention.voxels.any()


def test_slice_evidence_needs_a_slice_classifier(network: DrCT2):
    assert not network.heads.slice_classifier
    with pytest.raises(SettingError, match="choose gradcam"):
        read(network, an_entry(), method="slice_gradcam")


def test_maps_are_dark_outside_the_head(network: DrCT2):
    entry = an_entry()
    entry["head"][:, :10] = False
    reading = read(network, entry, write_feature_attention=True)
    assert not any(stored.voxels[:, :10].any() for stored in (*reading.label_maps, reading.feature_attention))


class WithDecoder(DrCT2):
    """A network whose decoder finds subdural blood in the left upper quarter of the third input slice."""

    def read_study(self, source: SliceSource) -> StudyOutput:
        logits = torch.full((INPUT_SLICES, 6, SIDE // 2, SIDE // 2), -6.0)
        logits[2, [0, 5], : SIDE // 4, : SIDE // 4] = 6.0
        return replace(super().read_study(source), lesion_logits=logits)


def test_the_lesion_map_of_a_network_with_a_decoder_comes_back_and_is_dark_outside_the_head(network: DrCT2):
    assert read(network, an_entry()).lesions is None
    entry = an_entry()
    entry["head"][:, :4] = False
    lesions = read(a_network(WithDecoder), entry).lesions
    found = np.zeros((INPUT_SLICES, SIDE, SIDE), dtype=bool)
    found[2, 4 : SIDE // 2, : SIDE // 2] = True
    assert np.array_equal(lesions.probability > 127, found)
    assert set(lesions.subtypes[found].tolist()) == {5}
    assert not lesions.probability[:, :4].any()


def test_a_fixed_scale_makes_a_weak_map_weak(network: DrCT2):
    own = read(network, an_entry()).label_maps
    scale = 4 * max(stored.largest for stored in own)
    fixed = read(network, an_entry(), attribution_scale=scale).label_maps
    for before, after in zip(own, fixed, strict=True):
        assert (after.scale, after.fixed_scale, before.fixed_scale) == (scale, True, False)
        assert after.largest == pytest.approx(before.largest)
        assert before.scale == before.largest
        expected = before.voxels * (before.largest / scale)
        assert np.abs(after.voxels - expected).max() <= 1
        assert after.voxels.max() <= 255 / 4 + 1
    strong = read(network, an_entry(), attribution_scale=scale / 100).label_maps
    assert all(stored.voxels.max() == 255 for stored in strong if stored.voxels.any())


def test_progress_never_runs_backwards(network: DrCT2):
    reports: list[tuple[str, float]] = []
    StudyInferer(precision="float32", micro_batch=1, high_res_micro_batch=1)(
        an_entry(), network, report=lambda stage, percent: reports.append((stage, percent))
    )
    percents = [percent for _, percent in reports]
    assert percents == sorted(percents)
    assert list(dict.fromkeys(stage for stage, _ in reports)) == ["slices", "key slices", "explanation", "maps"]
    assert 0 < percents[0] <= percents[-1] < 100


def test_bfloat16_changes_probabilities_little(network: DrCT2):
    half = read(network, an_entry(), precision="bfloat16")
    assert half.precision == "bfloat16"
    torch.testing.assert_close(half.probabilities, read(network, an_entry()).probabilities, atol=0.1, rtol=0)


def test_only_the_heads_do_without_cudnn(network: DrCT2):
    enabled: dict[str, set[bool]] = {"backbone": set(), "heads": set()}
    hooks = [
        module.register_forward_hook(lambda *_, name=name: enabled[name].add(torch.backends.cudnn.enabled))
        for name, module in (("backbone", network.backbone), ("heads", network.primary))
    ]
    before = torch.backends.cudnn.enabled
    try:
        read(network, an_entry())
    finally:
        for hook in hooks:
            hook.remove()
    assert enabled == {"backbone": {True}, "heads": {False}}
    assert torch.backends.cudnn.enabled == before


def test_held_out_scans_are_scored_as_studies_are_read(network: DrCT2):
    entry = an_entry(high_res=True)
    with torch.no_grad():
        image, high_res = (pool(network.backbone(entry[key].movedim(0, 1)))[None] for key in ("image", "high_res"))
    expected = read_whole_scan(network, ScanFeatures(image, high_res, torch.arange(INPUT_SLICES)))
    reading = read(network, entry)
    torch.testing.assert_close(expected.probabilities, reading.probabilities, atol=1e-5, rtol=0)
    torch.testing.assert_close(expected.slice_attention, reading.slice_attention, atol=1e-5, rtol=0)


def test_precision_is_what_the_device_computes_natively(monkeypatch: pytest.MonkeyPatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert choose_precision(cpu).name == "float32"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert choose_precision(cpu).name == "bfloat16"
    assert choose_precision(cpu, "float16").name == "float16"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert choose_precision(torch.device("cuda")).name == "float16"
    with pytest.raises(SettingError, match="'half'"):
        choose_precision(cpu, "half")
