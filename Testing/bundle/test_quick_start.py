"""A quick start reads studies without packages of training and tracking; else it is MONAI's command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scripts.quick_start import UNUSED

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=BUNDLE, capture_output=True, text=True, check=False)


def test_what_inference_imports_needs_none_of_the_hidden_packages():
    modules = "scripts.exit_status, scripts.inferer, scripts.weights, scripts.networks.drct, scripts.output.result"
    code = (
        "import sys; from scripts.quick_start import UNUSED, hide; hide(); import monai.bundle, " + modules + "; "
        "print([name for name in UNUSED if sys.modules[name] is not None])"
    )
    done = run("-W", "ignore", "-c", code)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_package_that_is_imported_already_stays():
    code = "import sys, json; from scripts.quick_start import hide; hide(('json',)); import json; print(json.dumps(1))"
    assert run("-c", code).stdout == "1\n"
    assert "json" not in UNUSED


def test_it_ends_as_the_bundle_does(tmp_path: Path):
    done = run(
        *("-m", "scripts.quick_start", "run", "--config_file", "configs/inference.json", "--model_file", "missing.pt"),
        *("--dataset_dir", str(tmp_path), "--output_dir", str(tmp_path / "out")),
    )
    assert done.returncode == 1
    assert "missing.pt: cannot be read" in done.stderr.splitlines()[-1]
