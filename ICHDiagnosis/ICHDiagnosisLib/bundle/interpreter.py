"""The real Python interpreter behind PythonSlicer, and the environment it needs. Standard library only.

PythonSlicer is a launcher: it sets an environment, starts ``python-real`` as a child, and turns every signal or Windows
fault that ends it into exit status 1 and the line ``exit abnormally`` (commontk/AppLauncher,
``ctkAppLauncherPrivate::applicationFinished``). Behind it a lack of memory cannot be told from any other failure, so
the launcher is asked once which interpreter it starts and with which environment, and that is started from then on.
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .command import child_environment

_ANSWER = "ICHDIAGNOSIS-INTERPRETER "
_QUESTION = f"""
import json, os, sys
print({_ANSWER!r} + json.dumps({{"python": sys.executable, "environment": dict(os.environ)}}))
"""
_SECONDS = 30.0

_log = logging.getLogger(__name__)
_known: dict[tuple[Path, frozenset[tuple[str, str]]], Interpreter] = {}


@dataclass(frozen=True)
class Interpreter:
    """A Python program and the whole environment of its process.

    Attributes
    ----------
    python : Path
        The interpreter itself; a launcher only where it did not answer.
    environment : dict of str to str
        For ``subprocess.Popen``: nothing is to be taken out of it.
    """

    python: Path
    environment: dict[str, str]


def real_interpreter(python: Path, base: Mapping[str, str]) -> Interpreter:
    """Find the interpreter that a Python program ends up in; asked once per program and environment.

    Parameters
    ----------
    python : Path
        PythonSlicer in the application, or any Python.
    base : mapping of str to str
        Environment to start from, for example ``slicer.util.startupEnvironment()``.

    Returns
    -------
    Interpreter
        The program as given, with the environment for it, where it does not answer.

    Raises
    ------
    OSError
        If the program cannot be started.
    """
    environment = child_environment(base)
    key = python, frozenset(environment.items())
    if key not in _known:
        found = _ask(python, environment)
        if found is None:
            return Interpreter(python, environment)
        _known[key] = found
    return _known[key]


def _ask(python: Path, environment: dict[str, str]) -> Interpreter | None:
    try:
        answer = subprocess.run(
            # Without -P a json.py in the current folder would be imported.
            [str(python), "-P", "-S", "-c", _QUESTION],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except subprocess.TimeoutExpired:
        _log.warning("Python gave no answer within %g s", _SECONDS)
        return None
    lines = [line.removeprefix(_ANSWER) for line in answer.stdout.splitlines() if line.startswith(_ANSWER)]
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError):
        _log.warning("Python did not answer (status %d)", answer.returncode)
        return None
    if not Path(found["python"]).is_file():
        return None
    return Interpreter(Path(found["python"]), found["environment"])
