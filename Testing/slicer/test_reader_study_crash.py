"""A sitting in a real process that is killed: the journal holds everything, and another process goes on with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ICHDiagnosisLib.reader_study.protocol import Sitting
from ICHDiagnosisLib.reader_study.session import RESTART, Phase
from ICHDiagnosisLib.reader_study.store import StudyStore
from reader_study_cases import a_study

MODULE_FOLDER = Path(__file__).parents[2] / "ICHDiagnosis"
READER = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ICHDiagnosisLib.reader_study.protocol import Sitting
from ICHDiagnosisLib.reader_study.store import StudyStore
session = StudyStore(Path(sys.argv[2])).open_sitting("R01", Sitting.WITHOUT_AI)
session.begin_study()
session.tick("subdural", True)
session.stop()
session.rate(2)
session.begin_study()
session.tick("epidural", True)
while True:
    time.sleep(0.01)
    session.count()
    print(json.dumps({"case": session.case, "seconds": session.seconds}), flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_had_reported(tmp_path: Path):
    store = a_study(tmp_path)
    command = [sys.executable, "-c", READER, str(MODULE_FOLDER), str(store.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        reported = [json.loads(reader.stdout.readline()) for _ in range(20)][-1]
        reader.kill()
    session = StudyStore(store.folder).open_sitting("R01", Sitting.WITHOUT_AI)
    first, second = session.record.readings
    assert (first.confidence, first.labels) == (2, {"any", "subdural"})
    assert (session.phase, session.case, session.position) == (Phase.PAUSED, reported["case"], 2)
    assert second.labels == {"any", "epidural"}
    assert session.seconds >= round(reported["seconds"], 3)
    last = store.folder / "readers" / "R01" / "without_ai.jsonl"
    assert json.loads(last.read_text(encoding="utf-8").splitlines()[-1])["reason"] == RESTART
    session.resume()
    session.stop()
    session.rate(1)
    assert session.record.readings[1].confidence == 1
