"""A node beside a real Orthanc: studies in, reports back, nothing lost and nothing twice, whoever is killed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from dicom_node_cases import (
    ARCHIVE,
    NETWORK_SECONDS,
    NODE,
    QUIET,
    NodeProcess,
    a_study,
    associated,
    file_of,
    key_of_study,
    names_the_patient,
    notices_in,
    reports_in,
    stored,
    until,
)
from pydicom.dataset import Dataset
from stand_in_reader import END, FAIL, REFUSE

from scripts.archive_demo.orthanc import Orthanc, free_port
from scripts.dicom_node.study_queue import State

MOMENTS = 5


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    port = free_port()
    # A sender that gave up on a busy node would send studies in pieces.
    patience = {"DicomScuTimeout": int(NETWORK_SECONDS)}
    archive = Orthanc(tmp_path / "orthanc", {NODE: (NODE, "127.0.0.1", port)}, patience)
    archive.start()
    yield archive
    archive.kill()


@pytest.fixture
def node(tmp_path: Path, orthanc: Orthanc) -> Iterator[NodeProcess]:
    """A node that listens where Orthanc sends to, and sends to Orthanc."""
    peer = {"ae_title": ARCHIVE, "port": orthanc.dicom_port}
    process = NodeProcess(tmp_path / "node", {"send_to": peer}, port=orthanc.modalities[NODE][2])
    yield process.start()
    process.kill()


def uploaded(orthanc: Orthanc, *studies: Sequence[Dataset]) -> list[str]:
    """Give Orthanc studies; return its identifiers of all studies."""
    for study in studies:
        for image in study:
            orthanc.upload(file_of(image))
    return list(orthanc.get("studies"))


def keep_sending(orthanc: Orthanc, studies: Sequence[str], stop: threading.Event) -> list[str]:
    """Send one study after the other until the node has taken all of it, as archives do; return those taken."""
    taken: list[str] = []
    for study in studies:
        while study not in taken and not stop.is_set():
            # Orthanc itself may be away.
            with suppress(OSError):
                if orthanc.send(study, NODE):
                    taken.append(study)
                    break
            time.sleep(0.1)
    return taken


def test_studies_go_in_and_reports_come_back_whatever_single_studies_do(
    node: NodeProcess, orthanc: Orthanc, tmp_path: Path
):
    good, refused, failing = a_study(), a_study(description=REFUSE), a_study(description=FAIL)
    ending, last = a_study(description=END), a_study(5)
    every = (good, refused, failing, ending, last)
    assert keep_sending(orthanc, uploaded(orthanc, *every), threading.Event()) == orthanc.get("studies")
    node.wait_for(State.SENT, good, last)
    assert node.wait_for(State.NOT_EVALUABLE, refused)[0].reason == "too_few_slices"
    assert [study.reason for study in node.wait_for(State.FAILED, failing, ending)] == ["exit_status_1", "worker_ended"]
    assert [reports_in(orthanc, study) for study in every] == [["3 images. A test."], [], [], [], ["5 images. A test."]]

    # Nobody need believe that silence is a reading: what has no result has a notice in the archive.
    notices = [notices_in(orthanc, study, tmp_path) for study in every]
    assert [len(found) for found in notices] == [0, 1, 1, 1, 0]
    assert all("NOT EVALUATED" in text and "Research use only" in text for found in notices for text in found)
    assert "3 slices, 12 needed" in notices[1][0]
    assert "the program failed (exit_status_1)" in notices[2][0]

    # What arrives again is known, and read no second time; failed studies are, when somebody asks.
    before = node.studies()[key_of_study(good)]
    assert stored(node.port, good) == [0, 0, 0]
    shown = node.command("status").stdout
    assert [line.split() for line in shown.splitlines()[:3]] == [["sent", "2"], ["not_evaluable", "1"], ["failed", "2"]]
    assert "exit_status_1" in shown
    assert "2 failed studies begin anew" in node.command("retry").stdout
    until(lambda: node.log.count("attempt 2") == 4, "failed studies are read again")
    assert node.studies()[key_of_study(good)].state is before.state is State.SENT
    assert reports_in(orthanc, good) == ["3 images. A test."]

    node.wait_for(State.FAILED, failing, ending)
    assert len(notices_in(orthanc, failing, tmp_path)) == 1
    assert node.stop() == 0
    assert names_the_patient(node.log + shown, *every) == []
    state = node.folder / "state"
    names = "\n".join(str(path.relative_to(state)) for path in state.rglob("*"))
    assert names_the_patient(names, *every) == []
    assert names_the_patient((state / "queue.sqlite").read_bytes().decode("latin-1"), *every) == []


def test_a_study_in_pieces_is_read_once_and_again_with_what_is_new(node: NodeProcess, orthanc: Orthanc):
    study = a_study(6)
    sender = associated(node.port)
    sender.send_c_store(study[0])
    time.sleep(3 * QUIET["quiet"])
    assert node.studies()[key_of_study(study)].state is State.RECEIVING
    for image in study[1:4]:
        sender.send_c_store(image)
    sender.release()
    node.wait_for(State.SENT, study)
    assert reports_in(orthanc, study) == ["4 images. A test."]

    # Two senders of the same rest, one of which breaks off after the other has gone: it is waited for.
    broken = associated(node.port)
    broken.send_c_store(study[5])
    assert stored(node.port, study[3:5]) == [0, 0]
    broken.abort()
    node.wait_for(State.SENT, study)
    assert sorted(reports_in(orthanc, study)) == ["4 images. A test.", "6 images. A test."]
    waited = node.time_of("complete, 6 images") - node.time_of("its sender broke off")
    # The log states milliseconds, cut off.
    assert waited.total_seconds() > QUIET["interrupted"] - 0.002


def test_a_peer_that_is_down_for_a_while_gets_everything_once(node: NodeProcess, orthanc: Orthanc):
    studies = [a_study() for _ in range(3)]
    orthanc.kill()
    for study in studies:
        stored(node.port, study)
    until(lambda: "unavailable: no_answer" in node.log, "the peer is missed")
    node.kill()
    node.start()
    orthanc.start()
    node.wait_for(State.SENT, *studies)
    assert [reports_in(orthanc, study) for study in studies] == [["3 images. A test."]] * 3


@pytest.mark.parametrize("killed", ["node", "orthanc"])
def test_nothing_is_lost_and_nothing_doubled_when_either_side_is_killed(
    node: NodeProcess, orthanc: Orthanc, killed: str
):
    studies = [a_study(4) for _ in range(8)]
    identifiers = uploaded(orthanc, *studies)
    stop = threading.Event()
    sender = threading.Thread(target=keep_sending, args=(orthanc, identifiers, stop))
    sender.start()
    moments = random.Random(20)
    for _ in range(MOMENTS):
        time.sleep(moments.uniform(0.0, 0.8))
        victim = node if killed == "node" else orthanc
        victim.kill()
        victim.start()
    sender.join(420)
    stop.set()
    node.wait_for(State.SENT, *studies)
    for study in studies:
        reports = reports_in(orthanc, study)
        # A sender that stays away for longer than the node waits has a study read in pieces, and whole at the end.
        assert reports.count("4 images. A test.") == 1
        assert len(reports) == len(set(reports))


def test_a_hundred_studies_at_once(node: NodeProcess, orthanc: Orthanc):
    studies = [a_study(2) for _ in range(100)]
    identifiers = uploaded(orthanc, *studies)
    stop = threading.Event()
    senders = [threading.Thread(target=keep_sending, args=(orthanc, identifiers[part::10], stop)) for part in range(10)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(240)
    node.wait_for(State.SENT, *studies)
    assert all(reports_in(orthanc, study) == ["2 images. A test."] for study in studies[::20])
    assert sum(series["MainDicomTags"]["Modality"] == "SR" for series in orthanc.get("series?expand")) == 100
    assert orthanc.get("statistics")["CountInstances"] == 300
