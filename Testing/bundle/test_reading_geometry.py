"""Where voxels go when a study is read, and whether maps find the way back, for studies stored in every way."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scripts.intake.study import AIR_HU, CTStudy, Provenance
from scripts.intake.volume_file import read_nifti
from scripts.phantom import Grid
from scripts.reading_geometry import ReadingGeometry, head_centred_crop, slabs_of, sub_stacks

torch.set_num_threads(1)

SIZE = 224
MARGIN = 1.1
TISSUE_HU, MARK_HU = 30, 2000
# The image's square snaps to whole voxels: half a voxel for its middle, a quarter for its side, and one for the mark.
SNAPPED_VOXELS = 1.75
LEFT, POSTERIOR = np.array([-1.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0])


@dataclass(frozen=True)
class MarkedStudy:
    """A study of even tissue with one bright voxel in its head."""

    study: CTStudy
    head: NDArray[np.bool_]
    mark: tuple[int, int, int]

    @property
    def geometry(self) -> ReadingGeometry:
        plane = head_centred_crop(self.study, self.head, MARGIN)
        return ReadingGeometry(plane, slabs_of(self.study, 5.0), self.study.voxels.shape)


def marked(grid: Grid, mark: tuple[int, int, int], head: tuple[slice, slice]) -> MarkedStudy:
    mask = np.zeros(grid.shape, dtype=bool)
    mask[(slice(None), *head)] = True
    voxels = np.full(grid.shape, TISSUE_HU, dtype=np.int16)
    voxels[mark] = MARK_HU
    study = CTStudy(voxels, grid.affine, grid.positions_mm, Provenance("a study", "phantom"))
    return MarkedStudy(study, mask, mark)


@st.composite
def extents(draw: st.DrawFn, size: int) -> slice:
    """Where the head lies along one axis; it may touch the edge of the matrix."""
    length = draw(st.integers(size // 2, size))
    first = draw(st.integers(0, size - length))
    return slice(first, first + length)


@st.composite
def marked_studies(draw: st.DrawFn) -> MarkedStudy:
    shape = (draw(st.integers(1, 12)), draw(st.integers(32, 56)), draw(st.integers(32, 56)))
    pixel = st.floats(0.5, 1.0)
    grid = Grid(
        shape,
        (draw(pixel), draw(pixel), draw(st.floats(0.6, 7.0))),
        tilt_degrees=draw(st.floats(-30, 30)),
        rotation_degrees=(draw(st.floats(-15, 15)), draw(st.floats(-15, 15)), draw(st.floats(-180, 180))),
        flips=draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
        centre_mm=draw(st.tuples(*[st.floats(-80, 80)] * 3)),
    )
    rows, columns = draw(extents(shape[1])), draw(extents(shape[2]))
    mark = (
        draw(st.integers(0, shape[0] - 1)),
        draw(st.integers(rows.start, rows.stop - 1)),
        draw(st.integers(columns.start, columns.stop - 1)),
    )
    return marked(grid, mark, (rows, columns))


def brightest(volume: NDArray[np.floating]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(np.argmax(volume), volume.shape))


def brightest_after_reading(case: MarkedStudy) -> tuple[int, int, NDArray[np.int64]]:
    """Read, take each image's own brightness as its map, bring it back: slab of the mark, and where it is now."""
    geometry = case.geometry
    images = geometry.resample(case.study.voxels, SIZE)
    stored = geometry.resample_back(images - AIR_HU).numpy()
    found = np.argwhere(stored >= stored.max() - 1e-3)
    input_index = next(index for index, slab in enumerate(geometry.slabs) if case.mark[0] in slab)
    return input_index, int(brightest(images.numpy())[0]), found


