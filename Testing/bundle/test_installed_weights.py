"""The weights of every installed system are loaded as a run loads them; a fault of one leaves the others checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from scripts.installed_weights import PREFIX, main

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The bundle with three more systems: weights of another network, a damaged file, and a system that is none."""
    root = tmp_path / "bundle"
    shutil.copytree(BUNDLE / "configs", root / "configs")
    for name in ("radnet", "densenet40", "odd"):
        (root / "models" / name).mkdir(parents=True)
    shutil.copy(BUNDLE / "models" / "model.pt", root / "models" / "model.pt")
    torch.save({"other": torch.zeros(1)}, root / "models" / "radnet" / "model.pt")
    (root / "models" / "densenet40" / "model.pt").write_bytes(b"torn")
    (root / "models" / "odd" / "model.pt").write_bytes(b"")
    odd = {
        "system": {"name": "odd", "title": "Odd"},
        "model_file": "models/odd/model.pt",
        "network_def": {"_target_": "scripts.networks.nowhere.Nothing"},
    }
    (root / "configs" / "odd.json").write_text(json.dumps(odd), encoding="utf-8")
    return root


def test_every_installed_system_is_checked_whatever_is_wrong_with_another(
    root: Path, capsys: pytest.CaptureFixture[str]
):
    main(["--bundle_root", str(root)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(PREFIX)]
    found = {entry["title"]: entry for entry in (json.loads(line.removeprefix(PREFIX)) for line in lines)}
    assert next(iter(found)) == "DrCT2"
    assert (found["DrCT2"]["fault"], found["DrCT2"]["stated"]) == ("", True)
    assert "belong" in found["RADnet"]["fault"] or "models/radnet" in found["RADnet"]["fault"]
    assert not found["RADnet"]["stated"]
    damaged = next(entry for entry in found.values() if entry["file"] == "models/densenet40/model.pt")
    assert "models/densenet40/model.pt" in damaged["fault"]
    assert found["Odd"]["fault"]
    assert len(found) == 4


def test_a_shipped_file_that_was_changed_is_told(root: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("radnet", "densenet40", "odd"):
        (root / "models" / name / "model.pt").unlink()
    with (root / "models" / "model.pt").open("ab") as file:
        file.write(b" ")
    main(["--bundle_root", str(root)])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(PREFIX)]
    assert "sha256" in json.loads(line.removeprefix(PREFIX))["fault"].lower()
