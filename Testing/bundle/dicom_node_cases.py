"""Small CT studies on the wire, and a node as a process of its own beside a real Orthanc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from dicom_files import PATIENT_NAME, Series
from printed_text import text_of
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from scripts.archive_demo.orthanc import Orthanc, free_port
from scripts.dicom_node.identity import key_of
from scripts.dicom_node.node import Node
from scripts.dicom_node.study_queue import QueuedStudy, State, StudyQueue

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
STAND_IN = Path(__file__).with_name("stand_in_reader.py")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(STAND_IN.parent), "PYTHONUTF8": "1"}
NODE, ARCHIVE, SENDER = "NODE", "ORTHANC", "SENDER"
VERIFICATION = "1.2.840.10008.1.1"
NETWORK_SECONDS = 60.0
"""What a busy machine may take for an answer: nobody is to give up whom a test wants to have answered."""

QUIET = {"quiet": 0.3, "interrupted": 4, "retry_first": 0.2, "retry_most": 1, "network": NETWORK_SECONDS}
_PATIENCE_SECONDS = 300.0


def a_study(images: int = 3, description: str = "head") -> list[Dataset]:
    """Make the images of one small study, of a patient whom nobody may find in any log."""
    series = Series(voxels=np.zeros((images, 8, 8), dtype=np.int16))
    datasets = [series.dataset(index) for index in range(images)]
    for dataset in datasets:
        dataset.SeriesDescription = description
        dataset.StudyDate, dataset.StudyTime, dataset.PatientSex = "20000101", "120000", "O"
        dataset.StudyID = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    return datasets


def file_of(dataset: Dataset) -> bytes:
    """Return a dataset as a DICOM file."""
    with BytesIO() as stream:
        dataset.save_as(stream, enforce_file_format=True)
        return stream.getvalue()


def key_of_study(study: Sequence[Dataset]) -> str:
    return key_of(str(study[0].StudyInstanceUID))


def until(holds: Callable[[], Any], what: str) -> Any:
    """Wait until something holds, and return it."""
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while not (found := holds()):
        assert time.monotonic() < give_up, what
        time.sleep(0.2)
    return found


def associated(port: int, title: str = SENDER, called: str = NODE, tls: Any = None) -> Association:
    """Begin an association with a node, to store CT images."""
    entity = AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = NETWORK_SECONDS
    entity.connection_timeout = NETWORK_SECONDS
    for sop_class in (VERIFICATION, "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"):
        entity.add_requested_context(sop_class, "1.2.840.10008.1.2.1")
    return entity.associate("127.0.0.1", port, ae_title=called, tls_args=tls)


def stored(port: int, images: Sequence[Dataset], **association: Any) -> list[int]:
    """Store images in one association; return the status of each."""
    sender = associated(port, **association)
    assert sender.is_established
    statuses = [int(sender.send_c_store(image).Status) for image in images]
    sender.release()
    return statuses


def received_whole(node: Node, study: Sequence[Dataset]) -> None:
    """Give a node the images of a study, which it cannot take for all before the last one has come."""
    images = [key_of(str(image.SOPInstanceUID)) for image in study]
    node.queue.expect_images(key_of_study(study), images, 0.0)
    for image in study:
        node.received.add(file_of(image))


@dataclass
class NodeProcess:
    """A node as it runs in a hospital: its configuration, its folder, its log, and its process while it runs."""

    folder: Path
    settings: dict[str, Any]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.folder / "node.json"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def start(self) -> NodeProcess:
        """Start it, and return when it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "state_folder": "state",
            "ae_title": NODE,
            "port": self.port,
            "callers": [{"ae_title": ARCHIVE}, {"ae_title": SENDER, "address": "127.0.0.1"}],
            "objects": "plain_report.write_objects",
            "reading": {"worker": [sys.executable, str(STAND_IN)], "attempts": 2},
            "disk": {"least_free_mb": 1},
            "wait": QUIET,
        }
        self.config.write_text(json.dumps(settings | self.settings), encoding="utf-8")
        before = self.log.count("listening") if (self.folder / "log").exists() else 0
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "scripts.dicom_node", "run", "--config", str(self.config)]
            self.process = subprocess.Popen(command, cwd=BUNDLE, env=ENVIRONMENT, stderr=log)
        until(lambda: self.log.count("listening") > before or self.process.poll() is not None, "the node starts")
        assert self.process.poll() is None, self.log
        return self

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as a service manager does; return its exit status."""
        self.process.terminate()
        return self.process.wait(_PATIENCE_SECONDS)

    def time_of(self, text: str) -> datetime:
        """Return when it last wrote a line with a text into its log."""
        (*_, line) = [line for line in self.log.splitlines() if text in line]
        return datetime.strptime(" ".join(line.split()[:2]), "%Y-%m-%d %H:%M:%S,%f")

    def command(self, name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "scripts.dicom_node", name, "--config", str(self.config)]
        return subprocess.run(command, cwd=BUNDLE, env=ENVIRONMENT, capture_output=True, text=True, check=False)

    def studies(self) -> dict[str, QueuedStudy]:
        """Return all studies of its queue by their keys."""
        queue = StudyQueue(self.folder / "state" / "queue.sqlite")
        found = {study.key: study for study in queue.studies()}
        queue.close()
        return found

    def wait_for(self, state: State, *studies: Sequence[Dataset]) -> list[QueuedStudy]:
        """Wait until studies are in a state."""
        keys = [key_of_study(study) for study in studies]

        def arrived() -> bool:
            found = self.studies()
            return all(key in found and found[key].state is state for key in keys)

        try:
            until(arrived, f"studies are {state.value}")
        except AssertionError as late:
            states = {key: (study.state.value, study.reason) for key, study in self.studies().items()}
            raise AssertionError(f"{late}: {states}\n{self.log[-4000:]}") from late
        found = self.studies()
        return [found[key] for key in keys]


def objects_in(orthanc: Orthanc, study: Sequence[Dataset], modality: str) -> list[bytes]:
    """Return the files of one modality that Orthanc has of a study."""
    files = []
    for found in orthanc.get("studies?expand"):
        if found["MainDicomTags"]["StudyInstanceUID"] != study[0].StudyInstanceUID:
            continue
        for series in orthanc.get(f"studies/{found['ID']}/series"):
            if series["MainDicomTags"]["Modality"] == modality:
                files += [orthanc.file(instance) for instance in series["Instances"]]
    return files


def reports_in(orthanc: Orthanc, study: Sequence[Dataset]) -> list[str]:
    """Return the impressions of the reports that Orthanc has of a study."""
    return [impression_of(content) for content in objects_in(orthanc, study, "SR")]


def notices_in(orthanc: Orthanc, study: Sequence[Dataset], folder: Path) -> list[str]:
    """Return what the documents say that Orthanc has of a study, of the study's patient."""
    documents = [dcmread(BytesIO(content)) for content in objects_in(orthanc, study, "DOC")]
    assert {document.PatientID for document in documents} <= {study[0].PatientID}
    return [text_of(document, folder) for document in documents]


def impression_of(content: bytes) -> str:
    """Return the impression that a plain report holds."""
    items = dcmread(BytesIO(content)).ContentSequence
    (found,) = [item for item in items if item.ConceptNameCodeSequence[0].CodeMeaning == "Impression"]
    return str(found.TextValue)


def names_the_patient(text: str, *studies: Sequence[Dataset]) -> list[str]:
    """Return what of a patient a text holds: parts of the name, the identifier, any UID."""
    values = [*PATIENT_NAME.split("^"), "MRN-4711", "19500102"]
    for study in studies:
        values += [str(study[0].StudyInstanceUID), str(study[0].SeriesInstanceUID)]
        values += [str(image.SOPInstanceUID) for image in study]
    return [value for value in values if value in text]
