"""A result that breaks its contract is refused by the name of the field, whatever stands there; nothing crashes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sample_result_folder as sample
from ICHDiagnosisLib.result.content import ResultError
from ICHDiagnosisLib.result.reader import parse_result, read_result

SHAPE = (12, 16, 20)
DOCUMENTS = (
    sample.document(SHAPE),
    sample.document(SHAPE) | {"lesions": sample.lesions(sample.VOLUMES)},
    sample.of_version_1(sample.document(SHAPE)),
)


@pytest.fixture
def a_folder(tmp_path: Path) -> Path:
    maps = sample.made_maps(SHAPE)
    return sample.write_folder(tmp_path / "study ü", sample.document(SHAPE), maps, np.diag([0.5, 0.6, 5, 1]))


CONTRADICTIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "status": lambda c: c.update(status="perhaps"),
    "findings": lambda c: c.update(findings=[]),
    "same key": lambda c: c["findings"].append(c["findings"][0]),
    "colour": lambda c: c["findings"][0].update(colour=[1, 2, 999]),
    "probability": lambda c: c["findings"][0].update(probability=1.01),
    "threshold": lambda c: c["findings"][0].update(threshold=True),
    r"findings\[0\]\.default_threshold": lambda c: c["findings"][0].pop("default_threshold"),
    r"impression has the wrong type": lambda c: c.update(impression=None),
    r"certainty of the impression is 'sure'": lambda c: c["impression"].update(certainty="sure"),
    r"slices\[0\]\.sop_instance_uid": lambda c: c["slices"][0].update(sop_instance_uid=7),
    r"findings\[0\]\.name": lambda c: c["findings"][0].update(name=None),
    "one per original slice": lambda c: c["slices"].pop(),
    r"slices\[0\]\.probabilities\.any": lambda c: c["slices"][0].update(
        probabilities=dict.fromkeys(sample.LABELS, 1.1)
    ),
    r"slices\[0\]\.probabilities has": lambda c: c["slices"][0].update(probabilities=[0.5]),
    "labels of its slices": lambda c: c["slices"][0].update(probabilities={"any": 0.5}),
    "rank": lambda c: c["slices"][0].update(key_rank=1),
    r"slices\[2\]\.index": lambda c: c["slices"][2].update(index=-1),
    "does not fit the shape": lambda c: c["study"].update(shape=[12, 16, 21]),
    "three numbers": lambda c: c["study"].update(shape=[12, 16]),
    "none of anything else": lambda c: c["maps"][1].update(label="fracture"),
    "at most one map": lambda c: c["maps"].append(c["maps"][1]),
    "attention has no label": lambda c: c["maps"][0].update(kind="gradcam"),
    "reason": lambda c: c.update(status="not_evaluable"),
    "must have no findings": lambda c: c.update(status="not_evaluable", reason={"code": "a", "message": "b"}),
    r"model\.version": lambda c: c["model"].pop("version"),
    "list of texts": lambda c: c["model"].update(labels=[1]),
    "list of objects": lambda c: c["maps"].append("attention.nii.gz"),
    r"seconds\.network": lambda c: c["seconds"].update(network=-1),
}


@pytest.mark.parametrize("complaint", CONTRADICTIONS)
def test_a_document_that_breaks_the_contract_is_refused_by_the_name_of_the_field(a_folder: Path, complaint: str):
    file = a_folder / "result.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    CONTRADICTIONS[complaint](content)
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ResultError, match=complaint):
        read_result(a_folder)


@given(cut=st.integers(min_value=0, max_value=2000))
def test_no_truncation_of_a_document_is_ever_taken_for_a_result(cut: int):
    text = json.dumps(DOCUMENTS[0])
    with pytest.raises(ResultError):
        parse_result(text[: min(cut, len(text) - 1)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)


@given(content=st.sampled_from(DOCUMENTS), field=st.sampled_from(sorted(DOCUMENTS[1])), value=JSON)
def test_any_value_in_any_field_is_read_or_refused_but_never_crashes(content: dict, field: str, value: object):
    text = json.dumps({**content, field: value})
    try:
        parse_result(text)
    except ResultError as error:
        assert "\n" not in str(error)
