"""The node's command: run it, see what it does, begin failed studies anew, or check a configuration.

python -m scripts.dicom_node run|status|retry|check --config node.json
"""

from __future__ import annotations

import argparse
import datetime
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from scripts.dicom_node.durable import used_alone
from scripts.dicom_node.identity import fault_of, short
from scripts.dicom_node.node import QUEUE_FILE, Node
from scripts.dicom_node.private_log import configure_log
from scripts.dicom_node.result_objects import named_objects
from scripts.dicom_node.settings import NodeSettings, read_settings
from scripts.dicom_node.study_queue import State, StudyQueue
from scripts.messages import ExpectedError, message

STOPPED, FAILED = 0, 1
_UNDONE = tuple(state for state in State if state is not State.SENT)

logger = logging.getLogger("scripts.dicom_node")


def run(settings: NodeSettings) -> int:
    """Be the node until SIGTERM or Ctrl-C."""
    stop = threading.Event()

    def end(signal_number: int, frame: FrameType | None) -> None:
        stop.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
    with used_alone(settings.state_folder):
        node = Node(settings)
        try:
            node.start()
            stop.wait()
        finally:
            node.stop()
    return STOPPED


def status(settings: NodeSettings) -> int:
    """Show how many studies are in each state, and each that is not sent with its reason."""
    queue = StudyQueue(_queue_file(settings))
    counts = queue.counts()
    lines = [f"{state.value:<14}{counts[state]:>7}" for state in State if state in counts]
    for study in queue.studies(*_UNDONE):
        since = datetime.datetime.fromtimestamp(study.since).isoformat(" ", "seconds")
        lines.append(f"{short(study.key)}  {study.state.value:<14}{since}  {study.reason or ''}".rstrip())
    sys.stdout.write("\n".join(lines or [message("node.nothing_yet")]) + "\n")
    queue.close()
    return STOPPED


def retry(settings: NodeSettings) -> int:
    """Begin failed studies anew; the node may run meanwhile."""
    queue = StudyQueue(_queue_file(settings))
    sys.stdout.write(message("node.retried", count=queue.retry_failed()) + "\n")
    queue.close()
    return STOPPED


def check(settings: NodeSettings) -> int:
    """Check what can be checked without a network: settings, files, and the objects' function."""
    named_objects(settings.objects)
    sys.stdout.write(message("node.config_fine") + "\n")
    return STOPPED


def _queue_file(settings: NodeSettings) -> Path:
    file = settings.state_folder / QUEUE_FILE
    if not file.is_file():
        raise ExpectedError("node.no_queue", folder=settings.state_folder.name)
    return file


COMMANDS = {"run": run, "status": status, "retry": retry, "check": check}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.dicom_node", description=str(__doc__).splitlines()[0])
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--config", type=Path, required=True, help="see docs/dicom_node.md")
    options = parser.parse_args(arguments)
    configure_log()
    try:
        return COMMANDS[options.command](read_settings(options.config))
    except ExpectedError as error:
        logger.error("%s", error)
    # A traceback would print the error's text, which may hold a value of a header.
    except Exception as error:
        logger.error("%s", fault_of(error))
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
