"""The temporary input folder goes with its user, also after a crash, and nothing else goes with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ICHDiagnosisLib.bundle.input_folder import PREFIX, TemporaryInputFolder, sweep_stale_input_folders
from process_cases import MODULE_FOLDER


def test_the_input_folder_is_removed_with_all_that_lies_in_it(tmp_path):
    folder = TemporaryInputFolder(tmp_path)
    (folder.path / "ct.nrrd").write_bytes(b"voxels")
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_only_the_folders_of_crashed_applications_are_swept(tmp_path):
    application = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(MODULE_FOLDER)!r})
from ICHDiagnosisLib.bundle.input_folder import TemporaryInputFolder
folder = TemporaryInputFolder(Path({str(tmp_path)!r}))
(folder.path / "ct.nrrd").write_bytes(b"voxels")
print(folder.path.parent, flush=True)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", application], capture_output=True, text=True, check=False)
    crashed = Path(killed.stdout.strip())
    in_use = TemporaryInputFolder(tmp_path)
    being_made = tmp_path / f"{PREFIX}new"
    being_made.mkdir()
    (tmp_path / "somebody else's").mkdir()
    assert crashed.is_dir()
    assert sweep_stale_input_folders(tmp_path) == 1
    assert not crashed.exists()
    assert in_use.path.is_dir()
    assert being_made.is_dir()
    in_use.remove()
    assert not in_use.path.exists()


def test_the_sweep_does_not_follow_links(tmp_path):
    target = tmp_path / "precious"
    target.mkdir()
    (target / "in-use-by-pid").write_text("1", encoding="utf-8")
    (tmp_path / f"{PREFIX}link").symlink_to(target)
    assert sweep_stale_input_folders(tmp_path) == 0
    assert target.is_dir()
