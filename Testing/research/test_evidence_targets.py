"""Targets: each beside what was reached, from its place in the measured parts; none softened by a gap."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evidence_files import PLAN, write_run

from research.evidence.measure import measure
from research.evidence.targets import read_earlier, read_tried, targets_reached

STATED = {
    "scan_auc": 0.95,
    "slice_auc": 0.95,
    "macro_auc": 0.88,
    "top_h": 0.75,
    "inside_minus_outside_slice": 0.5,
    "inside_minus_outside_scan": 0.5,
    "pointing_game_slice": 0.8,
    "pointing_game_scan": 0.8,
    "sensitivity_5_ml": 0.95,
    "sensitivity_1_ml": 0.7,
    "phantoms_any": 1.0,
    "phantoms_own": 1.0,
    "phantoms_negative": 1.0,
    "external_slice_auc": 0.98,
}


def test_every_target_is_found_in_the_files_of_a_whole_run(tmp_path: Path):
    rows = {row["key"]: row for row in measure(write_run(tmp_path / "run"), PLAN, 20)["targets"]}
    assert {key: row["target"] for key, row in rows.items()} == STATED
    assert [key for key, row in rows.items() if row["reached"] is None] == ["external_slice_auc"]
    assert rows["external_slice_auc"]["met"] == "not measured"


def test_the_line_to_beat_is_the_last_versions():
    earlier = read_earlier()
    rows = {row["key"]: row["earlier"] for row in targets_reached({"shipped": {"row": earlier["row"]}}, earlier)}
    before = {key: row.get("estimate", row.get("value")) for key, row in rows.items() if row is not None}
    assert {key: round(value, 3) for key, value in before.items()} == {
        "scan_auc": 0.879,
        "slice_auc": 0.894,
        "macro_auc": 0.781,
        "top_h": 0.585,
        "inside_minus_outside_slice": 0.165,
        "inside_minus_outside_scan": 0.134,
        "pointing_game_slice": 0.054,
        "pointing_game_scan": 0.111,
    }
    found = {(row["study"], row["truth"]): row["findings"]["any"] for row in earlier["external_test"]}
    assert found[("RSNA 2019, one series", "intraparenchymal and intraventricular haemorrhage")] == 0.7
    assert found[("phantom", "intraparenchymal and subdural haemorrhage, 30 ml each")] == 0.101


def a_target(folder: Path, **changes: object) -> Path:
    entry = {"key": "a", "title": "A", "target": 0.9, "reached": "synthetic.auc.any", "earlier": None} | changes
    (folder / "targets.json").write_text(json.dumps([entry]), encoding="utf-8")
    return folder / "targets.json"


@pytest.mark.parametrize(
    ("value", "met"), [(0.91, "yes"), (0.9, "yes"), (0.89, "no; it lies within the interval"), (0.7, "no")]
)
def test_a_target_is_met_by_the_estimate_alone(tmp_path: Path, value: float, met: str):
    measured = {"synthetic": {"auc": {"any": {"estimate": value, "low": 0.1, "high": value + 0.05}}}}
    (row,) = targets_reached(measured, {}, a_target(tmp_path))
    assert row["met"] == met


def test_a_part_that_was_not_measured_leaves_a_gap_and_a_wrong_place_is_refused(tmp_path: Path):
    (row,) = targets_reached({"synthetic": None}, {}, a_target(tmp_path))
    assert (row["reached"], row["met"]) == (None, "not measured")
    with pytest.raises(ValueError, match=r"no metric synthetic\.auc\.any"):
        targets_reached({"synthetic": {"auc": {}}}, {}, a_target(tmp_path))


def test_what_was_tried_states_how_often_held_out_scans_were_looked_at(tmp_path: Path):
    assert all(entry["outer_folds_read"] >= 0 for entry in read_tried())
    (tmp_path / "tried.json").write_text('[{"what": "a", "outcome": "b"}]', encoding="utf-8")
    with pytest.raises(ValueError, match=r"tried\.json: an entry has outcome, what"):
        read_tried(tmp_path / "tried.json")
