"""Held-out scans are explained by their fold's network: every method from one pass, failures drawn, sanity checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantom_scans import KEYS, phantom_entry

from research.evidence.explanations import UPPER_BOUND
from research.evidence.fold_explanations import explain_folds
from research.evidence.held_out import prediction
from research.evidence.network_reading import NetworkReader
from research.metrics.predictions import Predictions
from scripts.calibration import identity
from scripts.explanation.methods import METHODS
from scripts.phantom import Haemorrhage

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
SMALL: dict[str, Any] = {
    "backbone": {"_target_": "tiny_backbone.TinyBackbone"},
    "image_size": 64,
    "high_res_size": 96,
    "network_def#key_slices": 4,
}


class Readers:
    """The same network for every fold."""

    def __init__(self) -> None:
        self.reader = NetworkReader(None, SMALL)

    def __call__(self, fold: int) -> NetworkReader:
        return self.reader


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("scans")
    return [
        phantom_entry(folder, "epidural", 0, Haemorrhage("epidural", "left", 40.0)),
        phantom_entry(folder, "subdural", 1, Haemorrhage("subdural", "right", 40.0)),
        phantom_entry(folder, "healthy", 1),
    ]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    (folder / "false_negative_any_999.png").write_bytes(b"of an earlier run")
    return folder


@pytest.fixture(scope="module")
def found(entries: list[dict[str, Any]], images: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(BUNDLE)
        readers = Readers()
        scans = [prediction(entry, readers(0).read(entry["study"].read())) for entry in entries]
        predictions = Predictions(KEYS, tuple(scans), "small", "three scans")
        # Nothing reaches a threshold of 1: both scans with haemorrhage are failures, and are drawn.
        return explain_folds(readers, entries, predictions, (identity(KEYS), 1.0), images)


def test_every_method_is_measured_on_the_labels_that_a_scan_shows(found: dict[str, Any]):
    assert found["maps"] == 4
    assert set(found["quality"]) == {*METHODS, UPPER_BOUND}
    for labels in found["quality"].values():
        assert set(labels) == {"any", "epidural", "subdural", "overall"}
        assert labels["any"]["per_slice"]["pointing_game"]["scans"] == 2
    best = found["quality"][UPPER_BOUND]["any"]["per_slice"]
    for measure in ("diff_gradcam", "pointing_game", "energy_inside"):
        others = (found["quality"][method]["any"]["per_slice"][measure]["value"] for method in METHODS)
        assert best[measure]["value"] > max(others), measure


def test_one_scan_is_checked_with_random_weights(found: dict[str, Any]):
    assert found["sanity_scans"] == 1
    assert set(found["sanity_check"]) == set(METHODS)
    for stages in found["sanity_check"].values():
        assert [stage["stage"] for stage in stages][:3] == ["fusion", "aps", "primary"]
        # The scan shows two labels: any, and its own.
        assert {stage["maps"] + stage["not_compared"] for stage in stages} == {2}


def test_failures_are_drawn_in_the_place_of_those_of_an_earlier_run(found: dict[str, Any], images: Path):
    assert sorted(failure["scan"] for failure in found["failures"]) == ["epidural", "subdural"]
    assert {path.name for path in images.iterdir()} == {failure["file"] for failure in found["failures"]}
    assert all((images / failure["file"]).stat().st_size > 1000 for failure in found["failures"])
    assert np.isfinite([failure["probability"] for failure in found["failures"]]).all()
