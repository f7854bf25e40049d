"""The node's loops in this process: what a reader and a destination do decides a study's way, and no other's."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from dicom_node_cases import (
    ARCHIVE,
    NETWORK_SECONDS,
    SENDER,
    STAND_IN,
    a_study,
    file_of,
    key_of_study,
    received_whole,
    stored,
    until,
)
from printed_text import text_of
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from stand_in_reader import END, FAIL, HANG, REFUSE

from scripts.archive_demo.orthanc import free_port
from scripts.dicom_node import sending_step, worker_reader
from scripts.dicom_node.identity import key_of
from scripts.dicom_node.node import QUEUE_FILE, Node
from scripts.dicom_node.notices import notice_of
from scripts.dicom_node.result_objects import ResultObjects
from scripts.dicom_node.sending import Confirmed, PeerDestination, RefusedError, UnavailableError
from scripts.dicom_node.settings import (
    ArchiveSettings,
    Caller,
    DiskSettings,
    NodeSettings,
    Peer,
    ReadingSettings,
    WaitSettings,
)
from scripts.dicom_node.study_queue import QueuedStudy, State
from scripts.dicom_node.worker_reader import WorkerReader
from scripts.dicom_output.request import DicomOutputError
from scripts.messages import ExpectedError

CT = "1.2.840.10008.5.1.4.1.1.2"
READING = ReadingSettings(worker=(sys.executable, str(STAND_IN)), attempts=2)
WAIT = WaitSettings(quiet=0.0, interrupted=0.0, retry_first=0.1, retry_most=0.2, network=NETWORK_SECONDS)


@dataclass
class Destination:
    """Takes objects, unless it has been told what to raise first."""

    errors: list[Exception] = field(default_factory=list)
    always: Exception | None = None
    taken: list[str] = field(default_factory=list)

    def send(self, files: Sequence[Path], confirmed: Confirmed) -> None:
        if self.always or self.errors:
            raise self.always or self.errors.pop(0)
        for file in files:
            self.taken.append(file.name)
            confirmed(file)


Started = Callable[..., Node]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    nodes: list[Node] = []
    settings = NodeSettings(
        tmp_path / "state",
        (Caller(SENDER),),
        Peer(ARCHIVE, 1),
        ae_title="NODE",
        port=0,
        objects="plain_report.write_objects",
        reading=READING,
        disk=DiskSettings(0.0),
        wait=WAIT,
    )

    def start(destination: Destination | None, **changes: object) -> Node:
        node = Node(replace(settings, **changes), destination=destination)
        nodes.append(node)
        node.start()
        return node

    yield start
    for node in nodes:
        node.stop()


def arrived(node: Node, study: Sequence[Dataset], state: State) -> QueuedStudy:
    """Wait until a study is in a state."""

    def found() -> QueuedStudy | None:
        queued = node.queue.study(key_of_study(study))
        return queued if queued is not None and queued.state is state else None

    return until(found, f"the study is {state.value}")


def test_each_study_ends_as_its_reading_does_and_none_stops_another(started: Started):
    destination = Destination()
    node = started(destination)
    studies = {kind: a_study(2, kind) for kind in (FAIL, END, REFUSE, "head")}
    for study in studies.values():
        assert stored(node.reception.port, study) == [0, 0]
    assert arrived(node, studies["head"], State.SENT).reason is None
    assert arrived(node, studies[REFUSE], State.NOT_EVALUABLE).reason == "too_few_slices"
    assert arrived(node, studies[FAIL], State.FAILED).reason == "exit_status_1"
    assert arrived(node, studies[END], State.FAILED).reason == "worker_ended"
    assert sorted(destination.taken) == ["not_evaluated_1.dcm"] * 3 + ["report.dcm"]


def test_without_notices_a_study_without_a_result_ends_in_silence(started: Started):
    node, study = started(Destination(always=UnavailableError("no_answer")), notices=False), a_study(1, REFUSE)
    node.received.add(file_of(study[0]))
    assert arrived(node, study, State.NOT_EVALUABLE).reason == "too_few_slices"


def test_a_study_that_no_object_can_refer_to_has_no_notice_and_says_so(started: Started):
    destination = Destination()
    node, study = started(destination), a_study(1, REFUSE)
    # RSNA 2019's identifiers are such.
    study[0].StudyInstanceUID = "ID_1f6d1e8aeb"
    node.received.add(file_of(study[0]))
    queued = arrived(node, study, State.NOT_EVALUABLE)
    assert queued.reason == "too_few_slices, no notice: dicom_output.invalid_uid"
    assert destination.taken == []


def test_a_notice_waits_for_a_peer_that_is_away_and_is_void_when_images_come(started: Started):
    destination = Destination(always=UnavailableError("no_answer"))
    node, study = started(destination), a_study(2, REFUSE)
    node.received.add(file_of(study[0]))
    until(lambda: (queued := node.queue.study(key_of_study(study))) and queued.attempts == 0 and queued.cause, "read")
    node.received.add(file_of(study[1]))
    destination.always = None
    assert arrived(node, study, State.NOT_EVALUABLE).revision == 2
    (written,) = node.settings.state_folder.glob(f"objects/{key_of_study(study)}-2-*/*.dcm")
    assert len(dcmread(written).SourceInstanceSequence) == 2


def test_a_result_that_no_object_can_hold_has_a_notice_that_does_not_deny_it(started: Started, tmp_path: Path):
    def refuse(result_folder: Path, series_files: Sequence[Path], target_folder: Path) -> list[Path]:
        raise DicomOutputError("several", keyword="FrameOfReferenceUID")

    destination = Destination()
    node, study = started(destination, callers=()), a_study(2)
    node._sending._make = refuse
    received_whole(node, study)
    assert arrived(node, study, State.FAILED).reason == "dicom_output.several"
    assert destination.taken == ["not_evaluated_1.dcm"]
    (written,) = node.settings.state_folder.glob(f"objects/{key_of_study(study)}-2-not-evaluated-*/*.dcm")
    text = text_of(dcmread(written), tmp_path)
    assert "cannot be put into objects of this study (dicom_output.several)" in text
    assert "has not read" not in text


def test_a_notice_that_the_disk_had_no_room_for_is_made_again(started: Started, monkeypatch: pytest.MonkeyPatch):
    made = []

    def fails_once(study: QueuedStudy, settings: NodeSettings) -> ResultObjects:
        made.append(study.key)
        if len(made) == 1:
            raise OSError(errno.ENOSPC, "no space left")
        return notice_of(study, settings)

    monkeypatch.setattr(sending_step, "notice_of", fails_once)
    destination = Destination()
    node, study = started(destination), a_study(1, REFUSE)
    node.received.add(file_of(study[0]))
    assert arrived(node, study, State.NOT_EVALUABLE).reason == "too_few_slices"
    assert destination.taken == ["not_evaluated_1.dcm"]


def test_the_notice_of_a_study_of_which_images_stayed_away_says_so(started: Started, tmp_path: Path):
    destination = Destination()
    node, study = started(destination, wait=replace(WAIT, incomplete_hours=1e-6)), a_study(2)
    node.received.add(file_of(study[0]))
    node.queue.expect_images(key_of_study(study), [key_of(study[1].SOPInstanceUID)], 0.0)
    assert arrived(node, study, State.NOT_EVALUABLE).reason == "images_absent"
    (written,) = node.settings.state_folder.glob(f"objects/{key_of_study(study)}-2-not-evaluated-*/*.dcm")
    assert "images of this study were announced and did not arrive" in text_of(dcmread(written), tmp_path)


def test_a_destination_that_is_away_or_refuses_is_asked_again(started: Started):
    destination = Destination([UnavailableError("no_answer"), RefusedError("status_0110")])
    node, study = started(destination), a_study(1)
    node.received.add(file_of(study[0]))
    arrived(node, study, State.SENT)
    assert destination.taken == ["report.dcm"]


def test_a_node_that_was_killed_after_the_last_confirmation_asks_no_peer_for_nothing(started: Started):
    node, study = started(Destination()), a_study(1)
    node.received.add(file_of(study[0]))
    arrived(node, study, State.SENT)
    node.stop()
    with closing(sqlite3.connect(node.settings.state_folder / QUEUE_FILE)) as database, database:
        database.execute("UPDATE studies SET state='sending'")
    # Its own peer, of which nobody listens at the port.
    arrived(started(None), study, State.SENT)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnavailableError("no_answer"), "unavailable: no_answer"),
        (RefusedError("status_0110"), "refused: status_0110"),
        (ExpectedError("node.port", host="", port=0, fault=""), "no objects: node.port"),
    ],
)
def test_what_nobody_takes_for_too_long_has_failed(started: Started, error: Exception, reason: str):
    node, study = started(Destination(always=error), wait=replace(WAIT, give_up_hours=1e-9)), a_study(1)
    node.received.add(file_of(study[0]))
    assert arrived(node, study, State.FAILED).reason == reason


def test_nothing_is_read_while_the_disk_is_full(started: Started):
    node, study = started(Destination(), callers=()), a_study(1)
    full = node.settings.disk
    node._reading._settings = replace(node.settings, disk=DiskSettings(least_free_mb=1e9))
    node.received.add(file_of(study[0]))
    arrived(node, study, State.COMPLETE)
    until(lambda: node._reading._waits_for_room, "the node waits for room")
    node._reading._settings = replace(node.settings, disk=full)
    arrived(node, study, State.SENT)


def test_an_archive_that_is_away_or_a_full_disk_ends_no_loop(started: Started, caplog: pytest.LogCaptureFixture):
    absent = ArchiveSettings(f"http://127.0.0.1:{free_port()}/dicom-web", poll_seconds=0.1)
    node, study = started(Destination(), archive=absent, send_to=None), a_study(1)
    until(lambda: "the archive does not answer: ConnectionError" in caplog.text, "the archive is missed")
    node.received.add(file_of(study[0]))
    arrived(node, study, State.SENT)


def test_a_worker_that_cannot_be_started_is_a_fault_and_one_that_ended_is_started_anew(tmp_path: Path):
    study = a_study(1)
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(file_of(study[0]))
    absent = WorkerReader(replace(READING, worker=(str(tmp_path / "absent"),)), tmp_path / "under_way")
    with absent.read(folder) as reading:
        assert reading.fault == "worker_not_started (FileNotFoundError)"
    reader = WorkerReader(replace(READING, arguments={"device": "cpu"}), tmp_path / "under_way")
    for _ in range(2):
        with reader.read(folder) as reading:
            assert reading.folder is not None
            assert (reading.folder / "result.json").is_file()
        assert not list((tmp_path / "under_way").iterdir())
        reader._worker.kill()
        reader._worker.wait()
    reader.stop()


def test_a_worker_that_outlives_its_killed_node_keeps_no_node_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "under_way"
    remove = shutil.rmtree

    def overtaken(path: Path, **options: bool) -> None:
        remove(path, **options)
        (folder / "result").mkdir(parents=True)

    with monkeypatch.context() as patch:
        patch.setattr(worker_reader.shutil, "rmtree", overtaken)
        WorkerReader(READING, folder)
    assert (folder / "result").is_dir()


def test_a_worker_that_never_answers_is_ended(tmp_path: Path):
    (image,) = a_study(1, HANG)
    (tmp_path / "a.dcm").write_bytes(file_of(image))
    reader = WorkerReader(replace(READING, minutes=0.02), tmp_path / "under_way")
    with reader.read(tmp_path) as reading:
        assert reading.fault == "worker_ended"
    assert reader._worker is None


@pytest.fixture
def peer() -> Iterator[tuple[Peer, list[int]]]:
    """A peer that takes CT images, with the status that comes next."""
    statuses: list[int] = []
    entity = AE(ae_title=ARCHIVE)
    entity.require_calling_aet = ["NODE"]
    entity.add_supported_context(CT)
    handlers = [(evt.EVT_C_STORE, lambda event: statuses.pop(0) if statuses else 0)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    yield Peer(ARCHIVE, server.server_address[1]), statuses
    server.shutdown()


def test_what_a_peer_answers_decides_whether_a_file_was_taken(peer: tuple[Peer, list[int]], tmp_path: Path):
    address, statuses = peer
    files = []
    for index, image in enumerate(a_study(2)):
        files.append(tmp_path / f"{index}.dcm")
        files[-1].write_bytes(file_of(image))
    destination, taken = PeerDestination(address, "NODE", None, NETWORK_SECONDS), []
    statuses += [0x0000, 0xB000]
    destination.send(files, taken.append)
    assert taken == files
    for status, error in ((0xA700, UnavailableError), (0xC000, RefusedError)):
        statuses[:] = [0x0000, status]
        taken.clear()
        with pytest.raises(error):
            destination.send(files, taken.append)
        assert taken == files[:1]
    with pytest.raises(UnavailableError, match="rejected"):
        PeerDestination(address, "STRANGER", None, NETWORK_SECONDS).send(files, taken.append)
    (capture,) = a_study(1)
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    files[0].write_bytes(file_of(capture))
    with pytest.raises(RefusedError, match="class_not_accepted"):
        destination.send(files, taken.append)
