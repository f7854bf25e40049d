"""Masks on the cells of the last feature maps: each lies where the maps of the same variant have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ct_ich_files import Patient, write_ct_ich
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from training_recipes import mask_recipe, recipe

from scripts.cache import Cache
from scripts.datasets.ct_ich import datalist
from scripts.intake.study import CTStudy
from scripts.labels import RSNA
from scripts.networks.vgg16 import VGG16Features
from scripts.reading_geometry import CropPlane, ReadingGeometry
from scripts.training.masks import MASKED_HU, ReadMaskd, cached_masks, masked_cells
from scripts.training.slice_recipe import SliceRecipe

torch.set_num_threads(1)

KEYS = tuple(label.key for label in RSNA)
SLICES, VARIANTS, SIZE = 8, 4, 128
STRIDE = VGG16Features.stride
MARK_HU, BRAIN_HU = 3000, 35


class MarkedScan:
    """A scan whose masked voxels are marked in its voxels as well, far above anything in a head."""

    def __init__(self, scan: Any) -> None:
        self.scan = scan
        self.name, self.files = scan.name, scan.files

    def read(self) -> CTStudy:
        study: CTStudy = self.scan.read()
        return replace(study, voxels=np.where(self.mask(study), np.int16(MARK_HU), study.voxels.clip(max=400)))

    def mask(self, study: CTStudy) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = self.scan.mask(study)
        return mask


def recipes() -> tuple[SliceRecipe, SliceRecipe]:
    """Return the recipes of slices and of masks, as the configurations have them."""
    settings = {"image_size": SIZE, "high_res_size": 32, "variants": VARIANTS}
    return recipe(**settings), mask_recipe(**settings)


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    patients = (Patient(49), Patient(50, ("intraparenchymal",)), Patient(51, ("epidural",)))
    found = datalist(write_ct_ich(tmp_path_factory.mktemp("ct-ich"), patients, slices=SLICES, size=128).folder, KEYS, 2)
    return [{**entry, "study": MarkedScan(entry["study"])} for entry in found]


def test_a_mask_lies_where_the_same_variant_of_the_slices_has_it(entries: list[dict[str, Any]], tmp_path: Path):
    slices, masks = recipes()
    found = cached_masks(entries, masks, Cache(tmp_path), STRIDE)
    for number, entry in enumerate(entries[1:], start=1):
        loaded = slices.load(dict(entry))
        cells = found[entry["name"]]
        assert cells.shape == (VARIANTS, SLICES, SIZE // STRIDE, SIZE // STRIDE)
        assert cells.float().sum() > 0
        for variant in range(VARIANTS):
            marked = slices.augmented({"image": loaded["image"]}, number, variant)["image"][0]
            expected = masked_cells((marked > (MARK_HU + BRAIN_HU) / 2) * float(MASKED_HU), STRIDE)
            # Beside bone the ground is not brain's, and pixels on the edge differ: a tenth of a cell at most.
            torch.testing.assert_close(cells[variant].float(), expected, atol=0.1, rtol=0)
    assert not torch.equal(cells[0], cells[1])


def test_a_scan_without_haemorrhage_is_not_even_read(entries: list[dict[str, Any]], tmp_path: Path):
    class Unreadable(MarkedScan):
        def read(self) -> CTStudy:
            raise AssertionError("read")

    _, masks = recipes()
    negative = {**entries[0], "study": Unreadable(entries[0]["study"].scan)}
    assert cached_masks([negative], masks, Cache(tmp_path), STRIDE) == {}


def test_a_scan_without_a_mask_has_none(entries: list[dict[str, Any]], tmp_path: Path):
    class Bare(MarkedScan):
        def mask(self, study: CTStudy) -> Any:
            return None

        def read(self) -> CTStudy:
            study: CTStudy = self.scan.read()
            return study

    _, masks = recipes()
    bare = {**entries[1], "study": Bare(entries[1]["study"].scan)}
    for _ in range(2):
        assert cached_masks([bare], masks, Cache(tmp_path), STRIDE) == {}


def test_a_slab_is_masked_where_one_of_its_slices_is():
    mask = np.zeros((4, 32, 32), dtype=bool)
    mask[1, 4:20, 4:20] = True
    plane = CropPlane(0, 32, 0, 32, flip_rows=False, flip_columns=False)
    slabs = ((0, 1), (2, 3))
    entry = {"study": None, "mask": mask, "geometry": ReadingGeometry(plane, slabs, mask.shape)}
    cells = masked_cells(ReadMaskd("study", {"image": 32})(entry)["image"][0], STRIDE)
    torch.testing.assert_close(cells[0], torch.tensor([[12 * 12, 12 * 4], [4 * 12, 4 * 4]]) / STRIDE**2)
    assert not cells[1].any()


def test_masks_are_made_once(entries: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _, masks = recipes()
    first = cached_masks(entries, masks, Cache(tmp_path), STRIDE)
    reads: list[Sequence[Path]] = []
    monkeypatch.setattr(MarkedScan, "read", lambda scan: reads.append(scan.files))
    again = cached_masks(entries, masks, Cache(tmp_path), STRIDE)
    assert reads == []
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_masks_are_made_again_where_a_scan_moved_in_the_list_and_its_variants_with_it(
    entries: list[dict[str, Any]], tmp_path: Path
):
    _, masks = recipes()
    name = entries[2]["name"]
    before = cached_masks(entries, masks, Cache(tmp_path), STRIDE)[name]
    after = cached_masks(entries[1:], masks, Cache(tmp_path), STRIDE)[name]
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1:], after[1:])


@given(st.integers(0, 3), st.integers(0, 2), st.integers(1, STRIDE), st.integers(1, STRIDE))
def test_a_cell_is_the_masked_fraction_of_its_own_area(row: int, column: int, height: int, width: int):
    painted = torch.zeros(2, 4 * STRIDE, 3 * STRIDE)
    top, left = row * STRIDE, column * STRIDE
    painted[1, top : top + height, left : left + width] = MASKED_HU
    expected = torch.zeros(2, 4, 3)
    expected[1, row, column] = height * width / STRIDE**2
    torch.testing.assert_close(masked_cells(painted, STRIDE), expected)
