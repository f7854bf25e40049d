"""In continuous integration a skip is a failure, unless real data are absent."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
TESTS = {
    "absent_data": "def test_a(ich_data):\n    pass\n",
    "no_browser": "import pytest\ndef test_a():\n    pytest.skip('no browser')\n",
    "by_mark": "import pytest\n@pytest.mark.skip(reason='no browser')\ndef test_a():\n    pass\n",
    "whole_file": "import pytest\npytest.skip('no browser', allow_module_level=True)\n",
    "fails_as_expected": "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_a():\n    raise ValueError\n",
}


def outcomes(folder: Path, **environment: str) -> dict[str, str]:
    """Run made-up test files beside our conftest; return the outcome of each as pytest's summary names it."""
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    for name, test in TESTS.items():
        (folder / f"test_{name}.py").write_text(test, encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST")}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "--continue-on-collection-errors", "--rootdir", ".", "."],
        cwd=folder,
        # Other plugins only cost time here.
        env=inherited | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "ICH_DATA": str(folder / "nowhere")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = re.findall(r"^([A-Z]+) .*?test_(\w+)\.py", run.stdout, flags=re.MULTILINE)
    return {name: outcome for outcome, name in lines}


def test_a_skip_is_a_skip_on_a_developers_machine(tmp_path: Path):
    assert outcomes(tmp_path) == dict.fromkeys(TESTS, "SKIPPED") | {"fails_as_expected": "XFAIL"}


def test_in_ci_only_absent_real_data_may_skip(tmp_path: Path):
    assert outcomes(tmp_path, CI="true") == {
        "absent_data": "SKIPPED",
        "no_browser": "FAILED",
        "by_mark": "ERROR",
        "whole_file": "ERROR",
        "fails_as_expected": "XFAIL",
    }
