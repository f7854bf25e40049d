"""The demo: two made-up head CTs go into Orthanc, the node reads them, and its objects are in Orthanc at the end.

python -m scripts.archive_demo [--output output/archive-demo] [--stay]
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from scripts.archive_demo.orthanc import Orthanc, free_port
from scripts.demo import BUNDLE_ROOT, EXIT_CANCELLED, EXIT_FAILURE, STUDIES, summary, write_phantoms
from scripts.dicom_node.identity import key_of
from scripts.dicom_node.node import QUEUE_FILE, RESULTS
from scripts.dicom_node.study_queue import ENDS, State, StudyQueue
from scripts.messages import ExpectedError, message
from scripts.worklist.page import PAGE_FILE, write_worklist

NODE, ARCHIVE, CONFIG, STATE = "node", "orthanc", "node.json", "state"
_START_SECONDS, _MOST_SECONDS = 300.0, 600.0

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when the objects of both studies are in the archive."""
    parser = argparse.ArgumentParser(prog="python -m scripts.archive_demo", description=str(__doc__).splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output/archive-demo"), help="folder, made anew")
    parser.add_argument("--stay", action="store_true", help="go on running until Ctrl-C, to look at it in the browser")
    options = parser.parse_args(arguments)
    output = options.output.resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _make_anew(output)
    if status := write_phantoms(output / "phantom"):
        return status
    node_port = free_port()
    orthanc = Orthanc(output / ARCHIVE, {NODE: ("ICHDIAGNOSIS", "127.0.0.1", node_port)})
    node: subprocess.Popen[bytes] | None = None
    try:
        orthanc.start()
        logger.info("%s", message("archive.started", url=orthanc.url))
        node = _start_node(output, orthanc, node_port)
        _send_studies(output / "phantom" / STUDIES, orthanc)
        _wait_for_objects(output / STATE / QUEUE_FILE, orthanc, node)
        _show(output, orthanc)
        if options.stay:
            logger.info("%s", message("archive.stays", url=f"{orthanc.url}/app/explorer.html"))
            node.wait()
    finally:
        if node is not None:
            node.terminate()
            node.wait()
        orthanc.stop()
    return 0


def _make_anew(output: Path) -> None:
    """Empty the folder of an earlier demo, and no other."""
    if output.exists() and any(output.iterdir()) and not (output / ARCHIVE).is_dir():
        raise ExpectedError("archive.folder_in_use", folder=output)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)


def _start_node(output: Path, orthanc: Orthanc, port: int) -> subprocess.Popen[bytes]:
    settings = {
        "state_folder": STATE,
        "port": port,
        "callers": [{"ae_title": orthanc.ae_title, "address": "127.0.0.1"}],
        "send_to": {"ae_title": orthanc.ae_title, "port": orthanc.dicom_port},
        "disk": {"least_free_mb": 200},
        "wait": {"quiet": 8, "interrupted": 20},
    }
    config = output / CONFIG
    config.write_text(json.dumps(settings, indent=4) + "\n", encoding="utf-8")
    with (output / "node.log").open("wb") as log:
        command = [sys.executable, "-m", "scripts.dicom_node", "run", "--config", str(config)]
        return subprocess.Popen(command, cwd=BUNDLE_ROOT, stderr=log)


def _send_studies(studies: Path, orthanc: Orthanc) -> None:
    for file in sorted(studies.rglob("*.dcm")):
        orthanc.upload(file.read_bytes())
    waiting = orthanc.get("studies")
    logger.info("%s", message("archive.sent", count=len(waiting)))
    give_up = time.monotonic() + _START_SECONDS
    while waiting:
        # The node may not be listening yet.
        waiting = [study for study in waiting if not orthanc.send(study, NODE)]
        if waiting and time.monotonic() > give_up:
            raise ExpectedError("archive.nothing_came")
        time.sleep(0.5)


def _wait_for_objects(queue_file: Path, orthanc: Orthanc, node: subprocess.Popen[bytes]) -> None:
    """Wait until the archive has confirmed every object of every study: they arrive one after the other.

    Raises
    ------
    ExpectedError
        ``archive.nothing_came`` if the node has ended, has failed with a study, or takes too long.
    """
    give_up = time.monotonic() + _MOST_SECONDS
    while time.monotonic() < give_up and node.poll() is None:
        # An archive that is busy is asked again, and so is a queue that the node is writing to.
        with suppress(OSError, sqlite3.OperationalError):
            studies = orthanc.get("studies")
            keys = {key_of(orthanc.get(f"studies/{study}")["MainDicomTags"]["StudyInstanceUID"]) for study in studies}
            ended = _ended(queue_file)
            if keys <= ended.keys():
                if any(ended[key] is not State.SENT for key in keys):
                    break
                return
        time.sleep(1.0)
    raise ExpectedError("archive.nothing_came")


def _ended(queue_file: Path) -> dict[str, State]:
    """Return how each study ended that the node is done with, by its key."""
    if not queue_file.is_file():
        return {}
    queue = StudyQueue(queue_file)
    try:
        return {study.key: study.state for study in queue.studies(*ENDS)}
    finally:
        queue.close()


def _objects(orthanc: Orthanc, study: str) -> list[dict[str, Any]]:
    """Return the series of a study that are no images of its scanner."""
    series: list[dict[str, Any]] = orthanc.get(f"studies/{study}/series")
    return [each for each in series if each["MainDicomTags"]["Modality"] != "CT"]


def _show(output: Path, orthanc: Orthanc) -> None:
    lines = []
    results = output / STATE / RESULTS
    for file in sorted(results.glob("*/result.json")):
        lines += [summary(json.loads(file.read_text(encoding="utf-8")), file.with_name("report.html")), ""]
    for study in orthanc.get("studies"):
        kinds = sorted(
            f"{each['MainDicomTags']['Modality']} ({len(each['Instances'])})" for each in _objects(orthanc, study)
        )
        key = key_of(orthanc.get(f"studies/{study}")["MainDicomTags"]["StudyInstanceUID"])
        lines.append(message("archive.objects", study=key[:8], objects=", ".join(kinds)))
    entries = write_worklist(results)
    lines += ["", message("worklist.written", studies=len(entries), page=results / PAGE_FILE)]
    lines.append(message("archive.where", folder=output, command="make archive-demo STAY=1"))
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        sys.exit(main())
    except ExpectedError as error:
        logger.error("%s", error)
        sys.exit(EXIT_FAILURE)
    except KeyboardInterrupt:
        sys.exit(EXIT_CANCELLED)
