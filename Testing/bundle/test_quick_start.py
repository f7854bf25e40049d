"""A quick start reads studies without packages of training and tracking; else it is MONAI's command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.quick_start import DEFERRED, UNUSED

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=BUNDLE, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def imported() -> list[str]:
    """What is imported once a study could be read; then all that was put off was asked for."""
    modules = "scripts.kept_workflow, scripts.inferer, scripts.weights, scripts.networks.drct, scripts.output.result"
    code = (
        "import sys\nfrom scripts.quick_start import DEFERRED, UNUSED, hidden\n"
        f"with hidden():\n    import monai.bundle, {modules}\n"
        "print([name for name in UNUSED if sys.modules[name] is not None])\n"
        "print([name for name in (*DEFERRED, 'torch.distributed.fsdp', 'sympy') if name in sys.modules])\n"
        "from scipy import optimize, signal, stats\nfrom torch.distributed.optim import ZeroRedundancyOptimizer\n"
        "print(ZeroRedundancyOptimizer.__module__, stats.norm.cdf(0.0))"
    )
    done = run("-W", "ignore", "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-3:]


def test_what_inference_imports_needs_none_of_the_hidden_packages(imported: list[str]):
    assert imported[0] == "[]"


def test_what_only_some_studies_need_is_not_imported_before_they_do(imported: list[str]):
    assert imported[1] == "[]"
    assert not set(DEFERRED) & set(UNUSED)


def test_whoever_asks_for_it_later_gets_it(imported: list[str]):
    assert imported[2] == "torch.distributed.optim.zero_redundancy_optimizer 0.5"


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
