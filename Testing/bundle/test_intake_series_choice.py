"""Which series of a study is read: geometry before Image Type, and as much brain as any other; real DICOM files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_files import head_voxels, set_value, write_series
from dicom_heads import HEAD, SMALL, assert_is, codes, folder, read, sentences
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from scripts.intake.study import NotEvaluableError


def body_voxels(slices: int = 40) -> NDArray[np.int16]:
    """Make an abdomen: muscle, and a solid vertebra."""
    rows, columns = np.mgrid[:60, :60] - 30
    voxels = np.full((slices, 60, 60), -1000, dtype=np.int16)
    voxels[:, (columns / 28) ** 2 + (rows / 18) ** 2 < 1] = 45
    voxels[:, np.hypot(columns, rows - 9) < 4] = 400
    return voxels


@settings(max_examples=8)
@given(order=st.permutations(("ORIGINAL", "PRIMARY", "AXIAL")), number=st.integers(1, 900), slices=st.integers(24, 60))
def test_orientation_from_geometry_ranks_before_image_type(order, number, slices):
    coronal = replace(
        SMALL,
        voxels=head_voxels(slices, 48, 48),
        orientation=(1, 0, 0, 0, 0, -1),
        step=(0, 3.0, 0),
        series_uid=generate_uid(),
        number=number,
        image_type=order,
    )
    with folder() as place:
        write_series(place / "axial", SMALL, names=[f"a{index}" for index in range(24)])
        write_series(place / "coronal", coronal, names=[f"c{index}" for index in range(slices)])
        study = read(place)
    assert_is(study, HEAD)
    assert "left out, its slices are not axial" in sentences(study)


@settings(max_examples=6)
@given(number=st.integers(1, 9), slices=st.integers(24, 70))
def test_the_head_is_read_and_not_the_abdomen_of_the_same_study(number, slices):
    abdomen = replace(
        SMALL,
        voxels=body_voxels(slices),
        pixel_spacing=(3.4, 3.4),
        series_uid=generate_uid(),
        number=number,
        kernel="I31f",
        origin=(-180, -180, -600.0),
    )
    with folder() as place:
        write_series(place / "head", SMALL)
        write_series(place / "abdomen", abdomen)
        study = read(place)
    assert_is(study, HEAD)
    assert "left out, it shows less of the brain" in sentences(study)


def test_a_small_field_of_view_is_passed_over_for_the_whole_head(tmp_path: Path):
    orbits = replace(
        SMALL,
        voxels=HEAD.repeat(2, axis=0)[:40, 8:24, 10:38],
        step=(0, 0, 2.5),
        thickness=3.0,
        series_uid="1.2.3",
        number=1,
    )
    write_series(tmp_path / "head", SMALL)
    write_series(tmp_path / "orbits", orbits)
    assert_is(read(tmp_path), HEAD)


@pytest.mark.parametrize(
    "image_type",
    [
        ("DERIVED", "SECONDARY", "AXIAL"),
        ("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"),
        ("DERIVED", "PRIMARY", "MPR"),
        ("ORIGINAL", "SECONDARY"),
        ("DERIVED", "SECONDARY"),
    ],
)
def test_the_only_axial_series_is_read_although_it_is_derived(tmp_path: Path, image_type: tuple[str, ...]):
    write_series(tmp_path, replace(SMALL, image_type=image_type))
    study = read(tmp_path)
    assert_is(study, HEAD)
    assert codes(study) == ["derived_images"]


@pytest.mark.parametrize("word", ["MIP", "VRT", "SCREEN SAVE", "SUBTRACTION"])
def test_projections_and_renderings_are_never_read(tmp_path: Path, word: str):
    write_series(tmp_path / "head", replace(SMALL, image_type=("DERIVED", "SECONDARY", word)))
    with pytest.raises(NotEvaluableError, match=r"^head: holds only projections, renderings or screenshots; export"):
        read(tmp_path / "head")
    write_series(tmp_path / "head" / "axial", replace(SMALL, series_uid="1.2.3"))
    assert_is(read(tmp_path / "head"), HEAD)


@pytest.mark.parametrize("rescale_type", ["HU_MOD", "Z_EFF", "ED", "MGML", "PCT", "EDW"])
def test_other_units_than_hounsfield_are_no_plain_ct(tmp_path: Path, rescale_type: str):
    write_series(tmp_path / "head", SMALL, set_value("RescaleType", rescale_type))
    with pytest.raises(NotEvaluableError, match=f"^head: rescale type {rescale_type} or a map of a"):
        read(tmp_path / "head")
    plain = replace(SMALL, series_uid="1.2.3", voxels=HEAD + 1)
    write_series(tmp_path / "head" / "plain", plain, set_value("RescaleType", "HU"))
    assert_is(read(tmp_path / "head"), plain.voxels)


def test_an_image_for_one_energy_gives_way_to_the_measured_one(tmp_path: Path):
    virtual = replace(SMALL, series_uid="1.2.3", number=1, image_type=("DERIVED", "PRIMARY", "AXIAL", "VMI"))
    write_series(tmp_path / "virtual", virtual)
    assert codes(read(tmp_path)) == ["monoenergetic"]
    write_series(tmp_path / "plain", SMALL)
    assert "left out, computed for one energy" in sentences(read(tmp_path))
