"""The page of systems states what was counted on the networks and measured on patients, and nothing by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import inside_a_copy_of_bundle

from research.systems import page
from research.systems.cost import Cost, cost_of
from scripts.systems import System, main, systems

torch.set_num_threads(1)

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
COST = Cost(1_234_567, 12.5, None, 1, "1 x 128 x 128")


def a_system(name: str) -> System:
    return System(name, name.upper(), "", f"configs/{name}.json", f"models/{name}/model.pt", installed=False)


def test_operations_and_parameters_are_those_of_the_network(tmp_path: Path):
    with inside_a_copy_of_bundle(tmp_path / "copy") as root:
        file = root / "configs" / "densenet40.json"
        content = json.loads(file.read_text("utf-8")) | {"image_size": 64}
        content["backbone"]["growth"] = 2
        file.write_text(json.dumps(content), encoding="utf-8")
        found = next(system for system in systems(root) if system.name == "densenet40")
        small = cost_of(found, repeats=1)
        content["image_size"] = 128
        file.write_text(json.dumps(content), encoding="utf-8")
        large = cost_of(found)
    assert small.parameters == large.parameters
    assert large.gflop == pytest.approx(4 * small.gflop, rel=0.1), "four times the pixels"
    assert small.seconds is not None
    assert large.seconds is None
    assert (small.input, large.input) == ("1 x 64 x 64", "1 x 128 x 128")


def test_the_papers_network_takes_the_operations_that_were_measured_on_it():
    costs = json.loads((BUNDLE / page.COSTS).read_text("utf-8"))
    # VGG16 on 32 slices of 224 x 224, and on 16 of 512 x 512 besides
    assert costs["drct1_cq500"]["gflop"] == pytest.approx(982, abs=1)
    assert costs["drct2_cq500"]["gflop"] == pytest.approx(982 + 2566, abs=1)


def test_the_shipped_network_is_counted_with_its_lesion_decoder_and_the_page_is_not_stale(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(BUNDLE)
    found = cost_of(systems(".")[0])
    assert Cost(**json.loads(page.COSTS.read_text("utf-8"))["shipped"]) == replace(found, threads=1)
    assert found.gflop > 40


def test_what_was_not_run_says_so():
    known = [a_system("radnet")]
    assert "1,234,567" in page.cost_table({"radnet": COST}, known)
    assert page.NOT_RUN in page.cost_table({"radnet": COST}, known)
    assert f"| radnet | {page.NOT_RUN} |" in page.result_table({}, known)


def test_what_was_measured_is_stated():
    quality = {"overall": {"per_slice": {"pointing_game": {"value": 0.25}}}}
    metrics = {"labels": {"any": {"auc": 0.875}}, "slice_auc": None, "key_slices_top_h": 0.5}
    content = {"folds": [0, 1], "scans": 33, "trained": {"0": "2 x scan"}, "metrics": metrics, "map_quality": quality}
    row = page.result_table({"radnet": content}, [a_system("radnet")]).splitlines()[-1]
    assert row == "| radnet | 0, 1 | 33 | 0.875 | - | 0.500 | 0.250 | 2 x scan |"


def test_tables_go_between_the_lines_of_the_page():
    text = "a\n<!-- costs: written by research.systems.page -->\nold\n<!-- end of costs -->\nb\n"
    assert page.with_table(text, "costs", "| new |").splitlines()[1:-1] == [
        "<!-- costs: written by research.systems.page -->",
        "",
        "| new |",
        "",
        "<!-- end of costs -->",
    ]
    with pytest.raises(ValueError, match="no lines of results"):
        page.with_table(text, "results", "")


def test_the_page_holds_what_the_command_would_write():
    text = (BUNDLE / page.PAGE).read_text("utf-8")
    costs = {name: Cost(**each) for name, each in json.loads((BUNDLE / page.COSTS).read_text("utf-8")).items()}
    known = systems(BUNDLE)
    assert costs.keys() == {system.name for system in known}, "python -m research.systems.page counts the others"
    assert page.cost_table(costs, known) in text


def test_the_command_writes_the_page_from_kept_costs(tmp_path: Path):
    with inside_a_copy_of_bundle(tmp_path / "copy") as root:
        (root / "docs").mkdir()
        (root / page.PAGE).write_text((BUNDLE / page.PAGE).read_text("utf-8"), encoding="utf-8")
        kept = {system.name: vars(COST) for system in systems(root)}
        (root / page.COSTS).write_text(json.dumps(kept), encoding="utf-8")
        page.main(["--kept"])
        assert "1,234,567" in (root / page.PAGE).read_text("utf-8")


def test_systems_are_listed_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]):
    main(["--bundle_root", str(BUNDLE)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["shipped", "installed"]
    assert any(line.startswith("radnet") for line in lines)
    main(["--json", "--bundle_root", str(BUNDLE)])
    listed = json.loads(capsys.readouterr().out)
    assert listed[0]["configuration"] == "configs/inference.json"
    assert {"name", "title", "paper", "configuration", "model_file", "installed"} == set(listed[0])
