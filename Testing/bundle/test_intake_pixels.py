"""Stored DICOM values become the right Hounsfield units, whatever wrote them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import Series, head_voxels, set_pixels, set_value, write_series
from pydicom.dataset import Dataset

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import CTStudy

SMALL = head_voxels(13, 32, 24, (6.0, 8.0))


def read_only_study(folder: Path) -> CTStudy:
    (source,) = find_studies(folder)
    return read_study(source)


def stored_values(dataset: Dataset) -> np.ndarray:
    return np.frombuffer(dataset.PixelData, dtype=np.int16).reshape(dataset.Rows, dataset.Columns)


def test_slope_and_intercept_are_each_slices_own(tmp_path: Path):
    def rescale(index: int, dataset: Dataset) -> None:
        dataset.RescaleIntercept = -1024 - 10 * index
        dataset.RescaleSlope = 1 if index % 2 else 2
        stored = (SMALL[index].astype(float) - float(dataset.RescaleIntercept)) / float(dataset.RescaleSlope)
        set_pixels(dataset, np.rint(stored).astype(np.int16))

    write_series(tmp_path, Series(SMALL), rescale)
    assert np.abs(read_only_study(tmp_path).voxels - SMALL).max() <= 1


def test_wrapped_twelve_bit_values_are_set_right(tmp_path: Path):
    def wrap(index: int, dataset: Dataset) -> None:
        dataset.RescaleIntercept = 0
        set_pixels(dataset, (SMALL[index].astype(np.int32) % 4096).astype(np.uint16), bits_stored=12)

    write_series(tmp_path, Series(SMALL), wrap)
    study = read_only_study(tmp_path)
    np.testing.assert_array_equal(study.voxels, SMALL)
    assert study.voxels.min() < -1000
    assert [warning.code for warning in study.warnings] == ["wrapped_values"]


def test_ordinary_twelve_bit_values_are_left_alone(tmp_path: Path):
    def unsigned(index: int, dataset: Dataset) -> None:
        set_pixels(dataset, (SMALL[index] + 1024).astype(np.uint16), bits_stored=12)

    write_series(tmp_path, Series(SMALL), unsigned)
    study = read_only_study(tmp_path)
    np.testing.assert_array_equal(study.voxels, SMALL)
    assert study.warnings == ()


def test_monochrome1_does_not_touch_hounsfield_units(tmp_path: Path):
    write_series(tmp_path, Series(SMALL), set_value("PhotometricInterpretation", "MONOCHROME1"))
    study = read_only_study(tmp_path)
    np.testing.assert_array_equal(study.voxels, SMALL)
    assert study.warnings == ()


def test_monochrome1_with_inverted_stored_values_is_turned_back(tmp_path: Path):
    def invert(_: int, dataset: Dataset) -> None:
        stored = stored_values(dataset)
        set_pixels(dataset, (4095 - stored).astype(np.uint16), bits_stored=12)
        dataset.PhotometricInterpretation = "MONOCHROME1"

    write_series(tmp_path, Series(SMALL), invert)
    study = read_only_study(tmp_path)
    np.testing.assert_array_equal(study.voxels, SMALL)
    assert [warning.code for warning in study.warnings] == ["inverted_values"]


@pytest.mark.parametrize(("padding", "written"), [(-2000, -2000), (-2000, 63536), (-1500, -1500)])
def test_padding_becomes_air(tmp_path: Path, padding: int, written: int):
    def pad(_: int, dataset: Dataset) -> None:
        stored = stored_values(dataset).copy()
        stored[:3], stored[:, -2:] = padding, padding
        set_pixels(dataset, stored)
        dataset.add_new("PixelPaddingValue", "SS" if written < 0 else "US", written)

    write_series(tmp_path, Series(SMALL), pad)
    voxels = read_only_study(tmp_path).voxels
    assert (voxels[:, :3] == -1024).all()
    assert (voxels[:, :, -2:] == -1024).all()
    np.testing.assert_array_equal(voxels[:, 3:, :-2], SMALL[:, 3:, :-2])


def test_a_padding_value_that_tissue_has_too_is_air_only_at_the_border(tmp_path: Path):
    def pad(_: int, dataset: Dataset) -> None:
        dataset.RescaleIntercept = 0
        stored = stored_values(dataset) - 1024
        stored[:3], stored[16, 12] = 0, 0
        set_pixels(dataset, stored.astype(np.int16))
        dataset.add_new("PixelPaddingValue", "SS", 0)

    write_series(tmp_path, Series(SMALL), pad)
    voxels = read_only_study(tmp_path).voxels
    assert (voxels[:, :3] == -1024).all()
    assert (voxels[:, 16, 12] == 0).all()


def test_a_padding_range_becomes_air(tmp_path: Path):
    def pad(_: int, dataset: Dataset) -> None:
        stored = stored_values(dataset).copy()
        stored[0], stored[1] = -1990, -2000
        set_pixels(dataset, stored)
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        dataset.add_new("PixelPaddingRangeLimit", "SS", -1900)

    write_series(tmp_path, Series(SMALL), pad)
    assert (read_only_study(tmp_path).voxels[:, :2] == -1024).all()


def test_values_below_air_become_air(tmp_path: Path):
    voxels = SMALL.copy()
    voxels[:, 0] = -3024
    write_series(tmp_path, Series(voxels))
    assert read_only_study(tmp_path).voxels.min() == -1024
