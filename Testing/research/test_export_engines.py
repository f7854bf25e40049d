"""TensorRT's configuration, as far as it goes without a GPU: TorchScript backbones stand where engines would."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from training_runs import BUNDLE

from research.export.engines import BackbonePerSize, with_engines
from scripts.networks.drct import DrCT2
from scripts.settings import SettingError

torch.set_num_threads(1)

ENGINES = {"32": "models/backbone_32.ts", "64": "models/backbone_64.ts"}


def a_network() -> DrCT2:
    torch.manual_seed(0)
    return DrCT2(slices=4, key_slices=2, high_res_size=64).eval().requires_grad_(False)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    for size, name in ENGINES.items():
        traced = torch.jit.trace(a_network().backbone, torch.rand(1, 3, int(size), int(size)))
        torch.jit.save(traced, str(tmp_path / name))
    return tmp_path


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is only imported for what its import registers."""
    package = types.ModuleType("torch_tensorrt")
    package.__spec__ = importlib.machinery.ModuleSpec("torch_tensorrt", None)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", package)


@pytest.mark.usefixtures("tensorrt")
def test_a_network_with_engines_says_what_it_says_without(bundle: Path):
    picture = torch.rand(2, 3, 4, 32, 32) * 4 - 2
    expected = a_network()(picture)
    torch.testing.assert_close(with_engines(a_network(), bundle, ENGINES)(picture), expected)


def test_slices_of_a_size_without_engine_are_refused():
    backbone = BackbonePerSize({32: torch.nn.Identity()})
    assert backbone(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    with pytest.raises(SettingError, match=r"48 x 48, only for 32"):
        backbone(torch.zeros(1, 3, 48, 48))


def test_without_tensorrt_the_remedy_is_named(bundle: Path):
    with pytest.raises(SettingError, match=r"torch_tensorrt is not installed.*inference_trt\.json"):
        with_engines(a_network(), bundle, ENGINES)


@pytest.mark.usefixtures("tensorrt")
@pytest.mark.parametrize(("content", "fault"), [(None, "is not there"), (b"no engine", "cannot be read")])
def test_an_engine_that_is_missing_or_damaged_is_named(bundle: Path, content: bytes | None, fault: str):
    engine = bundle / ENGINES["64"]
    engine.unlink()
    if content is not None:
        engine.write_bytes(content)
    with pytest.raises(SettingError, match=rf"backbone_64\.ts {fault}"):
        with_engines(a_network(), bundle, ENGINES)


def test_the_configuration_puts_engines_in_for_both_sizes_and_keeps_the_rest():
    files = [str(BUNDLE / "configs" / name) for name in ("inference.json", "inference_trt.json")]
    plain, merged = ConfigParser(), ConfigParser()
    plain.read_config(files[0])
    merged.read_config(files)
    assert {int(size) for size in merged["engines"]} == {plain["image_size"], plain["high_res_size"]}
    assert merged["imports"][:-1] == plain["imports"]
    assert {key for key in plain.get() if plain[key] != merged[key]} == {"imports", "precision", "network"}


def test_the_guide_names_the_engines_of_the_configuration():
    engines = json.loads((BUNDLE / "configs" / "inference_trt.json").read_text(encoding="utf-8"))["engines"]
    guide = (BUNDLE / "docs" / "export.md").read_text(encoding="utf-8")
    assert all(path in guide for path in engines.values())
