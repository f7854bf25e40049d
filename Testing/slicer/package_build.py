"""The extension configured, built and installed against the stand-in for Slicer's CMake macros."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "ICHDiagnosis"
BUNDLE = ROOT / "monai_bundle"
MODULES_FOLDER = Path("lib/Slicer-5.10/qt-scripted-modules")
SLICER = Path(__file__).parent / "cmake_stand_in"


@dataclass(frozen=True)
class PackageTrees:
    """The folders of scripted modules in the build tree and in the installed tree, and the installed tree itself."""

    built: Path
    installed: Path
    prefix: Path


def build_package(folder: Path) -> PackageTrees:
    """Configure, build and install in a scratch folder."""
    build, prefix = folder / "build", folder / "installed"
    # There is nothing to compile: no compiler need be there.
    compilers = [
        f"-DCMAKE_{name}_COMPILER{part}" for name in ("C", "CXX") for part in ("=/bin/true", "_FORCED=ON", "_ID_RUN=ON")
    ]
    configure = ["cmake", "-S", ROOT, "-B", build, f"-DSlicer_DIR={SLICER}", "-DBUILD_TESTING=ON", *compilers]
    for command in (configure, ["cmake", "--build", build], ["cmake", "--install", build, "--prefix", prefix]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Warning" not in done.stderr, done.stderr
    return PackageTrees(build / MODULES_FOLDER, prefix / MODULES_FOLDER, prefix)


def files_in(folder: Path) -> set[str]:
    """Return the files below a folder, without what Python and editors leave."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)
    }
