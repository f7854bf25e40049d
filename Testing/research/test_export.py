"""Exports through MONAI's own commands: whole checkpoint, TorchScript, ONNX in pieces; all agree with torch."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from export_bundle import SMALL, a_bundle
from monai.bundle import ckpt_export, onnx_export
from monai.data import load_net_with_metadata
from phantom_cases import FINE
from torch import Tensor
from training_runs import BUNDLE

from research.export.__main__ import main
from research.export.agreement import LARGEST_DIFFERENCE, Study, differences, read_study
from research.export.exporting import Configured, as_settings, complete_checkpoint, export
from research.export.parts import KeySlices
from scripts.intake.study import IntakeError
from scripts.messages import message
from scripts.networks.drct import DrCT2
from scripts.phantom import Haemorrhage, make_phantom, write_nifti
from scripts.settings import SettingError

torch.set_num_threads(1)

# The sizes of what a file is traced with are constants that are meant.
pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")

ONNX_FILES = ("backbone.onnx", "key_slices.onnx", "heads.onnx")


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Configured:
    return a_bundle(tmp_path_factory.mktemp("export") / "bundle_copy")


@pytest.fixture(scope="module")
def network(configured: Configured) -> DrCT2:
    return configured.network().requires_grad_(False)


@pytest.fixture(scope="module")
def exported(configured: Configured, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    files = export(configured, folder)
    # One file each: weights beside an ONNX file are lost when it is copied.
    assert sorted(folder.iterdir()) == sorted(files)
    return folder


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    phantom = make_phantom(FINE, [Haemorrhage("intraparenchymal", "left", 30.0)], seed=2)
    return write_nifti(phantom, tmp_path_factory.mktemp("studies") / "head.nii.gz")


@pytest.fixture(scope="module")
def study(configured: Configured, head: Path) -> Study:
    return read_study(configured, head, SMALL["sub_stack_size"])


def run_onnx(path: Path, **inputs: Tensor) -> list[Tensor]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(result) for result in session.run(None, {key: t.numpy() for key, t in inputs.items()})]


def test_every_exported_result_agrees_with_torch(configured: Configured, exported: Path, study: Study):
    found = differences(configured, exported, study)
    assert {name.split(":")[0] for name in found} == {*ONNX_FILES, "model.ts"}
    assert max(found.values()) <= LARGEST_DIFFERENCE
    assert found["key_slices.onnx: key_slices"] == 0


def test_files_of_other_weights_do_not_agree(configured: Configured, exported: Path, study: Study, tmp_path: Path):
    other = a_bundle(tmp_path / "bundle_copy")
    state = torch.load(other.bundle_root / "models" / "model.pt", weights_only=True)
    state["fusion.6.bias"] += 0.01
    torch.save(state, tmp_path / "other.pt")
    changed = Configured(other.bundle_root, {**SMALL, "model_file": str(tmp_path / "other.pt")})
    found = differences(changed, exported, study)
    assert found["heads.onnx: logits"] > LARGEST_DIFFERENCE
    assert found["model.ts: logits"] > LARGEST_DIFFERENCE
    assert found["backbone.onnx: maps"] <= LARGEST_DIFFERENCE


def test_fine_tuned_backbone_layers_are_exported(configured: Configured, tmp_path: Path):
    state = torch.load(configured.bundle_root / "models" / "model.pt", weights_only=True)
    name = [name for name in configured.network().backbone.state_dict() if name.endswith("bias")][-1]
    state[f"backbone.{name}"] = torch.full_like(configured.network().backbone.get_parameter(name), 3.0)
    torch.save(state, tmp_path / "tuned.pt")
    settings = {"model_file": str(tmp_path / "tuned.pt"), **SMALL}
    root = str(configured.bundle_root)
    pairs = [word for key, value in settings.items() for word in ("--set", key, json.dumps(value))]
    assert main(["--checkpoint-only", "--bundle-root", root, "--output-dir", str(tmp_path), *pairs]) == 0
    written = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    for place in ("network", "backbone", "part"):
        (key,) = (key for key in written[place] if key.endswith(name))
        assert (written[place][key] == 3.0).all()


def test_the_torchscript_file_holds_metadata_and_configuration(exported: Path):
    _, metadata, extra = load_net_with_metadata(str(exported / "model.ts"), more_extra_files=("inference.json",))
    assert metadata["name"] == "ICHDiagnosis"
    assert metadata["intended_use"] == message("report.notice")
    assert json.loads(extra["inference.json"])["network_def"]["_target_"].endswith("DrCT2")


@pytest.mark.parametrize("name", ONNX_FILES)
def test_an_onnx_file_says_which_model_it_is(exported: Path, configured: Configured, name: str):
    model = onnx.load(exported / name)
    stated = {entry.key: entry.value for entry in model.metadata_props}
    identity = configured.identity()
    assert stated["notice"] == message("report.notice")
    assert stated["version"] == identity.version
    assert tuple(json.loads(stated["labels"])) == identity.labels
    assert json.loads(stated["weights_sha256"]) == identity.weights_sha256
    assert str(configured.bundle_root) not in "".join(stated.values())


@pytest.mark.parametrize(("count", "height", "width"), [(1, 32, 32), (5, 64, 64), (2, 64, 96)])
def test_the_backbone_takes_any_number_of_slices_of_any_size(
    exported: Path, network: DrCT2, count: int, height: int, width: int
):
    slices = torch.rand(count, 3, height, width)
    maps, features, lesion_logits = run_onnx(exported / "backbone.onnx", slices=slices)
    levels = network.backbone.levels(slices)
    torch.testing.assert_close(maps, levels[-1], atol=1e-4, rtol=1e-4)
    pixels = network.lesion_decoder(levels)
    embeddings = network.embedding(network.backbone.pool(maps), pixels)
    torch.testing.assert_close(features, embeddings, atol=1e-4, rtol=1e-3)
    # As probabilities: logits far from any blood are large.
    torch.testing.assert_close(lesion_logits.sigmoid(), pixels.sigmoid(), atol=1e-4, rtol=1e-3)
    assert lesion_logits.shape == (count, 6, height // 4, width // 4)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_heads_take_any_batch_and_choose_by_what_they_are_given(exported: Path, network: DrCT2, batch: int):
    channels = network.embedding_width
    features, high_res = torch.randn(batch, 6, channels).abs() * 3, torch.randn(batch, 3, channels).abs() * 3
    keys, attention = run_onnx(exported / "key_slices.onnx", features=features)
    expected_keys, expected_attention = KeySlices(network)(features)
    assert torch.equal(keys, expected_keys)
    torch.testing.assert_close(attention, expected_attention, atol=1e-5, rtol=1e-4)
    reading = network.read(features, lambda _: high_res)
    results = run_onnx(exported / "heads.onnx", features=features, high_res_features=high_res)
    for result, expected in zip(
        results, (reading.logits, reading.slice_attention, reading.feature_attention), strict=True
    ):
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)


@pytest.fixture
def in_bundle(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(configured.bundle_root)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return configured.bundle_root


def test_a_traced_file_takes_another_batch_than_the_one_it_was_traced_with(
    in_bundle: Path, exported: Path, network: DrCT2, tmp_path: Path
):
    files = {"ckpt_file": str(exported / "checkpoint.pt"), "config_file": "configs/inference.json"}
    shape = {"input_shape": (1, 3, 6, 32, 32), "use_trace": True}
    ckpt_export(filepath=str(tmp_path / "traced.ts"), key_in_ckpt="network", **files, **shape, **SMALL)
    images = torch.rand(3, 3, 6, 32, 32) * 4 - 2
    traced = torch.jit.load(str(tmp_path / "traced.ts"))
    torch.testing.assert_close(traced(images), network(images), atol=1e-4, rtol=1e-4)


def test_the_whole_network_goes_into_one_onnx_file(in_bundle: Path, exported: Path, network: DrCT2, tmp_path: Path):
    names = {"input_names": ["image"], "output_names": ["pred"], "dynamic_axes": {"image": {0: "batch"}}}
    onnx_export(
        "network_def",
        tmp_path / "model.onnx",
        ckpt_file=str(exported / "checkpoint.pt"),
        config_file="configs/inference.json",
        key_in_ckpt="network",
        input_shape=(2, 3, 6, 32, 32),
        converter_kwargs=names,
        **SMALL,
    )
    image = torch.rand(1, 3, 6, 32, 32) * 4 - 2
    (logits,) = run_onnx(tmp_path / "model.onnx", image=image)
    torch.testing.assert_close(logits, network(image), atol=LARGEST_DIFFERENCE, rtol=0)


def test_the_command_ends_with_failure_where_a_file_disagrees(
    configured: Configured, exported: Path, head: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    words = ["--bundle-root", str(configured.bundle_root), "--output-dir", str(exported), "--study", str(head)]
    words += [word for key, value in SMALL.items() for word in ("--set", key, json.dumps(value))]
    monkeypatch.setattr("research.export.__main__.export", lambda *_: [exported / "model.ts"])
    assert main(words) == 0
    assert "largest difference" in capsys.readouterr().out
    monkeypatch.setattr("research.export.__main__.LARGEST_DIFFERENCE", -1.0)
    assert main(words) == 1


def test_a_study_that_cannot_be_read_is_a_named_error(configured: Configured, tmp_path: Path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no image")
    with pytest.raises(IntakeError, match="broken"):
        read_study(configured, broken, SMALL["sub_stack_size"])


def test_only_drct2_is_exported_in_pieces(configured: Configured):
    drct1 = {"_target_": "scripts.networks.drct.DrCT1", "backbone": "@backbone"}
    with pytest.raises(SettingError, match="DrCT1; only DrCT2"):
        Configured(configured.bundle_root, {"network_def": drct1}).network()


def test_a_setting_that_is_no_json_is_named():
    assert as_settings([("epochs", "3"), ("model_file", '"a.pt"')]) == {"epochs": 3, "model_file": "a.pt"}
    with pytest.raises(SettingError, match="model_file"):
        as_settings([("model_file", "a.pt")])


@pytest.mark.timeout(1800)
def test_the_shipped_weights_agree_on_a_real_scan(ich_data: Path, tmp_path: Path):
    """Small images spare minutes; the command of docs/export.md does the same at full size."""
    configured = Configured(BUNDLE, {"image_size": 96, "high_res_size": 128})
    export(configured, tmp_path)
    given = read_study(configured, ich_data / "rsna-series-iph-ivh", configured.network().slices)
    found = differences(configured, tmp_path, given)
    shutil.rmtree(tmp_path)
    assert max(found.values()) <= LARGEST_DIFFERENCE, found


def test_another_backbone_is_exported_by_one_override_file(head: Path, tmp_path: Path):
    override = Path(__file__).parents[1] / "bundle" / "resnet18.json"
    configured = replace(a_bundle(tmp_path / "bundle_copy"), overrides=(override,))
    torch.manual_seed(5)
    checkpoint = complete_checkpoint(configured.network(), tmp_path / "own.pt")
    own = tmp_path / "network.pt"
    torch.save(torch.load(checkpoint, weights_only=True)["network"], own)
    configured = replace(configured, settings={**SMALL, "model_file": str(own)})
    files = export(configured, tmp_path / "exported")
    found = differences(configured, files[0].parent, read_study(configured, head, SMALL["sub_stack_size"]))
    assert max(found.values()) <= LARGEST_DIFFERENCE
    assert configured.network().backbone.channels == 512
    assert type(configured.network().backbone).__name__ == "ResNet18Features"
