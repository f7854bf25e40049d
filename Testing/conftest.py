"""What every test may ask for (real data), how strictly a skip counts, and what no result may depend on."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers

PROJECT_ROOT = Path(__file__).resolve().parents[1]
REAL_DATA_ABSENT = "real data absent"
UNCAUGHT, TERMINATED = sys.excepthook, signal.getsignal(signal.SIGTERM)
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

# Files that take longest, mostly because they start processes: first, so that no worker ends with them alone.
SLOWEST_FIRST = (
    "test_protocol.py",
    "test_export.py",
    "test_bundle_verification.py",
    "test_inference_run.py",
    "test_resident_worker.py",
    "test_training.py",
    "test_finetuning.py",
    "test_distributed.py",
    "test_resume.py",
    "test_own_data_guide.py",
    "test_training_from_images.py",
    "test_demo.py",
    "test_evidence_run.py",
    "test_rsna_index.py",
)

# Threads change the order of sums; language and time zone change text. Child processes inherit all of them.
os.environ.update(
    {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
)
if hasattr(time, "tzset"):
    time.tzset()

# The same examples everywhere, however slow or busy the machine.
hypothesis.settings.register_profile(
    "ichdiagnosis",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("ichdiagnosis")
# It also draws numbers that stand in the modules loaded so far: other ones on each worker, and after each change.
assert callable(providers._get_local_constants)
providers._get_local_constants = providers.Constants


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Start every test from the same seeds and on one thread, whatever ran before it in the same process."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_handlers() -> Iterator[None]:
    """Take back what a run of the bundle in this process has installed (``scripts.exit_status.install_handlers``).

    Its hook ends the process: at the first exception in a callback of Qt or VTK, maybe a hundred tests later.
    """
    sys.excepthook = UNCAUGHT
    yield
    sys.excepthook = UNCAUGHT
    signal.signal(signal.SIGTERM, TERMINATED)


@pytest.fixture(scope="session")
def ich_data() -> Path:
    """Return the folder of real head CT (environment variable ICH_DATA), or skip the test."""
    folder = Path(os.environ.get("ICH_DATA") or PROJECT_ROOT / ".." / "shared" / "data").resolve()
    if not (folder / "ct-ich").is_dir():
        pytest.skip(f"{REAL_DATA_ABSENT}: set ICH_DATA to the folder that holds ct-ich and its neighbours")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first; the order within a file stays."""
    places = {name: place for place, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    return _fail_needless_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    report = yield
    return _fail_needless_skip(report)


def _fail_needless_skip(report: pytest.TestReport | pytest.CollectReport) -> pytest.TestReport | pytest.CollectReport:
    """Turn a skip into a failure in continuous integration, where only real data may be absent."""
    if not (IN_CI and report.skipped) or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not reason.removeprefix("Skipped: ").startswith(REAL_DATA_ABSENT):
        report.outcome = "failed"
        report.longrepr = f"skipped where CI admits no skip: {reason}"
    return report
