"""``python -m monai.bundle run`` as a user starts it: result folders, exit status, one line per mistake, cancel."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from monai.bundle import ConfigParser
from phantom_cases import FINE

from scripts.phantom import Haemorrhage, Phantom, make_phantom, write_nifti
from scripts.weights import save_trained

torch.set_num_threads(1)

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
# Small images: what is tested here does not depend on how well the network sees.
QUICK = ("--image_size", "112", "--high_res_size", "160", "--device", "cpu")
PROGRESS = re.compile(r"^PROGRESS (\d+)/(\d+) (\S.*)$")
PATIENCE_S = 240


@dataclass(frozen=True)
class Ended:
    """A child process that is over."""

    status: int
    output: str
    log: str

    @property
    def progress(self) -> list[tuple[int, int, str]]:
        found = [PROGRESS.match(line) for line in self.output.splitlines() if line.startswith("PROGRESS")]
        assert all(found)
        return [(int(match[1]), int(match[2]), match[3]) for match in found if match]

    @property
    def errors(self) -> list[str]:
        return [line for line in self.log.splitlines() if re.search(r"\b(ERROR|CRITICAL)\b", line)]


@dataclass(frozen=True)
class Run:
    """A child process that may still be under way."""

    process: subprocess.Popen[str]
    output_dir: Path

    def end(self) -> Ended:
        output, log = self.process.communicate(timeout=PATIENCE_S)
        return Ended(self.process.returncode, output, log)


def start(
    bundle: Path,
    dataset_dir: Path,
    output_dir: Path,
    *more: str,
    cwd: Path | None = None,
    files: str = "configs/inference.json",
    quick: Sequence[str] = QUICK,
    path: Path | None = None,
) -> Run:
    """Start the bundle; from its own folder with relative paths, or from another with absolute ones."""
    root = str(bundle) if cwd else "."
    config = str(bundle / "configs" / "inference.json") if cwd else files
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", config, "--bundle_root", root]
    command += ["--dataset_dir", str(dataset_dir), "--output_dir", str(output_dir), *quick, *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(path), environment.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        command,
        cwd=cwd or bundle,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    return Run(process, output_dir)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with heads of no training, so that no test depends on the weights that are shipped."""
    root = tmp_path_factory.mktemp("bundle") / "monai_bundle"
    shutil.copytree(BUNDLE / "configs", root / "configs")
    for name in ("scripts", "docs"):
        (root / name).symlink_to(BUNDLE / name, target_is_directory=True)
    torch.manual_seed(0)
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    digest = save_trained(parser.get_parsed_content("network_def"), root / "models" / "model.pt")
    state_digest(root, digest)
    return root


def state_digest(bundle: Path, model_digest: str) -> None:
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    metadata["weights"] = {"models/model.pt": model_digest}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(FINE, [Haemorrhage("intraparenchymal", "left", 30.0)], seed=2)


