"""The synthetic set: planned evenly, made once, and nothing but its blood differs from the host."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantom_scans import phantom_entry

from research.evidence.synthetic_set import Host, MadeScan, PlannedScan, plan_scans
from research.metrics.volume_sensitivity import VOLUME_BINS
from scripts.cache import Cache
from scripts.phantom import Grid
from scripts.synthesis.lesion import SUBTYPES

FINE = Grid((24, 160, 160), (1.35, 1.35, 6.2), 5.0)


def entries_of(hosts: int, positive: int = 2) -> list[dict[str, Any]]:
    names = [f"{number:03d}" for number in range(hosts + positive)]
    return [
        {"name": name, "fold": number % 5, "label": [float(number >= hosts), 0.0], "study": None}
        for number, name in enumerate(names)
    ]


def test_every_host_bleeds_in_every_subtype_and_in_every_bin_of_volume():
    plans = plan_scans(entries_of(25))
    bleeding = [plan for plan in plans if plan.kind == "haemorrhage"]
    bins = {
        plan.name: next(n for n, (low, high) in enumerate(VOLUME_BINS) if low <= plan.volume_ml <= high)
        for plan in bleeding
    }
    for host in {plan.host for plan in plans}:
        own = [plan for plan in bleeding if plan.host == host]
        assert {plan.subtype for plan in own} == set(SUBTYPES)
        assert {bins[plan.name] for plan in own} == set(range(len(VOLUME_BINS)))
    cells = Counter((plan.subtype, bins[plan.name]) for plan in bleeding)
    assert set(cells.values()) == {5}


def test_negatives_are_hosts_as_they_are_and_with_mimics_and_scans_with_blood_are_no_hosts():
    plans = plan_scans(entries_of(10))
    assert Counter(plan.kind for plan in plans) == {"haemorrhage": 50, "host": 10, "mimic": 10}
    assert not {plan.host for plan in plans} & {"010", "011"}
    assert len({plan.name for plan in plans}) == len(plans)
    assert [plan.fold for plan in plans] == sorted(plan.fold for plan in plans)


def test_the_plan_depends_on_nothing_but_its_seed():
    assert plan_scans(entries_of(7)) == plan_scans(entries_of(7)[::-1])
    assert plan_scans(entries_of(7)) != plan_scans(entries_of(7), seed=1)


def test_fewer_hosts_of_each_fold_can_be_taken():
    plans = plan_scans(entries_of(25), hosts_per_fold=2)
    hosts = {(plan.fold, plan.host) for plan in plans}
    assert Counter(fold for fold, _ in hosts) == dict.fromkeys(range(5), 2)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    folder = tmp_path_factory.mktemp("host")
    return Host(phantom_entry(folder, "host", 0, grid=FINE)["study"], Cache(folder / "cache"))


def planned(kind: str, subtype: str | None = None, volume: float = 0.0, seed: int = 1) -> PlannedScan:
    return PlannedScan(f"host-{subtype or kind}", "host", 0, kind, subtype, volume, (seed,))


def made(host: Host, plan: PlannedScan) -> MadeScan:
    found = host.made(plan)
    assert found is not None
    return found


def test_a_haemorrhage_has_its_volume_and_is_denser_than_what_was_there(host: Host):
    scan = made(host, planned("haemorrhage", "intraparenchymal", 20.0))
    mask, study = scan.mask(host.study), scan.study(host.study)
    assert scan.volume_ml == pytest.approx(20.0, rel=0.15)
    assert mask.sum() * abs(np.linalg.det(study.affine[:3, :3])) / 1000 == pytest.approx(20.0, rel=0.3)
    assert study.voxels[mask].mean() > host.study.voxels[mask].mean() + 15
    assert np.array_equal(study.affine, host.study.affine)


def test_a_host_is_its_own_negative(host: Host):
    scan = made(host, planned("host"))
    np.testing.assert_array_equal(scan.study(host.study).voxels, host.study.voxels)
    assert not scan.mask(host.study).any()
    assert scan.volume_ml == 0.0


def test_a_mimic_changes_the_host_and_is_no_haemorrhage(host: Host):
    scan = made(host, planned("mimic", seed=3))
    assert not np.array_equal(scan.study(host.study).voxels, host.study.voxels)
    assert not scan.mask(host.study).any()
    assert scan.pattern is not None


def test_a_scan_is_made_once_and_the_same_again(host: Host, tmp_path: Path):
    plan = planned("haemorrhage", "subdural", 15.0)
    first = made(host, plan)
    before = host.cache.computed
    assert made(host, plan) == first
    assert host.cache.computed == before
    assert made(Host(host.scan, Cache(tmp_path)), plan) == first


def test_where_a_host_holds_less_the_scan_states_how_much_it_holds(host: Host):
    scan = host.made(planned("haemorrhage", "intraventricular", 80.0))
    assert scan is None or 0.0 < scan.volume_ml < 80.0
