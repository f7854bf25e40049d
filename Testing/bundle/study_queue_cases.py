"""What tests of the node's parts share: an empty queue, the place of what was received, and a real archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.archive_demo.orthanc import Orthanc
from scripts.dicom_node.received import ReceivedStudies
from scripts.dicom_node.settings import DiskSettings
from scripts.dicom_node.study_queue import StudyQueue


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[StudyQueue]:
    opened = StudyQueue(tmp_path / "queue.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def received(tmp_path: Path, queue: StudyQueue) -> ReceivedStudies:
    """Studies of any size, however full the disk of the machine is."""
    return ReceivedStudies(tmp_path / "received", queue, 0.0, DiskSettings(least_free_mb=0.0))


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An archive that knows no node yet; one for all tests of a file."""
    archive = Orthanc(tmp_path_factory.mktemp("archive") / "orthanc")
    archive.start()
    yield archive
    archive.stop()
