"""Reading the synthetic scans: what is kept of each, measured by volume, and written for pages and calibration."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brightness_network import OVERRIDES
from evidence_files import read_scans
from phantom_scans import phantom_entry

from research.evidence import synthetic
from research.evidence.network_reading import NetworkReader
from research.evidence.synthetic import compartments, main, read_all, synthetic_metrics, volume_pairs, write
from research.evidence.synthetic_set import plan_scans
from scripts.cache import Cache
from scripts.phantom import Grid

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
FINE = Grid((24, 160, 160), (1.35, 1.35, 6.2), 5.0)


class OneReader:
    """The same network for every fold; counts the folds it is asked for."""

    held_out = True

    def __init__(self) -> None:
        self.folds: set[int] = set()
        self.reader = NetworkReader(None, OVERRIDES)

    def __call__(self, fold: int) -> NetworkReader:
        self.folds.add(fold)
        return self.reader


def test_scans_are_made_and_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(BUNDLE)
    entries = [phantom_entry(tmp_path, "012", 3, grid=FINE)]
    wanted = ("host", "intraparenchymal")
    plans = [plan for plan in plan_scans(entries) if plan.name.split("-")[1] in wanted]
    cache, readers = Cache(tmp_path / "cache"), OneReader()
    first = list(read_all(plans, entries, readers, cache))
    before = cache.computed
    assert list(read_all(plans, entries, readers, cache)) == first
    assert cache.computed == before
    assert readers.folds == {3}
    healthy, bleeding = first
    assert healthy is not None
    assert bleeding is not None
    assert (healthy.subtype, bleeding.subtype) == (None, "intraparenchymal")
    assert healthy.quality is None
    assert bleeding.logits["any"] > healthy.logits["any"]
    assert bleeding.quality is not None
    assert bleeding.quality["per_scan"]["dice"]["value"] > 0.5
    assert bleeding.volumes_ml["total"] == pytest.approx(bleeding.volume_ml, rel=0.5)
    assert healthy.contrast is None
    # Acute blood has 52 to 74 HU here, brain about 34, oedema no less than 15.
    assert 10 < bleeding.contrast.median_hu < 60


def test_without_a_network_scans_are_made_and_their_contrast_is_measured(tmp_path: Path):
    entries = [phantom_entry(tmp_path, "012", 3, grid=FINE)]
    wanted = ("host", "mimic", "intraparenchymal")
    plans = [plan for plan in plan_scans(entries) if plan.name.split("-")[1] in wanted]
    cache = Cache(tmp_path / "cache")
    assert list(read_all(plans, entries, None, cache)) == [None, None, None]
    # Three scans, and the contrast of the one that has blood.
    assert cache.computed == 4
    assert sorted(path.name for path in cache.folder.iterdir()) == ["synthetic", "synthetic_contrast"]
    assert list(read_all(plans, entries, None, cache)) == [None, None, None]
    assert cache.computed == 4


def test_metrics_count_every_kind_and_every_subtype():
    found = synthetic_metrics(read_scans(), 50)
    assert found["scans"] == {"haemorrhage": 50, "host": 10, "mimic": 10}
    assert found["hosts"] == 10
    assert set(found["subtypes"]) == {"epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"}
    assert found["sensitivity"]["all"].positive == 50
    assert found["sensitivity"]["from 10 ml"].estimate > found["sensitivity"]["0.3 to 1 ml"].estimate
    # Both kinds of negatives choose one threshold; mimics are the ones that lie above it.
    rates = {kind: found["false_positive"][kind].estimate for kind in ("host", "mimic")}
    assert rates["mimic"] > rates["host"]
    assert np.mean(list(rates.values())) == pytest.approx(0.2)
    assert found["lesion"]["all"]["per_scan"]["dice"].scans == 50
    assert found["volumes"]["extra_axial"]["true_ml"].scans == 20


def test_a_network_without_a_lesion_decoder_has_no_volumes_and_no_maps():
    scans = [s.__class__(**{**vars(s), "volumes_ml": {}, "quality": None}) for s in read_scans()]
    found = synthetic_metrics(scans, 50)
    assert found["volumes"] == {}
    assert found["lesion"]["all"]["per_scan"]["dice"].value is None
    assert volume_pairs(scans) == []


def test_readings_of_an_earlier_version_have_no_contrast_and_are_measured_all_the_same():
    scans = [replace(scan, contrast=None) for scan in read_scans()]
    found, seen = synthetic_metrics(scans, 20), synthetic_metrics(read_scans(), 20)
    assert found["sensitivity"] == seen["sensitivity"]
    rows = found["contrast"]["any"]["from 5 ml"]
    assert rows["not measurable"].positive == found["sensitivity"]["from 5 ml"].positive
    assert {name for name, row in rows.items() if row.positive} == {"not measurable"}


def test_what_is_written_is_plain_and_holds_the_volumes_for_the_calibration(tmp_path: Path):
    write(read_scans(), True, 3, tmp_path, 20)
    content = json.loads((tmp_path / "synthetic.json").read_text("utf-8"))
    assert (content["held_out"], content["not_made"], len(content["scans"])) == (True, 3, 70)
    assert content["metrics"]["sensitivity"]["all"]["positive"] == 50
    assert content["scans"][0]["contrast"] is None
    assert content["scans"][2]["contrast"] == {"median_hu": -14.0, "spread_hu": 8.0}
    rows = content["metrics"]["contrast"]["any"]["from 1 ml"]
    assert sum(row["positive"] for row in rows.values()) == content["metrics"]["sensitivity"]["from 1 ml"]["positive"]
    with (tmp_path / "synthetic_volumes.csv").open(encoding="utf-8", newline="") as file:
        volumes = list(csv.DictReader(file))
    assert set(volumes[0]) == {"scan", "group", "measured_ml", "true_ml"}
    assert Counter(row["group"] for row in volumes) == {
        **{"total": 50, "parenchymal": 10, "ventricular": 10, "subarachnoid": 10},
        "extra_axial": 20,
    }


def test_blood_that_is_found_in_another_compartment_or_in_a_host_is_stated_as_such():
    scan = next(scan for scan in read_scans() if scan.subtype == "subdural")
    found = replace(scan, volumes_ml=scan.volumes_ml | {"subarachnoid": 2.5})
    rows = {pair.group: (pair.true_ml, pair.predicted_ml) for pair in compartments(found)}
    assert rows["subarachnoid"] == (0.0, 2.5)
    assert set(rows) == {"total", "extra_axial", "subarachnoid"}
    host = next(scan for scan in read_scans() if scan.kind == "host")
    (row,) = compartments(replace(host, volumes_ml={"total": 0.4, "parenchymal": 0.0}))
    assert (row.group, row.true_ml, row.predicted_ml) == ("total", 0.0, 0.4)


def test_a_missing_network_is_named_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(synthetic, "datalist", lambda *_: pytest.fail("the data were read"))
    for arguments in ([], ["--models", str(tmp_path / "{fold}.pt")]):
        with pytest.raises(SystemExit):
            main([*arguments, "--output", str(tmp_path)])
    assert "no such file" in capsys.readouterr().err