@pytest.fixture(scope="module")
def studies(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good file and one bad one, in a folder whose name has spaces and letters beyond ASCII."""
    folder = tmp_path_factory.mktemp("studies") / "Köpfe und mehr 頭"
    write_nifti(phantom, folder / "größer als gedacht.nii.gz")
    (folder / "kaputt.nii.gz").write_bytes(b"no NIfTI")
    return folder


@pytest.fixture(scope="module")
def finished(bundle: Path, studies: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """One run over both files, started from a folder of its own."""
    elsewhere = tmp_path_factory.mktemp("else where")
    run = start(bundle, studies, elsewhere / "Ergebnisse é", cwd=elsewhere)
    return run.end(), run.output_dir


@pytest.fixture(scope="module")
def result(finished: tuple[Ended, Path]) -> dict[str, Any]:
    return json.loads((finished[1] / "größer als gedacht" / "result.json").read_text(encoding="utf-8"))


def test_a_run_over_a_good_and_a_bad_file_ends_with_3_and_no_traceback(finished: tuple[Ended, Path]):
    ended, _ = finished
    assert ended.status == 3, ended.log
    assert "Traceback" not in ended.log
    assert ended.errors == []


def test_each_study_has_its_result_folder_and_nothing_else_is_left(finished: tuple[Ended, Path]):
    assert sorted(path.name for path in finished[1].iterdir()) == ["größer als gedacht", "kaputt"]


@pytest.mark.parametrize(("study", "status"), [("größer als gedacht", "evaluated"), ("kaputt", "not_evaluable")])
def test_results_follow_the_schema(finished: tuple[Ended, Path], study: str, status: str):
    schema = json.loads((BUNDLE / "docs" / "result.schema.json").read_text(encoding="utf-8"))
    document = json.loads((finished[1] / study / "result.json").read_text(encoding="utf-8"))
    assert [fault.message for fault in Draft202012Validator(schema).iter_errors(document)] == []
    assert document["status"] == status
    assert (finished[1] / study / "report.html").stat().st_size > 1000


def test_the_refusal_names_the_file_and_the_fault(finished: tuple[Ended, Path]):
    document = json.loads((finished[1] / "kaputt" / "result.json").read_text(encoding="utf-8"))
    assert document["reason"]["code"] == "unreadable_file"
    assert "kaputt.nii.gz" in document["reason"]["message"]


def test_the_map_of_every_label_lies_on_the_voxels_of_the_file(
    finished: tuple[Ended, Path], result: dict[str, Any], studies: Path
):
    ct = nib.Nifti1Image.from_filename(studies / "größer als gedacht.nii.gz")
    kinds = {(entry["kind"], entry["label"]) for entry in result["maps"]}
    assert kinds == {("attention", None)} | {("slice_gradcam", finding["key"]) for finding in result["findings"]}
    outside = np.asanyarray(ct.dataobj) < -900
    for entry in result["maps"]:
        stored = nib.Nifti1Image.from_filename(finished[1] / "größer als gedacht" / entry["file"])
        values = np.asanyarray(stored.dataobj)
        assert stored.shape == ct.shape
        assert values.dtype == np.uint8
        np.testing.assert_allclose(stored.affine, ct.affine, atol=1e-5)
        assert values[outside].mean() < 0.1 * max(values[~outside].mean(), 1.0)


def test_the_result_describes_every_original_slice(result: dict[str, Any], phantom: Phantom):
    slices = result["slices"]
    assert [entry["index"] for entry in slices] == list(range(len(phantom.voxels)))
    np.testing.assert_allclose([entry["position_mm"] for entry in slices], phantom.grid.positions_mm, atol=1e-3)
    assert sum(entry["attention"] for entry in slices) == pytest.approx(1.0, abs=1e-4)
    ranked = sorted((entry for entry in slices if entry["key_rank"]), key=lambda entry: entry["key_rank"])
    assert [entry["key_rank"] for entry in ranked] == [1, 2, 3, 4, 5]
    attention = [entry["attention"] for entry in ranked]
    assert attention == sorted(attention, reverse=True)
    assert attention[0] == max(entry["attention"] for entry in slices)


def test_the_result_states_which_model_it_was(result: dict[str, Any], bundle: Path):
    digests = result["model"]["weights_sha256"]
    for name, digest in digests.items():
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest
    assert result["device"] == "cpu"
    assert result["mirrored_views"] is True
    assert {"reading", "slices", "key slices", "explanation", "maps"} <= set(result["seconds"])


def test_no_result_names_a_folder_of_this_machine(finished: tuple[Ended, Path], studies: Path):
    for path in finished[1].glob("*/*.*"):
        if path.suffix in (".json", ".html"):
            text = path.read_text(encoding="utf-8")
            assert str(studies.parent) not in text
            assert "Köpfe und mehr" not in text


def test_progress_runs_from_nothing_to_all_without_a_step_back(finished: tuple[Ended, Path]):
    steps = finished[0].progress
    done = [step[0] for step in steps]
    assert done == sorted(done)
    assert {step[1] for step in steps} == {200}
    assert (done[0], done[-1]) == (0, 200)
    assert len({step[2] for step in steps}) >= 6


@pytest.fixture(scope="module")
def failures(bundle: Path, studies: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Ended, Path]]:
    """Runs that a user's mistake ends, side by side: each spends most of its time on imports."""
    folder = tmp_path_factory.mktemp("mistakes")
    changed = folder / "monai_bundle"
    shutil.copytree(bundle, changed, symlinks=True)
    state_digest(changed, "0" * 64)
    runs = {
        "no such folder": start(bundle, folder / "no such folder", folder / "first"),
        "changed weights": start(changed, studies, folder / "second"),
        "operating point": start(bundle, studies, folder / "third", "--operating_point", "fearless"),
        "old name": start(bundle, studies, folder / "fourth", "--picture_size=112"),
    }
    return {mistake: (run.end(), run.output_dir) for mistake, run in runs.items()}


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ("no such folder", "no such folder: no such file or folder"),
        ("changed weights", "models/model.pt: sha256"),
        ("operating point", "'fearless'"),
        ("old name", "picture_size is called image_size since version 0.4"),
    ],
)
def test_a_mistake_ends_with_1_one_line_and_nothing_written(
    failures: dict[str, tuple[Ended, Path]], mistake: str, named: str
):
    ended, output_dir = failures[mistake]
    assert ended.status == 1, ended.log
    assert "Traceback" not in ended.log
    assert len(ended.errors) == 1, ended.log
    assert named in ended.errors[0]
    assert str(output_dir.parent) not in ended.errors[0]
    assert not output_dir.exists()


