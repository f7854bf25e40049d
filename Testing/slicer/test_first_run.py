"""The first run on a clean Python: from Install to a shown result, with pip itself and an index of small wheels.

The wheels are empty but for their metadata, which are those of the real packages (``package_index.json``): what pip
decides here it decides for a user.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from ICHDiagnosisLib.install.installation import Installation
from ICHDiagnosisLib.install.installed_packages import InstalledPackages
from ICHDiagnosisLib.install.requirements import find_missing, read_requirements
from ICHDiagnosisLib.panel import installation_section
from package_cases import put_distribution, put_wheel
from panel_cases import PlayedBundle, an_open_panel, click, wait
from scene_cases import a_ct, affine
from slicer_packaging import put_packaging

INDEX = Path(__file__).parent / "package_index.json"
BROUGHT = {"5.10": {"numpy": "2.0.2", "scipy": "1.13.1"}, "5.12": {"numpy": "2.4.6", "scipy": "1.17.1"}}
# In the place of light-the-torch, which hands pip on to the wheels of torch for the graphics card.
LIGHT_THE_TORCH = {
    "__init__.py": "",
    "__main__.py": "import sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n",
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    for name, versions in json.loads(INDEX.read_text(encoding="utf-8")).items():
        for version, stated in versions.items():
            needs = [line for line in stated["requires"] if not line.startswith(("nvidia-", "cuda-", "triton"))]
            code = LIGHT_THE_TORCH if name == "light_the_torch" else None
            if name != "pip":
                put_wheel(folder, name, version, needs, code)
    return folder


class CleanPython:
    """A Python like Slicer's, with nothing but what Slicer brings."""

    def __init__(self, folder: Path, brought: dict[str, str]) -> None:
        venv.create(folder / "Slicer", with_pip=True)
        self.program = folder / "bin" / "PythonSlicer"
        self.program.parent.mkdir()
        self.program.write_text(f'#!/bin/sh\nexec "{folder}/Slicer/bin/python" "$@"\n', encoding="utf-8")
        self.program.chmod(0o700)
        self.site = folder / "Slicer" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
        self.packages = InstalledPackages((self.site,))
        for name, version in brought.items():
            put_distribution(self.site, name, version)

    def pip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.program, "-m", "pip", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(params=BROUGHT)
def clean(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheels: Path) -> CleanPython:
    """Slicer's Python before the first run, of one of its versions."""
    python = CleanPython(tmp_path / "clean", BROUGHT[request.param])
    monkeypatch.setenv("PATH", f"{python.program.parent}:/usr/bin:/bin")
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(wheels)), ("CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    if request.param == "5.12":
        put_packaging(monkeypatch, python.site)
    else:
        monkeypatch.setattr("ICHDiagnosisLib.install.installers.has_slicer_packaging", lambda: False)
    return python


@pytest.fixture
def first_run(
    clean: CleanPython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Any, PlayedBundle]]:
    """The panel on that Python, with a head CT chosen."""

    def into_clean(missing: Any, installer: Any) -> Installation:
        installation = Installation(missing, installer, clean.packages, clean.site)
        # What this process has imported came from another Python than the one that is installed into.
        monkeypatch.setattr(installation, "_imported", frozenset())
        return installation

    bundle = PlayedBundle()
    monkeypatch.setattr(installation_section, "Installation", into_clean)
    with an_open_panel(tmp_path, monkeypatch, bundle) as module_widget:
        found = lambda requirements: find_missing(requirements, clean.packages)  # noqa: E731
        monkeypatch.setattr(sys.modules["ICHDiagnosis"], "find_missing", found)
        module_widget.panel.ui.inputSelector.setCurrentNode(a_ct(affine()))
        yield module_widget.panel, bundle


def test_from_install_to_a_shown_result(first_run, clean):
    panel, bundle = first_run
    brought = {name: clean.packages.versions()[name] for name in ("numpy", "scipy")}
    click(panel.ui.applyButton)
    assert "torch>=2.8 (not installed; about " in panel.ui.consentLabel.text
    assert "itk" not in panel.ui.consentLabel.text
    click(panel.ui.installButton)
    wait(lambda: not panel.installation.installing, seconds=300)
    assert not panel.ui.consentFrame.visible, panel.ui.logEdit.plainText
    wait(lambda: not panel.running)
    assert len(bundle.requests) == 1
    assert panel.ui.impressionLabel.visible
    # All is there, nothing that Slicer brings has changed, and no package's own statements were touched.
    installed = clean.packages.versions()
    assert find_missing(read_requirements(), clean.packages) == ()
    assert {name: installed[name] for name in brought} == brought
    assert Version(installed["torch"]) >= Version("2.8")
    checked = clean.pip("check")
    assert checked.returncode == 0, checked.stdout
    metadata = (clean.site / f"monai-{installed['monai']}.dist-info" / "METADATA").read_text(encoding="utf-8")
    assert "Requires-Dist: torch" in metadata


@pytest.mark.parametrize("clean", ["5.10"], indirect=True)
def test_a_torch_that_was_cut_short_is_offered_and_repaired(first_run, clean):
    panel, bundle = first_run
    for requirement in read_requirements():
        put_distribution(clean.site, requirement.name, requirement.minimum)
    for name, version in BROUGHT["5.10"].items():
        put_distribution(clean.site, name, version)
    (clean.site / "torch-2.8.dist-info" / "RECORD").unlink()
    (clean.site / "torch" / "__init__.py").unlink()
    click(panel.ui.applyButton)
    assert "torch (2.8 is damaged: RECORD is missing" in panel.ui.consentLabel.text
    click(panel.ui.installButton)
    wait(lambda: not panel.installation.installing, seconds=300)
    assert not panel.ui.consentFrame.visible, panel.ui.logEdit.plainText
    assert (clean.site / "torch" / "__init__.py").is_file()
    wait(lambda: not panel.running)
    assert len(bundle.requests) == 1


@pytest.mark.parametrize("clean", ["5.10"], indirect=True)
def test_an_index_that_cannot_be_reached_ends_in_one_line_with_the_log(first_run, monkeypatch):
    panel, bundle = first_run
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.invalid/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("HTTPS_PROXY", "http://somebody:secret@127.0.0.1:9")
    click(panel.ui.applyButton)
    click(panel.ui.installButton)
    wait(lambda: not panel.installation.installing, seconds=300)
    assert "the proxy 127.0.0.1:9 let nothing through" in panel.ui.statusLabel.text
    assert panel.ui.logEdit.plainText
    assert panel.ui.applyButton.enabled
    assert bundle.requests == []
