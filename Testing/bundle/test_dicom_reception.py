"""Who may send to the node, what it answers, and what it does where the disk is full."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from certificates import make_certificates
from dicom_node_cases import NETWORK_SECONDS, SENDER, a_study, associated, file_of, key_of_study, stored, until
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom.acse import ACSE

from scripts.dicom_node import received as received_module
from scripts.dicom_node.received import NotAnImageError, ReceivedStudies, StorageFullError
from scripts.dicom_node.reception import CANNOT_UNDERSTAND, FAILURE, OUT_OF_RESOURCES, SUCCESS, Reception
from scripts.dicom_node.secure_transport import client_context
from scripts.dicom_node.settings import Caller, Certificates, DiskSettings, NodeSettings, WaitSettings
from scripts.dicom_node.study_queue import State, StudyQueue
from scripts.messages import ExpectedError

pytest_plugins = ("study_queue_cases",)

Listening = Callable[..., Reception]


@pytest.fixture
def listening(tmp_path: Path, queue: StudyQueue, received: ReceivedStudies) -> Iterator[Listening]:
    started: list[Reception] = []
    wait = WaitSettings(quiet=0.0, interrupted=600.0, network=NETWORK_SECONDS)
    settings = NodeSettings(tmp_path, (Caller(SENDER, "127.0.0.1"),), ae_title="NODE", port=0, wait=wait)

    def start(**changes: object) -> Reception:
        reception = Reception(replace(settings, **changes), received, queue)
        reception.start()
        started.append(reception)
        return reception

    yield start
    for reception in started:
        reception.stop()


def test_a_sender_on_the_list_is_answered_and_its_images_lie_on_the_disk(
    listening: Listening, received: ReceivedStudies, queue: StudyQueue
):
    study, port = a_study(), listening().port
    assert stored(port, study) == [SUCCESS] * 3
    files = received.files_of(key_of_study(study))
    assert sorted(file.read_bytes()[-128:] for file in files) == sorted(image.PixelData for image in study)
    assert queue.study(key_of_study(study)).revision == 3
    sender = associated(port)
    assert sender.send_c_echo().Status == SUCCESS
    sender.release()


@pytest.mark.parametrize(
    "stranger",
    [{"title": "STRANGER"}, {"called": "OTHER"}],
    ids=["unknown calling title", "unknown called title"],
)
def test_who_is_not_on_the_list_is_rejected(listening: Listening, stranger: dict[str, str], queue: StudyQueue):
    assert associated(listening().port, **stranger).is_rejected
    assert queue.counts() == {}


def test_a_title_that_calls_from_another_address_is_rejected(listening: Listening):
    callers = (Caller(SENDER, "192.0.2.7"), Caller("OTHER", None))
    assert associated(listening(callers=callers).port).is_rejected


def test_an_address_that_is_not_on_the_list_gets_no_answer(listening: Listening):
    port = listening(callers=(Caller(SENDER, "192.0.2.7"),)).port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert connection.recv(1) == b""
    assert associated(port).is_aborted


def test_other_objects_of_a_study_are_confirmed_and_not_kept_unless_they_are_to_be_refused(
    listening: Listening, queue: StudyQueue
):
    (capture,) = a_study(1)
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    assert stored(listening().port, [capture]) == [SUCCESS]
    assert queue.counts() == {}
    sender = associated(listening(discard_others=False).port)
    with pytest.raises(ValueError, match="presentation context"):
        sender.send_c_store(capture)
    sender.release()


def test_an_image_that_names_no_study_is_refused(listening: Listening):
    (image,) = a_study(1)
    del image.StudyInstanceUID
    assert stored(listening().port, [image]) == [CANNOT_UNDERSTAND]


@pytest.mark.parametrize("limit", [DiskSettings(least_free_mb=1e9), DiskSettings(0.0, most_received_mb=0.002)])
def test_a_disk_without_room_is_answered_as_the_standard_has_it_and_loses_nothing(
    tmp_path: Path, queue: StudyQueue, listening: Listening, limit: DiskSettings
):
    study = a_study(4)
    port = listening().port
    assert stored(port, study[:1]) == [SUCCESS]
    full = ReceivedStudies(tmp_path / "received", queue, 0.0, limit)
    wait = WaitSettings(network=NETWORK_SECONDS)
    settings = NodeSettings(tmp_path, (Caller(SENDER),), ae_title="NODE", port=0, wait=wait)
    reception = Reception(settings, full, queue)
    reception.start()
    assert stored(reception.port, study[1:])[-1] == OUT_OF_RESOURCES
    reception.stop()
    # Room again: what was refused is taken, what was taken is still there.
    assert stored(port, study) == [SUCCESS] * 4
    assert len(full.files_of(key_of_study(study))) == 4


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_while_an_image_is_written_keeps_nothing_of_it(
    received: ReceivedStudies, queue: StudyQueue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: int
):
    def write_half(path: Path, content: bytes) -> None:
        path.write_bytes(content[: len(content) // 2])
        raise OSError(fault, "no space")

    (image,) = a_study(1)
    with monkeypatch.context() as patch:
        patch.setattr(received_module, "write_file", write_half)
        with pytest.raises(StorageFullError):
            received.add(file_of(image))
    assert not list((tmp_path / "received").rglob("*.dcm"))
    assert not list((tmp_path / "received" / ".arriving").iterdir())
    assert queue.counts() == {}
    assert received.add(file_of(image)) == key_of_study([image])


def test_a_queue_that_cannot_be_written_is_a_full_disk_too_and_leaves_no_image(
    received: ReceivedStudies, queue: StudyQueue, tmp_path: Path
):
    queue._database.execute("PRAGMA max_page_count=1")
    refused = 0
    for _ in range(60):
        try:
            received.add(file_of(a_study(1)[0]))
        except StorageFullError:
            refused += 1
    assert refused
    kept = sum(len(queue.stored_images(study.key)) for study in queue.studies())
    assert len(list((tmp_path / "received").rglob("*.dcm"))) == kept == 60 - refused


def test_what_nobody_foresaw_is_a_failure_and_not_a_success(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(path: Path, content: bytes) -> None:
        raise RuntimeError("Mustermann")

    monkeypatch.setattr(received_module, "write_file", fail)
    assert stored(listening().port, a_study(1)) == [FAILURE]
    own = [record.getMessage() for record in caplog.records if record.name.startswith("scripts")]
    assert any("RuntimeError" in line for line in own)
    assert not any("Mustermann" in line for line in own)


def test_a_study_waits_for_a_sender_that_broke_off_but_not_for_one_that_has_gone(
    listening: Listening, queue: StudyQueue, monkeypatch: pytest.MonkeyPatch
):
    whole, broken = a_study(), a_study()
    reception, postpone, arriving = listening(), queue.wait_for_rest, []

    def noted(study: str, seconds: float) -> None:
        arriving.append(reception.arriving())
        postpone(study, seconds)

    monkeypatch.setattr(queue, "wait_for_rest", noted)
    stored(reception.port, whole)
    sender = associated(reception.port)
    sender.send_c_store(broken[0])
    assert key_of_study(broken) in reception.arriving()
    until(lambda: reception.arriving() == {key_of_study(broken)}, "the release is noticed")
    sender.abort()
    until(lambda: not reception.arriving(), "the abort is noticed")
    assert arriving == [{key_of_study(broken)}], "at no moment could the node have settled it"
    settled = queue.settle(reception.arriving(), 600.0, 1.0)
    assert [study.key for study in settled] == [key_of_study(whole)]
    assert queue.study(key_of_study(broken)).state is State.RECEIVING


def test_a_study_whose_image_is_stored_while_its_sender_breaks_off_waits_too(
    listening: Listening, queue: StudyQueue, monkeypatch: pytest.MonkeyPatch
):
    first, last = a_study(), a_study()
    reception, noted = listening(), []

    def stored_meanwhile(study: str, seconds: float) -> None:
        noted.append(study)
        if len(noted) == 1:
            for studies in reception._arriving.values():
                studies.add(key_of_study(last))

    monkeypatch.setattr(queue, "wait_for_rest", stored_meanwhile)
    sender = associated(reception.port)
    sender.send_c_store(first[0])
    sender.abort()
    until(lambda: not reception.arriving(), "the abort is noticed")
    assert noted == [key_of_study(first), key_of_study(last)]


def test_a_sender_that_has_gone_did_not_break_off_though_its_connection_ends_before_the_release_is_handled(
    listening: Listening, queue: StudyQueue, monkeypatch: pytest.MonkeyPatch
):
    answer = ACSE.send_release

    def handled_late(acse: ACSE, is_response: bool = False) -> None:
        answer(acse, is_response=is_response)
        if is_response:
            # The thread that sees the connection's end.
            acse.assoc.dul.join()

    monkeypatch.setattr(ACSE, "send_release", handled_late)
    reception, study = listening(), a_study()
    stored(reception.port, study)
    until(lambda: not reception.arriving(), "the release is noticed")
    assert [each.key for each in queue.settle((), 600.0, 1.0)] == [key_of_study(study)]


def test_after_a_kill_files_that_no_sender_was_told_of_are_gone(received: ReceivedStudies, tmp_path: Path):
    study = a_study()
    for image in study:
        received.add(file_of(image))
    folder = received.folder_of(key_of_study(study))
    (folder / "unknown.dcm").write_bytes(b"half")
    (tmp_path / "received" / ".arriving" / "half").write_bytes(b"half")
    (tmp_path / "received" / "nobody").mkdir()
    received.tidy()
    assert len(list(folder.iterdir())) == 3
    assert sorted(path.name for path in (tmp_path / "received").iterdir()) == sorted([".arriving", folder.name])
    assert not list((tmp_path / "received" / ".arriving").iterdir())


@pytest.mark.parametrize("content", [b"", b"no DICOM", b"\0" * 128 + b"DICM" + b"\xff" * 200])
def test_what_is_no_image_is_not_kept(received: ReceivedStudies, content: bytes):
    with pytest.raises(NotAnImageError):
        received.add(content)


def test_a_port_that_is_taken_is_said_so(listening: Listening):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ExpectedError, match="cannot be listened at"):
            listening(port=taken.getsockname()[1])


def test_by_tls_only_senders_with_a_trusted_certificate_are_answered(listening: Listening, tmp_path: Path):
    node, stranger = make_certificates(tmp_path, "node"), make_certificates(tmp_path, "stranger")
    port = listening(tls=node).port
    assert stored(port, a_study(1), tls=(client_context(node), "127.0.0.1")) == [SUCCESS]
    distrusted = Certificates(stranger.certificate, stranger.key, node.trusted)
    assert not associated(port, tls=(client_context(distrusted), "127.0.0.1")).is_established
    assert not associated(port).is_established
    # One that connects and stays silent holds up nobody.
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        assert stored(port, a_study(1), tls=(client_context(node), "127.0.0.1")) == [SUCCESS]


def test_a_node_that_is_not_the_one_expected_is_not_sent_to(tmp_path: Path):
    node = make_certificates(tmp_path, "node")
    context = client_context(node)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    broken = Certificates(node.certificate, node.certificate, node.trusted)
    with pytest.raises(ExpectedError, match="cannot be used"):
        client_context(broken)


@pytest.fixture(autouse=True)
def quiet_network(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="scripts")
