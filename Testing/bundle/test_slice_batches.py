"""Single slices grouped into batches and cut as the slices of a scan are: the head centred, air around it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rsna_slice_files import POSITIVE, write_extract
from torch import Tensor

from scripts.datasets.rsna_slices import find_slices
from scripts.datasets.slice_batches import ReadSliceBatchd, SliceBatch, slice_datalist
from scripts.intake.study import AIR_HU
from scripts.labels import RSNA

torch.set_num_threads(1)

KEYS = tuple(label.key for label in RSNA)
SIZE = 384
BRAIN_HU, MARK_HU = -5 + 120 * 80 / 255, 75.0


def rows(count: int, folds: int) -> list[str]:
    return [f"ID_{number:09x},{number % 2},0,0,0,0,{number % 2},{number % folds}" for number in range(count)]


def head_at(row: int, column: int, radii: tuple[int, int], mark: tuple[int, int] | None = None) -> np.ndarray:
    """An ellipse of brain in black air, with a bright disc of seven pixels' radius."""
    y, x = np.mgrid[:SIZE, :SIZE]
    grey = np.zeros((SIZE, SIZE), dtype=np.uint8)
    grey[((y - row) / radii[0]) ** 2 + ((x - column) / radii[1]) ** 2 <= 1] = 120
    if mark is not None:
        grey[np.hypot(y - mark[0], x - mark[1]) <= 7] = 255
    return grey


def batch_of(folder: Path, *images: np.ndarray) -> SliceBatch:
    write_extract(folder, rows(len(images), 1))
    slices = find_slices(folder)
    for each, image in zip(slices, images, strict=True):
        Image.fromarray(image).save(each.path, quality=95)
    return SliceBatch(tuple(slices))


def read(batch: SliceBatch, size: int = 96, **settings: float) -> Tensor:
    image: Tensor = ReadSliceBatchd("study", {"image": size}, **settings)({"study": batch})["image"]
    return image


def extent(present: Tensor) -> tuple[int, int]:
    places = torch.nonzero(present)[:, 0]
    return int(places[0]), int(places[-1]) + 1


def centroid(image: Tensor, above: float) -> tuple[float, float]:
    places = torch.nonzero(image > above).double()
    return float(places[:, 0].mean()), float(places[:, 1].mean())


def test_every_slice_is_in_one_batch_of_its_own_fold(tmp_path: Path):
    entries = slice_datalist(write_extract(tmp_path / "extract", rows(23, 3)), KEYS, size=4)
    assert [len(entry["study"].slices) for entry in entries] == [4, 4, 4, 4, 4, 3]
    for entry in entries:
        assert {each.fold for each in entry["study"].slices} == {entry["fold"]}
        assert entry["study"].files == tuple(each.path for each in entry["study"].slices)
    names = [each.name for entry in entries for each in entry["study"].slices]
    assert sorted(names) == [f"ID_{number:09x}" for number in range(23)]
    assert [entry["name"] for entry in entries] == [f"slices-{fold}-{part:03d}" for fold in range(3) for part in (0, 1)]


def test_labels_stand_in_the_order_of_the_vocabulary_and_unknown_ones_are_nan(tmp_path: Path):
    folder = write_extract(tmp_path / "extract", [f"{POSITIVE},1,0,1,0,0,0,3", "ID_fedcba987,1,0,0,0,1,0,3"])
    (entry,) = slice_datalist(folder, ("subarachnoid", "any", "midline_shift", "intraparenchymal"))
    assert entry["slice_labels"].dtype == np.float32
    expected = np.array([[0, 1, math.nan, 1], [1, 1, math.nan, 0]], dtype=np.float32)
    np.testing.assert_array_equal(entry["slice_labels"], expected)


def test_slices_come_in_every_size_that_is_asked_for(tmp_path: Path):
    batch = batch_of(tmp_path / "extract", head_at(190, 190, (150, 120)), head_at(190, 190, (90, 80)))
    entry = ReadSliceBatchd("study", {"image": 32, "high_res": 80})({"study": batch, "name": "x"})
    assert entry["image"].shape == (1, 2, 32, 32)
    assert entry["high_res"].shape == (1, 2, 80, 80)
    assert entry["image"].dtype == torch.float32
    assert (entry["name"], entry["study"]) == ("x", batch)


