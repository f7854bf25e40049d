"""What an installation decides: who may send, where objects go, how long things are waited for and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from scripts.messages import ExpectedError

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "dicom_node.schema.json"
_WORKER = ("{python}", "-m", "scripts.resident_worker")


@dataclass(frozen=True)
class Caller:
    """Who may send: an AE title, from one address or (None) from any address that another caller has."""

    ae_title: str
    address: str | None = None


@dataclass(frozen=True)
class Certificates:
    """Files in PEM form: the node's own certificate and key, and the authorities by which it knows others."""

    certificate: Path
    key: Path
    trusted: Path


@dataclass(frozen=True)
class Peer:
    """Where C-STORE sends objects to; with ``tls`` by the node's own certificates.

    With ``commitment`` it is asked to commit itself to keep them (PS3.4, annex J).
    """

    ae_title: str
    port: int
    host: str = "127.0.0.1"
    tls: bool = False
    commitment: bool = False


@dataclass(frozen=True)
class ArchiveSettings:
    """A DICOMweb archive.

    Attributes
    ----------
    url : str
        Root of its services, e.g. ``https://archive/dicom-web``.
    poll_seconds : float or None
        How often new studies are searched for; None never, where the archive is only sent to.
    days : int or None
        Studies of the last so many days are searched, today's included; None all.
    trusted, certificate, key, user, password_file
        For HTTPS and basic authentication; the password is a file's first line.
    """

    url: str
    poll_seconds: float | None = 30.0
    days: int | None = 2
    trusted: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str | None = None
    password_file: Path | None = None


@dataclass(frozen=True)
class ReadingSettings:
    """How a study is read: settings of ``configs/inference.json``, most minutes, attempts, and the worker's command."""

    arguments: Mapping[str, str | float | bool] = field(default_factory=dict)
    minutes: float = 30.0
    attempts: int = 3
    worker: tuple[str, ...] = _WORKER


@dataclass(frozen=True)
class DiskSettings:
    """Images are refused (0xA700) while less than so much is free, or more than so much is held (MB)."""

    least_free_mb: float = 2000.0
    most_received_mb: float | None = None


@dataclass(frozen=True)
class KeepSettings:
    """For how many hours things stay after the study's last step; None for ever."""

    received_hours: float | None = 24.0
    results_hours: float | None = 168.0
    failed_hours: float | None = 720.0


@dataclass(frozen=True)
class WaitSettings:
    """Patience, in seconds unless named otherwise.

    Attributes
    ----------
    quiet : float
        A study is complete when nothing came for so long and no association that brought some of it is open.
    interrupted : float
        The same after an association that broke off, or a restart: the sender may send the rest.
    incomplete_hours : float
        For so long images are waited for that are known but absent; then the study is not evaluable.
    retry_first, retry_most : float
        Pauses between attempts begin with the first, double, and stay at the second.
    give_up_hours : float
        A study whose objects nobody takes for so long has failed.
    network : float
        An answer or the next message of a peer.
    commitment : float
        A report of what the peer keeps; then it is asked again.
    """

    quiet: float = 30.0
    interrupted: float = 300.0
    incomplete_hours: float = 24.0
    retry_first: float = 5.0
    retry_most: float = 900.0
    give_up_hours: float = 72.0
    network: float = 60.0
    commitment: float = 3600.0


@dataclass(frozen=True)
class NodeSettings:
    """All settings; ``docs/dicom_node.schema.json`` describes each."""

    state_folder: Path
    callers: tuple[Caller, ...] = ()
    send_to: Peer | None = None
    archive: ArchiveSettings | None = None
    ae_title: str = "ICHDIAGNOSIS"
    host: str = "127.0.0.1"
    port: int = 11112
    most_associations: int = 25
    discard_others: bool = True
    tls: Certificates | None = None
    objects: str = "scripts.dicom_node.exported_objects.write_objects"
    leave_out: tuple[str, ...] = ("attribution_*", "lesion_probability*")
    notices: bool = True
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    disk: DiskSettings = field(default_factory=DiskSettings)
    keep: KeepSettings = field(default_factory=KeepSettings)
    wait: WaitSettings = field(default_factory=WaitSettings)


_PARTS: Mapping[str, Any] = {
    "archive": ArchiveSettings,
    "disk": DiskSettings,
    "keep": KeepSettings,
    "reading": ReadingSettings,
    "send_to": Peer,
    "tls": Certificates,
    "wait": WaitSettings,
}
_PATHS = frozenset({"state_folder", "certificate", "key", "trusted", "password_file"})


def read_settings(file: Path) -> NodeSettings:
    """Read and check a configuration; paths in it are relative to its folder.

    Raises
    ------
    ExpectedError
        If it cannot be read, is no JSON, breaks the schema, or names a file that is not there.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExpectedError("node.config_unreadable", file=file.name, fault=error.strerror) from None
    except ValueError as error:
        raise ExpectedError("node.config_no_json", file=file.name, fault=error) from None
    validator = Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    for fault in validator.iter_errors(document):
        where = "/".join(str(part) for part in fault.absolute_path) or file.name
        raise ExpectedError("node.config_wrong", where=where, fault=fault.message)
    return _checked(_settings(document, file.resolve().parent))


def _settings(document: Mapping[str, Any], folder: Path) -> NodeSettings:
    values = {name: _part(_PARTS[name], value, folder) if name in _PARTS else value for name, value in document.items()}
    values["callers"] = tuple(Caller(**caller) for caller in document.get("callers", ()))
    return _made(NodeSettings, values, folder)


def _part(kind: Any, value: Mapping[str, Any] | None, folder: Path) -> Any:  # noqa: ANN401 - any dataclass above
    return None if value is None else _made(kind, value, folder)


def _made(kind: Any, values: Mapping[str, Any], folder: Path) -> Any:  # noqa: ANN401 - any dataclass above
    known = {each.name for each in fields(kind)}
    given = {name: value for name, value in values.items() if name in known}
    paths = {name: folder / value for name, value in given.items() if name in _PATHS and value is not None}
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return kind(**{**given, **paths, **lists})


def _checked(settings: NodeSettings) -> NodeSettings:
    """Refuse what the schema cannot see: files that are absent, a peer by TLS without certificates, nowhere to send."""
    tls, archive = settings.tls, settings.archive
    named = [*vars(tls).values()] if tls else []
    if archive:
        named += [archive.trusted, archive.certificate, archive.key, archive.password_file]
    for path in named:
        if path is not None and not path.is_file():
            raise ExpectedError("node.no_such_file", file=path.name)
    if settings.send_to is None and archive is None:
        raise ExpectedError("node.nowhere_to_send")
    if settings.send_to is not None and settings.send_to.tls and tls is None:
        raise ExpectedError("node.no_certificates")
    if settings.send_to is not None and settings.send_to.commitment and not settings.callers:
        raise ExpectedError("node.no_reports")
    return settings
