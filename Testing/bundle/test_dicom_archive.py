"""Studies from a DICOMweb archive, objects back into it: a real Orthanc with its plug-in, and TLS on both ways."""

from __future__ import annotations

import datetime
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from certificates import make_certificates
from dicom_node_cases import (
    ARCHIVE,
    NODE,
    SENDER,
    NodeProcess,
    a_study,
    file_of,
    key_of_study,
    names_the_patient,
    reports_in,
    until,
)
from tls_front import https_before

from scripts.archive_demo import orthanc as orthanc_module
from scripts.archive_demo.orthanc import Orthanc, free_port
from scripts.dicom_node.archive import Archive
from scripts.dicom_node.collecting import Collector
from scripts.dicom_node.received import ReceivedStudies, StorageFullError
from scripts.dicom_node.secure_transport import server_context
from scripts.dicom_node.sending import PeerDestination, RefusedError, UnavailableError
from scripts.dicom_node.settings import ArchiveSettings, Certificates, DiskSettings, Peer
from scripts.dicom_node.study_queue import State, StudyQueue
from scripts.messages import ExpectedError
from scripts.triage.archive import archive_tasks
from scripts.triage.tasks import TriageError

pytest_plugins = ("study_queue_cases",)

TODAY = datetime.date(2026, 1, 2)
STOP = threading.Event()


def archive_of(orthanc: Orthanc, days: int | None = 2) -> Archive:
    return Archive(ArchiveSettings(orthanc.dicomweb_url, days=days), timeout=30.0)


def a_dated_study(images: int = 3, date: str = "20260102"):
    study = a_study(images)
    for image in study:
        image.StudyDate = date
    return study


def test_a_study_is_found_fetched_read_and_its_report_is_stored_in_the_archive(orthanc: Orthanc, tmp_path: Path):
    study = a_study()
    node = NodeProcess(tmp_path / "node", {"archive": {"url": orthanc.dicomweb_url, "poll_seconds": 0.5, "days": None}})
    # Before it starts: what comes while it searches can be read in pieces.
    for image in study[:2]:
        orthanc.upload(file_of(image))
    node.start()
    node.wait_for(State.SENT, study)
    assert reports_in(orthanc, study) == ["2 images. A test."]

    # Killed while the rest is fetched: the study is read whole, and with it what housekeeping would have removed.
    orthanc.upload(file_of(study[2]))
    until(lambda: node.studies()[key_of_study(study)].revision == 3, "the rest is seen")
    node.kill()
    node.start()
    node.wait_for(State.SENT, study)
    assert sorted(reports_in(orthanc, study)) == ["2 images. A test.", "3 images. A test."]
    node.stop()
    assert names_the_patient(node.log, study) == []


def test_only_studies_of_the_last_days_are_searched_and_only_when_they_stay_the_same_fetched(
    orthanc: Orthanc, queue: StudyQueue, received: ReceivedStudies
):
    fresh, old = a_dated_study(), a_dated_study(date="20251231")
    for image in (*fresh, *old):
        orthanc.upload(file_of(image))
    collector = Collector(archive_of(orthanc), received, queue, 0.0, lambda: TODAY)
    collector.collect(STOP)
    assert queue.counts() == {}
    collector.collect(STOP)
    assert [study.key for study in queue.studies()] == [key_of_study(fresh)]
    assert len(received.files_of(key_of_study(fresh))) == 3
    assert collector.arriving() == set()


