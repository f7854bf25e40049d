"""A real Orthanc with its DICOMweb plug-in on the loopback interface, with a name and a password."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

USER, PASSWORD = "triage", "secret"
PLUGINS = ("/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "/usr/lib/orthanc/libOrthancDicomWeb.so")
PATIENCE_S = 60


class Orthanc:
    """The archive; ``address`` is that of its DICOMweb service."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.address = f"{self.root}/dicom-web"

    def store(self, files: Sequence[Path]) -> None:
        for file in files:
            answer = requests.post(
                f"{self.root}/instances", data=file.read_bytes(), auth=(USER, PASSWORD), timeout=PATIENCE_S
            )
            answer.raise_for_status()


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Start it with an empty store in a folder; it is gone at the end."""
    program = shutil.which("Orthanc") or shutil.which("orthanc")
    plugin = next((path for path in PLUGINS if Path(path).exists()), None)
    if program is None or plugin is None:
        pytest.skip("Orthanc and its DICOMweb plug-in are not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "Name": "tests",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "Plugins": [plugin],
        "RemoteAccessAllowed": False,
        "HttpPort": port,
        "DicomServerEnabled": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        archive = Orthanc(port)
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(archive):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "orthanc.log").read_text()
            time.sleep(0.1)
        yield archive
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _answers(archive: Orthanc) -> bool:
    try:
        return requests.get(f"{archive.root}/system", auth=(USER, PASSWORD), timeout=5).ok
    except requests.RequestException:
        return False
