"""Held-out scans: each read by its own fold's network, its lesion map measured on the slices of each label."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from brightness_network import OVERRIDES
from phantom_scans import KEYS, phantom_entry

from research.evidence.held_out import HeldOutReading, lesion_metrics, main, read_entries, volume_pairs, write
from research.evidence.network_reading import NetworkReader
from research.metrics.predictions import Predictions
from scripts.cache import Cache
from scripts.phantom import Haemorrhage

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


class Readers:
    """The same network for every fold; remembers which folds were asked for."""

    def __init__(self) -> None:
        self.reader, self.asked = NetworkReader(None, OVERRIDES), []

    def __call__(self, fold: int) -> NetworkReader:
        self.asked.append(fold)
        return self.reader


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> list[HeldOutReading]:
    folder = tmp_path_factory.mktemp("scans")
    entries = [
        phantom_entry(folder, "bleeding", 0, Haemorrhage("intraparenchymal", "left", 40.0)),
        phantom_entry(folder, "healthy", 1),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(BUNDLE)
        readers, cache = Readers(), Cache(folder / "cache")
        found = read_entries(entries, readers, cache)
        again = read_entries(entries, readers, cache)
    assert readers.asked == [0, 1, 0, 1]
    assert cache.computed == 2
    assert [each.prediction.name for each in again] == ["bleeding", "healthy"]
    return found


def test_the_prediction_is_that_of_the_scan_on_its_original_slices(readings: list[HeldOutReading]):
    bleeding, healthy = (each.prediction for each in readings)
    assert (bleeding.fold, healthy.fold) == (0, 1)
    assert bleeding.labels.tolist() == [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    assert bleeding.logits[0] > healthy.logits[0]
    assert bleeding.slice_labels is not None
    assert bleeding.slice_logits is not None
    assert bleeding.slice_labels.shape == bleeding.slice_logits.shape
    assert bleeding.group == {"slices": 22.0, "age": 60.0}


def test_the_lesion_map_is_measured_for_the_labels_that_a_scan_shows(readings: list[HeldOutReading]):
    bleeding, healthy = readings
    assert set(bleeding.qualities) == {"any", "intraparenchymal"}
    assert healthy.qualities == {}
    assert healthy.true_ml == 0.0
    found = lesion_metrics(readings, 20)
    assert found["maps"] == 1
    assert list(found["quality"]) == ["any", "intraparenchymal"]
    assert found["quality"]["any"]["per_scan"]["dice"].value > 0.7
    assert found["volumes"]["true_ml"].value == pytest.approx(40.0, rel=0.15)
    assert found["false_ml"].value == healthy.predicted_ml


def test_volumes_are_those_of_annotated_scans(readings: list[HeldOutReading]):
    (pair,) = volume_pairs(readings)
    assert (pair.name, pair.group) == ("bleeding", "total")
    assert pair.ratio == pytest.approx(1.0, abs=0.35)


def test_what_is_written_is_what_the_report_measures(readings: list[HeldOutReading], tmp_path: Path):
    write(readings, "a network", tmp_path, 20)
    predictions = Predictions.from_json(tmp_path / "predictions" / "shipped.json")
    assert predictions.keys == KEYS
    assert predictions.model == "a network"
    assert predictions.protocol.startswith("2 scans, cross-validation by patient in 2 folds")
    content = json.loads((tmp_path / "lesion_maps.json").read_text("utf-8"))
    assert content["metrics"]["maps"] == 1
    assert content["scans"][0]["scan"] == "bleeding"
    heading, row = (tmp_path / "held_out_volumes.csv").read_text("utf-8").splitlines()
    assert heading == "scan,group,measured_ml,true_ml"
    assert row.startswith("bleeding,total,")


def test_a_network_without_a_lesion_decoder_leaves_no_lesion_maps_of_another(
    readings: list[HeldOutReading], tmp_path: Path
):
    write(readings, "with", tmp_path, 20)
    write([replace(each, qualities={}, true_ml=None, predicted_ml=None) for each in readings], "without", tmp_path, 20)
    assert not (tmp_path / "lesion_maps.json").exists()
    assert Predictions.from_json(tmp_path / "predictions" / "shipped.json").model == "without"


def test_one_network_for_all_folds_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(SystemExit):
        main(["--models", str(tmp_path / "model.pt"), "--title", "a"])
    assert "it has seen the scans" in capsys.readouterr().err
