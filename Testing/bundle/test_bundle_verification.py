"""The bundle as MONAI and its model zoo check it: metadata, required properties, network, weights, large files, format.

``meta_schema_20240725.json`` is MONAI's own schema (Apache-2.0), kept here so that nothing is downloaded.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import logging
import logging.handlers
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, verify_metadata, verify_net_in_out
from monai.networks.utils import convert_to_torchscript

from scripts.networks.drct import DrCT2
from scripts.networks.vgg16 import VGG16Features
from scripts.training.scan_features import ScanFeatures

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
CONFIGS = BUNDLE / "configs"
METADATA = CONFIGS / "metadata.json"
SCHEMA = Path(__file__).with_name("meta_schema_20240725.json")
SCHEMA_MD5 = "06954cad2cc5d3784e72077ac76f0fc8"
# What the model zoo does not take into its repository.
LARGE_FILE_BYTES = 25_000_000
ORDER_OF_METADATA = (
    *("schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version"),
    *("required_packages_version", "supported_apps", "name", "task", "description", "authors", "copyright"),
    *("data_source", "data_type", "image_classes", "label_classes", "pred_classes", "eval_metrics", "intended_use"),
    *("references", "network_data_format"),
)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def a_metadata() -> dict[str, Any]:
    return json.loads(METADATA.read_text(encoding="utf-8"))


def verify_offline(meta_file: Path) -> None:
    verify_metadata(meta_file=str(meta_file), filepath=str(SCHEMA), hash_val=SCHEMA_MD5)


@pytest.fixture
def in_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BUNDLE)


def workflow_of(*config_files: str, kind: str, **overrides: Any) -> ConfigWorkflow:
    files = [str(CONFIGS / name) for name in config_files]
    workflow = ConfigWorkflow(files, str(METADATA), logging_file=False, workflow_type=kind, **overrides)
    workflow.initialize()
    return workflow


@pytest.fixture
def a_study(tmp_path: Path) -> Path:
    path = tmp_path / "studies" / "head.nii.gz"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 4), dtype=np.int16), np.eye(4)), path)
    return path.parent


@pytest.fixture
def cached_scans(tmp_path: Path) -> dict[str, Any]:
    """What stands in for features that take the backbone an hour."""
    entries = [{"label": [scan % 2] * 6, "slice_labels": None, "fold": scan % 2} for scan in range(4)]
    features = [ScanFeatures(torch.rand(2, 30, 512), torch.rand(2, 30, 512), torch.arange(30)) for _ in entries]
    return {"datalist": entries, "features": features, "output_dir": str(tmp_path), "validation_fold": 0}


def test_the_metadata_passes_monais_schema():
    verify_offline(METADATA)


def test_the_schema_is_the_one_that_the_metadata_names():
    assert Path(a_metadata()["schema"]).name == SCHEMA.name
    assert hashlib.md5(SCHEMA.read_bytes()).hexdigest() == SCHEMA_MD5


@pytest.mark.parametrize("key", ["task", "network_data_format", "monai_version"])
def test_metadata_without_a_required_key_fails_the_schema(tmp_path: Path, key: str):
    content = a_metadata()
    del content[key]
    broken = tmp_path / "metadata.json"
    broken.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="Failed validating"):
        verify_offline(broken)


def test_the_metadata_has_the_zoos_keys_in_the_zoos_order():
    keys = [key for key in a_metadata() if key in ORDER_OF_METADATA]
    assert keys == list(ORDER_OF_METADATA)


@pytest.mark.usefixtures("in_bundle")
def test_the_network_takes_and_gives_what_the_metadata_says():
    """In small images, with the slices and channels that the metadata state: the full size takes minutes."""
    small = {"_meta_#network_data_format#inputs#image#spatial_shape": [32, 64, 64], "high_res_size": 96}
    verify_net_in_out("network_def", str(METADATA), str(CONFIGS / "inference.json"), device="cpu", **small)
    shape = a_metadata()["network_data_format"]["inputs"]["image"]["spatial_shape"]
    assert [size % 32 for size in shape[1:]] == [0, 0]


@pytest.mark.usefixtures("in_bundle")
def test_a_network_of_other_labels_than_the_metadata_says_is_noticed():
    small = {"_meta_#network_data_format#inputs#image#spatial_shape": [32, 32, 32], "high_res_size": 32}
    files = (str(METADATA), str(CONFIGS / "inference.json"))
    with pytest.raises(ValueError, match="output channel number `9` doesn't match: `6`"):
        verify_net_in_out("network_def", *files, device="cpu", label_vocabulary="cq500", **small)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_network_still_chooses_its_key_slices_itself():
    """Export (``ckpt_export --use_trace True``) must not freeze what the traced image happened to choose."""
    torch.manual_seed(0)
    network = DrCT2(VGG16Features(), slices=4, key_slices=2, high_res_size=64).eval()
    for parameter in network.parameters():
        parameter.data.mul_(2)
    images = [torch.rand(1, 3, 4, 32, 32) * 4 - 2 for _ in range(8)]
    traced = convert_to_torchscript(network, inputs=images[:1], use_trace=True)
    chosen = set()
    with torch.no_grad():
        for image in images:
            torch.testing.assert_close(traced(image), network(image))
            reading = network.read(network.embeddings_of(image), network.high_resolution_of(image))
            chosen.add(tuple(reading.key_slices.flatten().tolist()))
    assert len(chosen) > 1


@pytest.mark.usefixtures("in_bundle")
def test_inference_has_every_property_that_monai_requires(a_study: Path, tmp_path: Path):
    workflow = workflow_of("inference.json", kind="infer", dataset_dir=str(a_study), output_dir=str(tmp_path / "out"))
    assert workflow.check_properties() == []


@pytest.mark.usefixtures("in_bundle")
def test_a_missing_property_is_noticed(a_study: Path):
    workflow = workflow_of("inference.json", kind="infer", dataset_dir=str(a_study))
    configuration = workflow.parser.get()
    del configuration["evaluator"]
    workflow.parser.set(configuration)
    workflow.parser.parse(reset=True)
    with pytest.raises(KeyError, match="evaluator"):
        workflow.check_properties()


@pytest.mark.usefixtures("in_bundle")
def test_training_has_every_property_that_monai_requires(cached_scans: dict[str, Any]):
    assert workflow_of("train.json", kind="train", **cached_scans).check_properties() == []


@pytest.mark.usefixtures("in_bundle")
def test_evaluation_changes_training_without_losing_a_property(cached_scans: dict[str, Any]):
    settings = {**cached_scans, "model_file": "models/model.pt"}
    workflow = workflow_of("train.json", "evaluate.json", kind="train", **settings)
    assert workflow.check_properties() == []


def test_the_licence_has_the_name_that_the_zoo_looks_for():
    assert "Apache License" in (BUNDLE / "LICENSE").read_text(encoding="utf-8")


def test_the_changelog_begins_with_the_version():
    metadata = a_metadata()
    assert next(iter(metadata["changelog"])) == metadata["version"]


def test_no_weights_are_too_large_for_the_model_zoo():
    assert all(path.stat().st_size <= LARGE_FILE_BYTES for path in (BUNDLE / "models").iterdir())


def test_the_metadata_names_the_weights_by_their_hash():
    weights = a_metadata()["weights"]
    assert weights == {name: sha256(BUNDLE / name) for name in ("models/model.pt",)}


def test_the_logging_configuration_names_only_handlers_of_the_standard_library():
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read(CONFIGS / "logging.conf", encoding="utf-8")
    handlers = {section: parsed[section] for section in parsed.sections() if section.startswith("handler_")}
    assert handlers
    for handler in handlers.values():
        module, _, name = handler["class"].rpartition(".")
        assert issubclass(getattr({"": logging, "handlers": logging.handlers}[module], name), logging.Handler)
        # logging.config evaluates what stands here.
        assert handler["args"] in {"()", "(sys.stderr,)", "(sys.stdout,)"}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.name)
def test_configurations_have_the_zoos_format(path: Path):
    text = path.read_text(encoding="utf-8")
    # As the zoo's hook writes it: one entry per line, also in lists.
    assert text == json.dumps(json.loads(text), indent=4, ensure_ascii=False) + "\n"


def test_the_bundle_runs_from_a_copy_elsewhere(tmp_path: Path):
    """No file outside the bundle's folder is needed to build its engine."""
    copy = shutil.copytree(BUNDLE, tmp_path / "köpf 1", ignore=shutil.ignore_patterns("cache", "eval", "__pycache__"))
    empty = tmp_path / "none"
    empty.mkdir()
    command = ["-m", "monai.bundle", "run", "--config_file", "configs/inference.json", "--dataset_dir", str(empty)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "none" in done.stderr.splitlines()[-1]


def test_the_documentation_states_the_metrics_of_the_metadata():
    metrics = json.loads((BUNDLE / "configs" / "metadata.json").read_text("utf-8"))["eval_metrics"]
    page = (BUNDLE / "docs" / "README.md").read_text("utf-8")
    for key, row in metrics["labels"].items():
        assert f"| {key} | {row['positive']} | {row['auc']:.3f} | {row['average_precision']:.3f} |" in page
    found, baseline = metrics["key_slices_top_h"], metrics["key_slices_top_h_random_baseline"]
    assert f"{found:.3f} (random baseline {baseline:.3f})" in page
    front = (BUNDLE.parent / "README.md").read_text("utf-8")
    assert f"ROC curve for any haemorrhage is {metrics['labels']['any']['auc']:.2f} (".replace(" 0.", " .") in front