def test_old_names_are_read_with_a_warning_where_the_overlay_is_among_the_files(
    bundle: Path, studies: Path, tmp_path: Path
):
    files = "['configs/inference.json','configs/renamed_keys_0_3.json']"
    names = ["--picture_size", "32", "--zoom_size", "48", "--sample_size", "8", "--network_def#key_slices", "4"]
    names += ["--mirrored_views", "false"]
    study = studies / "größer als gedacht.nii.gz"
    ended = start(bundle, study, tmp_path / "out", *names, files=files, quick=("--device", "cpu")).end()
    assert ended.status == 0, ended.log
    assert "picture_size is called image_size" in ended.log
    assert "zoom_size is called high_res_size" in ended.log
    assert "head_margin" not in ended.log.split("picture_size is called")[1]
    result = json.loads((tmp_path / "out" / "größer als gedacht" / "result.json").read_text(encoding="utf-8"))
    assert result["mirrored_views"] is False


def test_another_backbone_takes_one_file_and_one_override(bundle: Path, studies: Path, tmp_path: Path):
    files = f"['configs/inference.json','{Path(__file__).with_name('resnet18.json')}']"
    study = studies / "größer als gedacht.nii.gz"
    # The shipped network's scale of maps is not that of random weights; of this method there is none.
    own_scale = ("--explanation_method", "gradcam++")
    ended = start(bundle, study, tmp_path / "out", *own_scale, files=files, path=Path(__file__).parent).end()
    assert ended.status == 0, ended.log
    assert "ResNet18Features has no pretrained weights: it has random ones" in ended.log
    folder = tmp_path / "out" / "größer als gedacht"
    model = json.loads((folder / "result.json").read_text(encoding="utf-8"))["model"]
    assert model["weights_sha256"] == {}
    assert model["trained_on"] == "nothing: heads with random weights, backbone too"
    maps = [np.asanyarray(nib.Nifti1Image.from_filename(path).dataobj) for path in folder.glob("gradcam_*.nii.gz")]
    assert len(maps) == 6
    assert all(voxels.any() for voxels in maps)


def test_sigterm_in_the_middle_cancels_and_leaves_no_half_folder(bundle: Path, studies: Path, tmp_path: Path):
    run = start(bundle, studies / "größer als gedacht.nii.gz", tmp_path / "out")
    assert run.process.stdout is not None
    for line in run.process.stdout:
        if line.startswith("PROGRESS") and "slices" in line:
            break
    run.process.send_signal(signal.SIGTERM)
    ended = run.end()
    assert ended.status == 130, ended.log
    assert "Traceback" not in ended.log
    assert ended.errors == []
    assert "cancelled after 0 studies" in ended.log
    assert not run.output_dir.exists() or list(run.output_dir.iterdir()) == []
