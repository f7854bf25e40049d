"""Every code of a label is one that the standard's tables hold, or that its own source does, with its meaning."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydicom.sr.codedict import codes

from scripts.labels import LESION_GROUPS, OWN_SCHEME, VOCABULARIES, Code, Label, vocabulary

OUTSIDE_THE_TABLES = {
    # An example of SNOMED International's specification of its Expression Constraint Language.
    ("SCT", "125605004"): "Fracture of bone",
    (OWN_SCHEME, "MASS_EFFECT"): "Mass effect",
    (OWN_SCHEME, "MIDLINE_SHIFT"): "Midline shift",
}
CATEGORIES = 7150
"""Context Group of segmentation property categories: what kind of thing a thing is, never the thing itself."""
REGIONS, MODIFIERS, FINDINGS = 7192, 2, 7194
LABELS = sorted({label.key: label for labels in VOCABULARIES.values() for label in labels}.items())


def in_group(context_group: int, scheme: str = "SCT") -> dict[str, str]:
    """The codes of one Context Group of PS3.16 with their meanings, as pydicom holds them."""
    group = getattr(codes, f"cid{context_group}")
    return {
        code.value: code.meaning for name in group.dir() if (code := getattr(group, name)).scheme_designator == scheme
    }


def codes_of(label: Label) -> Iterator[tuple[Code, int]]:
    yield label.finding, FINDINGS
    yield label.region, REGIONS
    if label.region_modifier:
        yield label.region_modifier, MODIFIERS


@pytest.mark.parametrize("label", [label for _, label in LABELS], ids=lambda label: label.key)
def test_every_code_of_a_label_is_in_its_context_group_with_its_meaning(label: Label):
    for code, group in codes_of(label):
        known = OUTSIDE_THE_TABLES.get((code.scheme, code.value)) or in_group(group).get(code.value)
        assert known is not None, f"{code} is in no table"
        assert code.meaning.casefold() == known.casefold()


@pytest.mark.parametrize("group", LESION_GROUPS, ids=lambda group: group.key)
def test_so_is_every_code_of_a_compartment(group):
    assert in_group(FINDINGS)[group.finding.value].casefold() == group.finding.meaning.casefold()
    assert in_group(REGIONS)[group.region.value].casefold() == group.region.meaning.casefold()


def test_no_finding_carries_the_code_of_a_category():
    categories = in_group(CATEGORIES)
    assert "49755003" in categories
    assert not [label.key for _, label in LABELS if label.finding.value in categories]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_two_labels_of_a_vocabulary_never_have_the_same_codes(name: str):
    stated = {label.key: tuple(code for code, _ in codes_of(label)) for label in vocabulary(name)}
    assert len(set(stated.values())) == len(stated)


def test_what_lies_outside_the_dura_is_not_said_to_lie_in_the_skull():
    epidural = next(label for label in vocabulary("rsna") if label.key == "epidural")
    assert (epidural.region.meaning, epidural.region_modifier.meaning) == ("Dura mater", "External")
