"""Make the images of reader study, comparison and worklist from the real panel and real slice views, on phantoms.

    python Resources/make_study_screenshots.py [--output Resources]

As ``make_screenshots.py``, and with its parts: the panel runs in the test host, results are the bundle's own. The
evaluation is that of made-up readers, who tick by a random number what a phantom shows. Needs Chromium.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "slicer"), str(ROOT / "ICHDiagnosis")]

import host  # noqa: E402 - found through the path above

host.install()

import qt  # noqa: E402
import slicer  # noqa: E402

from ICHDiagnosisLib.logic import record_analysis  # noqa: E402
from ICHDiagnosisLib.reader_study.ai_results import RESULTS_FOLDER, results_of  # noqa: E402
from ICHDiagnosisLib.reader_study.conclusion import conclude  # noqa: E402
from ICHDiagnosisLib.reader_study.protocol import Sitting, create_protocol, stem  # noqa: E402
from ICHDiagnosisLib.reader_study.session import Phase  # noqa: E402
from ICHDiagnosisLib.reader_study.store import StudyStore  # noqa: E402
from Resources import make_screenshots as screenshots  # noqa: E402

HEADS = {
    "admission": ("intraparenchymal", 25, 3),
    "follow_up": ("intraparenchymal", 60, 3),
    "third": ("subdural", 40, 5),
}
"""Name: what the phantom shows, how much of it (ml), and its seed."""
PANEL = (450, 640)
WITH_AI_HEIGHT = 940
WORKLIST_HEIGHT = 1360
VIEW = (420, 420)
PAGE = (1100, 1500)
READERS = {"R01": 0.75, "R02": 0.6}

_log = logging.getLogger(__name__)


def write_heads(folder: Path) -> Path:
    """Write the phantoms, one file per study, and the reference standard; return the folder of the studies."""
    cases = folder / "heads"
    cases.mkdir()
    lines = ["study,epidural,intraparenchymal,intraventricular,subarachnoid,subdural"]
    for name, (kind, ml, seed) in HEADS.items():
        made = folder / name
        command = [sys.executable, "-m", "scripts.phantom", "--format", "nifti", "--output", str(made)]
        command += ["--haemorrhage", kind, "--volume", str(ml), "--seed", str(seed), "--pixels", "256"]
        subprocess.run(command, cwd=ROOT / "monai_bundle", check=True, timeout=600)
        (made / "ct.nii.gz").rename(cases / f"{name}.nii.gz")
        lines.append(f"{name},0,{int(kind == 'intraparenchymal')},0,0,{int(kind == 'subdural')}")
    (folder / "truth.csv").write_text("\n".join(lines), encoding="utf-8")
    return cases


def set_up(module: Any, folder: Path, cases: Path) -> Any:  # noqa: ANN401 - widgets
    """Make the reader study in the panel and compute its results; return its section."""
    section = module.panel.reader_study
    ui = section.ui
    ui.readerStudySection.collapsed = False
    ui.studyFolderEdit.setCurrentPath(str(folder / "study"))
    ui.casesFolderEdit.setCurrentPath(str(cases))
    ui.truthFileEdit.setCurrentPath(str(folder / "truth.csv"))
    section.create()
    ui.participantEdit.setText("R01")
    section.compute()
    screenshots.wait(lambda: not module.panel.running)
    return section


def take_reading(module: Any, section: Any, height: int) -> qt.QPixmap:  # noqa: ANN401 - widgets
    """Take the panel while the first study is read, beside the axial view; then read the sitting to its end."""
    ui = section.ui
    module.parent.resize(PANEL[0], height)
    ui.nextStudyButton.click()
    # What the study shows, whichever the order of the sitting puts first.
    for label in sorted((section._store.protocol.case(section.sitting.session.case).truth or frozenset()) - {"any"}):
        getattr(ui, f"finding{label.capitalize()}Box").click()
    panel = screenshots.image_of(module.parent)
    parts = [(0, 0, panel), (PANEL[0] + 2, 0, screenshots.view_image("Red", (VIEW[0], height - 20)))]
    image = screenshots.side_by_side((PANEL[0] + 2 + VIEW[0], height), parts)
    while section.sitting.is_open:
        if section.sitting.session.phase is Phase.SHOW:
            ui.nextStudyButton.click()
        ui.finishButton.click()
        ui.confidence2Button.click()
    return image


def take_comparison(module: Any, cases: Path) -> qt.QPixmap:  # noqa: ANN401 - widgets
    """Compare two time points from the history, and take panel and both views."""
    ui = module.panel.ui
    store = StudyStore(Path(module.panel.reader_study.ui.studyFolderEdit.currentPath))
    results = results_of(store.protocol.cases, store.folder / RESULTS_FOLDER)
    for case in store.protocol.cases[:2]:
        name = stem(case.path)
        slicer.util.loadVolume(cases / f"{name}.nii.gz", {"name": name})
        record_analysis(module.logic.history, results[case.identifier], name)
    module.panel.reader_study.ui.readerStudySection.collapsed = True
    ui.historySection.collapsed = False
    ui.historyTable.selectAll()
    module.panel.history.compare()
    ui.resultSection.setVisible(False)
    module.parent.resize(PANEL[0] + 60, WITH_AI_HEIGHT)
    panel = screenshots.image_of(module.parent)
    size = (VIEW[0] - 40, WITH_AI_HEIGHT - 20)
    views = [screenshots.view_image(name, size) for name in ("Red", "Yellow")]
    places = [PANEL[0] + 62, PANEL[0] + 64 + size[0]]
    parts = [(0, 0, panel), *((x, 0, view) for x, view in zip(places, views, strict=True))]
    return screenshots.side_by_side((places[1] + size[0], WITH_AI_HEIGHT), parts)


def take_worklist(module: Any, results: Path, studies: Path) -> qt.QPixmap:  # noqa: ANN401 - widgets
    """List results by urgency, open the most urgent study, and take the panel beside two views."""
    ui = module.panel.ui
    ui.batchSection.collapsed = False
    ui.worklistFolderEdit.setCurrentPath(str(results))
    ui.batchFolderEdit.setCurrentPath(str(studies))
    module.panel.worklist.show()
    ui.worklistTable.selectRow(0)
    module.panel.worklist.open()
    # As in the page that shows the image.
    ui.worklistFolderEdit.setCurrentPath("/results")
    ui.batchFolderEdit.setCurrentPath("/archive/studies")
    ui.batchFolderButton.setEnabled(True)
    module.parent.resize(PANEL[0], WORKLIST_HEIGHT)
    panel = screenshots.image_of(module.parent)
    height = WORKLIST_HEIGHT // 2
    views = [screenshots.view_image(name, (VIEW[0], height - 20)) for name in ("Red", "Green")]
    parts = [(0, 0, panel), *((PANEL[0] + 2, place * height, view) for place, view in enumerate(views))]
    return screenshots.side_by_side((PANEL[0] + 2 + VIEW[0], WORKLIST_HEIGHT), parts)


def made_up_study(folder: Path) -> StudyStore:
    """Let made-up readers read forty studies of which nobody looks at an image."""
    cases = folder / "made up"
    cases.mkdir()
    kinds = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
    truth = {}
    for number in range(40):
        path = cases / f"{number:02d}.nrrd"
        path.touch()
        truth[path.name] = frozenset(random.Random(number).sample(kinds, number % 3))
    create_protocol(folder / "made-up study", [cases / name for name in truth], truth, 0)
    store = StudyStore(folder / "made-up study")
    for reader, skill in READERS.items():
        for sitting in Sitting:
            _read(store, reader, sitting, skill)
    return store


def _read(store: StudyStore, reader: str, sitting: Sitting, skill: float) -> None:
    """Read a sitting by random numbers: with AI a little faster, surer and better."""
    with_ai = sitting is Sitting.WITH_AI
    generator, now = random.Random(f"{reader} {with_ai}"), [0.0]
    session = store.open_sitting(reader, sitting)
    session.clock = lambda: now[0]
    while session.phase is not Phase.COMPLETE:
        session.begin_study()
        for _ in range(round(generator.gauss(7 if with_ai else 8, 2)) + 1):
            now[0] += 9
            session.count()
        for label in sorted((store.protocol.case(session.case).truth or frozenset()) - {"any"}):
            if generator.random() < skill + 0.15 * with_ai:
                session.tick(label, True)
        session.stop()
        session.rate(generator.choice((2, 2, 3) if with_ai else (1, 2, 2, 3)))
    session.leave()


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all five images."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Make the images of reader study and comparison.")
    parser.add_argument("--output", type=Path, default=ROOT / "Resources")
    output = parser.parse_args(arguments).output.resolve()
    with tempfile.TemporaryDirectory(prefix="ich-screenshots-") as name:
        folder = Path(name)
        cases = write_heads(folder)
        module = screenshots.open_module(folder)
        module.parent.activateWindow()
        section = set_up(module, folder, cases)
        section.begin_without_ai()
        take_reading(module, section, PANEL[1]).save(str(output / "reader_study_without_ai.png"))
        section.ui.overrideReasonEdit.setText("an example")
        section.begin_with_ai()
        take_reading(module, section, WITH_AI_HEIGHT).save(str(output / "reader_study_with_ai.png"))
        take_comparison(module, cases).save(str(output / "history_comparison.png"))
        module.panel.history.forget_volumes()
        slicer.mrmlScene.Clear(False)
        ui = module.panel.ui
        ui.historySection.collapsed = True
        results = Path(section.ui.studyFolderEdit.currentPath) / RESULTS_FOLDER
        take_worklist(module, results, cases).save(str(output / "worklist_in_slicer.png"))
        host.close_panel(module)
        page = conclude(made_up_study(folder))
        screenshots.take_report(page, output / "reader_study_evaluation.png", PAGE)
    _log.info("reader_study_*.png, history_comparison.png and worklist_in_slicer.png are in %s", output)


if __name__ == "__main__":
    main()
