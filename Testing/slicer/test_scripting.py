"""The call for scripts, and the examples of its page, each run as it stands there."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import slicer

import host
from ICHDiagnosisLib.analysis import CannotStartError, PackagesMissingError, TermsNotAcceptedError
from ICHDiagnosisLib.diagnose import DiagnosisError
from ICHDiagnosisLib.scene.layers import shown_result
from panel_cases import accept_terms
from reading_runner import ReadingRunner
from scene_cases import GEOMETRIES, a_ct

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SCRIPTING.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^## \d\. (.+?)\n.*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def runner() -> ReadingRunner:
    return ReadingRunner()


@pytest.fixture
def fresh_module(runner: ReadingRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module as a script imports it; its panel was never opened, nor the terms of the weights accepted."""
    host.load_module(ROOT / "ICHDiagnosis" / "ICHDiagnosis.py")
    loaded = sys.modules["ICHDiagnosis"]
    monkeypatch.setattr(loaded, "BundleProcess", lambda *_arguments: runner)
    monkeypatch.setattr(loaded, "find_missing", lambda _requirements: ())
    monkeypatch.setattr(slicer.app, "slicerUserSettingsFilePath", str(tmp_path / "settings" / "Slicer.ini"))
    (tmp_path / "settings").mkdir()
    loaded.ICHDiagnosisLogic().settings.output_folder = tmp_path / "results"
    return loaded


@pytest.fixture
def module(fresh_module: ModuleType) -> ModuleType:
    accept_terms()
    return fresh_module


def test_nothing_is_read_before_the_terms_of_the_weights_are_accepted(fresh_module, runner):
    logic, ct = fresh_module.ICHDiagnosisLogic(), a_ct(GEOMETRIES["oblique"])
    with pytest.raises(TermsNotAcceptedError, match=r"research and education only.*accept_terms=True"):
        logic.diagnose(ct)
    assert runner.requests == []
    assert logic.diagnose(ct, accept_terms=True).evaluated
    # It was stated for that call, and not by the user of this computer.
    with pytest.raises(TermsNotAcceptedError):
        logic.diagnose(ct)


def test_a_volume_is_diagnosed_without_the_panel(module, tmp_path):
    ct = a_ct(GEOMETRIES["oblique"])
    diagnosis = module.ICHDiagnosisLogic().diagnose(ct)
    assert diagnosis.evaluated
    assert diagnosis.impression == "Impression of the file: any, subdural (91 %)"
    assert diagnosis.findings["subdural"].positive
    assert not diagnosis.findings["intraparenchymal"].positive
    assert diagnosis.folder.is_relative_to(tmp_path / "results")
    shown = shown_result(ct)
    assert shown is not None
    assert diagnosis.shown.segmentation_node is shown.segmentation_node
    assert set(diagnosis.shown.attribution_maps) == {"any", "intraparenchymal", "subdural"}


def test_a_volume_that_a_script_has_made_needs_no_display_node(module):
    ct = a_ct(GEOMETRIES["oblique"])
    slicer.mrmlScene.RemoveNode(ct.GetDisplayNode())
    assert module.ICHDiagnosisLogic().diagnose(ct).evaluated


def test_own_thresholds_complete_those_of_an_operating_point(module, runner, monkeypatch):
    seen = []
    start = runner.start

    def read_and_start(request) -> None:
        seen.append(json.loads(Path(request.overrides["operating_points_file"]).read_text(encoding="utf-8")))
        start(request)

    monkeypatch.setattr(runner, "start", read_and_start)
    logic = module.ICHDiagnosisLogic()
    logic.diagnose(a_ct(GEOMETRIES["oblique"]), operating_point="high_sensitivity", thresholds={"subdural": 0.2})
    points = json.loads((logic.bundle_root / "configs" / "operating_points.json").read_text(encoding="utf-8"))
    assert seen == [{"own": {**points["high_sensitivity"], "subdural": 0.2}}]
    assert runner.requests[0].operating_point == "own"


