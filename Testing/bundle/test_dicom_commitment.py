"""Storage commitment: a study is at its end when the archive, a real Orthanc, has said that it keeps each object."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests
from dicom_node_cases import (
    ARCHIVE,
    NETWORK_SECONDS,
    NODE,
    STAND_IN,
    a_study,
    file_of,
    key_of_study,
    notices_in,
    received_whole,
    reports_in,
    until,
)
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from stand_in_reader import REFUSE

from scripts.archive_demo.orthanc import Orthanc, free_port
from scripts.dicom_node.commitment import PUSH_MODEL, CommitmentReports, PeerCommitment, new_request
from scripts.dicom_node.node import Node
from scripts.dicom_node.sending import Confirmed, Destination, PeerDestination, RefusedError, UnavailableError
from scripts.dicom_node.settings import Caller, DiskSettings, NodeSettings, Peer, ReadingSettings, WaitSettings
from scripts.dicom_node.study_queue import State, StudyQueue

pytest_plugins = ("study_queue_cases",)

WAIT = WaitSettings(quiet=0.0, interrupted=0.0, retry_first=0.1, retry_most=0.2, network=NETWORK_SECONDS)


@pytest.fixture
def settings(orthanc: Orthanc, tmp_path: Path) -> NodeSettings:
    """A node that Orthanc knows, and reports to."""
    port = free_port()
    known = {"AET": NODE, "Host": "127.0.0.1", "Port": port}
    assert requests.put(f"{orthanc.url}/modalities/{NODE}", json=known, timeout=30).ok
    return NodeSettings(
        tmp_path / "state",
        (Caller(ARCHIVE),),
        Peer(ARCHIVE, orthanc.dicom_port, commitment=True),
        ae_title=NODE,
        port=port,
        objects="plain_report.write_objects",
        reading=ReadingSettings(worker=(sys.executable, str(STAND_IN))),
        disk=DiskSettings(0.0),
        wait=WAIT,
    )


@dataclass
class Losing:
    """An archive that confirms the first object and loses it: a crash before it reached the disk."""

    archive: Destination
    sent: int = 0

    def send(self, files: Sequence[Path], confirmed: Confirmed) -> None:
        self.sent += 1
        if self.sent == 1:
            for file in files:
                confirmed(file)
        else:
            self.archive.send(files, confirmed)


def ended(node: Node, study: Sequence[Dataset], state: State) -> None:
    until(lambda: (found := node.queue.study(key_of_study(study))) and found.state is state, f"it is {state.value}")


def test_what_the_archive_keeps_is_at_its_end_with_notices_too(
    settings: NodeSettings, orthanc: Orthanc, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "scripts.dicom_node")
    node = Node(settings)
    node.start()
    study, refused = a_study(2), a_study(1, REFUSE)
    received_whole(node, study)
    received_whole(node, refused)
    ended(node, study, State.SENT)
    ended(node, refused, State.NOT_EVALUABLE)
    until(lambda: caplog.text.count("1 objects committed, 0 not") == 2, "it is logged after it is noted")
    node.stop()
    assert reports_in(orthanc, study) == ["2 images. A test."]
    assert len(notices_in(orthanc, refused, tmp_path)) == 1


def test_what_the_archive_has_lost_is_sent_again_until_it_keeps_it(
    settings: NodeSettings, orthanc: Orthanc, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "scripts.dicom_node")
    destination = Losing(PeerDestination(settings.send_to, NODE, None, NETWORK_SECONDS))
    node, study = Node(settings, destination=destination), a_study(1)
    node.start()
    node.received.add(file_of(study[0]))
    ended(node, study, State.SENT)
    node.stop()
    assert destination.sent == 2
    assert reports_in(orthanc, study) == ["1 images. A test."]
    assert "0 objects committed, 1 not" in caplog.text


def test_commitment_that_is_no_longer_asked_for_holds_no_study(settings: NodeSettings):
    # An archive that takes everything, and cannot be asked.
    node = Node(replace(settings, send_to=Peer(ARCHIVE, free_port(), commitment=True)), destination=Losing(None))
    node.start()
    study = a_study(1)
    node.received.add(file_of(study[0]))
    key = key_of_study(study)
    until(lambda: "no_answer" in str(getattr(node.queue.study(key), "reason", "")), "it cannot be asked")
    node.stop()
    again = Node(replace(settings, send_to=Peer(ARCHIVE, free_port())), destination=Losing(None))
    again.start()
    ended(again, study, State.SENT)
    again.stop()


def test_an_archive_that_commits_itself_to_nothing_for_too_long_has_failed_the_study(settings: NodeSettings):
    nobody = Peer(ARCHIVE, free_port(), commitment=True)
    impatient = replace(settings, send_to=nobody, wait=replace(WAIT, give_up_hours=1e-9))
    node, study = Node(impatient, destination=Losing(None)), a_study(1)
    node.start()
    node.received.add(file_of(study[0]))
    ended(node, study, State.FAILED)
    assert node.queue.study(key_of_study(study)).reason == "not asked for commitment: no_answer"
    node.stop()


@pytest.fixture
def archive() -> Iterator[tuple[PeerDestination, list[int]]]:
    """An archive that answers requests with the status that comes next, and reports nothing."""
    answers: list[int] = []
    entity = AE(ae_title=ARCHIVE)
    entity.add_supported_context(PUSH_MODEL)
    handlers = [(evt.EVT_N_ACTION, lambda event: (answers.pop(0), None))]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    yield PeerDestination(Peer(ARCHIVE, server.server_address[1]), NODE, None, NETWORK_SECONDS), answers
    server.shutdown()


def test_what_an_archive_answers_decides_whether_it_was_asked(
    archive: tuple[PeerDestination, list[int]], queue: StudyQueue, tmp_path: Path
):
    peer, answers = archive
    file = tmp_path / "report.dcm"
    file.write_bytes(file_of(a_study(1)[0]))
    commitment = PeerCommitment(peer, CommitmentReports(queue))
    answers += [0x0000, 0x0110]
    commitment.ask(new_request(), [file])
    with pytest.raises(RefusedError, match="commitment_status_0110"):
        commitment.ask(new_request(), [file])
    # No answer left: its handler fails, and the association ends.
    with pytest.raises((UnavailableError, RefusedError)):
        commitment.ask(new_request(), [file])


def test_a_peer_without_storage_commitment_is_said_so(orthanc: Orthanc, queue: StudyQueue, tmp_path: Path):
    entity = AE(ae_title=ARCHIVE)
    entity.add_supported_context("1.2.840.10008.1.1")
    server = entity.start_server(("127.0.0.1", 0), block=False)
    peer = PeerDestination(Peer(ARCHIVE, server.server_address[1]), NODE, None, NETWORK_SECONDS)
    with pytest.raises((UnavailableError, RefusedError)):
        PeerCommitment(peer, CommitmentReports(queue)).ask(new_request(), [])
    server.shutdown()


@dataclass
class Report:
    """An event with a report in it."""

    event_information: Any


def test_a_report_about_nothing_that_was_asked_or_without_sense_is_not_taken(queue: StudyQueue):
    unknown, reports = Dataset(), CommitmentReports(queue)
    unknown.TransactionUID = new_request()
    assert reports.handle(Report(unknown)) == (0x0115, None)
    assert reports.handle(Report(Dataset())) == (0x0110, None)
