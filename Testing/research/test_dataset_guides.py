"""The guides to the datasets: tables that can be read, configurations that name what exists, counts that are true."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from pathlib import Path

import pytest
from cq500_files import write_reads, write_study
from monai.bundle import ConfigParser

from research.training import cross_validation
from scripts.datasets.ct_ich import find_scans
from scripts.datasets.own_tables import read_slices, read_studies
from scripts.datasets.registry import DATASETS
from scripts.labels import CQ500, RSNA

DOCS = Path(__file__).resolve().parents[2] / "monai_bundle" / "docs"
KEYS = tuple(label.key for label in RSNA)


def blocks(guide: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```", (DOCS / guide).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_example_tables_of_the_guide_have_no_fault(tmp_path: Path):
    tables = [block for block in blocks("train_your_own.md") if block.startswith("study,")]
    assert len(tables) == 2
    for name, text in zip(("labels.csv", "slices.csv"), tables, strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    rows, faults = read_studies(tmp_path / "labels.csv", KEYS)
    assert len(rows) == 4
    assert not faults
    listed, faults = read_slices(tmp_path / "slices.csv", KEYS, [row.study for row in rows])
    assert len(listed) == 2
    assert not faults


def test_the_configuration_for_cq500_makes_its_datalist(tmp_path: Path):
    """Two studies stand for the 491, two folds for the ten."""
    written = next(json.loads(block) for block in blocks("datasets_cq500.md") if block.startswith("{"))
    for number in (0, 1):
        write_study(tmp_path / f"CQ500CT{number}", f"1.2.3.{number}")
    write_reads(tmp_path / "reads.csv", {0: {"ICH": "111"}, 1: {}})
    assert written["folds"] == 10
    written |= {"dataset_dir": str(tmp_path), "folds": 2, "bundle_root": str(tmp_path)}
    (tmp_path / "cq500.json").write_text(json.dumps(written), encoding="utf-8")
    parser = ConfigParser()
    parser.read_config([DOCS.parent / "configs" / "train.json", tmp_path / "cq500.json"])
    parser.get_parsed_content("imports")
    assert parser.get_parsed_content("label_keys") == tuple(label.key for label in CQ500)
    entries = parser.get_parsed_content("datalist")
    assert [(entry["name"], entry["label"][0]) for entry in entries] == [("CQ500CT0", 1), ("CQ500CT1", 0)]


def test_the_guide_to_ct_ich_counts_what_is_there(ich_data: Path):
    scans = find_scans(ich_data / "ct-ich")
    positive = sum(scan.labels["any"] for scan in scans)
    text = (DOCS / "datasets_ct_ich.md").read_text("utf-8")
    assert f"{len(scans)} head CT of patients with a head injury ({positive} with haemorrhage)" in text


@pytest.mark.parametrize("name", ["rsna", "cq500"])
def test_the_cross_validation_of_a_guide_fits_its_program(name: str):
    (block,) = (
        block
        for block in blocks(f"datasets_{name}.md")
        if block.startswith("python -m research.training.cross_validation")
    )
    words = shlex.split(block.replace("\\\n", " "))[3:]
    assert words.pop(0) == "--frozen"
    assert words.pop(0) == "--output", "without it the shipped weights would be replaced"
    settings = {words[place + 1]: json.loads(words[place + 2]) for place in range(1, len(words), 3)}
    configuration = json.loads((DOCS.parent / "configs" / "train.json").read_text("utf-8"))
    assert {key.split("#")[0] for key in settings} <= set(configuration)
    assert settings["dataset"] == name
    own = {key.partition("#")[2]: value for key, value in settings.items() if key.startswith("datalist#")}
    assert cross_validation.__doc__
    inspect.signature(DATASETS[name]).bind("a folder", labels=KEYS, folds=5, **own)
