"""PythonSlicer as commontk/AppLauncher builds it: a launcher, its environment, and an interpreter that needs both.

What ``ctkAppLauncher.cpp`` and Slicer's ``python_configure_python_launcher.cmake`` do, and this does too: variables are
set and the whole earlier environment kept as ``APPLAUNCHER_0_<name>``; standard streams and inheritable descriptors go
on to the interpreter; its exit status comes back, except that an end by a signal becomes status 1 and one line. Where
``SLICER_APPLAUNCHER`` names the program ``CTKAppLauncher`` itself, that is used.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

PROGRAM_VARIABLE = "SLICER_APPLAUNCHER"
_LAUNCHER = """
import os, signal, subprocess, sys

signal.signal(signal.SIGINT, signal.SIG_DFL)
variables = {variables!r}
environment = dict(os.environ)
level = int(environment.get("APPLAUNCHER_LEVEL", "0"))
environment.update({{f"APPLAUNCHER_{{level}}_{{name}}": value for name, value in os.environ.items()}})
environment["APPLAUNCHER_LEVEL"] = str(level + 1)
for name, value in variables.items():
    if name in {lists!r}:
        value = os.pathsep.join(filter(None, (value, os.environ.get(name))))
    environment[name] = value
status = subprocess.run([{real!r}, *sys.argv[1:]], env=environment, close_fds=False).returncode
if status < 0:
    sys.stderr.write("error: [" + {real!r} + "] exit abnormally - Report the problem.\\n")
    status = 1
sys.exit(status)
"""
# As Slicer writes it; the program reads it from beside itself.
_SETTINGS = """[General]
launcherNoSplashScreen=true

[Application]
path={real}
arguments=

[LibraryPaths]
1\\path={variables[LD_LIBRARY_PATH]}
size=1

[Paths]
1\\path={variables[PATH]}
size=1

[PYTHONPATH]
1\\path={variables[PYTHONPATH]}
size=1

[Environment]
additionalPathVariables=PYTHONPATH

[EnvironmentVariables]
{single}
"""
_LISTS = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
# A Python that was moved finds its library by PYTHONHOME alone, as the one that Slicer ships.
_REAL = """#!/bin/bash
if [ "$PYTHONHOME" != "{home}" ]; then
  echo "Fatal Python error: init_fs_encoding: failed to get the Python codec of the filesystem encoding" >&2
  exit 1
fi
exec -a "$0" "{python}" "$@"
"""


def write_launcher(folder: Path, packages: Path | None = None) -> Path:
    """Make ``PythonSlicer`` and ``python-real`` in a folder.

    Parameters
    ----------
    folder : Path
        Exists.
    packages : Path, optional
        Where its packages lie; those of this Python otherwise.

    Returns
    -------
    Path
        ``PythonSlicer``.
    """
    real, launcher, program = folder / "python-real", folder / "PythonSlicer", folder / "launcher.py"
    variables = {
        "PATH": str(folder),
        "LD_LIBRARY_PATH": str(folder / "lib"),
        "PYTHONHOME": sys.base_prefix,
        "PYTHONPATH": sysconfig.get_path("purelib") if packages is None else str(packages),
        "PYTHONNOUSERSITE": "1",
        "PIP_REQUIRE_VIRTUALENV": "0",
    }
    python = Path(sys.executable).resolve()
    real.write_text(_REAL.format(home=sys.base_prefix, python=python), encoding="utf-8")
    if PROGRAM_VARIABLE in os.environ:
        shutil.copy(os.environ[PROGRAM_VARIABLE], launcher)
        single = "\n".join(f"{name}={value}" for name, value in variables.items() if name not in _LISTS)
        settings = _SETTINGS.format(real=real, variables=variables, single=single)
        (folder / "PythonSlicerLauncherSettings.ini").write_text(settings, encoding="utf-8")
    else:
        program.write_text(_LAUNCHER.format(variables=variables, real=str(real), lists=_LISTS), encoding="utf-8")
        launcher.write_text(f'#!/bin/sh\nexec "{python}" -I -S "{program}" "$@"\n', encoding="utf-8")
    for path in (real, launcher):
        path.chmod(0o700)
    return launcher
