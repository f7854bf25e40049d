"""Limits of lesion volumes hold on scans that they were not measured on, and the command writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from research.metrics.volume_calibration import VolumePair, calibrate, coverage, main, read_pairs
from scripts.labels import TOTAL_GROUP
from scripts.operating_points import volume_calibration


def some_pairs(count: int, seed: int = 1, group: str = "total", spread: float = 0.3) -> list[VolumePair]:
    """Scans measured as 0.5 to 80 ml, with a log-normal error that is twice as large below 5 ml."""
    random = np.random.default_rng(seed)
    measured = np.exp(random.uniform(np.log(0.5), np.log(80), count))
    error = random.normal(0, 1, count) * np.where(measured < 5, 2 * spread, spread)
    return [
        VolumePair(f"scan {index}", group, float(ml), float(ml * np.exp(error[index])))
        for index, ml in enumerate(measured)
    ]


def test_limits_are_those_of_the_error_and_wider_for_small_lesions():
    small, _, large = calibrate(some_pairs(4000))["bands"]["total"]
    assert (small["from_ml"], large["from_ml"]) == (0.0, 20.0)
    assert np.log(large["high"]) == pytest.approx(1.645 * 0.3, abs=0.08)
    assert small["high"] / small["low"] > 1.5 * large["high"] / large["low"]
    assert sum(band["scans"] for band in calibrate(some_pairs(4000))["bands"]["total"]) == 4000


def test_a_mask_that_is_always_too_small_is_set_right():
    pairs = [VolumePair(pair.scan, pair.group, pair.measured_ml / 2, pair.true_ml) for pair in some_pairs(2000)]
    bands = calibrate(pairs, edges_ml=(0.0,))["bands"]["total"]
    assert bands[0]["factor"] == pytest.approx(2.0, rel=0.05)
    assert bands[0]["low"] < bands[0]["factor"] < bands[0]["high"]


def test_nine_of_ten_new_scans_lie_within():
    inside, count = coverage(some_pairs(2000))["total"]
    assert count == 2000
    assert inside / count == pytest.approx(0.9, abs=0.025)


def test_bands_with_too_few_scans_are_merged_and_none_is_lost():
    pairs = [pair for pair in some_pairs(400) if pair.measured_ml < 20]
    bands = calibrate(pairs)["bands"]["total"]
    assert [band["from_ml"] for band in bands] == [0.0, 5.0]
    assert sum(band["scans"] for band in bands) == len(pairs)
    large = [pair for pair in some_pairs(400) if pair.measured_ml >= 20]
    (band,) = calibrate(large)["bands"]["total"]
    assert (band["from_ml"], band["scans"]) == (0.0, len(large))


def test_limits_that_tell_a_reader_nothing_are_left_out_and_named():
    wild = [VolumePair(f"wild {index}", TOTAL_GROUP, 2.0, 2.0 * 10.0 ** (index % 3 - 1)) for index in range(30)]
    sure = [VolumePair(f"sure {index}", TOTAL_GROUP, 30.0, 30.0 + index / 10) for index in range(30)]
    content = calibrate(wild + sure)
    assert [band["from_ml"] for band in content["bands"][TOTAL_GROUP]] == [20.0]
    assert "from 0 ml 0.1 to 10 fold, which is too wide to state" in content["remarks"][TOTAL_GROUP]


def test_too_few_scans_give_no_limits_and_a_remark():
    content = calibrate(some_pairs(19))
    assert content["bands"] == {}
    assert "no limits, 20 scans needed" in content["remarks"]["total"]
    assert "no limits" not in calibrate(some_pairs(20))["remarks"]["total"]


def test_what_was_missed_or_made_up_is_counted_and_takes_no_part():
    extra = [VolumePair("missed", "total", 0.0, 3.0), VolumePair("made up", "total", 2.0, 0.0)]
    with_them, without = calibrate([*some_pairs(60), *extra]), calibrate(some_pairs(60))
    assert with_them["bands"] == without["bands"]
    assert "60 scans measured, 1 bleedings missed, 1 made up" in with_them["remarks"]["total"]


def test_the_command_writes_what_a_run_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lines = ["scan,group,measured_ml,true_ml"]
    pairs = some_pairs(80) + some_pairs(80, group="ventricular")
    lines += [f"{pair.scan},{pair.group},{pair.measured_ml},{pair.true_ml}" for pair in pairs]
    table = tmp_path / "volumes.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "configs").mkdir()
    main([str(table), "--output", str(tmp_path / "configs" / "volume_calibration.json")])
    low, high = volume_calibration(tmp_path).limits("ventricular", 30.0)
    assert 0 < low < 30 < high
    assert "total: 80 scans measured" in capsys.readouterr().out
    assert json.loads((tmp_path / "configs" / "volume_calibration.json").read_text("utf-8"))["level"] == 0.9


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("scan,group,true_ml\na,total,3", "no column measured_ml"),
        ("scan,group,measured_ml,true_ml\na,brain,3,4", "unknown group brain"),
        ("scan,group,measured_ml,true_ml\na,total,-3,4", "not below 0"),
        ("scan,group,measured_ml,true_ml\na,total,,4", "not below 0"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, content: str, fault: str):
    table = tmp_path / "volumes.csv"
    table.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=fault):
        read_pairs(table)
