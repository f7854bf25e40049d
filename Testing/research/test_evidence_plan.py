"""The plan of the evidence: plain data that overrides what the configurations have, with a text for each table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from research.evidence.plan import OVERRIDES, PLAN, read_plan
from research.evidence.report import TEMPLATES
from research.evidence.targets import read_earlier

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
VARIANT = {"name": "a", "title": "A"}


def texts_in(content: Any) -> Iterator[str]:
    if isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from texts_in(value)
    elif isinstance(content, str):
        yield content


def refused(tmp_path: Path, message: str, **changes: Any) -> None:
    content = {"shipped": "a", "variants": [VARIANT], "tables": []} | changes
    (tmp_path / "plan.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"plan\.json: {message}"):
        read_plan(tmp_path / "plan.json", tmp_path)


def test_a_plan_that_does_not_fit_together_is_refused(tmp_path: Path):
    refused(tmp_path, "no such variant: b", shipped="b")
    refused(tmp_path, "no such variant: c", ensembles=[{"name": "b", "title": "", "members": ["a", "c"]}])
    refused(tmp_path, "two variants share a name", variants=[VARIANT, VARIANT])
    refused(tmp_path, "two variants share a name", ensembles=[{"name": "a", "title": "", "members": ["a"]}])
    refused(tmp_path, "no plan", tables=[{"key": "b"}])
    refused(tmp_path, "no plan", variants=[VARIANT | {"overrides": ["of_no_file"]}])
    (tmp_path / "plan.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="no plan"):
        read_plan(tmp_path / "plan.json", tmp_path)


def test_later_overrides_replace_earlier_ones_and_values_replace_both(tmp_path: Path):
    (tmp_path / "first.json").write_text('{"epochs": 1, "seed": 1, "folds": 1}', encoding="utf-8")
    (tmp_path / "second.json").write_text('{"epochs": 2, "seed": 2}', encoding="utf-8")
    variant = VARIANT | {"overrides": ["first", "second"], "set": {"seed": 3}, "finetuning": {"epochs": 9}}
    content = {"shipped": "a", "variants": [variant], "tables": []}
    (tmp_path / "plan.json").write_text(json.dumps(content), encoding="utf-8")
    (found,) = read_plan(tmp_path / "plan.json", tmp_path).variants
    assert found.heads == {"epochs": 2, "seed": 3, "folds": 1}
    assert found.finetuning == {"epochs": 9}


def test_the_shipped_variant_comes_first(tmp_path: Path):
    content = {"shipped": "b", "variants": [VARIANT, {"name": "b", "title": "B"}], "tables": []}
    (tmp_path / "plan.json").write_text(json.dumps(content), encoding="utf-8")
    assert [variant.name for variant in read_plan(tmp_path / "plan.json").variants] == ["b", "a"]


def test_the_bundles_plan_overrides_only_what_its_configurations_have():
    plan = read_plan()
    heads, finetuning, slices = (
        json.loads((BUNDLE / "configs" / name).read_text("utf-8"))
        for name in ("train.json", "finetune.json", "train_slices.json")
    )
    for variant in plan.variants:
        assert {key.split("#")[0] for key in variant.heads} <= set(heads), variant.name
        assert {key.split("#")[0] for key in variant.finetuning or {}} <= {*heads, *finetuning}, variant.name
        assert {key.split("#")[0] for key in variant.slices or {}} <= {*heads, *slices}, variant.name
    assert {name for table in plan.tables for name in table.rows} == set(plan.titles)


def test_the_bundles_plan_is_data_without_python_and_without_files_that_nobody_names():
    files = {path.stem: json.loads(path.read_text("utf-8")) for path in OVERRIDES.glob("*.json")}
    plan = json.loads(PLAN.read_text("utf-8"))
    assert not [text for text in texts_in([plan, files]) if text.startswith("$")]
    assert {name for variant in plan["variants"] for name in variant.get("overrides", ())} == set(files)


def test_every_table_has_its_heading_and_text_in_the_template():
    template = (TEMPLATES / "ablations.md.j2").read_text("utf-8")
    written = re.findall(r'call ablation\("(\w+)"', template)
    assert len(set(written)) == len(written)
    assert set(written) == {
        *(table.key for table in read_plan().tables),
        *(table["key"] for table in read_earlier()["tables"]),
    }
