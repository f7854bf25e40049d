"""What published systems read differently: neighbours as channels, a field of fixed size, positions, maps by slice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from phantom_cases import FINE
from test_published_networks import winner

from scripts.inferer import ImageSource, StudyInferer
from scripts.intake.head import head_mask
from scripts.intake.study import CTStudy
from scripts.phantom import make_phantom
from scripts.precision import choose_precision
from scripts.reading_geometry import CropPlane, ReadingGeometry, head_centred_crop
from scripts.transforms import HounsfieldWindows, ReadingGeometryd

torch.set_num_threads(1)

SLICES, SIDE = 5, 16
PLANE = CropPlane(0, SIDE, 0, SIDE, flip_rows=False, flip_columns=False)


def a_head() -> CTStudy:
    return make_phantom(FINE, seed=3).study


def test_a_window_with_an_offset_shows_the_neighbour_and_repeats_the_last_slice_beyond_the_ends():
    windows = HounsfieldWindows([[40, 80, -1], [40, 80], [40, 80, 2]])
    hounsfield = 10.0 * torch.arange(4.0)[None, :, None, None].expand(1, 4, 2, 2)
    shown = (80 * windows(hounsfield))[:, :, 0, 0]
    assert windows.reach == 2
    assert shown.tolist() == [[0, 0, 10, 20], [0, 10, 20, 30], [20, 30, 30, 30]]


def test_windows_without_an_offset_look_at_no_neighbour():
    assert HounsfieldWindows([[40, 80], [80, 200]]).reach == 0
    assert HounsfieldWindows([]).reach == 0


def test_a_field_has_its_size_in_millimetres_unless_the_head_does_not_fit():
    study = a_head()
    head = head_mask(study.voxels, study.spacing_mm)
    column_mm, row_mm, _ = study.spacing_mm
    wide = head_centred_crop(study, head, 1.1, field_mm=400.0)
    assert wide.shape[0] * row_mm == pytest.approx(400.0, abs=row_mm)
    assert wide.shape[1] * column_mm == pytest.approx(400.0, abs=column_mm)
    assert head_centred_crop(study, head, 1.1, field_mm=20.0) == head_centred_crop(study, head, 1.1)


def test_positions_of_input_slices_are_the_means_of_their_slabs():
    study = a_head()
    geometry = ReadingGeometryd("study", slab_mm=3 * study.spacing_mm[2])({"study": study})["geometry"]
    assert len(geometry.positions_mm) == len(geometry.slabs) < len(study.voxels)
    for slab, position in zip(geometry.slabs, geometry.positions_mm, strict=True):
        assert position == pytest.approx(study.positions_mm[list(slab)].mean())


def geometry(positions_mm: tuple[float, ...]) -> ReadingGeometry:
    return ReadingGeometry(PLANE, tuple((index,) for index in range(SLICES)), (SLICES, SIDE, SIDE), positions_mm)


@pytest.mark.parametrize(
    ("stated", "given"),
    [((0.0, 3.0, 6.0, 10.0, 11.0), [0.0, 3.0, 6.0, 10.0, 11.0]), ((), [0.0, 5.0, 10.0, 15.0, 20.0])],
)
def test_a_network_is_told_where_slices_lie_or_gets_even_distances(stated: tuple[float, ...], given: list[int]):
    images = {"image": torch.rand(6, SLICES, SIDE, SIDE), "geometry": geometry(stated)}
    precision = choose_precision(torch.device("cpu"), "float32")
    source = ImageSource(images, winner(), precision, 2, 2, lambda *_: None)
    assert source.positions_mm().tolist() == given


def test_every_slice_is_explained_through_the_sequence_model():
    network = winner()
    entry = {
        "image": torch.rand(6, SLICES, SIDE, SIDE, generator=torch.Generator().manual_seed(2)),
        "geometry": geometry(tuple(5.0 * index for index in range(SLICES))),
        "head": np.ones((SLICES, SIDE, SIDE), dtype=bool),
    }
    reading = StudyInferer(precision="float32", method="slice_gradcam")(entry, network)
    assert len(reading.label_maps) == 6
    assert reading.slice_attention.sum().item() == pytest.approx(1.0)
    assert reading.lesions is None
    largest = np.stack([each.voxels.max(axis=(1, 2)) for each in reading.label_maps]).max(axis=0)
    assert (largest > 0).all(), "every slice has evidence for one label or another"
    plus = StudyInferer(precision="float32", method="slice_gradcam++")(entry, network)
    assert any(not np.array_equal(a.voxels, b.voxels) for a, b in zip(reading.label_maps, plus.label_maps, strict=True))
