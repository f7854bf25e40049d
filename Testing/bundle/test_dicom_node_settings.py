"""The node's configuration, its command, its log: mistakes are one line, and no line names a patient."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import make_certificates
from jsonschema import Draft202012Validator

from scripts.dicom_node import __main__ as command
from scripts.dicom_node.durable import used_alone
from scripts.dicom_node.identity import fault_of, key_of
from scripts.dicom_node.private_log import WITHHELD, configure_log
from scripts.dicom_node.result_objects import named_objects, written_once
from scripts.dicom_node.settings import (
    SCHEMA_FILE,
    ArchiveSettings,
    Caller,
    DiskSettings,
    KeepSettings,
    NodeSettings,
    Peer,
    ReadingSettings,
    WaitSettings,
    read_settings,
)
from scripts.messages import ExpectedError

LEAST = {"state_folder": "state", "send_to": {"ae_title": "PACS", "port": 104}}


def written(folder: Path, document: Any) -> Path:
    file = folder / "node.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return file


def test_paths_are_relative_to_the_file_and_the_rest_has_defaults(tmp_path: Path):
    settings = read_settings(written(tmp_path, LEAST | {"callers": [{"ae_title": "PACS"}], "wait": {"quiet": 5}}))
    assert settings.state_folder == tmp_path / "state"
    assert settings.send_to == Peer("PACS", 104)
    assert settings.callers == (Caller("PACS"),)
    assert settings.wait == WaitSettings(quiet=5)
    assert settings.host == "127.0.0.1"


def test_files_of_certificates_and_of_a_password_must_be_there(tmp_path: Path):
    made = make_certificates(tmp_path, "node")
    tls = {"certificate": made.certificate.name, "key": made.key.name, "trusted": made.trusted.name}
    settings = read_settings(written(tmp_path, LEAST | {"tls": tls}))
    assert settings.tls == made
    archive = {"url": "https://pacs/dicom-web", "password_file": "absent"}
    with pytest.raises(ExpectedError, match="absent: the configuration names this file"):
        read_settings(written(tmp_path, LEAST | {"archive": archive}))


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ("{", "no JSON"),
        (LEAST | {"prot": 104}, "'prot'"),
        (LEAST | {"ae_title": "LONGER THAN SIXTEEN"}, "ae_title"),
        (LEAST | {"ae_title": "A\\B"}, "ae_title"),
        (LEAST | {"wait": {"retry_first": 0}}, "wait/retry_first"),
        ({"state_folder": "state"}, "neither send_to nor archive"),
        ({"state_folder": "state", "send_to": {"ae_title": "PACS", "port": 104, "tls": True}}, "no certificates"),
        (
            {"state_folder": "s", "send_to": {"ae_title": "PACS", "port": 104, "commitment": True}},
            "callers names nobody",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, document: Any, fault: str):
    with pytest.raises(ExpectedError, match=fault) as raised:
        read_settings(written(tmp_path, document))
    assert "\n" not in str(raised.value)


def test_a_configuration_that_is_not_there_is_said_so(tmp_path: Path):
    with pytest.raises(ExpectedError, match=r"node\.json: cannot be read"):
        read_settings(tmp_path / "node.json")


def test_schema_and_settings_agree_on_names_and_defaults():
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    parts = {"disk": DiskSettings, "keep": KeepSettings, "reading": ReadingSettings, "wait": WaitSettings}
    described: dict[Any, dict[str, Any]] = {kind: schema["properties"][name] for name, kind in parts.items()}
    described |= {NodeSettings: schema, ArchiveSettings: schema["properties"]["archive"]}
    for kind, description in described.items():
        assert set(description["properties"]) == set(kind.__dataclass_fields__)
        for name, entry in description["properties"].items():
            default = kind.__dataclass_fields__[name].default
            if "default" in entry:
                assert entry["default"] == (list(default) if isinstance(default, tuple) else default), name


@pytest.fixture
def restored_log() -> Iterator[None]:
    """Give pytest its logging back."""
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], threading.excepthook = handlers, hook
    root.setLevel(level)
    logging.captureWarnings(False)


def test_the_log_holds_own_lines_alone_and_no_text_of_an_error(restored_log: None, capsys: pytest.CaptureFixture[str]):
    configure_log()
    logging.getLogger("scripts.dicom_node.node").info("study 0123: read")
    logging.getLogger("pynetdicom.assoc").info("Patient Mustermann")
    logging.getLogger("pynetdicom.assoc").error("Patient %s", "Mustermann", exc_info=True)
    warnings.warn("Invalid value for PN: Mustermann", UserWarning, stacklevel=1)
    thread = threading.Thread(target=int, args=("Mustermann",))
    thread.start()
    thread.join()
    lines = capsys.readouterr().err.splitlines()
    assert "Mustermann" not in "".join(lines)
    assert [line.split(" ", 3)[3] for line in lines] == [
        "study 0123: read",
        f"pynetdicom.assoc: {WITHHELD}",
        "a thread ended: ValueError at threading.py:982",
    ] or lines[-1].endswith(tuple("0123456789"))


def test_an_error_is_named_without_its_text():
    try:
        int("Mustermann")
    except ValueError as error:
        assert fault_of(error).startswith("ValueError at test_dicom_node_settings.py:")
    assert fault_of(ValueError("Mustermann")) == "ValueError"


def test_padding_is_no_part_of_a_uid():
    assert key_of("1.2.3") == key_of("1.2.3\0") == key_of("1.2.3 ") != key_of("1.2.4")


def test_two_nodes_cannot_share_a_folder(tmp_path: Path):
    refused = pytest.raises(ExpectedError, match="another node uses the folder state")
    with used_alone(tmp_path / "state"), refused, used_alone(tmp_path / "state"):
        pass
    with used_alone(tmp_path / "state"):
        pass


@pytest.mark.parametrize("name", ["nowhere.write", "scripts.dicom_node.identity.absent", "name"])
def test_a_function_for_objects_that_does_not_exist_is_said_so(name: str):
    with pytest.raises(ExpectedError, match=f"the function {name} cannot be used"):
        named_objects(name)


def test_objects_are_made_once_and_whole_or_not_at_all(tmp_path: Path):
    made = []

    def make(result: Path, images: list[Path], target: Path) -> list[Path]:
        made.append(target)
        (target / "a.dcm").write_bytes(b"object")
        (target / "map_any.dcm").write_bytes(b"large")
        if len(made) == 1:
            raise ValueError("broken off")
        return [target / "a.dcm", target / "map_any.dcm"]

    with pytest.raises(ValueError, match="broken off"):
        written_once(make, tmp_path, [], tmp_path / "objects" / "study")
    assert not (tmp_path / "objects" / "study").exists()
    for _ in range(2):
        (file,) = written_once(make, tmp_path, [], tmp_path / "objects" / "study", ["map_*"])
        assert file.read_bytes() == b"object"
    assert len(made) == 2
    with pytest.raises(ValueError, match="no objects"):
        written_once(lambda result, images, target: [], tmp_path, [], tmp_path / "objects" / "none")


def test_commands_check_show_and_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str], restored_log: None):
    config = written(tmp_path, LEAST)
    assert command.main(["check", "--config", str(config)]) == 0
    assert command.main(["status", "--config", str(config)]) == 1
    assert command.main(["retry", "--config", str(tmp_path / "absent.json")]) == 1
    shown = capsys.readouterr()
    assert shown.out == "The configuration can be used.\n"
    assert "no node has run on the folder state yet" in shown.err
    assert "absent.json: cannot be read" in shown.err
    assert command.main(["check", "--config", str(written(tmp_path, LEAST | {"objects": "a.b"}))]) == 1


def test_what_nobody_foresaw_ends_the_command_without_its_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], restored_log: None, monkeypatch: pytest.MonkeyPatch
):
    def fail(settings: NodeSettings) -> int:
        raise ValueError("Mustermann")

    monkeypatch.setitem(command.COMMANDS, "status", fail)
    assert command.main(["status", "--config", str(written(tmp_path, LEAST))]) == 1
    error = capsys.readouterr().err
    assert "ValueError at test_dicom_node_settings.py" in error
    assert "Mustermann" not in error
