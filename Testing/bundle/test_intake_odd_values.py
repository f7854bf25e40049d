"""Values that break their representation: what only describes counts as absent; negations are understood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import Series, head_voxels, set_pixels, set_value, write_series
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.header_values import integer, names_contrast, number, numbers
from scripts.intake.study import CTStudy

HEAD = head_voxels(14, 40, 40, (5.0, 5.0))
SMALL = Series(HEAD, pixel_spacing=(5.0, 5.0))
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def read(path: Path) -> CTStudy:
    (source,) = find_studies(path)
    return read_study(source)


@pytest.mark.parametrize(
    ("tag", "representation", "value"),
    [
        (0x00200011, "IS", b"4.5 "),
        (0x00200011, "IS", b"2A"),
        (0x00200011, "IS", b"456115117112105110101 "),
        (0x00200012, "IS", b"1.50"),
        (0x00200013, "IS", b"one "),
        (0x00180050, "DS", b"5.0 mm"),
        (0x00180050, "DS", b"5,0 "),
        (0x00180050, "DS", b"1.25\\1.25 "),
        (0x00180050, "DS", b"nan "),
        (0x00180060, "DS", b"120kV "),
        (0x00200100, "IS", b"first "),
        (0x00080005, "CS", b"ISO_IR 999"),
        (0x00080032, "TM", b"99:99 "),
        (0x00181210, "SH", b"H31s\xfc "),
        (0x00281054, "LO", b"HU\0 "),
        (0x00280120, "US", b""),
    ],
)
def test_an_odd_value_of_a_descriptive_attribute_costs_no_study(
    tmp_path: Path, tag: int, representation: str, value: bytes
):
    def spoil(_: int, dataset: Dataset) -> None:
        dataset[tag] = RawDataElement(Tag(tag), representation, len(value), value, 0, False, True)

    with config.disable_value_validation():
        write_series(tmp_path, SMALL, spoil)
    study = read(tmp_path)
    np.testing.assert_array_equal(study.voxels, HEAD)
    assert study.warnings == ()


@given(st.one_of(st.text(max_size=20), st.floats(), st.integers(), st.none(), st.lists(st.floats(), max_size=4)))
def test_whatever_a_value_is_it_is_parsed_or_absent(value):
    assert isinstance(number(value), float | None)
    assert isinstance(integer(value), int | None)
    found = numbers(value, 3)
    assert found is None or (len(found) == 3 and np.isfinite(found).all())


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_itself(value: float):
    assert number(repr(value)) == value


NONE_GIVEN = (
    *("", "-", "--", "\u2013", "0", "0 ml", "0.0", ".", "/", "N/A", "n.a.", "NA", "NO", "No contrast", "NO CONTRAST"),
    *("NON CONTRAST", "Non-Contrast", "NONE", "none given", "Without", "w/o contrast", "W/O", "WITHOUT IV CONTRAST"),
    *("no IV contrast", "null", "ohne KM", "kein Kontrastmittel", "nativ", "sans produit", "sin contraste", "NC"),
    *("False", "NOT GIVEN", "unenhanced", "C-", "-C", "NEG", "not applicable", "oKM", "o. KM", "SANS INJECTION", "s/c"),
    *(
        "senza mdc",
        "NoContrast",
        "NON-CON",
        "Plain CT",
        "No oral, no IV",
        "no se administra",
        "Contrast: none",
        "IV: no",
    ),
    *("No Bolus", "No contrast 0ml", "нет", "без контраста", "无", "造影剤なし"),
)
GIVEN = (
    *("Omnipaque 350", "ULTRAVIST", "IOHEXOL", "CE", "APPLIED", "100 ml", "yes", "Visipaque", "IV", "KM"),
    *(
        "Nonionic 300",
        "造影剤",
        "NON IONIC",
        "C+",
        "NO ORAL, IV OMNIPAQUE",
        "Omnipaque, no oral",
        "Niopam",
        "NOVOPAQUE",
    ),
)


@pytest.mark.parametrize("agent", NONE_GIVEN)
def test_a_negation_names_no_contrast_medium(agent: str):
    assert not names_contrast(agent)
    assert not names_contrast(f" {agent.lower()} ")
    assert not names_contrast(agent.replace(" ", "_"))


@pytest.mark.parametrize("agent", GIVEN)
def test_a_contrast_medium_is_still_recognised(agent: str):
    assert names_contrast(agent)


@pytest.mark.parametrize(("agent", "named"), [("NO CONTRAST", []), ("N/A", []), ("Iohexol", ["contrast"])])
def test_a_file_says_whether_contrast_was_given(tmp_path: Path, agent: str, named: list[str]):
    write_series(tmp_path, SMALL, set_value("ContrastBolusAgent", agent))
    assert [warning.code for warning in read(tmp_path).warnings] == named


@pytest.mark.parametrize("bit", [12, 13, 15])
@pytest.mark.parametrize("where", [slice(0, 6), slice(15, 25)], ids=["in air", "in the head"])
def test_an_overlay_in_unused_bits_is_left_out(tmp_path: Path, bit: int, where: slice):
    def overlay(index: int, dataset: Dataset) -> None:
        stored = np.clip(HEAD[index].astype(int) + 1024, 0, 4095)
        stored[where, where] |= 1 << bit
        set_pixels(dataset, stored.astype(np.uint16), bits_stored=12)

    write_series(tmp_path, SMALL, overlay)
    study = read(tmp_path)
    np.testing.assert_array_equal(study.voxels, HEAD)
    assert [warning.code for warning in study.warnings] == ["unused_bits"]


def test_twelve_bit_values_without_the_extension_of_their_sign_are_set_right(tmp_path: Path):
    def unsigned(index: int, dataset: Dataset) -> None:
        dataset.RescaleIntercept = 0
        set_pixels(dataset, (HEAD[index].astype(int) & 0x0FFF).astype(np.uint16), bits_stored=12)
        dataset.PixelRepresentation = 1

    write_series(tmp_path, SMALL, unsigned)
    study = read(tmp_path)
    np.testing.assert_array_equal(study.voxels, HEAD)
    assert [warning.code for warning in study.warnings] == ["unused_bits"]


def test_values_above_their_stated_bits_stay_where_their_sign_is_right(tmp_path: Path):
    """Bits Stored says 12, and metal has 3000 HU: nothing is cut off from it."""
    voxels = HEAD.copy()
    voxels[5, 18:20, 18:20] = 3000

    def signed(index: int, dataset: Dataset) -> None:
        dataset.RescaleIntercept = 0
        set_pixels(dataset, voxels[index], bits_stored=12)

    write_series(tmp_path, SMALL, signed)
    np.testing.assert_array_equal(read(tmp_path).voxels, voxels)


def test_left_aligned_values_are_moved_to_their_place(tmp_path: Path):
    def shift(index: int, dataset: Dataset) -> None:
        set_pixels(dataset, ((HEAD[index].astype(int) + 1024) << 4).astype(np.uint16), bits_stored=12)
        dataset.HighBit = 15

    write_series(tmp_path, SMALL, shift)
    np.testing.assert_array_equal(read(tmp_path).voxels, HEAD)


def test_a_slice_whose_rescale_differs_from_the_others_is_warned_of(tmp_path: Path):
    write_series(
        tmp_path, SMALL, lambda index, dataset: setattr(dataset, "RescaleIntercept", -1024 + 50 * (index == 6))
    )
    (warning,) = read(tmp_path).warnings
    assert (warning.code, warning.values) == ("mixed_encoding", {"slices": 1})
