"""The command that runs the bundle, and the environment that it runs in."""

from __future__ import annotations

from pathlib import Path

import pytest

from ICHDiagnosisLib.bundle.command import BundleRequest, UnsafeSettingError, build_command, child_environment


def test_the_command_is_a_list_with_absolute_paths_and_the_choices(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = BundleRequest("python", Path("b"), Path("d e"), Path("o"), device="cuda:1", operating_point="sensitive")
    assert build_command(request) == [
        *("python", "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"),
        *("--bundle_root", str(tmp_path / "b"), "--dataset_dir", str(tmp_path / "d e")),
        *("--output_dir", str(tmp_path / "o"), "--device", "cuda:1", "--operating_point", "sensitive"),
    ]


@pytest.mark.parametrize("value", ["$import os", "@network_def", "%other.json"])
def test_a_setting_that_monai_would_run_is_refused(value):
    with pytest.raises(UnsafeSettingError, match="MONAI would run or resolve it"):
        build_command(BundleRequest("python", Path("b"), Path("d"), Path("o"), operating_point=value))


def test_no_python_variable_of_the_application_reaches_the_child():
    environment = child_environment({"PATH": "/bin", "PythonStartup": "x", "PYTHONHOME": "y", "LANG": "C"})
    assert environment == {
        "PATH": "/bin",
        "LANG": "C",
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
    }