@pytest.mark.parametrize(("thresholds", "match"), [({"nothing": 0.5}, "no label"), ({"subdural": 50}, r"in 0\.\.1")])
def test_thresholds_that_mean_nothing_are_refused_before_anything_starts(module, runner, thresholds, match):
    with pytest.raises(ValueError, match=match):
        module.ICHDiagnosisLogic().diagnose(a_ct(GEOMETRIES["oblique"]), thresholds=thresholds)
    with pytest.raises(ValueError, match="no operating point 'mine'"):
        module.ICHDiagnosisLogic().diagnose(
            a_ct(GEOMETRIES["oblique"]), operating_point="mine", thresholds={"any": 0.5}
        )
    assert runner.requests == []


def test_a_failure_is_one_line_and_leaves_nothing_running(module, runner):
    runner._endings = [(1, ("ERROR ct.nii: 4D volumes are not supported",))]
    logic = module.ICHDiagnosisLogic()
    with pytest.raises(DiagnosisError, match=r"gave no result: ct\.nii: 4D volumes are not supported"):
        logic.diagnose(a_ct(GEOMETRIES["oblique"]))
    assert not logic.analysis.running


def test_what_keeps_an_analysis_from_starting_is_stated(module, monkeypatch):
    logic = module.ICHDiagnosisLogic()
    with pytest.raises(CannotStartError, match="Choose a head CT"):
        logic.diagnose(None)
    monkeypatch.setattr(module, "find_missing", lambda _requirements: ("torch",))
    with pytest.raises(PackagesMissingError):
        logic.diagnose(a_ct(GEOMETRIES["oblique"]))


def test_an_interruption_ends_the_process(module, runner, monkeypatch):
    def interrupted() -> None:
        raise KeyboardInterrupt

    logic = module.ICHDiagnosisLogic()
    monkeypatch.setattr(slicer.app, "processEvents", interrupted)
    with pytest.raises(KeyboardInterrupt):
        logic.diagnose(a_ct(GEOMETRIES["oblique"]))
    assert not runner.running


@pytest.fixture
def data(studies: Path, tmp_path: Path) -> Path:
    """What the examples read, in the place of ``/data``."""
    shutil.copy(studies / "a.nrrd", tmp_path / "head_ct.nrrd")
    return tmp_path


def run_example(title: str, data: Path, arguments: tuple[str, ...] = ()) -> None:
    text = dict(EXAMPLES)[title].replace('"/data', f'"{data}')
    before, sys.argv = sys.argv, ["example.py", *arguments]
    try:
        exec(compile(text, title, "exec"), {"__name__": "__main__"})
    finally:
        sys.argv = before


def test_the_page_has_five_examples_each_with_a_test():
    assert [title for title, _code in EXAMPLES] == [
        "One volume",
        "Many series into one table",
        "An operating point of your own",
        "Export",
        "From the terminal",
    ]


def test_the_example_of_one_volume(fresh_module, data, capsys):
    run_example("One volume", data)
    printed = capsys.readouterr().out
    assert "Impression of the file: any, subdural (91 %)" in printed
    assert "subdural: 0.910, positive" in printed
    assert Path(printed.strip().splitlines()[-1]).parent.is_dir()


def test_the_example_of_many_series(fresh_module, data):
    run_example("Many series into one table", data)
    with (data / "findings.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["status"] for line in lines] == ["evaluated", "not_evaluable"]
    assert lines[0]["subdural_positive"]


def test_the_example_of_an_own_operating_point(fresh_module, data, runner, capsys):
    run_example("An operating point of your own", data)
    assert runner.requests[0].operating_point == "own"
    assert "['any', 'subdural']" in capsys.readouterr().out


def test_the_example_of_export(fresh_module, data):
    run_example("Export", data)
    assert sorted(path.name for path in (data / "export").iterdir()) == [
        "case.mrb",
        "evidence.seg.nrrd",
        "gradcam_any.nrrd",
        "gradcam_intraparenchymal.nrrd",
        "gradcam_subdural.nrrd",
    ]
    loaded = slicer.util.loadVolume(str(data / "export" / "gradcam_subdural.nrrd"))
    assert slicer.util.arrayFromVolume(loaded).dtype == np.uint8


def test_the_example_for_the_terminal(fresh_module, data, studies, capsys):
    with pytest.raises(SystemExit) as ended:
        run_example("From the terminal", data, (str(studies), str(data / "elsewhere")))
    assert ended.value.code == 3
    assert re.search(r"^c\.nrrd: Not evaluable: ", capsys.readouterr().out, re.MULTILINE)
