"""The benchmark: the reference implementation gives what ours gives, and the comparison states what was measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from research.bench import __main__ as bench
from research.bench.measurement import evaluator_of, peak_gb
from research.bench.reference_implementation import ReferenceInferer, WithTargetLayer
from scripts.explanation.grad_cam import grad_cam_in_logits, layers
from scripts.inferer import StudyInferer
from scripts.networks.backbone import pool
from scripts.networks.drct import DrCT1, DrCT2
from scripts.networks.study_network import FeatureMaps
from scripts.networks.vgg16 import VGG16Features
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
    lines = bench.table(fast, slow).splitlines()
    assert lines[-1] == "ratio of network + 6 maps: 20.0"
    assert "network                          -     10.00" in lines
    assert [line.split()[0] for line in lines[1:7]] == [
        "reading",
        "slices",
        "explanation",
        "maps",
        "network",
        "writing",
    ]


def test_labels_that_were_not_timed_are_reckoned_like_those_that_were():
    timed = a_measurement(network=10.0, explanation=20.0)
    assert timed.with_all_labels_explained(2).seconds == {"network": 10.0, "explanation": 60.0}


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
