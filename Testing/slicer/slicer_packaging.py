"""``slicer.packaging`` for tests: Slicer's own file where ``SLICER_SOURCE`` names its sources, else a strict imitation.

Both look for what is installed in one folder, and run pip through the program ``PythonSlicer``.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import qt
import slicer
from packaging.requirements import Requirement

SOURCE = Path(os.environ["SLICER_SOURCE"]) if os.environ.get("SLICER_SOURCE") else None
_OF_UTIL = {"executePythonModule", "launchConsoleProcess", "logProcessOutput", "_startAsyncProcessHandling"}


def put_packaging(monkeypatch: pytest.MonkeyPatch, site: Path) -> ModuleType:
    """Give the host ``slicer.packaging``, which finds what is installed in one folder."""
    module = _imitation() if SOURCE is None else _real(SOURCE, monkeypatch)
    monkeypatch.setitem(sys.modules, "slicer.packaging", module)
    monkeypatch.setattr(slicer, "packaging", module, raising=False)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: _installed(site, name).version)
    return module


def _installed(site: Path, name: str) -> importlib.metadata.Distribution:
    for distribution in importlib.metadata.Distribution.discover(name=name, path=[str(site)]):
        return distribution
    raise importlib.metadata.PackageNotFoundError(name)


def _single_shot(milliseconds: int, function: Callable[[], None]) -> None:
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.timeout.connect(function)
    timer.start(milliseconds)
    _TIMERS.append(timer)


_TIMERS: list[Any] = []


class _NoDialog:
    """In the place of the dialog of ``pip_ensure``, which has no logic of its own."""

    def __init__(self, **_settings: Any) -> None:
        self._lines: list[str] = []

    @classmethod
    def acquire(cls, **settings: Any) -> _NoDialog:
        """Return one for an installation, as Slicer does since it shares one dialog between them."""
        return cls(**settings)

    def release(self) -> None:
        return

    def appendLog(self, line: str) -> None:  # noqa: N802 - Slicer's name
        self._lines.append(line)

    def getFullLog(self) -> str:  # noqa: N802 - Slicer's name
        return "\n".join(self._lines)

    def show(self) -> None:
        return

    def close(self) -> None:
        return


def _real(source: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = source / "Base" / "Python" / "slicer"
    tree = ast.parse((folder / "util.py").read_text(encoding="utf-8"))
    tree.body = [
        node
        for node in tree.body
        if (isinstance(node, ast.FunctionDef) and node.name in _OF_UTIL)
        or (isinstance(node, ast.ImportFrom) and node.module == "__future__")
    ]
    functions: dict[str, Any] = {}
    exec(compile(tree, str(folder / "util.py"), "exec"), functions)
    for name in _OF_UTIL & functions.keys():
        monkeypatch.setattr(slicer.util, name, functions[name], raising=False)
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False, raising=False)
    spec = importlib.util.spec_from_file_location("slicer.packaging", folder / "packaging.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_PipProgressDialog", _NoDialog)
    monkeypatch.setattr(module, "_isMainQtThread", lambda: True)
    # The host has the property of this name; PythonQt has the function too.
    monkeypatch.setattr(qt.QTimer, "singleShot", staticmethod(_single_shot))
    return module


def _imitation() -> ModuleType:
    module = ModuleType("slicer.packaging")
    module.__spec__ = importlib.util.spec_from_loader("slicer.packaging", loader=None)
    vars(module)["pip_ensure"] = _pip_ensure
    return module


def _pip_ensure(
    requirements: list[str],
    constraints: str | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> None:
    """Do as ``slicer.packaging.pip_ensure`` of 5.12: what metadata satisfy is left alone, the rest resolved by pip."""
    assert skip_packages is None, "it deletes what other packages state about themselves"
    assert not prompt_install
    assert not prompt_restart
    missing = [each for each in map(Requirement, requirements) if not _is_satisfied(each)]
    if not missing:
        return
    command = [str(shutil.which("PythonSlicer")), "-m", "pip", "install", *map(str, missing)]
    command += ["-c", constraints] if constraints is not None else []
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    for line in done.stdout.splitlines():
        print(line)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, "pip install")


def _is_satisfied(requirement: Requirement) -> bool:
    try:
        return importlib.metadata.version(requirement.name) in requirement.specifier
    except importlib.metadata.PackageNotFoundError:
        return False
