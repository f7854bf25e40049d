"""In a Slicer that is too old, one line states which one is needed, and nothing that it cannot import is imported."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_FOLDER = ROOT / "ICHDiagnosis"
READ_BY_OLD = (
    "ICHDiagnosis.py",
    "ICHDiagnosisLib/__init__.py",
    "ICHDiagnosisLib/messages.py",
    "ICHDiagnosisLib/installation_messages.py",
    "ICHDiagnosisLib/study_messages.py",
)
# Slicer 5.8 as far as a module that does nothing needs it.
PROGRAM = """
import logging, sys, types
logging.basicConfig(level=logging.WARNING, format="%(message)s")
sys.path.insert(0, sys.argv[1])


class Anything:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __getattr__(self, name):
        return Anything


class Base:
    def __init__(self, parent=None):
        self.parent = parent
        self.layout = types.SimpleNamespace(addWidget=lambda label: shown.append(label), addStretch=lambda _: None)

    def setup(self):
        pass


class Label:
    def __init__(self, text):
        self.text = text


def module(name, **parts):
    made = types.ModuleType(name)
    for key, part in parts.items():
        setattr(made, key, part)
    sys.modules[name] = made
    return made


shown = []
app = types.SimpleNamespace(majorVersion=5, minorVersion=8, applicationVersion="5.8.1")
slicer = module("slicer", app=app, vtkMRMLScalarVolumeNode=object)
slicer.i18n = module("slicer.i18n", translate=lambda _context, text: text, tr=lambda text: text)
names = ["ScriptedLoadableModule" + part for part in ("", "Logic", "Test", "Widget")]
bases = {name: type(name, (Base,), {}) for name in names}
slicer.ScriptedLoadableModule = module("slicer.ScriptedLoadableModule", **bases)
mixin = type("Mixin", (), {"__init__": lambda self: None, "removeObservers": lambda self: None})
slicer.util = module("slicer.util", VTKObservationMixin=mixin)
module("qt", QLabel=Label, QWidget=object)

import ICHDiagnosis

parent = types.SimpleNamespace()
ICHDiagnosis.ICHDiagnosis(parent)
widget = ICHDiagnosis.ICHDiagnosisWidget()
widget.setup()
widget.enter()
widget.exit()
widget.cleanup()
print(shown[0].text)
print(parent.helpText)
print(sorted(name for name in sys.modules if name.startswith("ICHDiagnosisLib")))
"""


def an_old_python() -> str:
    """Return a Python 3.9 where there is one, else this one."""
    old = shutil.which("python3.9")
    works = old and subprocess.run([old, "-c", ""], capture_output=True, check=False).returncode == 0
    return old if old and works else sys.executable


def test_an_older_slicer_is_told_which_one_is_needed_and_sees_no_traceback():
    command = [an_old_python(), "-c", PROGRAM, str(MODULE_FOLDER)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    needed = "ICH Diagnosis needs 3D Slicer 5.10 or newer; this is 5.8.1."
    assert ended.stderr == f"{needed}\n"
    assert ended.stdout.splitlines() == [
        needed,
        needed,
        "['ICHDiagnosisLib', 'ICHDiagnosisLib.installation_messages', 'ICHDiagnosisLib.messages', "
        "'ICHDiagnosisLib.study_messages']",
    ]


@pytest.mark.parametrize("name", READ_BY_OLD)
def test_what_an_older_slicer_reads_is_of_its_language(name: str):
    text = (MODULE_FOLDER / name).read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 9))
    assert "from __future__ import annotations" in text or "def " not in text


def test_the_pages_state_the_version_that_the_module_asks_for():
    oldest = re.search(
        r"^OLDEST_SLICER = \((\d+), (\d+)\)$", (MODULE_FOLDER / READ_BY_OLD[0]).read_text(), re.MULTILINE
    )
    assert oldest is not None
    needed = f"3D Slicer {oldest[1]}.{oldest[2]} or newer"
    for page in ("README.md", "CMakeLists.txt", "SCRIPTING.md"):
        assert needed in (ROOT / page).read_text(encoding="utf-8")
