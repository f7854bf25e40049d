"""What a hospital installs the node with: configurations hold, paths exist, and nothing more is open than needed."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "setup" / "dicom_node"
PAGE = ROOT / "monai_bundle" / "docs" / "dicom_node.md"
SCHEMA = Draft202012Validator(
    json.loads((ROOT / "monai_bundle" / "docs" / "dicom_node.schema.json").read_text(encoding="utf-8"))
)


class Unit(configparser.ConfigParser):
    """A unit of systemd, whose keys keep their case."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def test_every_configuration_that_is_offered_can_be_used():
    page = PAGE.read_text(encoding="utf-8")
    offered = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)]
    offered += [json.loads(file.read_text(encoding="utf-8")) for file in sorted(RECIPES.glob("*.json"))]
    assert len(offered) == 3
    assert [list(SCHEMA.iter_errors(document)) for document in offered] == [[], [], []]
    assert all("callers" in document for document in offered)


def test_the_page_names_only_settings_and_files_that_exist():
    page = PAGE.read_text(encoding="utf-8")
    settings = set(re.findall(r"`(\w+)\.(\w+)`", page))
    properties = SCHEMA.schema["properties"]
    assert {"wait", "keep", "disk", "archive"} <= {part for part, _ in settings}
    assert all(name in properties[part]["properties"] for part, name in settings)
    targets = re.findall(r"\]\(([^)]+)\)", page)
    assert all((PAGE.parent / target).is_file() for target in targets)
    assert all((ROOT / path).exists() for path in re.findall(r"setup/[\w./-]+\w", page))


def test_the_service_is_its_own_user_and_can_write_and_reach_only_what_it_needs():
    unit = Unit(strict=False, interpolation=None)
    unit.read(RECIPES / "ich-dicom-node.service", encoding="utf-8")
    service = unit["Service"]
    assert service["User"] not in ("", "root")
    assert (service["ProtectSystem"], service["ProtectHome"], service["NoNewPrivileges"]) == ("strict", "yes", "yes")
    assert (service["CapabilityBoundingSet"], service["StateDirectoryMode"]) == ("", "0700")
    assert (service["IPAddressDeny"], service["IPAddressAllow"]) == ("any", "localhost")
    assert service["Restart"] == "always"
    node = json.loads((RECIPES / "node.json").read_text(encoding="utf-8"))
    assert node["state_folder"] == f"/var/lib/{service['StateDirectory']}"


def test_the_container_holds_what_the_node_needs_and_is_not_root():
    lines = (RECIPES / "Dockerfile").read_text(encoding="utf-8").splitlines()
    sources = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert {"monai_bundle/scripts", "monai_bundle/models", "monai_bundle/docs", "monai_bundle/configs"} <= set(sources)
    assert all((ROOT / source).exists() for source in sources)
    assert "USER node" in lines


def test_compose_publishes_orthanc_on_this_machine_alone_and_the_node_not_at_all():
    file = RECIPES / "compose.yaml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    services = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
    assert all(port.startswith("127.0.0.1:") for port in services["orthanc"]["ports"])
    assert "ports" not in services["node"]
    assert services["node"]["read_only"]
    mounted = [volume.split(":")[0] for volume in services["node"]["volumes"] if volume.startswith("./")]
    assert all((RECIPES / path).is_file() for path in mounted)
