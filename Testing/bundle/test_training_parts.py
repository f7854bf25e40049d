"""The parts of training: key metric, samples from cached features, learning rates, trained weights on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

from scripts.networks.drct import DrCT1, DrCT2
from scripts.networks.vgg16 import VGG16Features
from scripts.training.cached_scans import (
    CachedFeaturesNetwork,
    CachedScans,
    parameter_groups,
    read_whole_scan,
    split_scans,
)
from scripts.training.mean_auc import MeanAUCMetric
from scripts.training.scan_features import ScanFeatures
from scripts.weights import read_state, save_trained

torch.set_num_threads(1)


def numbered_features(slices: int, variants: int = 1) -> ScanFeatures:
    """Features numbered by slice and variant: slice + 100 x variant, 1000 more in high resolution."""
    values = torch.arange(slices)[None, :, None] + 100.0 * torch.arange(variants)[:, None, None]
    image = values.expand(variants, slices, 512).clone()
    return ScanFeatures(image, image + 1000, torch.arange(slices))


def an_entry(labels: list[float], slice_labels: np.ndarray | None = None) -> dict[str, Any]:
    return {"label": labels, "slice_labels": slice_labels}


def random_features(slices: int, scale: float = 1.0) -> ScanFeatures:
    image = scale * torch.rand(2, slices, 512)
    return ScanFeatures(image, image + 1, torch.arange(slices))


def mean_auc(predicted: np.ndarray, true: np.ndarray, batch: int) -> float:
    metric = MeanAUCMetric()
    for start in range(0, len(true), batch):
        metric(torch.tensor(predicted[start : start + batch]), torch.tensor(true[start : start + batch]))
    return metric.aggregate()


def test_the_key_metric_is_the_mean_over_the_labels_that_have_both_classes():
    generator = np.random.default_rng(0)
    true = (generator.random((30, 4)) < 0.4).astype(np.float32)
    true[:, 1], true[:, 3] = 0, 1
    predicted = generator.random((30, 4)).astype(np.float32)
    expected = np.mean([roc_auc_score(true[:, label], predicted[:, label]) for label in (0, 2)])
    assert mean_auc(predicted, true, batch=30) == pytest.approx(expected, abs=1e-6)
    assert mean_auc(predicted, true, batch=7) == pytest.approx(expected, abs=1e-6)


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 1000), st.floats(0, 1))
def test_the_key_metric_is_always_a_number(scans: int, labels: int, seed: int, share: float):
    generator = np.random.default_rng(seed)
    true = (generator.random((scans, labels)) < share).astype(np.float32)
    assert 0.0 <= mean_auc(generator.random((scans, labels)).astype(np.float32), true, batch=5) <= 1.0


def test_the_key_metric_leaves_out_what_is_not_known():
    true = np.array([[1, 0], [0, np.nan], [np.nan, 1], [0, 1], [1, np.nan]], dtype=np.float32)
    predicted = np.array([[0.6, 0.3], [0.7, 0.9], [0.1, 0.2], [0.2, 0.8], [0.9, 0.0]], dtype=np.float32)
    expected = (roc_auc_score([1, 0, 0, 1], [0.6, 0.7, 0.2, 0.9]) + roc_auc_score([0, 1, 1], [0.3, 0.2, 0.8])) / 2
    assert mean_auc(predicted, true, batch=2) == pytest.approx(expected, abs=1e-6)


def test_without_a_label_to_judge_the_key_metric_says_nothing():
    assert mean_auc(np.array([[0.9], [0.8]]), np.zeros((2, 1)), batch=2) == 0.5


def test_validation_and_training_scans_are_disjoint_and_complete():
    entries = [{"name": number, "fold": number % 3} for number in range(8)]
    features = [numbered_features(4)] * 8
    for fold in range(3):
        split = split_scans(entries, features, fold)
        assert [entry["name"] for entry, _ in split.validation] == [number for number in range(8) if number % 3 == fold]
        assert sorted(entry["name"] for entry, _ in [*split.validation, *split.train]) == list(range(8))
    everyone = split_scans(entries, features, None)
    assert len(everyone.train) == len(everyone.validation) == 8


def test_features_of_another_number_of_scans_are_refused():
    with pytest.raises(ValueError, match="zip"):
        split_scans([{"fold": 0}], [], 0)


def random_samples(slices: int, variants: int, sub_stack_size: int, draws: int) -> list[Tensor]:
    scans = CachedScans([(an_entry([1]), numbered_features(slices, variants))], sub_stack_size, random=True)
    scans.set_random_state(0)
    return [scans[0]["image"] for _ in range(draws)]


def test_an_evaluation_sample_is_even_and_unaugmented():
    scans = CachedScans([(an_entry([0, 1]), numbered_features(20, 3))], 5, random=False)
    sample = scans[0]
    assert sample["image"].shape == (2, 5, 512)
    assert sample["image"][0, :, 0].tolist() == [2, 6, 10, 14, 18]
    assert sample["image"][1, :, 0].tolist() == [1002, 1006, 1010, 1014, 1018]
    assert sample["label"].shape == (6, 2)
    assert sample["label"][0].tolist() == [0.0, 1.0]
    assert sample["label"][1:].isnan().all()
    assert sample["label"].dtype == torch.float32
    assert torch.equal(scans[0]["image"], sample["image"])


def test_a_sample_has_the_labels_of_its_own_slices():
    slice_labels = np.stack([np.arange(20) % 2, np.arange(20) // 10], axis=1).astype(np.float32)
    slice_labels[6, 0] = np.nan
    scans = CachedScans([(an_entry([1, 1], slice_labels), numbered_features(20))], 5, random=True)
    scans.set_random_state(0)
    for sample in (scans[0] for _ in range(30)):
        chosen = sample["image"][0, :, 0].long().numpy()
        np.testing.assert_array_equal(sample["label"][1:].numpy(), slice_labels[chosen])


def test_training_samples_keep_the_order_and_see_every_slice_and_variant():
    seen = set()
    for sample in random_samples(slices=20, variants=3, sub_stack_size=5, draws=200):
        image, high_res = sample[0, :, 0], sample[1, :, 0]
        assert (high_res - image == 1000).all()
        assert len({int(value) // 100 for value in image}) == 1
        assert (image.diff() > 0).all()
        assert (image.diff() <= 5).all()
        seen |= {int(value) for value in image}
    assert seen == {100 * variant + index for variant in range(3) for index in range(20)}


def test_a_scan_with_fewer_slices_than_the_sample_repeats_them_in_order():
    for sample in random_samples(slices=3, variants=1, sub_stack_size=8, draws=50):
        image = sample[0, :, 0]
        assert (image.diff() >= 0).all()
        assert set(image.tolist()) == {0.0, 1.0, 2.0}


def test_training_samples_follow_the_seed():
    first, second = random_samples(20, 2, 5, 10), random_samples(20, 2, 5, 10)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({tuple(sample[0, :, 0].tolist()) for sample in first}) > 3


def test_the_network_is_given_the_high_res_features_of_its_key_slices():
    torch.manual_seed(0)
    network = DrCT2(VGG16Features(), labels=3, slices=6, key_slices=2).eval()
    features = torch.rand(4, 2, 6, 512)
    asked = []

    def high_res(positions: Tensor) -> Tensor:
        asked.append(positions)
        return torch.stack([features[scan, 1, keys] for scan, keys in enumerate(positions)])

    with torch.no_grad():
        reading = network.read(features[:, 0], high_res)
        read = CachedFeaturesNetwork(network)(features)
    assert asked[0].shape == (4, 2)
    assert read["logits"].shape == (4, 3, 3)
    for found, expected in zip(read["logits"].unbind(dim=1), (reading.logits, *reading.branch_logits), strict=True):
        torch.testing.assert_close(found, expected)
    for name in ("slice_attention", "key_slices", "slice_logits", "key_slice_logits"):
        torch.testing.assert_close(read[name], getattr(reading, name))


def test_drct1_gives_one_reading_and_needs_no_zoom():
    network = DrCT1(VGG16Features(), labels=3, slices=6).eval()
    assert CachedFeaturesNetwork(network)(torch.rand(2, 2, 6, 512))["logits"].shape == (2, 1, 3)


def test_the_aps_network_learns_at_its_own_rate_and_the_backbone_not_at_all():
    network = DrCT2(VGG16Features(), labels=6, slices=8, key_slices=4)
    main, aps = parameter_groups(network, 5e-4, 3e-4)
    assert (main["lr"], aps["lr"]) == (5e-4, 3e-4)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    rooms = [{names[id(parameter)].split(".")[0] for parameter in group["params"]} for group in (main, aps)]
    assert rooms == [{"primary", "fusion"}, {"aps"}]
    trained = {name for name in names.values() if not name.startswith("backbone.")}
    assert {names[id(parameter)] for group in (main, aps) for parameter in group["params"]} == trained


def test_drct1_has_one_learning_rate():
    assert [group["lr"] for group in parameter_groups(DrCT1(VGG16Features(), slices=8), 5e-4, 3e-4)] == [5e-4]


@pytest.mark.parametrize("slices", [3, 8, 13, 20])
def test_a_whole_scan_is_read_with_attention_that_sums_to_one(slices: int):
    torch.manual_seed(1)
    network = DrCT2(VGG16Features(), labels=6, slices=8, key_slices=4, heads={"slice_classifier": True})
    features = random_features(slices)
    reading = read_whole_scan(network, features)
    assert reading.probabilities.shape == reading.logits.shape == (6,)
    assert ((reading.probabilities > 0) & (reading.probabilities < 1)).all()
    assert reading.slice_attention.shape == (slices,)
    assert (reading.slice_attention > 0).all()
    assert float(reading.slice_attention.sum()) == pytest.approx(1.0, abs=1e-5)
    key_slices = reading.key_slices.tolist()
    assert key_slices == sorted(set(key_slices))
    assert set(key_slices) <= set(range(slices))
    augmented = ScanFeatures(features.image.flip(0), features.high_res.flip(0), features.input_slice)
    assert torch.equal(read_whole_scan(network, augmented, variant=1).logits, reading.logits)


@pytest.mark.parametrize("slices", [3, 8, 20])
def test_every_slice_of_a_whole_scan_says_what_it_says_alone(slices: int):
    torch.manual_seed(1)
    network = DrCT2(VGG16Features(), labels=6, slices=8, key_slices=4, heads={"slice_classifier": True}).eval()
    features = random_features(slices)
    with torch.no_grad():
        alone = torch.cat([network.primary.slice_classifier(one[None, None])[0] for one in features.image[0]])
    torch.testing.assert_close(read_whole_scan(network, features).slice_logits, alone, atol=1e-5, rtol=1e-4)
    without = DrCT1(VGG16Features(), labels=6, slices=8)
    assert not read_whole_scan(without, features).slice_logits.any()
    assert read_whole_scan(without, features).key_slices.tolist() == []


def test_trained_weights_come_back_to_a_thousandth(tmp_path: Path):
    torch.manual_seed(2)
    network = DrCT2(VGG16Features(), labels=6, slices=8, key_slices=4, heads={"slice_classifier": True})
    features = random_features(11, scale=20)
    before = read_whole_scan(network, features).probabilities
    path = tmp_path / "models" / "model.pt"
    assert save_trained(network, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    torch.manual_seed(3)
    other = DrCT2(VGG16Features(), labels=6, slices=8, key_slices=4, heads={"slice_classifier": True})
    other.load_state_dict(read_state(tmp_path, "models/model.pt", None))
    torch.testing.assert_close(read_whole_scan(other, features).probabilities, before, atol=1e-3, rtol=0)
