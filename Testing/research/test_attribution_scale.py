"""The scale of attribution maps comes from positive findings, and a run reads what the command writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from research.metrics.attribution_scale import chosen_scales, main, strongest_values
from scripts.operating_points import attribution_scale


def a_result(largest: float | None, kind: str = "gradcam", positive: bool = True) -> dict[str, Any]:
    return {
        "findings": [{"key": "any", "positive": positive}, {"key": "subdural", "positive": False}],
        "maps": [
            {"kind": "attention", "label": None, "scale": 0.2, "largest": 0.2},
            {"kind": kind, "label": "any", "scale": 3.0, "largest": largest},
            {"kind": kind, "label": "subdural", "scale": 3.0, "largest": 99.0},
        ],
    }


def test_only_maps_of_positive_findings_count():
    results = [a_result(2.0), a_result(5.0, positive=False), a_result(None), a_result(0.0), a_result(4.0, "gradcam++")]
    assert strongest_values(results) == {"gradcam": [2.0], "gradcam++": [4.0]}


def test_a_result_of_an_earlier_version_states_no_largest_value():
    result = a_result(2.0)
    for entry in result["maps"]:
        del entry["largest"]
    assert strongest_values([result]) == {}


def test_the_scale_is_the_ninth_decile_and_needs_twenty_maps():
    assert chosen_scales({"gradcam": [float(value) for value in range(1, 22)]}) == {"gradcam": 19.0}
    assert chosen_scales({"gradcam": [1.0] * 19}) == {}


def test_the_command_writes_what_a_run_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for index in range(20):
        folder = tmp_path / "results" / f"study {index}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(a_result(6.5 + index / 100)), encoding="utf-8")
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "attribution_scale.json").write_text('{"gradcam": 1.0, "slice_gradcam": 4.5}', encoding="utf-8")
    main([str(tmp_path / "results"), "--output", str(configs / "attribution_scale.json")])
    assert attribution_scale(tmp_path, "gradcam") == 6.7
    assert attribution_scale(tmp_path, "slice_gradcam") == 4.5
    assert attribution_scale(tmp_path, "gradcam++") is None
    assert "20 maps of positive findings, scale 6.7" in capsys.readouterr().out


def test_values_of_held_out_scans_serve_as_well(tmp_path: Path):
    (tmp_path / "values.json").write_text(json.dumps({"gradcam": [2.0] * 12 + [3.0] * 9}), encoding="utf-8")
    main([str(tmp_path / "values.json"), "--output", str(tmp_path / "attribution_scale.json")])
    assert attribution_scale(tmp_path, "gradcam", "attribution_scale.json") == 3.0
