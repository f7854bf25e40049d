"""The twelve systems of the ICH app are what its paper states, and every configuration builds the network it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from scripts.networks.slice_ensemble import (
    ADJACENT,
    DROPOUT,
    HIDDEN,
    TWELVE,
    WINDOWS,
    SliceEnsemble,
    architecture_and_input,
)
from scripts.training.slice_augmentation import SliceAugmentation

CONFIGS = Path(__file__).resolve().parents[2] / "monai_bundle" / "configs"
COMPARED = tuple(path.stem for path in sorted(CONFIGS.glob("gradcam_*.json")))


def content(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text("utf-8"))
    return found


def ranges_hu(windows: list[list[float]]) -> list[tuple[float, ...]]:
    """Return lowest and highest HU of each channel, and the offset of its slice where it has one."""
    return [(centre - width / 2, centre + width / 2, *offset) for centre, width, *offset in windows]


@pytest.mark.parametrize("name", TWELVE)
def test_a_member_has_the_papers_windows_head_and_training(name: str):
    found = content(name)
    if "_windows_" in name:
        assert ranges_hu(found["windows"]) == [(0, 80), (-120, 280), (15, 45)]
    else:
        assert ranges_hu(found["windows"]) == [(40, 80, -1), (40, 80, 0), (40, 80, 1)]
    assert (found["network_def"]["hidden"], found["network_def"]["dropout"]) == (HIDDEN, DROPOUT)
    assert found["backbone"]["_target_"].endswith(architecture_and_input(name)[0].__name__)
    optimised = name.endswith("_optimised")
    assert found["loss"]["label_weights"] == [5.0 if optimised else 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    augmentation = {key: value for key, value in found["augmentation"].items() if key != "_target_"}
    assert SliceAugmentation(**augmentation) == SliceAugmentation(
        *(0.0,) * 9, mirror=0.5 if optimised else 0.0, upside_down=0.5 if optimised else 0.0
    )
    assert found["optimizer"]["_target_"] == "torch.optim.Adam"


def test_the_ensemble_is_given_the_channels_of_all_its_members():
    windows = content("ich_app_ensemble")["windows"]
    for name in TWELVE:
        channels = architecture_and_input(name)[1]
        assert channels in (WINDOWS, ADJACENT)
        assert [windows[channel] for channel in channels] == content(name)["windows"]


@pytest.mark.parametrize("name", [*TWELVE, *COMPARED, "ich_app_ensemble"])
def test_a_configuration_builds_its_network_for_inference(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(CONFIGS.parent)
    parser = ConfigParser()
    parser.read_config(["configs/inference.json", f"configs/{name}.json"])
    with torch.device("meta"):
        network = parser.get_parsed_content("network_def")
    assert network.has_slice_classifier
    assert (len(network.heads) if isinstance(network, SliceEnsemble) else 12) == 12
    assert parser.get("system")["name"] == name
    assert parser.get("model_file") == f"models/{name}/model.pt"


def test_the_comparison_of_grad_cam_has_nine_networks():
    assert len(COMPARED) == 9