def test_a_study_that_could_not_be_fetched_whole_is_not_complete_before_the_rest_has_come(
    orthanc: Orthanc, queue: StudyQueue, received: ReceivedStudies, monkeypatch: pytest.MonkeyPatch
):
    study = a_dated_study(4, "20260302")
    for image in study:
        orthanc.upload(file_of(image))
    archive = archive_of(orthanc, days=1)
    collector = Collector(archive, received, queue, 0.0, lambda: datetime.date(2026, 3, 2))
    collector.collect(STOP)
    fetch, fetched = archive.fetch, []

    def fetch_twice(*asked):
        if len(fetched) == 2:
            raise UnavailableError("http_503")
        fetched.append(asked)
        return fetch(*asked)

    with monkeypatch.context() as patch:
        patch.setattr(archive, "fetch", fetch_twice)
        with pytest.raises(UnavailableError):
            collector.collect(STOP)
    assert queue.settle((), 0.0, 3600.0) == []
    assert len(queue.absent_images(key_of_study(study))) == 2

    # One image that is refused: the others come.
    def refuse_third(*asked):
        fetched.append(asked)
        if len(fetched) == 3:
            raise RefusedError("http_404")
        return fetch(*asked)

    with monkeypatch.context() as patch:
        patch.setattr(archive, "fetch", refuse_third)
        collector.collect(STOP)
    assert len(queue.absent_images(key_of_study(study))) == 1
    collector.collect(STOP)
    assert [each.state for each in queue.settle((), 0.0, 3600.0)] == [State.COMPLETE]

    # All is known: the next rounds ask for no image, until housekeeping has removed some and one more comes.
    collector.collect(STOP)
    with monkeypatch.context() as patch:
        patch.setattr(archive, "images", lambda uid: pytest.fail("asked again"))
        collector.collect(STOP)
    queue.finish(queue.claim(State.COMPLETE, State.READING), State.SENT)
    received.remove(key_of_study(study))
    (late,) = a_dated_study(1, "20260302")
    late.StudyInstanceUID, late.SeriesInstanceUID = study[0].StudyInstanceUID, study[0].SeriesInstanceUID
    orthanc.upload(file_of(late))
    collector.collect(STOP)
    collector.collect(STOP)
    assert len(received.files_of(key_of_study(study))) == 5


def test_a_full_disk_stops_the_fetching_and_stopping_does_too(orthanc: Orthanc, queue: StudyQueue, tmp_path: Path):
    study = a_dated_study(2, "20260402")
    for image in study:
        orthanc.upload(file_of(image))
    full = ReceivedStudies(tmp_path / "received", queue, 0.0, DiskSettings(least_free_mb=1e9))
    collector = Collector(archive_of(orthanc), full, queue, 0.0, lambda: datetime.date(2026, 4, 2))
    stopped = threading.Event()
    stopped.set()
    collector.collect(stopped)
    collector.collect(STOP)
    with pytest.raises(StorageFullError):
        collector.collect(STOP)
    assert full.files_of(key_of_study(study)) == []


def test_an_archive_that_does_not_answer_and_one_that_refuses_are_told_apart(orthanc: Orthanc, tmp_path: Path):
    absent = Archive(ArchiveSettings(f"http://127.0.0.1:{free_port()}/dicom-web"), timeout=5.0)
    with pytest.raises(UnavailableError, match="ConnectionError"):
        list(absent.studies(TODAY))
    elsewhere = Archive(ArchiveSettings(f"{orthanc.url}/nowhere"), timeout=5.0)
    with pytest.raises(RefusedError, match="http_404"):
        list(elsewhere.studies(TODAY))
    (image,) = a_study(1)
    file = tmp_path / "object.dcm"
    file.write_bytes(file_of(image))
    archive_of(orthanc).store(file)
    archive_of(orthanc).store(file)
    assert sum(image.StudyInstanceUID in json.dumps(study) for study in orthanc.get("studies?expand")) == 1
    with pytest.raises(UnavailableError):
        absent.store(file)


def test_a_password_opens_an_archive_that_asks_for_one(tmp_path: Path):
    guarded = Orthanc(tmp_path / "orthanc", account=("node", "secret"))
    guarded.start()
    password = tmp_path / "password"
    password.write_text("secret\nnot this line\n", encoding="utf-8")
    settings = ArchiveSettings(guarded.dicomweb_url, user="node", password_file=password)
    assert list(Archive(settings, 30.0).studies(TODAY)) == []
    with pytest.raises(RefusedError, match="http_401"):
        list(Archive(ArchiveSettings(guarded.dicomweb_url), 30.0).studies(TODAY))
    guarded.stop()


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate of 127.0.0.1 that an authority of the hospital's own has signed."""
    return make_certificates(tmp_path_factory.mktemp("tls"), "hospital")


