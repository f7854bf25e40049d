"""Training slices are made once from real scans, single slices and phantoms, with masks that fit their images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ct_ich_files import TEN_PATIENTS, write_ct_ich
from rsna_slice_files import write_labelled_slices

from scripts.cache import Cache
from scripts.datasets.registry import datalist
from scripts.datasets.slice_batches import slice_datalist
from scripts.labels import RSNA
from scripts.networks.drct import DrCT1
from scripts.networks.efficientnet_lite import EfficientNetLite0
from scripts.training import prepared_slices
from scripts.training.prepared_features import prepared_features, scan_entries, scans_of, split_prepared
from scripts.training.prepared_slices import PreparedGroup, phantom_plans, prepare, scan_plans, slice_plans

torch.set_num_threads(1)

KEYS = tuple(label.key for label in RSNA)
SIZE = 96


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    patients = TEN_PATIENTS[:1] + TEN_PATIENTS[-1:]
    tree = write_ct_ich(tmp_path_factory.mktemp("ct-ich"), patients, slices=24, size=160)
    return datalist("ct_ich", tree.folder, KEYS, 2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def scans(entries: list[dict[str, object]], cache: Cache) -> list[PreparedGroup]:
    return prepare(scan_plans(entries, SIZE, draws=1, mimic_draws=1), cache)


def test_a_scan_is_there_as_it_is_and_with_synthetic_haemorrhage(scans: list[PreparedGroup]):
    kinds = [group.kind for group in scans]
    assert kinds.count("scan") == 2
    assert kinds.count("synthetic scan") >= 2


def test_a_mask_lies_on_the_slices_that_show_blood(scans: list[PreparedGroup]):
    for group in scans:
        masked = (group.mask > 0).flatten(1).any(dim=1)
        assert not (masked & (group.labels[:, 0] == 0)).any()
    shown = [group for group in scans if group.labels[:, 0].any()]
    assert shown
    assert all((group.mask > 0).any() for group in shown)


def test_synthetic_blood_is_brighter_than_the_brain_beside_it(scans: list[PreparedGroup]):
    real = {group.name: group for group in scans if group.kind == "scan"}
    changed = [group for group in scans if group.kind == "synthetic scan" and group.labels[:, 0].any()]
    host = real[changed[0].name.rpartition("-")[0]]
    inside = (changed[0].mask > 0) & (host.mask == 0)
    assert changed[0].image[inside].float().mean() > host.image[inside].float().mean()


def test_what_resembles_blood_has_no_label(scans: list[PreparedGroup]):
    assert any(group.kind == "synthetic scan" and not group.labels.any() for group in scans)


def test_a_second_preparation_makes_nothing(entries: list[dict[str, object]], cache: Cache, scans: list[PreparedGroup]):
    before = cache.computed
    again = prepare(scan_plans(entries, SIZE, draws=1, mimic_draws=1), cache)
    assert cache.computed == before
    assert [group.name for group in again] == [group.name for group in scans]


def test_an_interrupted_preparation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plans = phantom_plans(2, SIZE)
    prepare(plans[:1], Cache(tmp_path))
    made = []
    monkeypatch.setattr(prepared_slices, "_kept", lambda plan, _cache: made.append(plan.name))
    cache = Cache(tmp_path)
    prepare(plans, cache)
    assert made == [plans[1].name]


def test_single_slices_have_no_bone_and_host_haemorrhage_where_they_had_none(tmp_path: Path):
    entries = slice_datalist(write_labelled_slices(tmp_path / "slices", 8), KEYS, size=4)
    groups = prepare(slice_plans(entries, SIZE), Cache(tmp_path / "cache"))
    assert all(not group.bone for group in groups)
    real = [group for group in groups if group.kind == "slices"]
    assert sum(len(group.labels) for group in real) == 8
    positive = torch.cat([group.labels[:, 0] for group in real]) == 1
    known = torch.cat([group.mask_known for group in real])
    assert torch.equal(known, ~positive)


def test_every_third_phantom_is_healthy(tmp_path: Path):
    healthy, bleeding = prepare(phantom_plans(2, SIZE), Cache(tmp_path))
    assert not healthy.labels.any()
    assert bleeding.labels[:, 0].any()
    assert bleeding.is_scan


def test_heads_learn_from_real_and_synthetic_scans_and_are_judged_by_real_ones(
    entries: list[dict[str, object]], scans: list[PreparedGroup], cache: Cache
):
    chosen = scans_of(scans, 1, 1, 0)
    network = DrCT1(EfficientNetLite0())
    sizes = {"image": 32, "high_res": 64}
    windows = [[40, 80], [80, 200], [600, 2800]]
    features = prepared_features(chosen, network, windows, sizes, cache, torch.device("cpu"), "float32")
    assert [scan.image.shape[2] for scan in features] == [1280] * len(chosen)
    assert not np.isnan(features[0].high_res.numpy()).any()
    split = split_prepared(scan_entries(chosen, entries), features, 0)
    assert {entry["fold"] for entry, _ in split.validation} == {0}
    assert all(entry["real"] for entry, _ in split.validation)
    assert {entry["fold"] for entry, _ in split.train} == {1}
    assert not all(entry["real"] for entry, _ in split.train)
