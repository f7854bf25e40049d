"""The stages of ``make evidence``: made once, made again where an input changed, explained from cached maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ct_ich_files import Patient, write_ct_ich

from research.evaluation.__main__ import main as print_figures
from research.evaluation.predictions import Predictions, ScanPrediction
from research.evidence import variants
from research.evidence.__main__ import RunLog, kept
from research.evidence.explanations import reading_from_maps
from research.evidence.report import filled
from research.training.protocol import Variant
from scripts.networks.drct import DrCT1
from scripts.networks.vgg16 import VGG16Features

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


def test_predictions_are_made_once_and_again_when_the_way_to_train_or_the_data_change(
    in_bundle: None, scans: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[str] = []

    def cross_validated(variant: Variant, *_: Any) -> Predictions:
        made.append(variant.name)
        return some_predictions()

    monkeypatch.setattr(variants, "cross_validated", cross_validated)
    variant = Variant("drct1", "DrCT1", {}, None)
    assert [variants.predict(variant, scans, tmp_path)[1] for _ in range(2)] == [False, True]
    changed = Variant("drct1", "DrCT1", {"epochs": 3}, None)
    found, cached = variants.predict(changed, scans, tmp_path)
    assert not cached
    assert made == ["drct1", "drct1"]
    assert found.keys == KEYS
    assert variants.predict(changed, scans, tmp_path)[1]
    next(Path(scans["dataset_dir"]).rglob("*.jpg")).touch()
    assert not variants.predict(changed, scans, tmp_path)[1]


def test_the_shipped_variant_comes_first_and_names_are_unique():
    configuration = json.loads((BUNDLE / "configs" / "evidence.json").read_text("utf-8"))
    assert variants.read_variants(configuration)[0].name == configuration["shipped"]
    twice = {**configuration, "variants": [*configuration["variants"], configuration["variants"][0]]}
    with pytest.raises(ValueError, match="unique"):
        variants.read_variants(twice)


def test_a_stage_is_made_again_where_its_mark_changed(tmp_path: Path):
    path = tmp_path / "explanations.json"
    assert [kept(path, mark, lambda: [1]) for mark in ("a", "a", "b")] == [False, True, False]
    assert json.loads(path.read_text("utf-8")) == [1]


def test_a_stage_that_failed_is_made_again(tmp_path: Path):
    path = tmp_path / "explanations.json"
    kept(path, "a", lambda: [1])
    with pytest.raises(RuntimeError):
        kept(path, "b", lambda: (_ for _ in ()).throw(RuntimeError))
    assert not kept(path, "a", lambda: [2])


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
    with pytest.raises(KeyboardInterrupt), RunLog.opened(tmp_path / "run.json").stage("maps"):
        raise KeyboardInterrupt
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
    assert variants.by_eye([shipped, *alike, frozen, coarse, otherwise]) == (
        [shipped, alike[2], coarse, otherwise],
        [alike[0], alike[1], frozen],
    )


def test_variants_side_by_side_that_are_there_are_not_made_again(
    in_bundle: None, scans: dict[str, str], tmp_path: Path
):
    for name in ("one", "other"):
        some_predictions().to_json(tmp_path / f"{name}.json")
        mark = variants._mark(Variant(name, name, {}, None), scans)
        (tmp_path / f"{name}.mark").write_text(mark, encoding="utf-8")
    both = [Variant("one", "one", {}, None), Variant("other", "other", {}, None)]
    assert variants.predict_side_by_side(both, scans, tmp_path)
    assert variants.predict_side_by_side([], {}, tmp_path)


def test_what_a_process_of_its_own_could_not_do_ends_the_run_with_its_error(in_bundle: None, tmp_path: Path):
    nowhere = {"dataset_dir": str(tmp_path / "nowhere")}
    with pytest.raises(RuntimeError) as failure:
        variants.predict_side_by_side([Variant("one", "one", {}, None)], nowhere, tmp_path)
    assert "nowhere" in str(failure.getrepr(style="long"))


def test_a_network_reads_cached_maps_as_it_reads_pictures():
    torch.manual_seed(0)
    network = DrCT1(VGG16Features(), slices=3).eval()
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        maps = network.backbone.frozen_stage()(pictures)
        torch.testing.assert_close(reading_from_maps(network).backbone(maps), network.backbone(pictures))
    assert reading_from_maps(network).state_dict().keys() == network.state_dict().keys()


def test_a_block_of_a_page_is_filled_and_the_rest_left_alone():
    page = "before\n<!-- accuracy: by a command -->\nold\n<!-- end of accuracy -->\nafter\n"
    assert filled(page, "accuracy", "new \\1\n") == page.replace("old", "new \\1")
    with pytest.raises(ValueError, match="performance"):
        filled(page, "performance", "new\n")


@pytest.mark.parametrize(("with_slices", "said"), [(True, "comprehensive"), (False, "no slice labels")])
def test_the_figures_of_a_training_are_printed(
    with_slices: bool, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    some_predictions(with_slices).to_json(tmp_path / "predictions.json")
    print_figures([str(tmp_path / "predictions.json")])
    printed = capsys.readouterr().out
    assert said in printed
    assert "epidural" in printed
    assert "macro AUC 0." in printed
