"""An Orthanc of one's own on the loopback interface: the archive of the demo and of the tests."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from scripts.messages import ExpectedError

PROGRAM = "Orthanc"
_PLUGINS = (Path("/usr/share/orthanc/plugins"), Path("/usr/lib/orthanc/plugins"))
_DICOMWEB = "libOrthancDicomWeb.so"
_LOOPBACK = "127.0.0.1"
_PORTS, _TRIES = range(20000, 32000), 100
_START_SECONDS = 180.0
_STOP_SECONDS = 20.0
_given_ports: set[int] = set()


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens at.

    It is none that the system gives to outgoing connections: one of those would take it while a server is restarted.
    This process gets each port once: whoever was given one may not listen there yet.

    Raises
    ------
    OSError
        If all that were tried are taken.
    """
    for port in random.SystemRandom().sample(_PORTS, _TRIES):
        if port in _given_ports:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind((_LOOPBACK, port))
            _given_ports.add(port)
            return port
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


@dataclass
class Orthanc:
    """One Orthanc: its folder, its ports, and its process while it runs.

    Attributes
    ----------
    folder : Path
        Configuration, images and index; kept from one start to the next.
    modalities : mapping
        Peers that it may send to: name to AE title, address and port.
    options : mapping
        Further keys of its configuration.
    account : tuple of str or None
        Name and password without which it answers nobody; None where it asks for none.
    """

    folder: Path
    modalities: Mapping[str, tuple[str, str, int]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    account: tuple[str, str] | None = None
    ae_title: str = "ORTHANC"
    dicom_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Root of its own pages and REST interface."""
        return f"http://{_LOOPBACK}:{self.http_port}"

    @property
    def dicomweb_url(self) -> str:
        """Root of its DICOMweb services."""
        return f"{self.url}/dicom-web"

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises
        ------
        ExpectedError
            If Orthanc or its DICOMweb plug-in is not installed, or does not answer.
        """
        program, plugin = _installed()
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration(plugin), indent=1), encoding="utf-8")
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen([program, str(configuration)], stdout=log, stderr=log)
        give_up = time.monotonic() + _START_SECONDS
        while time.monotonic() < give_up and self.process.poll() is None:
            if self._answers():
                return
            time.sleep(0.1)
        self.kill()
        raise ExpectedError("archive.not_started", folder=self.folder)

    def stop(self) -> None:
        """End it as a service manager does."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.wait()
        self.process = None

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON of any shape
        """Ask its REST interface."""
        answer = requests.get(f"{self.url}/{path}", auth=self.account, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def file(self, instance: str) -> bytes:
        """Return an instance (by its own identifier) as a DICOM file."""
        answer = requests.get(f"{self.url}/instances/{instance}/file", auth=self.account, timeout=30)
        answer.raise_for_status()
        return answer.content

    def upload(self, content: bytes) -> None:
        """Give it a DICOM file."""
        answer = requests.post(f"{self.url}/instances", data=content, auth=self.account, timeout=30)
        answer.raise_for_status()

    def send(self, study: str, modality: str) -> bool:
        """Let it send a study (by its own identifier) to a peer by C-STORE; return whether the peer took it all."""
        body: dict[str, Any] = {"Resources": [study], "Synchronous": True}
        address = f"{self.url}/modalities/{modality}/store"
        return requests.post(address, json=body, auth=self.account, timeout=120).ok

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/system", auth=self.account, timeout=5).ok
        except requests.RequestException:
            return False

    def _configuration(self, plugin: Path) -> dict[str, Any]:
        return {
            "Name": "ICHDiagnosis",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": [str(plugin)],
            "DicomAet": self.ae_title,
            "DicomPort": self.dicom_port,
            "DicomScpTimeout": 10,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": self.account is not None,
            "RegisteredUsers": dict([self.account]) if self.account else {},
            "StableAge": 1,
            "SaveJobs": False,
            "DicomModalities": {name: list(peer) for name, peer in self.modalities.items()},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
            **self.options,
        }


def _installed() -> tuple[str, Path]:
    # Debian puts it where only root's path leads.
    program = shutil.which(PROGRAM, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    plugin = next((folder / _DICOMWEB for folder in _PLUGINS if (folder / _DICOMWEB).exists()), None)
    if program is None or plugin is None:
        raise ExpectedError("archive.not_installed")
    return program, plugin
