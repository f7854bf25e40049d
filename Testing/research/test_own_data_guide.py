"""The guide to one's own data, followed: its check, training, metrics and reading run as they stand on the page."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from own_data_files import SLICE_TABLE, write_own_data
from training_runs import BUNDLE, copy_of_bundle

from research.training.cross_validation import own_data

GUIDE = (BUNDLE / "docs" / "train_your_own.md").read_text("utf-8")
QUICK = {"image_size": 32, "high_res_size": 64, "folds": 2, "epochs": 2, "batch_size": 4}
"""Images and trainings so small that they take seconds; the page's own settings take an hour."""


def command(beginning: str) -> list[str]:
    """Return the words of the one command on the page that begins so."""
    blocks = re.findall(r"^```bash\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    (found,) = (block for block in blocks if block.startswith(f"python -m {beginning}"))
    return shlex.split(
        found.replace("\\\n", " ").replace("<study or folder>", "STUDIES").replace("<folder>", "RESULTS")
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle's folder, with somebody's scans in it."""
    root = copy_of_bundle(tmp_path_factory.mktemp("guide") / "monai_bundle")
    (root / "models").mkdir()
    (root / "models" / "model.pt").symlink_to(BUNDLE / "models" / "model.pt")
    scans = write_own_data(root / "my_scans")
    (scans / "slices.csv").write_text(SLICE_TABLE, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def run(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(BUNDLE), "CUDA_VISIBLE_DEVICES": ""}
        program, *rest = words
        assert program == "python"
        done = subprocess.run(
            [sys.executable, *rest], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done

    return run


@pytest.fixture(scope="module")
def trained(folder: Path, run: Callable[..., subprocess.CompletedProcess[str]]) -> str:
    """What the check and the training of the page printed."""
    checked = run(*command("scripts.datasets.own_data"), "--folds", "2")
    assert "6 studies of 5 patients" in checked.stdout
    settings = [word for key, value in QUICK.items() for word in ("--set", key, json.dumps(value))]
    return run(*command("research.training.cross_validation"), *settings).stdout


def test_the_training_knows_what_the_check_has_read(folder: Path, trained: str):
    cache = command("scripts.datasets.own_data")[-1]
    assert own_data("studies", "labels.csv")["cache#folder"] == cache
    kept = list((folder / cache / "readings").rglob("output.pkl"))
    assert len(kept) == 6, "each of six studies is to be read once, by the check, and not again"
    assert "any" in trained


def test_the_training_leaves_every_file_that_the_page_names(folder: Path, trained: str):
    section = GUIDE[GUIDE.index("| file in `my_model`") : GUIDE.index("The metrics with their intervals")]
    named = re.findall(r"`(\w+\.(?:pt|json))`", section)
    assert sorted(named) == sorted(path.name for path in (folder / "my_model").iterdir())


@pytest.mark.usefixtures("trained")
def test_all_metrics_are_printed(run: Callable[..., subprocess.CompletedProcess[str]]):
    assert "AUC" in run(*command("research.metrics")).stdout


@pytest.mark.usefixtures("trained")
def test_ones_own_model_reads_as_it_learnt_to(folder: Path, run: Callable[..., subprocess.CompletedProcess[str]]):
    given = {"STUDIES": "my_scans/studies/gamma.nii.gz", "RESULTS": "results"}
    run(*(given.get(word, word) for word in command("monai.bundle")))
    (result,) = (json.loads(path.read_text("utf-8")) for path in (folder / "results").glob("*/result.json"))
    assert result["status"] == "evaluated"
    assert "model.pt" in " ".join(result["model"]["weights_sha256"])
    assert result["model"]["trained_on"] == "not known: weights of one's own"
    # Six studies are too few for any threshold; the settings of reading came along.
    assert all(finding["default_threshold"] for finding in result["findings"])
    settings = json.loads((folder / "my_model" / "inference.json").read_text("utf-8"))
    assert (settings["image_size"], settings["high_res_size"]) == (32, 64)
    assert "epochs" not in settings
