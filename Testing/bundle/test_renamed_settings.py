"""Settings under the names of version 0.3: refused with the new name, or read with a warning where the overlay is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from scripts.renamed_settings import RENAMED, refuse_renamed
from scripts.settings import SettingError

CONFIGS = Path(__file__).resolve().parents[2] / "monai_bundle" / "configs"
OVERLAY = CONFIGS / "renamed_keys_0_3.json"


@pytest.mark.parametrize("arguments", [("--picture_size", "112"), ("--picture_size=112",)])
def test_an_old_name_on_the_command_line_is_refused_with_the_new(arguments: tuple[str, ...]):
    with pytest.raises(SettingError, match=r"picture_size is called image_size since version 0\.4"):
        refuse_renamed(["run", "--config_file", str(CONFIGS / "inference.json"), *arguments])


@pytest.mark.parametrize("content", [{"head_margin": 1.2}, {"network_def": {"heads": {"evidence": True}}}])
def test_an_old_name_in_a_file_is_refused_wherever_it_stands(tmp_path: Path, content: dict[str, Any]):
    own = tmp_path / "own.json"
    own.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SettingError, match=r"crop_margin|network_def#heads#slice_classifier"):
        refuse_renamed(["run", "--config_file", f"['{CONFIGS / 'inference.json'}','{own}']"])


@pytest.mark.parametrize("name", ["inference.json", "train.json", "finetune.json", "evaluate.json"])
def test_no_configuration_of_the_bundle_has_an_old_name(name: str):
    refuse_renamed(["run", "--config_file", str(CONFIGS / name), "--image_size", "112"])


def test_the_overlay_makes_its_names_readable_and_no_others():
    files = f"['{CONFIGS / 'inference.json'}','{OVERLAY}']"
    refuse_renamed(["run", "--config_file", files, "--picture_size", "112"])
    with pytest.raises(SettingError, match="high_res_micro_batch"):
        refuse_renamed(["run", "--config_file", files, "--inferer#zoom_micro_batch", "1"])


def an_overlaid_parser(**given: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "inference.json"), str(OVERLAY)])
    parser.update(given)
    return parser


def test_the_overlay_takes_old_values_with_a_warning(caplog: pytest.LogCaptureFixture):
    parser = an_overlaid_parser(picture_size=112, read_sizes={"image": "@picture_size", "zoom": 300})
    assert parser.get_parsed_content("image_size") == 112
    assert parser.get_parsed_content("image_sizes") == {"image": 112, "high_res": 300}
    assert "picture_size is called image_size" in caplog.text


def test_the_overlay_changes_nothing_where_no_old_name_is_used(caplog: pytest.LogCaptureFixture):
    plain = ConfigParser()
    plain.read_config(str(CONFIGS / "inference.json"))
    overlaid = an_overlaid_parser()
    for name in set(RENAMED.values()) & set(json.loads(OVERLAY.read_text("utf-8"))) & plain.get().keys():
        assert overlaid.get_parsed_content(name) == plain.get_parsed_content(name)
    assert caplog.text == ""
