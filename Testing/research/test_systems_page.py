"""The page of systems states what was counted on the networks and measured on patients, and nothing by hand."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import inside_a_copy_of_bundle

from research.metrics.predictions import Predictions, ScanPrediction
from research.systems import page
from research.systems.cost import Cost, cost_of
from research.systems.figure import dots
from research.systems.measured import (
    MAP_MEASURES,
    MeasuredSystem,
    Value,
    measured_in,
    read_measured_systems,
    renewed,
    starts_of,
    write_measured_systems,
)
from research.systems.measured import MEASURED as MEASURED_FILE
from research.systems.training import stated_epochs, training_length
from scripts.systems import System, main, systems

torch.set_num_threads(1)

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
COST = Cost(1_234_567, 12.5, None, 1, "1 x 128 x 128")
CHOSEN = Value(0.25, 0.1, 0.4, 0.01)
MEASURED = MeasuredSystem(
    *((0, 1), 33, 12, Value(0.75, 0.5, 0.9), Value(0.875, 0.71, 0.95, 0.7), Value(0.5, 0.3, 0.7, 0.3), "slice_gradcam"),
    *(dict.fromkeys(MAP_MEASURES, CHOSEN), "240 steps", "2 x scan, from random weights", "random weights"),
    Value(-1.5, -2.0, -1.0, 0.0),
)


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
    found, kept = cost_of(systems(".")[0]), Cost(**json.loads(page.COSTS.read_text("utf-8"))["shipped"])
    assert kept == replace(found, threads=kept.threads, seconds=kept.seconds)
    assert found.gflop > 40


def test_a_network_of_several_sub_stacks_is_counted_alike_each_time_and_says_how_many_key_slices(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(BUNDLE)
    system = next(system for system in systems(".") if system.name == "drct2_rsna")
    torch.manual_seed(5)
    found, kept = cost_of(system), Cost(**json.loads(page.COSTS.read_text("utf-8"))["drct2_rsna"])
    assert kept == replace(found, threads=kept.threads, seconds=kept.seconds)
    size, _, rest = found.input.rpartition(", ")[2].partition(" (")
    assert size == "512 x 512"
    slices = int(rest.removesuffix(" slices)"))
    assert 16 <= slices <= 32, "two sub-stacks of 28 choose 16 each"
    # VGG16 on 32 slices of 224 x 224, and on each key slice of 512 x 512.
    assert found.gflop == pytest.approx(982 + slices * 2566 / 16, abs=2)


def test_what_was_not_run_says_so():
    known = [a_system("radnet")]
    assert "1,234,567" in page.cost_table({"radnet": COST}, known)
    assert page.NOT_RUN in page.cost_table({"radnet": COST}, known)
    assert f"| radnet | {page.NOT_RUN} |" in page.result_table({}, {}, known)


def test_what_was_measured_is_stated_with_its_intervals():
    found = {"radnet": MEASURED, "densenet40": replace(MEASURED, slice_auc=Value(0.75, 0.64, 0.82, 0.7))}
    costs = dict.fromkeys(found, COST)
    table = page.result_table(found, costs, [a_system("radnet"), a_system("densenet40")])
    row = table.splitlines()[2]
    assert row.startswith("| radnet | 0, 1 | 33, 12 positive | 0.88 (0.71 to 0.95) | -1.50 (-2.00 to -1.00) | 0.75 ")
    assert row.endswith("| 0.25 (0.10 to 0.40) | 1 x 128 x 128 | 240 steps | random weights |")
    assert f"densenet40 {page.MARK}" in table
    assert "(1 of 2): densenet40." in page.statement(found), "a network that knows no more than the height is named"
    assert "height alone gives a slice AUC of 0.70" in page.statement(found)
    many = {f"system {number}": found["densenet40"] for number in range(page.MOST_NAMED + 1)}
    assert page.statement(many).endswith("(6 of 6)."), "the table marks them"
    assert "0.010 of slices" in page.statement(found)


def test_where_all_have_learnt_nothing_is_marked():
    assert page.MARK not in page.statement({"radnet": MEASURED})
    assert "0 measured" in page.statement({})


def test_a_system_without_an_answer_for_slices_is_judged_by_its_scans():
    alone = replace(MEASURED, slice_auc=Value(None, None, None), scan_auc=Value(0.8, 0.55, 0.9))
    assert alone.learnt()
    assert not replace(alone, scan_auc=Value(0.8, 0.45, 0.9)).learnt()
    assert replace(alone, scan_auc=Value(0.8, None, None)).learnt() is None


def predictions(slice_logit: float = 1.0) -> Predictions:
    scans = [
        ScanPrediction(
            *(f"scan {number}", f"patient {number}", 0, np.array([number % 2]), np.array([number % 2 - 0.5])),
            slice_attention=np.array([0.7, 0.3]),
            slice_labels=np.array([[number % 2], [0]]),
            slice_logits=slice_logit * np.array([[number % 2], [0.1 * number]]),
        )
        for number in range(8)
    ]
    return Predictions(("any",), tuple(scans), "a network", "held out")


def evaluated(folder: Path, made_of: str = "2 x scan, from random weights", **content: object) -> Path:
    folder.mkdir(parents=True)
    metric = {"value": 0.25, "low": 0.1, "high": 0.4, "random_baseline": 0.01}
    quality = {"overall": {"per_slice": dict.fromkeys(MAP_MEASURES, metric)}}
    found = {"folds": [0], "map_method": "slice_gradcam", "map_quality": quality, "trained": {"0": made_of}}
    (folder / "evaluation.json").write_text(json.dumps(found | content), encoding="utf-8")
    predictions().to_json(folder / "predictions.json")
    return folder


def test_what_evaluate_left_is_measured_with_patients_resampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(BUNDLE)
    radnet = next(system for system in systems(".") if system.name == "radnet")
    found = measured_in(evaluated(tmp_path / "radnet"), radnet, count=100)
    assert found is not None
    assert (found.scans, found.positive, found.folds) == (8, 4, (0,))
    assert found.scan_auc.value == 1.0
    assert found.slice_auc.low is not None
    assert found.slice_auc.random_baseline is None, "kept by a version that did not ask for the height"
    assert found.erased_blood == Value(None, None, None)
    assert found.key_slices.value == 1.0
    assert found.key_slices.random_baseline == 0.5
    assert (found.length, found.start) == ("240 steps", "random weights"), "as the configuration trains it"
    change = {"value": -3.5, "low": -4.0, "high": -2.5, "random_baseline": 0.0}
    asked = {"length": "2 steps", "slice_auc_by_height": 1.0, "erased_blood": change}
    stated = measured_in(evaluated(tmp_path / "other", "scans", **asked), radnet, count=100)
    assert stated is not None
    assert stated.slice_auc.random_baseline == 1.0
    assert stated.erased_blood == Value(-3.5, -4.0, -2.5, 0.0)
    assert not stated.learnt()
    assert (stated.length, stated.start) == ("2 steps", "not known")
    assert measured_in(tmp_path / "absent", radnet) is None


def test_what_was_measured_lasts_until_it_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(BUNDLE)
    known = [system for system in systems(".") if system.name in {"radnet", "densenet40"}]
    file = tmp_path / "measured.json"
    write_measured_systems({"radnet": MEASURED, "densenet40": MEASURED, "of yesterday": MEASURED}, file)
    kept = read_measured_systems(file)
    assert kept["radnet"] == MEASURED
    evaluated(tmp_path / "radnet", length="2 steps")
    found = renewed(kept, known, tmp_path)
    assert list(found) == ["densenet40", "radnet"]
    assert found["densenet40"] == MEASURED
    assert found["radnet"].length == "2 steps"
    assert read_measured_systems(tmp_path / "absent.json") == {}
    file.write_text('{"radnet": {}}', encoding="utf-8")
    with pytest.raises(ValueError, match="no file of measured systems"):
        read_measured_systems(file)


def test_the_length_of_a_training_is_added_up_over_its_stages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(BUNDLE)
    lengths = {system.name: training_length(system, {}) for system in systems(".")}
    assert lengths["radnet"] == "240 steps"
    assert lengths["saliency_multitask"] == "1,600 steps"
    assert lengths["rsna2019_winner"] == "1,000 steps, 40 epochs of scans"
    assert lengths["drct1_rsna"] == "100 epochs of scans"
    assert lengths["ich_app_ensemble"] == "as its members"
    assert lengths["shipped"] == "600 steps, 12 epochs of scans"
    radnet = next(system for system in systems(".") if system.name == "radnet")
    assert training_length(radnet, {"epochs": 2, "steps_per_epoch": 3}) == "6 steps"
    assert training_length(radnet, {}, {"slices": 120}) == "480 steps", "as the note beside the weights states"
    winner = next(system for system in systems(".") if system.name == "rsna2019_winner")
    assert training_length(winner, {}, {"slices": 12, "sequences": 50}) == "240 steps, 50 epochs of scans"
    assert training_length(winner, {}, {"sequences": 50}) == "50 epochs of scans, slices: not known"


def test_epochs_are_those_of_the_newest_note_of_each_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(BUNDLE)
    winner = next(system for system in systems(".") if system.name == "rsna2019_winner")
    weights = tmp_path / "sequences-0-abc.pt"
    assert stated_epochs(winner, weights) is None
    for name, epochs, age in (
        ("slices-0-old", 3, 50),
        ("slices-0-new", 12, 5),
        ("slices-1-x", 99, 0),
        ("sequences-0-abc", 40, 1),
    ):
        note = tmp_path / f"{name}.json"
        note.write_text(json.dumps({"epochs": epochs}), encoding="utf-8")
        os.utime(note, (1e9 - age, 1e9 - age))
    assert stated_epochs(winner, weights) == {"slices": 12, "sequences": 40}


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


def test_the_page_holds_what_the_command_would_write(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(BUNDLE)
    text = page.PAGE.read_text("utf-8")
    costs = {name: Cost(**each) for name, each in json.loads(page.COSTS.read_text("utf-8")).items()}
    known = systems(".")
    assert costs.keys() == {system.name for system in known}, "python -m research.systems.page counts the others"
    assert page.cost_table(costs, known) in text
    assert page.result_table(read_measured_systems(), costs, known) in text
    assert page.saliency_tables(Path("nothing measured since")) in text


def test_the_figure_is_that_of_the_committed_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(BUNDLE)
    costs = {name: Cost(**each) for name, each in json.loads(page.COSTS.read_text("utf-8")).items()}
    shown = dots(read_measured_systems(), costs, systems("."))
    # Coordinates of letters may differ by a rounding from machine to machine; the dots are as many.
    assert page.FIGURE.exists() == bool(shown)


def test_the_command_writes_page_file_and_figure_from_kept_costs(tmp_path: Path):
    with inside_a_copy_of_bundle(tmp_path / "copy") as root:
        (root / "docs").mkdir()
        for name in (page.PAGE, page.SALIENCY):
            (root / name).write_text((BUNDLE / name).read_text("utf-8"), encoding="utf-8")
        kept = {system.name: vars(replace(COST, seconds=0.5)) for system in systems(root)}
        (root / page.COSTS).write_text(json.dumps(kept), encoding="utf-8")
        write_measured_systems({"densenet40": MEASURED}, root / MEASURED_FILE)
        evaluated(root / "elsewhere" / "radnet")
        page.main(["--kept", "--measured", "elsewhere"])
        text = (root / page.PAGE).read_text("utf-8")
        assert "1,234,567" in text
        assert "| densenet40 | 0, 1 |" in text, "what was kept"
        assert "| radnet | 0 |" in text, "what is new"
        assert set(read_measured_systems(root / MEASURED_FILE)) == {"densenet40", "radnet"}
        assert (root / page.FIGURE).is_file()


def test_what_weights_began_with_is_stated_once_and_without_what_follows():
    slices = "65 x scan, at 128 x 128 pixels, 12 epochs, from"
    assert starts_of(f"{slices} random weights; without fold 0") == "random weights"
    assert starts_of(f"one, two: {slices} random weights; three: {slices} pretrained weights") == (
        "random weights, pretrained weights"
    )
    assert starts_of("not known: weights of one's own") == "not known"


def test_counting_again_keeps_the_time_that_was_taken(tmp_path: Path):
    with inside_a_copy_of_bundle(tmp_path / "copy") as root:
        (root / "docs").mkdir()
        (root / page.COSTS).write_text(json.dumps({"densenet40": vars(replace(COST, seconds=9.5))}), encoding="utf-8")
        known = [system for system in systems(root) if system.name == "densenet40"]
        found = page.count(known, known, readings=0)["densenet40"]
        assert found.seconds == 9.5
        assert found.parameters == 1_017_638
        assert Cost(**json.loads((root / page.COSTS).read_text("utf-8"))["densenet40"]) == found


def test_systems_are_listed_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]):
    main(["--bundle_root", str(BUNDLE)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["shipped", "installed"]
    assert any(line.startswith("radnet") for line in lines)
    main(["--json", "--bundle_root", str(BUNDLE)])
    listed = json.loads(capsys.readouterr().out)
    assert listed[0]["configuration"] == "configs/inference.json"
    assert {"name", "title", "paper", "configuration", "model_file", "installed"} == set(listed[0])
