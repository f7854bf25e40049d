"""The benchmark: the reference implementation gives what ours gives, and the comparison states what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from research.bench import __main__ as bench
from research.bench import intake
from research.bench.measurement import count_slices, evaluator_of, gflop_of, measured_peak, peak_gb
from research.bench.reference_implementation import ReferenceInferer, WithTargetLayer
from scripts.explanation.grad_cam import grad_cam_in_logits, layers
from scripts.inferer import StudyInferer
from scripts.networks.backbone import pool
from scripts.networks.drct import DrCT1, DrCT2
from scripts.networks.efficientnet_lite import EfficientNetLite0
from scripts.networks.study_network import FeatureMaps
from scripts.networks.vgg16 import VGG16Features
from scripts.progress import Progress
from scripts.reading_geometry import CropPlane, ReadingGeometry

torch.set_num_threads(1)

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
SIZE = 64
CELLS = (SIZE // 16) ** 2


def a_study(slices: int) -> dict[str, Any]:
    """Random images that cover the original voxels one to one."""
    generator = torch.Generator().manual_seed(1)
    plane = CropPlane(0, SIZE, 0, SIZE, flip_rows=False, flip_columns=True)
    shape = (slices, SIZE, SIZE)
    return {
        "image": torch.rand(3, *shape, generator=generator),
        "geometry": ReadingGeometry(plane, tuple((index,) for index in range(slices)), shape),
        "head": np.ones(shape, dtype=bool),
    }


def a_network(kind: type[DrCT1], **settings: int) -> DrCT1:
    torch.manual_seed(2)
    network = kind(VGG16Features(), slices=4, **settings).eval()
    for parameter in network.parameters():
        # Large enough that slices and labels differ.
        parameter.data.mul_(2)
    return network


def silent(stage: str, percent: float) -> None:
    pass


def ours() -> StudyInferer:
    return StudyInferer(precision="float32")


@pytest.mark.parametrize("slices", [4, 7])
def test_both_paths_find_the_same_probabilities_and_slice_attention(slices: int):
    study, network = a_study(slices), a_network(DrCT2, key_slices=2, high_res_size=128)
    expected, reference = ours()(study, network), ReferenceInferer()(study, network, report=silent)
    torch.testing.assert_close(reference.probabilities, expected.probabilities, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(reference.slice_attention, expected.slice_attention, atol=1e-5, rtol=1e-4)


def test_both_paths_explain_the_reading_of_all_slices_alike():
    study, network = a_study(4), a_network(DrCT2, key_slices=2, high_res_size=128)
    image = study["image"]
    reading = FeatureMaps(network.backbone(image.movedim(0, 1)).detach().requires_grad_(), torch.arange(4))
    logits = network.read(pool(reading.maps)[None], network.high_resolution_of(image[None])).logits[0]
    reference = ReferenceInferer().layers(image, network, silent, labels=6)
    for logit, layer in zip(logits, reference, strict=True):
        # MONAI averages the gradient over a map's cells where ours adds, and drops negative cells before it enlarges.
        (cells,) = layers(logit, (reading,), 4, grad_cam_in_logits)
        expected = functional.interpolate(cells.clamp(min=0)[:, None] / CELLS, size=(SIZE, SIZE), mode="bilinear")
        assert layer.max() > 0
        torch.testing.assert_close(layer, expected[:, 0], atol=1e-5 * float(layer.max()), rtol=1e-4)


def test_the_layer_for_hooks_changes_no_logit():
    network, image = a_network(DrCT2, key_slices=2, high_res_size=128), a_study(4)["image"][None]
    torch.testing.assert_close(WithTargetLayer(network)(image), network(image), rtol=0, atol=0)


def test_the_reference_implementation_runs_the_whole_network_once_per_explained_label():
    network, passes = a_network(DrCT2, key_slices=2, high_res_size=128), []
    network.backbone.features[0].weight.register_hook(lambda gradient: passes.append("backwards"))

    def count(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        passes.append(f"forwards at {inputs[0].shape[-1]}")

    network.backbone.register_forward_pre_hook(count)
    reading = ReferenceInferer(explained_labels=2)(a_study(4), network, report=silent)
    assert passes.count("forwards at 64") == passes.count("forwards at 128") == 3
    assert passes.count("backwards") == 2
    assert len(reading.label_maps) == 6


@pytest.mark.parametrize("path", ["ours", "reference"])
def test_both_paths_run_in_the_bundles_own_engine(path: str, tmp_path: Path):
    study = tmp_path / "head.nii.gz"
    study.write_bytes(b"not read before the engine runs")
    evaluator = evaluator_of(path, study, tmp_path / "out", explained_labels=3)
    assert evaluator.progress.studies == 1
    if path == "reference":
        assert isinstance(evaluator.study_inferer, ReferenceInferer)
        assert evaluator.study_inferer.explained_labels == 3
    else:
        assert type(evaluator.study_inferer) is StudyInferer


def a_measurement(**seconds: float) -> bench.Measurement:
    return bench.Measurement(dict(seconds), 1.5, threads=2, device="cpu", precision="float32", labels=6)


def test_the_ratio_compares_everything_between_reading_and_writing():
    fast = a_measurement(reading=50.0, slices=1.0, explanation=2.0, maps=1.0, writing=50.0)
    slow = a_measurement(reading=50.0, network=10.0, explanation=69.0, maps=1.0, writing=50.0)
    lines = bench.table({"ours": fast, "reference": slow}).splitlines()
    assert lines[-1] == "ratio of network + 6 maps: 20.0"
    assert f"{'network':<28}{'-':>12}{'10.00':>12}" in lines
    assert [line.split()[0] for line in lines[1:7]] == [
        "reading",
        "slices",
        "explanation",
        "maps",
        "network",
        "writing",
    ]


def test_the_table_states_operations_and_which_part_of_the_peak_a_stage_reached():
    path = replace(a_measurement(slices=2.0, writing=1.0), gflop={"slices": 30.0}, peak_gflop_per_second=60.0)
    other = replace(a_measurement(network=4.0), gflop={"network": 24.0}, peak_gflop_per_second=60.0)
    lines = bench.table({"ours": path, "vgg16": other, "reference": other}).splitlines()
    assert f"{'GFLOP: slices':<28}{'30.00':>12}{'-':>12}{'-':>12}" in lines
    assert f"{'% of the peak: slices':<28}{'25':>12}{'-':>12}{'-':>12}" in lines
    assert f"{'% of the peak: network':<28}{'-':>12}{'10':>12}{'10':>12}" in lines


def test_operations_are_those_of_the_layers():
    network = a_network(DrCT2, key_slices=2, high_res_size=128)
    expected = sum(
        2 * layer.weight[0].numel() * layer.out_channels * (32 // 2**pools) ** 2
        for layer, pools in zip(
            (layer for layer in network.backbone.features if isinstance(layer, torch.nn.Conv2d)),
            (0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4),
            strict=True,
        )
    )
    assert gflop_of(network, (3, 32, 32)) == pytest.approx(expected / 1e9)
    lite = DrCT2(EfficientNetLite0(), slices=4, key_slices=2)
    with_decoder = gflop_of(lite, (3, 64, 64))
    lite.lesion_decoder = None
    assert 0 < gflop_of(lite, (3, 64, 64)) < with_decoder


def test_slices_are_counted_by_stage_and_shape():
    evaluator = SimpleNamespace(study_network=a_network(DrCT2, key_slices=2, high_res_size=128), progress=Progress())
    read = count_slices(evaluator)
    ours()(a_study(5), evaluator.study_network, report=evaluator.progress.report)
    assert read == {("slices", 3, 64, 64): 5, ("key slices", 3, 128, 128): read["key slices", 3, 128, 128]}
    assert 2 <= read["key slices", 3, 128, 128] <= 4


def test_the_peak_is_a_rate_of_this_machine():
    assert measured_peak(torch.device("cpu"), "float32") > 0.1


def test_labels_that_were_not_timed_are_reckoned_like_those_that_were():
    timed = replace(a_measurement(network=10.0, explanation=20.0), gflop={"network": 1.0, "explanation": 2.0})
    whole = timed.with_all_labels_explained(2)
    assert whole.seconds == {"network": 10.0, "explanation": 60.0}
    assert whole.gflop == {"network": 1.0, "explanation": 6.0}


def test_peak_memory_counts_bytes():
    now = psutil.Process().memory_info().rss / 1e9
    assert 0.99 * now <= peak_gb() < 50 * now


def test_the_process_that_starts_the_others_stays_small():
    code = "import sys, research.bench.__main__; sys.exit(bool({'torch', 'numpy', 'monai'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=BUNDLE, check=False).returncode == 0


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_count_below_one_is_refused(count: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        bench.main(["--repeats", count])
    assert stopped.value.code == 2
    assert f"'{count}' is no number of at least 1" in capsys.readouterr().err


def test_a_study_that_cannot_be_measured_ends_with_status_1(tmp_path: Path):
    assert bench.main(["--study", str(tmp_path / "nowhere")]) == 1


def test_the_intake_is_timed_on_a_series_that_it_reads_whole(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(intake, "SLICES", 50)
    monkeypatch.setattr(intake, "SIZE", 144)
    intake.write(tmp_path)
    assert len(list(tmp_path.iterdir())) == 50
    intake.read(tmp_path)
    measured = json.loads(capsys.readouterr().out)
    assert set(measured) == {"seconds", "processor_seconds", "peak_gb"}
    assert min(measured.values()) > 0
    next(tmp_path.iterdir()).unlink()
    with pytest.raises(SystemExit, match=r"read \(49, 144, 144\)"):
        intake.read(tmp_path)