@pytest.mark.parametrize("margin", [1.1, 1.3])
def test_the_square_is_centred_on_the_head_and_wider_than_it_by_the_margin(tmp_path: Path, margin: float):
    batch = batch_of(tmp_path / "extract", head_at(200, 170, (150, 110)))
    (image,) = read(batch, size=192, margin=margin, smallest=0.0)[0]
    inside = image > AIR_HU / 2
    (top, bottom), (left, right) = extent(inside.any(dim=1)), extent(inside.any(dim=0))
    assert (top + bottom) / 2 == pytest.approx(96, abs=1)
    assert (left + right) / 2 == pytest.approx(96, abs=1)
    assert 192 / (bottom - top) == pytest.approx(margin, rel=0.02)
    # Three pixels of skin, black in this window, are added all round.
    assert (bottom - top) / (right - left) == pytest.approx(153 / 113, rel=0.03)


def test_a_cut_near_the_vertex_is_not_enlarged_to_a_whole_head(tmp_path: Path):
    batch = batch_of(tmp_path / "extract", head_at(200, 190, (40, 40)), head_at(200, 190, (150, 110)))
    small, large = read(batch, size=192)[0] > AIR_HU / 2
    share = float(small.any(dim=1).sum()) / 192
    assert share == pytest.approx(86 / (0.78 * SIZE), abs=0.02)
    assert float(large.any(dim=1).sum()) / 192 == pytest.approx(1 / 1.1, abs=0.02)


@pytest.mark.parametrize("mark", [(120, 150), (260, 210)])
@pytest.mark.parametrize(("row", "column"), [(200, 170), (160, 230)])
def test_a_marked_place_is_found_where_it_belongs(tmp_path: Path, row: int, column: int, mark: tuple[int, int]):
    radii = (140, 110)
    (image,) = read(batch_of(tmp_path / "extract", head_at(row, column, radii, mark)), size=256)[0]
    side = 1.1 * (2 * (radii[0] + 3) + 1)
    expected = [128 + (place - centre) * 256 / side - 0.5 for place, centre in zip(mark, (row, column), strict=True)]
    assert centroid(image, above=(BRAIN_HU + MARK_HU) / 2) == pytest.approx(expected, abs=0.7)
    assert float(image.max()) == pytest.approx(MARK_HU, abs=4)


def test_brain_keeps_its_hounsfield_units_and_what_is_outside_the_head_is_air(tmp_path: Path):
    image = head_at(192, 192, (150, 120))
    image[350:358] = 200
    (seen,) = read(batch_of(tmp_path / "extract", image), size=128)[0]
    assert float(seen[64, 64]) == pytest.approx(BRAIN_HU, abs=1)
    for rim in (seen[:3], seen[-3:], seen[:, :3], seen[:, -3:]):
        assert rim.numpy() == pytest.approx(AIR_HU, abs=0.1)


def test_a_head_at_the_images_rim_is_filled_up_with_air(tmp_path: Path):
    (seen,) = read(batch_of(tmp_path / "extract", head_at(60, 192, (150, 150))), size=128)[0]
    inside = seen > AIR_HU / 2
    top, bottom = extent(inside.any(dim=1))
    assert (top + bottom) / 2 == pytest.approx(64, abs=1)
    assert seen[: top - 2].numpy() == pytest.approx(AIR_HU, abs=0.1)


def test_an_image_without_a_head_is_read_whole(tmp_path: Path):
    (seen,) = read(batch_of(tmp_path / "extract", np.full((SIZE, SIZE), 4, dtype=np.uint8)), size=110, margin=1.1)[0]
    assert extent((seen > AIR_HU / 2).any(dim=1)) == pytest.approx((5, 105), abs=1)


def test_real_slices_are_read_with_heads_that_fill_the_square(ich_data: Path):
    entries = slice_datalist(ich_data / "rsna-slices", KEYS)
    assert sum(len(entry["slice_labels"]) for entry in entries) == 3504
    assert int(sum(entry["slice_labels"][:, 0].sum() for entry in entries)) == 538
    assert max(len(entry["slice_labels"]) for entry in entries) == 16
    assert len({entry["name"] for entry in entries}) == len(entries)
    image = torch.cat([read(entry["study"], size=64)[0] for entry in entries[::40]])
    assert image.isfinite().all()
    assert image.min() >= AIR_HU - 1
    assert image.max() <= 76
    inside = image > AIR_HU / 2
    widest = torch.maximum(inside.any(dim=1).sum(dim=1), inside.any(dim=2).sum(dim=1)) / 64
    assert widest.median() == pytest.approx(1 / 1.1, abs=0.04)
    assert (widest < 0.99).float().mean() > 0.9
    brains = torch.stack([slice_[slice_ > AIR_HU / 2].median() for slice_ in image])
    assert 15 < brains.median() < 50