@pytest.fixture
def https(orthanc: Orthanc, hospital: Certificates) -> Iterator[str]:
    """The archive's DICOMweb services by HTTPS. Debian's Orthanc ends when it speaks TLS itself: a front does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(hospital.certificate, hospital.key)
    with https_before(orthanc.http_port, context) as root:
        yield f"{root}/dicom-web"


def test_by_https_a_study_is_fetched_and_its_report_stored_in_an_archive_of_a_known_authority(
    orthanc: Orthanc, https: str, hospital: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    study = a_study()
    for image in study:
        orthanc.upload(file_of(image))
    archive = {"url": https, "poll_seconds": 0.5, "days": None, "trusted": str(hospital.trusted)}
    node = NodeProcess(tmp_path / "node", {"archive": archive}).start()
    node.wait_for(State.SENT, study)
    assert reports_in(orthanc, study) == ["3 images. A test."]
    assert node.stop() == 0
    # The triage takes the authority from where programs of this kind take it.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(hospital.trusted))
    assert study[0].StudyInstanceUID in [task.place.rpartition("/")[2] for task in archive_tasks(https)]


def test_by_https_an_archive_of_an_unknown_authority_is_asked_and_told_nothing(
    orthanc: Orthanc, https: str, tmp_path: Path
):
    stranger = make_certificates(tmp_path / "stranger", "stranger")
    file = tmp_path / "report.dcm"
    file.write_bytes(file_of(a_study(1)[0]))
    before = orthanc.get("statistics")["CountInstances"]
    for trusted in (stranger.trusted, None):
        archive = Archive(ArchiveSettings(https, trusted=trusted), 30.0)
        with pytest.raises(UnavailableError, match=r"certificate_not_trusted, see archive\.trusted"):
            list(archive.studies(TODAY))
        with pytest.raises(UnavailableError, match="certificate_not_trusted"):
            archive.store(file)
    assert orthanc.get("statistics")["CountInstances"] == before
    with pytest.raises(TriageError, match=r"of no trusted authority, .*in REQUESTS_CA_BUNDLE"):
        archive_tasks(https)


def test_by_https_an_archive_that_asks_for_a_certificate_gets_the_nodes(orthanc: Orthanc, hospital: Certificates):
    with https_before(orthanc.http_port, server_context(hospital)) as root:
        known = ArchiveSettings(f"{root}/dicom-web", 2, 1, hospital.trusted, hospital.certificate, hospital.key)
        assert list(Archive(known, 30.0).studies(datetime.date(1999, 1, 1))) == []
        with pytest.raises(UnavailableError):
            list(Archive(replace(known, certificate=None, key=None), 30.0).studies(TODAY))


def test_by_tls_a_study_goes_in_and_its_report_comes_back(tmp_path: Path):
    files, port = make_certificates(tmp_path / "tls", "hospital"), free_port()
    tls = {name: str(path) for name, path in vars(files).items()}
    orthanc = Orthanc(
        tmp_path / "orthanc",
        options={
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": tls["certificate"],
            "DicomTlsPrivateKey": tls["key"],
            "DicomTlsTrustedCertificates": tls["trusted"],
            "DicomModalities": {NODE: {"AET": NODE, "Host": "127.0.0.1", "Port": port, "UseDicomTls": True}},
        },
    )
    orthanc.start()
    peer = {"ae_title": ARCHIVE, "port": orthanc.dicom_port, "tls": True}
    node = NodeProcess(tmp_path / "node", {"send_to": peer, "tls": tls}, port=port).start()
    study = a_study()
    for image in study:
        orthanc.upload(file_of(image))
    assert orthanc.send(orthanc.get("studies")[0], NODE)
    node.wait_for(State.SENT, study)
    assert reports_in(orthanc, study) == ["3 images. A test."]

    # Orthanc by TLS takes nobody without: the sender is told so, and the study would wait.
    (report,) = node.folder.glob("state/objects/*/*.dcm")
    plain = PeerDestination(Peer(ARCHIVE, orthanc.dicom_port), SENDER, None, 5.0)
    with pytest.raises(UnavailableError):
        plain.send([report], lambda file: pytest.fail("confirmed"))
    assert node.stop() == 0
    orthanc.stop()


def test_without_orthanc_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(orthanc_module, "_PLUGINS", (tmp_path,))
    with pytest.raises(ExpectedError, match="are not installed"):
        Orthanc(tmp_path / "orthanc").start()


def test_an_orthanc_that_cannot_start_is_said_so(tmp_path: Path):
    with pytest.raises(ExpectedError, match="Orthanc did not start"):
        Orthanc(tmp_path / "orthanc", options={"DicomPort": -1}).start()
