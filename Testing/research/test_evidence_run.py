"""The stages of ``make evidence``: computed once, and again where an input changed, from cached features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ct_ich_files import Patient, write_ct_ich

from research.evidence import __main__ as evidence
from research.evidence import predicting
from research.evidence.__main__ import RunLog, cached_json
from research.evidence.report import filled
from research.metrics.__main__ import main as print_metrics
from research.metrics.predictions import Predictions, ScanPrediction
from research.training.protocol import Variant

torch.set_num_threads(1)

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
KEYS = ("any", "epidural")


def some_predictions(with_slices: bool = True) -> Predictions:
    generator = np.random.default_rng(0)
    scans = []
    for number in range(24):
        positive = number % 2
        shown = np.zeros((10, 2))
        shown[3:5] = positive
        scans.append(
            ScanPrediction(
                name=f"{number:03d}",
                patient=f"{number:03d}",
                fold=number % 5,
                labels=np.array([positive, positive], dtype=float),
                logits=generator.normal(positive, 1.0, 2),
                slice_attention=np.where(shown[:, 0] == 1, 0.3, 0.05),
                slice_labels=shown if with_slices else None,
            )
        )
    return Predictions(KEYS, tuple(scans), "a model", "24 scans")


@pytest.fixture
def in_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BUNDLE)


@pytest.fixture
def scans(tmp_path: Path) -> dict[str, str]:
    """Six patients in the place of the real data."""
    patients = [Patient(49 + number, ("epidural",) if number % 2 else ()) for number in range(6)]
    return {"dataset_dir": str(write_ct_ich(tmp_path / "ct-ich", patients, slices=8, size=24).folder)}


def test_predictions_are_computed_once_and_again_when_the_training_or_the_data_change(
    in_bundle: None, scans: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[str] = []

    def cross_validated(variant: Variant, *_: Any) -> Predictions:
        made.append(variant.name)
        return some_predictions()

    monkeypatch.setattr(predicting, "cross_validated", cross_validated)
    variant = Variant("drct1", "DrCT1", {}, None)
    assert [predicting.predict(variant, scans, tmp_path)[1] for _ in range(2)] == [False, True]
    changed = Variant("drct1", "DrCT1", {"epochs": 3}, None)
    found, cached = predicting.predict(changed, scans, tmp_path)
    assert not cached
    assert made == ["drct1", "drct1"]
    assert found.keys == KEYS
    assert predicting.predict(changed, scans, tmp_path)[1]
    next(Path(scans["dataset_dir"]).rglob("*.jpg")).touch()
    assert not predicting.predict(changed, scans, tmp_path)[1]


def test_a_stage_is_computed_again_where_its_key_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evidence, "FOLDER", tmp_path)
    assert [cached_json("explanations", key, lambda: [1]) for key in ("a", "a", "b")] == [False, True, False]
    assert json.loads((tmp_path / "explanations.json").read_text("utf-8")) == [1]


def test_a_stage_that_failed_is_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evidence, "FOLDER", tmp_path)
    with pytest.raises(RuntimeError):
        cached_json("explanations", "a", lambda: (_ for _ in ()).throw(RuntimeError))
    assert not cached_json("explanations", "a", lambda: [2])
    assert json.loads((tmp_path / "explanations.json").read_text("utf-8")) == [2]


def test_the_log_keeps_the_time_of_a_stage_that_was_only_read(tmp_path: Path):
    log = RunLog.opened(tmp_path / "run.json")
    with log.stage("maps"):
        pass
    first = log.stages["maps"]
    again = RunLog.opened(tmp_path / "run.json")
    with again.stage("maps") as was_cached:
        was_cached()
    assert RunLog.opened(tmp_path / "run.json").stages["maps"] == first


def test_the_time_of_an_interrupted_stage_is_added_to_that_of_the_run_that_finishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock = iter([0.0, 30.0, 100.0, 112.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))

    def interrupt() -> None:
        with RunLog.opened(tmp_path / "run.json").stage("maps"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert RunLog.opened(tmp_path / "run.json").stages["maps"]["unfinished"]
    with RunLog.opened(tmp_path / "run.json").stage("maps"):
        pass
    assert RunLog.opened(tmp_path / "run.json").stages["maps"] == {"name": "maps", "seconds": 42.0, "cached": False}


def test_variants_with_other_heads_alone_wait_for_the_features_of_the_first():
    shipped, frozen = Variant("shipped", ""), Variant("frozen", "", {"features": "$frozen"}, None)
    alike = [
        Variant("bce", "", {"loss#primary": "bce"}),
        Variant("random", "", {"network_def#choice": "random", "seed": 1}),
        Variant("scan_labels", "", {"features": "$frozen", "loss#slice_weight": 0}, None),
    ]
    coarse, otherwise = Variant("coarse", "", {"image_size": 112}), Variant("otherwise", "", {}, {"epochs": 1})
    backbone = Variant("backbone", "", {"network_def#backbone": {"_target_": "another"}})
    assert predicting.by_features([shipped, *alike, frozen, coarse, otherwise, backbone]) == (
        [shipped, alike[2], coarse, otherwise, backbone],
        [alike[0], alike[1], frozen],
    )


def test_cached_variants_side_by_side_are_not_computed_again(
    in_bundle: None, scans: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(predicting, "cross_validated", lambda *_: some_predictions())
    both = [Variant("one", "one", {}, None), Variant("other", "other", {}, None)]
    for variant in both:
        predicting.predict(variant, scans, tmp_path)
    # The processes have the real cross-validation: it would need an hour of training.
    assert predicting.predict_side_by_side(both, scans, tmp_path)
    assert predicting.predict_side_by_side([], {}, tmp_path)


def test_what_a_process_of_its_own_could_not_do_ends_the_run_with_its_error(in_bundle: None, tmp_path: Path):
    nowhere = {"dataset_dir": str(tmp_path / "nowhere")}
    with pytest.raises(RuntimeError) as failure:
        predicting.predict_side_by_side([Variant("one", "one", {}, None)], nowhere, tmp_path)
    assert "nowhere" in str(failure.getrepr(style="long"))


def test_a_block_of_a_page_is_filled_and_the_rest_left_alone():
    page = "before\n<!-- accuracy: by a command -->\nold\n<!-- end of accuracy -->\nafter\n"
    assert filled(page, "accuracy", "new \\1\n") == page.replace("old", "new \\1")
    with pytest.raises(ValueError, match="performance"):
        filled(page, "performance", "new\n")


@pytest.mark.parametrize(("with_slices", "expected"), [(True, "comprehensive"), (False, "no slice labels")])
def test_the_metrics_of_a_training_are_printed(
    with_slices: bool, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    some_predictions(with_slices).to_json(tmp_path / "predictions.json")
    print_metrics([str(tmp_path / "predictions.json")])
    printed = capsys.readouterr().out
    assert expected in printed
    assert "epidural" in printed
    assert "macro AUC 0." in printed
