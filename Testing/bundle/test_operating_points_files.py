"""Numbers that were measured once per network, and the files that keep them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.operating_points import attribution_scale, volume_calibration
from scripts.settings import SettingError

BUNDLE = Path(__file__).parents[2] / "monai_bundle"
FILE = "configs/measured.json"


def a_bundle(folder: Path, content: object) -> Path:
    (folder / "configs").mkdir()
    (folder / FILE).write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_the_shipped_files_are_read():
    assert 0 < volume_calibration(BUNDLE).level < 1
    for method in ("gradcam", "gradcam++", "slice_gradcam"):
        scale = attribution_scale(BUNDLE, method)
        assert scale is None or scale > 0


def test_limits_of_a_file_are_those_of_its_band(tmp_path: Path):
    bands = [{"from_ml": 0.0, "low": 0.5, "high": 2.0, "scans": 30}]
    content = {"level": 0.9, "bands": {"total": bands}, "remarks": "made up"}
    assert volume_calibration(a_bundle(tmp_path, content), FILE).limits("total", 3.0) == (1.5, 6.0)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"level": 0.9},
        {"level": 0.9, "bands": []},
        {"level": 0.9, "bands": {"total": [{"from_ml": 0.0, "low": 0.5}]}},
        {"level": 0.9, "bands": {"total": [{"from_ml": 0.0, "low": 2.0, "high": 0.5, "scans": 3}]}},
        {"level": 90, "bands": {}},
    ],
)
def test_a_file_that_states_no_limits_is_named(tmp_path: Path, content: object):
    with pytest.raises(SettingError, match=r"measured\.json: must give the level"):
        volume_calibration(a_bundle(tmp_path, content), FILE)


def test_the_scale_belongs_to_a_method(tmp_path: Path):
    bundle = a_bundle(tmp_path, {"gradcam": 7.5, "gradcam++": None})
    assert attribution_scale(bundle, "gradcam", FILE) == 7.5
    assert attribution_scale(bundle, "gradcam++", FILE) is None
    assert attribution_scale(bundle, "a new method", FILE) is None


@pytest.mark.parametrize("scale", [0, -1.0, "strong", True])
def test_a_scale_that_is_none_is_refused(tmp_path: Path, scale: object):
    with pytest.raises(SettingError, match="gradcam must be a number of logits above 0"):
        attribution_scale(a_bundle(tmp_path, {"gradcam": scale}), "gradcam", FILE)
    with pytest.raises(SettingError, match="cannot be read"):
        attribution_scale(tmp_path, "gradcam", "configs/nowhere.json")
