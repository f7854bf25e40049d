"""The worker that stays reads as ``python -m monai.bundle run`` does, bit for bit, one study after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from phantom_cases import FINE
from small_bundle import BUNDLE, SMALL, SMALL_NETWORK, write_model, write_small_bundle

from scripts.phantom import Haemorrhage, make_phantom, write_nifti

torch.set_num_threads(1)

SUMMARY = "input summary of monai.bundle.scripts.run"


@dataclass
class Conversation:
    """A worker and what it has answered."""

    process: subprocess.Popen[str]
    bundle: Path
    output: Path
    statuses: dict[str, int] = field(default_factory=dict)
    stages: dict[str, list[str]] = field(default_factory=dict)
    printed: list[str] = field(default_factory=list)

    def ask(self, name: str, request: str, study: Path | None = None, *more: str) -> None:
        """Ask under a name, and wait for the answer."""
        arguments = arguments_for(self.bundle, study, self.output / name, *more)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"id": name, request: arguments}) + "\n")
        self.process.stdin.flush()
        self.stages[name] = []
        for line in self.process.stdout:
            if line.startswith("{"):
                reply = json.loads(line)
                assert reply["id"] == name
                self.statuses[name] = reply["status"]
                return
            if line.startswith("PROGRESS"):
                self.stages[name].append(line.split()[-1])
            else:
                self.printed.append(line)
        raise AssertionError("the worker ended")


def arguments_for(bundle: Path, study: Path | None, output: Path, *more: str) -> list[str]:
    files = f"['{bundle / 'configs' / 'inference.json'}','{bundle / 'configs' / 'tiny.json'}']"
    arguments = ["run", "--config_file", files, "--bundle_root", str(bundle), *SMALL, *SMALL_NETWORK, *more]
    return arguments if study is None else [*arguments, "--dataset_dir", str(study), "--output_dir", str(output)]


def start(module: str, arguments: Sequence[str], log: Path) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with log.open("w", encoding="utf-8") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=BUNDLE,
            env=os.environ | {"PYTHONUTF8": "1", "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            encoding="utf-8",
        )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "monai_bundle")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    for seed, name in ((2, "erste"), (3, "zweite")):
        phantom = make_phantom(FINE, [Haemorrhage("intraparenchymal", "left", 30.0)], seed=seed)
        write_nifti(phantom, folder / f"{name}.nii.gz")
    (folder / "kaputt.nii.gz").write_bytes(b"no NIfTI")
    return folder


@pytest.fixture(scope="module")
def worker(bundle: Path, studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversation]:
    """One worker, which has read several studies."""
    folder = tmp_path_factory.mktemp("results")
    process = start("scripts.resident_worker", ["--least_memory_mb", "0"], folder / "log")
    conversation = Conversation(process, bundle, folder)
    first, second = studies / "erste.nii.gz", studies / "zweite.nii.gz"
    conversation.ask("prepared", "prepare")
    conversation.ask("first", "arguments", first)
    conversation.ask("second", "arguments", second)
    conversation.ask("refused", "arguments", studies / "kaputt.nii.gz")
    conversation.ask("again", "arguments", first)
    conversation.ask("wrong", "arguments", first, "--operating_point", "fearless")
    conversation.ask("old name", "arguments", first, "--picture_size", "112")
    conversation.ask("after a failure", "arguments", first)
    conversation.ask("other settings", "arguments", first, "--explanation_method", "gradcam++")
    digest = write_model(bundle, seed=5)
    conversation.ask("other weights", "arguments", first)
    assert model_of(folder / "other weights")["weights_sha256"] == {"models/model.pt": digest}
    write_model(bundle, seed=1)
    yield conversation
    process.communicate(timeout=240)


@pytest.fixture(scope="module")
def one_shot(bundle: Path, studies: Path, worker: Conversation) -> dict[str, Path]:
    """The same studies, each read by a process of its own."""
    folder = worker.output.parent / "one shot"
    folder.mkdir()
    for name, study in (("first", "erste"), ("second", "zweite")):
        arguments = arguments_for(bundle, studies / f"{study}.nii.gz", folder / name)
        process = start("monai.bundle", arguments, folder / f"{name}.log")
        process.communicate(timeout=240)
        assert process.returncode == 0
    return {name: folder / name for name in ("first", "second")}


def model_of(output: Path) -> dict[str, Any]:
    (result,) = output.glob("*/result.json")
    return json.loads(result.read_text(encoding="utf-8"))["model"]


def content_of(output: Path) -> Mapping[str, object]:
    """Return all that a result holds but the seconds that it took, which its report states too."""
    content: dict[str, object] = {
        str(file.relative_to(output)): file.read_bytes()
        for file in sorted(output.glob("*/*"))
        if file.suffix not in (".json", ".html")
    }
    (result,) = output.glob("*/result.json")
    document = json.loads(result.read_text(encoding="utf-8"))
    del document["seconds"]
    return content | {"result.json": document, "report": (result.parent / "report.html").is_file()}


@pytest.mark.parametrize(
    ("read", "expected"),
    [("first", "first"), ("second", "second"), ("again", "first"), ("after a failure", "first")],
)
def test_results_are_those_of_a_process_of_their_own(
    worker: Conversation, one_shot: dict[str, Path], read: str, expected: str
):
    content = content_of(worker.output / read)
    assert len(content) >= 9
    assert content == content_of(one_shot[expected])


def test_studies_with_other_settings_or_weights_have_other_results(worker: Conversation):
    first = content_of(worker.output / "first")
    assert content_of(worker.output / "other settings") != first
    assert content_of(worker.output / "other weights") != first


def test_each_study_has_its_own_status(worker: Conversation):
    assert worker.statuses == {
        "prepared": 0,
        "first": 0,
        "second": 0,
        "refused": 3,
        "again": 0,
        "wrong": 1,
        "old name": 1,
        "after a failure": 0,
        "other settings": 0,
        "other weights": 0,
    }


def test_a_mistake_is_one_line_of_the_log_and_leaves_nothing(worker: Conversation):
    log = (worker.output / "log").read_text(encoding="utf-8").splitlines()
    errors = [line for line in log if "ERROR" in line]
    assert ["'fearless'" in errors[0], "picture_size is called image_size" in errors[1]] == [True, True]
    assert len(errors) == 2
    assert not any("Traceback" in line for line in log)
    assert not (worker.output / "wrong").exists()


def test_the_configuration_is_parsed_and_the_network_loaded_once_for_equal_settings(worker: Conversation):
    # For the preparation, the wrong setting, the study after the failures, other settings and other weights.
    assert sum(SUMMARY in line for line in worker.printed) == 5


def test_every_study_reports_its_progress_from_the_beginning(worker: Conversation):
    assert worker.stages["first"] == worker.stages["again"]
    assert worker.stages["first"][0] == "reading"
    assert worker.stages["first"][-1] == "done"
