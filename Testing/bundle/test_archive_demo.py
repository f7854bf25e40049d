"""The demo with the real network: two studies go into Orthanc, and all objects of both are in Orthanc at the end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.archive_demo import __main__ as demo
from scripts.messages import ExpectedError

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


def test_two_studies_go_in_and_structured_reports_segmentations_and_printed_reports_come_back(tmp_path: Path):
    output = tmp_path / "demo"
    command = [sys.executable, "-m", "scripts.archive_demo", "--output", str(output)]
    run = subprocess.run(command, cwd=BUNDLE, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr + (output / "node.log").read_text(encoding="utf-8")
    both = dict(re.findall(r"^In the archive, study (\w{8}): (.*)$", run.stdout, flags=re.MULTILINE))
    assert len(both) == 2
    assert all("SR (1)" in objects and "DOC (1)" in objects and "KO (1)" in objects for objects in both.values())
    assert any("SEG (1)" in objects for objects in both.values())
    # The archive's studies, the results and the worklist go by the same names.
    results = output / "state" / "results"
    assert {report.parent.name[:8] for report in results.glob("*/report.html")} == set(both)
    (worklist,) = re.findall(r"^worklist of 2 studies: (.*)$", run.stdout, flags=re.MULTILINE)
    assert Path(worklist) == results / "worklist.html"
    rows = json.loads((results / "worklist.json").read_text(encoding="utf-8"))["rows"]
    assert {row["study_id"][:8] for row in rows} == set(both)
    assert all((results / row["folder"] / "report.html").is_file() for row in rows)
    assert "PHANTOM" not in (output / "node.log").read_text(encoding="utf-8")
    # Nothing that it started is left.
    assert "stopped" in (output / "node.log").read_text(encoding="utf-8")


def test_a_folder_that_holds_other_things_is_not_emptied(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("three years", encoding="utf-8")
    with pytest.raises(ExpectedError, match="holds other things"):
        demo.main(["--output", str(tmp_path)])
    assert (tmp_path / "thesis.txt").exists()


class EndedNode:
    """A node that has ended."""

    def poll(self) -> int:
        return 1


class SilentOrthanc:
    """An Orthanc that has one study without objects, which nobody takes."""

    def get(self, path: str) -> list[str]:
        return [] if path.endswith("series") else ["study"]

    def send(self, study: str, modality: str) -> bool:
        return False


def test_a_node_that_ended_or_takes_nothing_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ExpectedError, match="did not arrive"):
        demo._wait_for_objects(SilentOrthanc(), EndedNode())
    monkeypatch.setattr(demo, "_START_SECONDS", -1.0)
    with pytest.raises(ExpectedError, match="did not arrive"):
        demo._send_studies(tmp_path, SilentOrthanc())
