"""The module offers the systems that are installed, runs the chosen one, and shows which one read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import slicer

import sample_result_folder as sample
from ICHDiagnosisLib.bundle.command import BundleMissingError, BundleRequest, bundle_arguments
from ICHDiagnosisLib.bundle.run import BundleRun, RunSettings
from ICHDiagnosisLib.bundle.systems import SHIPPED, installed_system, installed_systems, weights_of
from ICHDiagnosisLib.diagnose import at_own_thresholds
from panel_cases import applied, click, wait
from scene_cases import SHAPE, affine
from scripts.systems import systems

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A bundle with the shipped system, one that was installed, and others that were not."""
    root = tmp_path / "bundle"
    shutil.copytree(BUNDLE / "configs", root / "configs")
    for name in ("model.pt", "radnet/model.pt"):
        file = root / "models" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"weights")
    points = {"balanced": {"any": 0.4}}
    (root / "models" / "radnet" / "operating_points.json").write_text(json.dumps(points), encoding="utf-8")
    (root / "configs" / "damaged.json").write_text("{", encoding="utf-8")
    return root


def of_another_system(request: BundleRequest) -> int:
    content = sample.document(SHAPE)
    content["model"]["network"] = "RADnet"
    sample.write_folder(request.output_dir / "study", content, sample.made_maps(SHAPE), affine())
    return 0


def test_module_and_bundle_list_the_same_systems(root: Path):
    (root / "configs" / "damaged.json").unlink()
    listed = [(system.configuration, system.title) for system in systems(root) if system.installed]
    assert [(system.configuration, system.title) for system in installed_systems(root)] == listed
    assert [system.name for system in installed_systems(root)] == [SHIPPED, "radnet"]


def test_the_configuration_of_an_installed_system_is_laid_over_that_of_inference(root: Path, tmp_path: Path):
    run = BundleRun(runner=None, python=Path("python"), bundle_root=root)
    request = run.request(RunSettings(tmp_path, system="radnet"), tmp_path, tmp_path)
    arguments = bundle_arguments(request)
    assert arguments[2] == "['configs/inference.json','configs/radnet.json']"
    assert "--explanation_method" not in arguments, "it explains as its authors did"
    shipped = bundle_arguments(run.request(RunSettings(tmp_path), tmp_path, tmp_path))
    assert shipped[2] == "configs/inference.json"
    assert "--explanation_method" in shipped


@pytest.mark.parametrize("name", ["densenet40", "../../elsewhere", "shipped"])
def test_nothing_is_run_that_the_bundle_does_not_list_as_installed(root: Path, tmp_path: Path, name: str):
    run = BundleRun(runner=None, python=Path("python"), bundle_root=root)
    with pytest.raises(BundleMissingError, match="not installed"):
        run.request(RunSettings(tmp_path, system=name), tmp_path, tmp_path)


def test_a_batch_tells_weights_of_systems_apart(root: Path):
    assert weights_of(root, SHIPPED) == {}
    before = weights_of(root, "radnet")
    assert list(before) == ["models/radnet/model.pt"]
    (root / "models" / "radnet" / "model.pt").write_bytes(b"others")
    assert weights_of(root, "radnet") != before


def test_thresholds_of_ones_own_begin_with_those_of_the_system(root: Path, tmp_path: Path):
    settings = at_own_thresholds(RunSettings(tmp_path, system="radnet"), root, {"any": 0.7}, tmp_path)
    written = json.loads(Path(settings.overrides["operating_points_file"]).read_text("utf-8"))
    assert written == {"own": {"any": 0.7}}
    assert installed_system(root, "radnet").operating_points_file == "models/radnet/operating_points.json"


def test_the_panel_offers_installed_systems_and_runs_the_chosen_one(panel, head_ct, bundle, root: Path):
    panel.inputs._bundle_root = panel.logic._run.bundle_root = root
    panel.inputs.list_systems()
    box = panel.ui.systemBox
    assert [box.itemText(index) for index in range(box.count)] == ["DrCT2", "RADnet"]
    assert box.currentIndex == 0
    box.setCurrentIndex(1)
    assert panel.parameters().system == "radnet"
    assert not panel.ui.explanationBox.enabled
    bundle.write = of_another_system
    applied(panel, head_ct)
    assert bundle.requests[-1].configuration == "configs/radnet.json"
    assert "RADnet" in panel.ui.provenanceLabel.text
    box.setCurrentIndex(0)
    assert panel.ui.explanationBox.enabled
    applied(panel, head_ct)
    assert bundle.requests[-1].configuration is None


def test_a_scene_that_names_a_system_which_is_not_here_says_so(panel, head_ct, bundle, root: Path):
    panel.inputs._bundle_root = panel.logic._run.bundle_root = root
    panel.parameters().system = "densenet40"
    panel.inputs.list_systems()
    assert panel.ui.systemBox.currentIndex == -1
    panel.parameters().inputVolume = head_ct
    click(panel.ui.applyButton)
    wait(lambda: "densenet40" in panel.ui.statusLabel.text)
    assert not bundle.requests
    panel.logic.settings.keep_warm = True
    panel.logic.warm_up()
    assert slicer.mrmlScene is not None
