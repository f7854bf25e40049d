"""In continuous integration a skip is a failure, unless it is for want of real data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SKIPS_FOR_WANT_OF_DATA = "def test_a(ich_data):\n    pass\n"
SKIPS_FOR_WANT_OF_A_BROWSER = "import pytest\ndef test_a():\n    pytest.skip('no browser')\n"
SKIPS_BY_MARK = "import pytest\n@pytest.mark.skip(reason='no browser')\ndef test_a():\n    pass\n"
SKIPS_THE_WHOLE_FILE = "import pytest\npytest.skip('no browser', allow_module_level=True)\n"
FAILS_AS_EXPECTED = "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_a():\n    raise ValueError\n"


def closing_line(folder: Path, test: str, **environment: str) -> str:
    """Run one made-up test file beside our conftest; return pytest's closing line without its duration."""
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "test_made_up.py").write_text(test, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(folder), "-p", "no:cacheprovider", str(folder)]
    inherited = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST")}
    run = subprocess.run(
        command, cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False, timeout=120
    )
    return run.stdout.splitlines()[-1].rpartition(" in ")[0]


@pytest.mark.parametrize(
    "test", [SKIPS_FOR_WANT_OF_A_BROWSER, SKIPS_BY_MARK, SKIPS_THE_WHOLE_FILE], ids=["call", "mark", "file"]
)
def test_a_needless_skip_fails_in_ci_only(tmp_path: Path, test: str):
    assert closing_line(tmp_path, test) == "1 skipped"
    assert closing_line(tmp_path, test, CI="true") in {"1 failed", "1 error"}


def test_absent_real_data_is_a_skip_everywhere(tmp_path: Path):
    nowhere = str(tmp_path / "nowhere")
    assert closing_line(tmp_path, SKIPS_FOR_WANT_OF_DATA, ICH_DATA=nowhere) == "1 skipped"
    assert closing_line(tmp_path, SKIPS_FOR_WANT_OF_DATA, ICH_DATA=nowhere, CI="true") == "1 skipped"


def test_an_expected_failure_is_no_skip(tmp_path: Path):
    assert closing_line(tmp_path, FAILS_AS_EXPECTED, CI="true") == "1 xfailed"
