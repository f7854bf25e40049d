"""The JPEG extract of RSNA 2019: its table, its images in Hounsfield units, and the head in each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rsna_slice_files import NEGATIVE, POSITIVE, head_image, write_extract
from scipy import ndimage

from scripts.datasets.rsna_slices import LabelledSlice, find_slices, head_in_image, read_slice
from scripts.intake.study import NotEvaluableError


@pytest.fixture
def extract(tmp_path: Path) -> Path:
    return write_extract(tmp_path / "extract", [f"{POSITIVE},1,0,1,0,0,0,3", f"{NEGATIVE},0,0,0,0,0,0,0"])


def test_every_row_is_a_slice_with_its_own_labels_and_fold(extract: Path):
    positive, negative = find_slices(extract)
    assert (positive.name, positive.fold, negative.name, negative.fold) == (POSITIVE, 3, NEGATIVE, 0)
    assert {key for key, shown in positive.labels.items() if shown} == {"any", "intraparenchymal"}
    assert not any(negative.labels.values())
    assert positive.path == extract / "slices" / f"{POSITIVE}.jpg"


def test_grey_values_become_hounsfield_units_of_the_header_window(extract: Path):
    hounsfield, _ = read_slice(find_slices(extract)[0])
    assert hounsfield.dtype == np.float32
    assert hounsfield.shape == (384, 384)
    assert hounsfield[192, 192] == pytest.approx(-5, abs=1)
    assert hounsfield[192, 250] == pytest.approx(-5 + 120 * 80 / 255, abs=1)
    assert hounsfield[192, 336] == pytest.approx(75, abs=1)


def test_the_head_holds_its_ventricles_and_its_rim_but_no_headrest():
    head = head_in_image(head_image())
    assert head[192, 192]
    assert head[192, 192 + 152]
    assert not head[192, 192 + 156]
    assert not head[-14:].any()


def test_the_larger_of_two_parts_is_the_head():
    grey = np.zeros((384, 384), dtype=np.uint8)
    grey[20:60, 20:60], grey[200:300, 200:300] = 100, 100
    head = head_in_image(grey)
    assert head[250, 250]
    assert not head[40, 40]


def test_an_image_without_a_head_is_read_whole():
    assert head_in_image(np.full((384, 384), 8, dtype=np.uint8)).all()


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([f"{POSITIVE},1,0,1,0,0,2,3"], f"{POSITIVE} has a label that is neither 0 nor 1"),
        ([f"{POSITIVE},1,0,1,0,0,,3"], f"{POSITIVE} has a label that is neither 0 nor 1"),
        ([f"{POSITIVE},1,0,1,0,0,0,x"], f"{POSITIVE} has no number as its fold"),
        ([f"{POSITIVE},1,0,1,0,0,0,3"] * 2, f"names {POSITIVE} more than once"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused_by_name(tmp_path: Path, rows: list[str], complaint: str):
    with pytest.raises(ValueError, match=complaint):
        find_slices(write_extract(tmp_path / "extract", rows))


def test_a_missing_column_is_named(extract: Path):
    (extract / "labels.csv").write_text("ID,any,fold\n", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks the columns epidural"):
        find_slices(extract)


def test_a_missing_image_is_named(extract: Path):
    (extract / "slices" / f"{NEGATIVE}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks 1 images.*{NEGATIVE}"):
        find_slices(extract)


def test_a_damaged_image_is_refused_by_name(extract: Path):
    slice_ = find_slices(extract)[0]
    slice_.path.write_bytes(slice_.path.read_bytes()[:400])
    with pytest.raises(NotEvaluableError, match=f"{POSITIVE}.jpg: cannot be read"):
        read_slice(slice_)


def test_an_image_of_another_size_is_refused(extract: Path):
    slice_ = find_slices(extract)[0]
    Image.fromarray(head_image(256)).save(slice_.path)
    with pytest.raises(NotEvaluableError, match="256 x 256 pixels"):
        read_slice(slice_)


@pytest.fixture(scope="module")
def real_slices(ich_data: Path) -> list[LabelledSlice]:
    return find_slices(ich_data / "rsna-slices")


def test_the_real_table_has_the_counts_that_its_description_states(real_slices: list[LabelledSlice]):
    assert len(real_slices) == 3504
    positive = Counter(key for slice_ in real_slices for key, shown in slice_.labels.items() if shown)
    assert positive == {
        "any": 538,
        "epidural": 16,
        "intraparenchymal": 180,
        "intraventricular": 127,
        "subarachnoid": 177,
        "subdural": 237,
    }
    assert {slice_.fold for slice_ in real_slices} == {0, 1, 2, 3}


def test_real_heads_are_found_whole_and_in_one_piece(real_slices: list[LabelledSlice]):
    shares, brains = [], []
    for slice_ in real_slices[::100]:
        hounsfield, head = read_slice(slice_)
        assert ndimage.label(head)[1] == 1
        shares.append(head.mean())
        # Where the image's window holds brain, air is gone and bone is cut off.
        brains.append(np.median(hounsfield[head]))
    assert 0.2 < np.median(shares) < 0.7
    assert 15 < np.median(brains) < 50