def image_axes(affine: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The in-plane direction closest to the patient's left, and the perpendicular one closest to posterior."""
    units = [sign * affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for axis in (0, 1) for sign in (-1, 1)]
    across = max(units, key=lambda unit: unit @ LEFT)
    down = max((unit for unit in units if abs(unit @ across) < 0.5), key=lambda unit: unit @ POSTERIOR)
    return across, down


def offset_from_head_centre(case: MarkedStudy, row: float, column: float) -> NDArray[np.float64]:
    """Vector in mm (RAS) from the middle of the head's rectangle to a point of the slice."""
    rows, columns = np.flatnonzero(case.head.any(axis=(0, 2))), np.flatnonzero(case.head.any(axis=(0, 1)))
    middle_row, middle_column = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
    return case.study.affine[:3, 1] * (row - middle_row) + case.study.affine[:3, 0] * (column - middle_column)


def side_mm(case: MarkedStudy) -> float:
    column_mm, row_mm, _ = case.study.spacing_mm
    rows, columns = case.head.any(axis=(0, 2)).sum(), case.head.any(axis=(0, 1)).sum()
    return MARGIN * max(rows * row_mm, columns * column_mm)


@settings(max_examples=120)
@given(marked_studies())
def test_a_marked_voxel_comes_back_within_one_voxel_however_the_study_is_stored(case: MarkedStudy):
    input_index, brightest_image, found = brightest_after_reading(case)
    assert brightest_image == input_index
    assert set(found[:, 0]) == set(case.geometry.slabs[input_index])
    assert np.abs(found[:, 1:] - case.mark[1:]).max() <= 1


@settings(max_examples=120)
@given(marked_studies())
def test_the_image_shows_right_on_the_left_and_anterior_up_true_to_scale(case: MarkedStudy):
    across, down = image_axes(case.study.affine)
    offset = offset_from_head_centre(case, *case.mark[1:])
    pixel_mm = side_mm(case) / SIZE
    expected_row, expected_column = offset @ down / pixel_mm + SIZE / 2, offset @ across / pixel_mm + SIZE / 2
    _, row, column = brightest(case.geometry.resample(case.study.voxels, SIZE).numpy())
    tolerance = SNAPPED_VOXELS * max(case.study.spacing_mm[:2]) / pixel_mm
    assert abs(row + 0.5 - expected_row) <= tolerance
    assert abs(column + 0.5 - expected_column) <= tolerance


@settings(max_examples=60)
@given(marked_studies(), st.sampled_from((14, 32)), st.data())
def test_a_cell_of_a_feature_map_lies_over_the_part_of_the_image_that_it_was_made_from(
    case: MarkedStudy, cells: int, data: st.DataObject
):
    row, column = data.draw(st.integers(2, cells - 3)), data.draw(st.integers(2, cells - 3))
    layer = torch.zeros(len(case.geometry.slabs), cells, cells)
    layer[0, row, column] = 1.0
    weights = case.geometry.resample_back(layer)[case.geometry.slabs[0][0]].numpy()
    rows, columns = np.nonzero(weights)
    rim = {0, case.study.voxels.shape[1] - 1}, {0, case.study.voxels.shape[2] - 1}
    if not len(rows) or rim[0] & set(rows) or rim[1] & set(columns):
        return  # A cell that lies partly outside the matrix has no centre to measure.
    total = weights[rows, columns].sum()
    offset = offset_from_head_centre(
        case, rows @ weights[rows, columns] / total, columns @ weights[rows, columns] / total
    )
    cell_mm = side_mm(case) / cells
    across, down = image_axes(case.study.affine)
    tolerance_mm = SNAPPED_VOXELS * max(case.study.spacing_mm[:2])
    assert abs(offset @ down - (row + 0.5 - cells / 2) * cell_mm) <= tolerance_mm
    assert abs(offset @ across - (column + 0.5 - cells / 2) * cell_mm) <= tolerance_mm


@pytest.mark.parametrize("cell", [1, 4, 8])
def test_a_cell_lies_exactly_over_the_voxels_that_it_covers(cell: int):
    case = marked(Grid((1, 60, 50), (1.0, 1.0, 5.0)), (0, 0, 0), (slice(10, 50), slice(5, 45)))
    plane = head_centred_crop(case.study, case.head, margin=1.0)
    layer = torch.zeros(1, 10, 10)
    layer[0, cell, cell] = 1.0
    weights = ReadingGeometry(plane, ((0,),), (1, 60, 50)).resample_back(layer)[0].numpy()
    middle_row = np.arange(60) @ weights.sum(axis=1) / weights.sum()
    middle_column = np.arange(50) @ weights.sum(axis=0) / weights.sum()
    assert middle_row == pytest.approx(10 + 4 * cell + 1.5, abs=1e-3)
    assert middle_column == pytest.approx(5 + 4 * cell + 1.5, abs=1e-3)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_marked_voxel_of_a_nifti_file_comes_back_in_the_files_own_axes(order: tuple[int, int, int], tmp_path: Path):
    for number, signs in enumerate(product((-1, 1), repeat=3)):
        shape, spacing = (30, 26, 22), (2.8, 3.3, 4.1)
        affine = np.eye(4)
        affine[:3, :3] = 0
        for axis in range(3):
            affine[order[axis], axis] = signs[axis] * spacing[axis]
        mark = (21, 8, 13)
        array = np.full(shape, TISSUE_HU, dtype=np.int16)
        array[mark] = MARK_HU
        path = tmp_path / f"{number}.nii"
        nib.save(nib.Nifti1Image(array, affine), path)
        study = read_nifti(path)
        case = MarkedStudy(study, np.ones(study.voxels.shape, dtype=bool), brightest(study.voxels))
        geometry = case.geometry
        stored = geometry.resample_back(geometry.resample(study.voxels, SIZE) - AIR_HU).numpy()
        assert brightest(study.in_file_order(stored)) == mark, (order, signs)
        # The mark's place in the image follows from where it lies in the patient.
        _, row, column = brightest(geometry.resample(study.voxels, SIZE).numpy())
        right, front, _ = affine[:3, :3] @ (np.array(mark) - (np.array(shape) - 1) / 2)
        assert (column < SIZE / 2) == (right > 0), (order, signs)
        assert (row < SIZE / 2) == (front > 0), (order, signs)


def test_a_round_head_stays_round_where_pixels_are_not_square():
    grid = Grid((3, 60, 90), (0.5, 1.0, 5.0))
    rows, columns = np.ogrid[:60, :90]
    head = ((rows - 29.5) * 1.0) ** 2 + ((columns - 44.5) * 0.5) ** 2 < 20.0**2
    voxels = np.broadcast_to(np.where(head, 1000, AIR_HU).astype(np.int16), grid.shape).copy()
    study = CTStudy(voxels, grid.affine, grid.positions_mm, Provenance("a study", "phantom"))
    plane = head_centred_crop(study, np.broadcast_to(head, grid.shape), MARGIN)
    image = ReadingGeometry(plane, slabs_of(study, 5.0), grid.shape).resample(voxels, SIZE)[0] > 0
    height, width = image.any(dim=1).sum().item(), image.any(dim=0).sum().item()
    assert abs(height - SIZE / MARGIN) <= 3
    assert abs(width - SIZE / MARGIN) <= 5
    middle_row, middle_column = (float(axis.float().mean()) for axis in torch.nonzero(image, as_tuple=True))
    assert abs(middle_row - (SIZE - 1) / 2) < 3
    assert abs(middle_column - (SIZE - 1) / 2) < 3


def test_what_lies_beyond_the_matrix_is_read_as_air_and_gets_no_map():
    case = marked(Grid((2, 40, 24), (1.0, 1.0, 5.0)), (1, 39, 0), (slice(10, 40), slice(0, 24)))
    plane = case.geometry.plane
    assert plane.first_column < 0
    assert plane.last_row > 40
    image = case.geometry.resample(case.study.voxels, SIZE)[1]
    assert image[:, 0].max() == AIR_HU
    assert image[-1].max() == AIR_HU
    everywhere = case.geometry.resample_back(torch.ones(2, 7, 7))
    assert everywhere.shape == (2, 40, 24)
    torch.testing.assert_close(everywhere[:, plane.first_row :], torch.ones(2, 40 - plane.first_row, 24))
    assert everywhere[:, : plane.first_row].max() == 0


def test_without_a_head_the_whole_slice_is_read():
    case = marked(Grid((2, 40, 30), (1.0, 1.0, 5.0)), (0, 0, 0), (slice(0, 0), slice(0, 0)))
    plane = case.geometry.plane
    assert plane.shape == (44, 44)
    assert (plane.first_row, plane.first_column) == (-2, -7)


def test_layers_of_several_resolutions_are_added():
    case = marked(Grid((3, 40, 30), (1.0, 1.0, 5.0)), (0, 20, 15), (slice(5, 35), slice(5, 25)))
    coarse, fine = torch.rand(3, 14, 14), torch.rand(3, 32, 32)
    geometry = case.geometry
    torch.testing.assert_close(
        geometry.resample_back(coarse, fine),
        geometry.resample_back(coarse) + geometry.resample_back(fine),
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize(
    ("step_mm", "slices_in_slab"), [(0.5, 11), (0.625, 8), (1.0, 5), (1.25, 4), (2.5, 2), (3.0, 1), (5.0, 1), (7.0, 1)]
)
@pytest.mark.parametrize("slices", [1, 24, 33, 257])
def test_thin_slices_are_averaged_to_about_five_millimetres(step_mm: float, slices_in_slab: int, slices: int):
    grid = Grid((slices, 4, 4), (1.0, 1.0, step_mm))
    study = CTStudy(np.zeros(grid.shape, np.int16), grid.affine, grid.positions_mm, Provenance("a study", "phantom"))
    slabs = slabs_of(study, 5.0)
    lengths = [len(slab) for slab in slabs]
    assert len(slabs) == -(-slices // slices_in_slab)
    assert max(lengths) - min(lengths) <= 1
    assert sum(slabs, ()) == tuple(range(slices))


@given(
    gaps=st.lists(st.floats(0.2, 9.0), min_size=0, max_size=60),
    downwards=st.booleans(),
    left_handed=st.booleans(),
    slab_mm=st.floats(1.0, 8.0),
)
def test_slabs_hold_every_slice_once_are_never_too_thick_and_run_from_the_feet(
    gaps: list[float], downwards: bool, left_handed: bool, slab_mm: float
):
    heights = np.cumsum([0.0, *gaps]) * (-1 if downwards else 1)
    step = (heights[-1] - heights[0]) / max(1, len(gaps)) if gaps else (-5.0 if downwards else 5.0)
    affine = np.diag([1.0 if left_handed else -1.0, -1.0, step, 1.0])
    normal = np.cross(affine[:3, 0], affine[:3, 1])[2]
    study = CTStudy(
        np.zeros((len(heights), 2, 2), np.int16), affine, heights * normal, Provenance("a study", "phantom")
    )
    slabs = slabs_of(study, slab_mm)
    assert sorted(sum(slabs, ())) == list(range(len(heights)))
    assert all(np.diff(slab).tolist() == [1] * (len(slab) - 1) for slab in slabs)
    middles = [heights[list(slab)].mean() for slab in slabs]
    assert middles == sorted(middles)
    for slab in slabs:
        last_gap = abs(heights[slab[-1]] - heights[slab[-2]]) if len(slab) > 1 else 0.0
        assert len(slab) == 1 or abs(heights[slab[-1]] - heights[slab[0]]) + last_gap <= 1.1 * slab_mm + 1e-9


def test_a_slab_is_the_mean_of_its_slices():
    grid = Grid((4, 16, 16), (1.0, 1.0, 2.5))
    voxels = np.broadcast_to(np.array([0, 10, 40, 80], np.int16)[:, None, None], grid.shape).copy()
    study = CTStudy(voxels, grid.affine, grid.positions_mm, Provenance("a study", "phantom"))
    plane = head_centred_crop(study, np.ones(grid.shape, bool), 1.0)
    images = ReadingGeometry(plane, slabs_of(study, 5.0), grid.shape).resample(voxels, 16)
    assert images[:, 8, 8].tolist() == [5.0, 60.0]


@given(input_slices=st.integers(1, 500), sub_stack_size=st.integers(1, 48))
def test_every_input_slice_is_seen_in_as_few_sub_stacks_as_can_be(input_slices: int, sub_stack_size: int):
    stacks = sub_stacks(input_slices, sub_stack_size)
    assert stacks.shape == (-(-input_slices // sub_stack_size), sub_stack_size)
    assert set(stacks.flatten().tolist()) == set(range(input_slices))
    steps = np.diff(stacks, axis=1)
    assert (steps >= (1 if input_slices >= sub_stack_size else 0)).all()
    times_seen = np.bincount(stacks.flatten())
    assert times_seen.max() - times_seen.min() <= 1


def test_a_scan_shorter_than_the_sample_repeats_slices_evenly():
    assert sub_stacks(3, 4).tolist() == [[0, 1, 1, 2]]
    assert sub_stacks(4, 8).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]


def test_a_long_scan_is_dealt_out_in_turns():
    assert sub_stacks(6, 3).tolist() == [[0, 2, 4], [1, 3, 5]]


@given(input_slices=st.integers(32, 500))
def test_a_sub_stack_spans_the_whole_head(input_slices: int):
    stacks = sub_stacks(input_slices, 32)
    widest_step = input_slices / 32
    assert (stacks[:, 0] <= widest_step).all()
    assert (stacks[:, -1] >= input_slices - 1 - widest_step).all()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.booleans(), st.randoms(use_true_random=False))
def test_attention_shared_between_stored_slices_keeps_its_sum(lengths: list[int], reverse: bool, random):
    edges = np.cumsum([0, *lengths])
    slabs = [tuple(range(first, last)) for first, last in pairwise(edges)]
    if reverse:
        slabs.reverse()
    weights = torch.tensor([random.random() for _ in slabs]).softmax(dim=0)
    geometry = ReadingGeometry(
        marked(Grid((1, 4, 4)), (0, 0, 0), (slice(4), slice(4))).geometry.plane,
        tuple(slabs),
        (
            int(edges[-1]),
            4,
            4,
        ),
    )
    stored = geometry.divide_among_original(weights)
    assert stored.shape == (edges[-1],)
    assert stored.sum().item() == pytest.approx(1.0, abs=1e-5)
    for weight, slab in zip(weights, slabs, strict=True):
        assert stored[list(slab)].sum().item() == pytest.approx(weight.item(), abs=1e-6)
        assert len(set(stored[list(slab)].tolist())) == 1
