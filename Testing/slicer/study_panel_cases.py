"""Ways to make and read a reader study in the panel, for its tests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import slicer
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QTableWidget, QWidget

import sample_result_folder as sample
from ICHDiagnosisLib.panel import reader_study_section
from ICHDiagnosisLib.reader_study.journal import read_entries
from ICHDiagnosisLib.reader_study.protocol import Sitting
from ICHDiagnosisLib.reader_study.session import Phase
from ICHDiagnosisLib.scene import views
from ICHDiagnosisLib.scene.volume_input import write_stored_voxels
from panel_cases import click, unfold
from scene_cases import SHAPE, a_ct, affine

TRUTH = {"a subdural": "0,0,0,0,1", "b nothing": "0,0,0,0,0", "c both": "0,1,0,0,1"}
FOUND = {"001": ("subdural",), "002": (), "003": ("intraparenchymal",)}
"""What the participant ticks of each case."""


@pytest.fixture
def no_gap_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tests themselves stand still for long, that is no sleep of the computer."""
    monkeypatch.setattr("ICHDiagnosisLib.reader_study.stopwatch.LONGEST_GAP", 3600.0)


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Three heads whose names tell what they show, with the reference standard beside them."""
    folder = tmp_path / "heads"
    folder.mkdir()
    volume = a_ct(affine())
    written = write_stored_voxels(volume, folder / f"{next(iter(TRUTH))}.nrrd")
    for name in list(TRUTH)[1:]:
        shutil.copy(written, folder / f"{name}.nrrd")
    slicer.mrmlScene.RemoveNode(volume)
    lines = ["study,epidural,intraparenchymal,intraventricular,subarachnoid,subdural"]
    lines += [f"{name},{labels}" for name, labels in TRUTH.items()]
    (tmp_path / "truth.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def opened_by_system(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    paths: list[Path] = []
    monkeypatch.setattr(reader_study_section, "open_with_system", paths.append)
    return paths


@pytest.fixture
def study(panel: Any, cases: Path, tmp_path: Path, no_gap_on_a_busy_machine: None) -> Any:
    """The section of the panel, with a reader study just made."""
    section = panel.reader_study
    unfold(section.ui.readerStudySection)
    section.ui.studyFolderEdit.setCurrentPath(str(tmp_path / "study"))
    section.ui.casesFolderEdit.setCurrentPath(str(cases))
    section.ui.truthFileEdit.setCurrentPath(str(tmp_path / "truth.csv"))
    click(section.ui.createStudyButton)
    assert section.ui.studyLabel.text == "Reader study with 3 studies made."
    section.ui.participantEdit.setText("r01")
    return section


def write_results(folder: Path, names: tuple[str, ...] = tuple(TRUTH)) -> None:
    """Leave results as a run from the terminal does: a folder per study, named after its file."""
    for name in names:
        sample.write_folder(folder / name, sample.document(SHAPE), sample.made_maps(SHAPE), affine())


def tick(box: Any) -> None:
    """Press the box itself: the place beside its text is not part of it."""
    assert box.visible
    QTest.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height // 2))


def read_study(section: Any, confidence: int = 2) -> str:
    """Press the buttons that a participant presses for one study; return its case."""
    ui = section.ui
    click(ui.nextStudyButton)
    assert section.sitting.session.phase is Phase.READING
    case = section.sitting.session.case
    for label in FOUND[case]:
        tick(getattr(ui, f"finding{label.capitalize()}Box"))
    click(ui.finishButton)
    click(getattr(ui, f"confidence{confidence}Button"))
    return case


def read_sitting(section: Any, button: Any, confidence: int = 2) -> None:
    click(button)
    while section.sitting.is_open:
        read_study(section, confidence)


def seen(root: QWidget) -> str:
    """Return every text that can be seen in a window."""
    # Properties are attributes here, as in PythonQt.
    widgets: list[Any] = list(root.findChildren(QWidget))
    visible = [child for child in widgets if child.visible]
    labels = [child.text for child in visible if hasattr(child, "text")]
    tables: list[Any] = [child for child in visible if isinstance(child, QTableWidget)]
    cells = [
        table.item(row, column).text()
        for table in tables
        for row in range(table.rowCount)
        for column in range(table.columnCount)
        if table.item(row, column) is not None
    ]
    texts = [text() if callable(text) else str(text) for text in labels] + cells
    return "\n".join(texts).replace("\N{NO-BREAK SPACE}", " ")


def shown_volumes() -> set[str]:
    """Return the names of the volumes that the slice views show."""
    composites = list(views.composite_nodes())
    ids = {c.GetBackgroundVolumeID() for c in composites} | {c.GetForegroundVolumeID() for c in composites}
    nodes = [slicer.mrmlScene.GetNodeByID(identifier) for identifier in ids if identifier]
    return {node.GetName() for node in nodes}


def journal(tmp_path: Path, sitting: Sitting = Sitting.WITHOUT_AI) -> list[dict]:
    return list(read_entries(tmp_path / "study" / "readers" / "R01" / f"{sitting.value}.jsonl"))
