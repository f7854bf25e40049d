"""The phantom: tissue densities, places of the haemorrhages, geometry on any grid, and what is written to disk."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from scripts.phantom import (
    Grid,
    Haemorrhage,
    Phantom,
    make_phantom,
    write_dicom_series,
    write_masks,
    write_nifti,
)
from scripts.phantom.__main__ import main
from scripts.phantom.anatomy import Anatomy
from scripts.phantom.brain import ventricle_distance
from scripts.phantom.montage import write_montage

FINE = Grid((26, 128, 128), (1.75, 1.75, 6.0))
SMALL = Grid((14, 80, 80), (2.8, 2.8, 11.0))
KINDS = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")


def at(phantom: Phantom, *points_ras: tuple[float, float, float]) -> NDArray[np.int16]:
    """Hounsfield units of the voxels nearest to patient coordinates."""
    index = np.rint(phantom.grid.indices(np.array(points_ras))).astype(int)
    return phantom.voxels[tuple(index.T)]


def patient_points(phantom: Phantom, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Patient coordinates (RAS, mm) of a mask's voxels, shape (n, 3)."""
    index = np.argwhere(mask)[:, ::-1]
    return index @ phantom.affine[:3, :3].T + phantom.affine[:3, 3]


def cavity_depth(points: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Depth in mm below the inner table of the skull."""
    anatomy = Anatomy.individual(seed)
    return -anatomy.cavity(anatomy.to_head(points.T.astype(np.float32)))


@pytest.fixture(scope="module")
def healthy() -> Phantom:
    grid = Grid((75, 128, 128), (1.8, 1.8, 2.0), slice_thickness_mm=1.0)
    return make_phantom(grid, noise_hu=0.0, beam_hardening=0.0, variation=0.0)


@pytest.fixture(scope="module")
def bleeding() -> dict[str, Phantom]:
    made = {}
    for kind in KINDS:
        side = "both" if kind == "intraventricular" else "left"
        volume = {"subarachnoid": 12.0, "intraventricular": 8.0}.get(kind, 35.0)
        made[kind] = make_phantom(FINE, [Haemorrhage(kind, side, volume)], noise_hu=0.0, seed=2)
    return made


@pytest.mark.parametrize(
    ("tissue", "point", "low", "high"),
    [
        ("air", (0.0, 110.0, 60.0), -1000, -990),
        ("white matter", (28.0, -20.0, 32.0), 27, 32),
        ("thalamus", (10.0, -12.0, 5.0), 34, 41),
        ("lateral ventricle", (10.0, -10.0, 19.0), 4, 12),
        ("cerebellum", (28.0, -64.0, -38.0), 31, 41),
        ("frontal bone", (0.0, 83.5, 14.0), 400, 1600),
        ("scalp fat", (0.0, -100.5, 10.0), -110, 45),
        ("orbital fat", (29.0, 62.0, -30.0), -120, -50),
        ("vitreous body", (32.0, 75.0, -36.0), 0, 30),
        ("sphenoid sinus", (9.0, 29.0, -40.0), -1000, -800),
        ("petrous bone", (34.0, -18.0, -35.0), 1000, 2000),
        ("pineal calcification", (0.0, -34.0, 1.0), 80, 220),
    ],
)
def test_each_tissue_has_its_density(
    healthy: Phantom, tissue: str, point: tuple[float, float, float], low: int, high: int
) -> None:
    value = int(at(healthy, point)[0])
    assert low <= value <= high, f"{tissue}: {value} HU"


def test_grey_matter_is_denser_than_white_matter(healthy: Phantom) -> None:
    points = patient_points(healthy, np.ones_like(healthy.voxels, dtype=bool))
    anatomy = Anatomy.individual(0, 0.0)
    above = (points[:, 2] > 40.0) & (np.abs(points[:, 0]) > 12.0)
    depth = -anatomy.cavity(anatomy.to_head(points[above].T.astype(np.float32)))
    values = healthy.voxels.ravel()[above]
    cortex, core = np.median(values[(depth > 3.5) & (depth < 5.0)]), np.median(values[depth > 22.0])
    assert cortex - core > 4.0


def test_head_is_an_adults_and_tapers_to_the_vertex(healthy: Phantom) -> None:
    inside = patient_points(healthy, healthy.voxels > -300)
    head = inside[np.hypot(inside[:, 0], inside[:, 1] - 12.0) < 112.0]
    level = head[np.abs(head[:, 2] - 20.0) < 2.0]
    width, length = np.ptp(level[:, 0]), np.ptp(level[:, 1])
    assert 140.0 < width < 175.0
    assert 175.0 < length < 215.0
    top = head[np.abs(head[:, 2] - 78.0) < 1.5]
    assert 0 < len(top) < len(level) / 3


def test_noise_has_the_standard_deviation_asked_for() -> None:
    grid = Grid((2, 128, 128), (0.5, 0.5, 5.0), centre_mm=(0.0, 0.0, 38.0))
    quiet, noisy = (make_phantom(grid, noise_hu=noise).voxels.astype(float) for noise in (0.0, 4.0))
    assert np.std(noisy - quiet) == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_blood_has_the_volume_asked_for(bleeding: dict[str, Phantom], kind: str) -> None:
    phantom = bleeding[kind]
    assert phantom.volumes_ml[kind] == pytest.approx(phantom.haemorrhages[0].volume_ml, rel=0.12)


@pytest.mark.parametrize("kind", KINDS)
def test_blood_is_hyperdense_where_the_mask_says(bleeding: dict[str, Phantom], kind: str) -> None:
    phantom = bleeding[kind]
    values = phantom.voxels[phantom.masks[kind]]
    # Clefts are thinner than these voxels, so that blood in them shares its voxels with brain.
    assert np.median(values) > (45.0 if kind == "subarachnoid" else 58.0)


@pytest.mark.parametrize("kind", KINDS)
def test_blood_lies_inside_the_inner_table(bleeding: dict[str, Phantom], kind: str) -> None:
    phantom = bleeding[kind]
    assert cavity_depth(patient_points(phantom, phantom.masks[kind]), phantom.seed).min() > 0.0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "intraventricular"])
def test_blood_on_the_left_has_negative_x_in_ras(bleeding: dict[str, Phantom], kind: str) -> None:
    points = patient_points(bleeding[kind], bleeding[kind].masks[kind])
    assert np.mean(points[:, 0] < 3.0) == 1.0


def test_blood_on_the_right_has_positive_x_in_ras() -> None:
    for kind in KINDS:
        phantom = make_phantom(SMALL, [Haemorrhage(kind, "right", 8.0)], noise_hu=0.0)
        assert patient_points(phantom, phantom.masks[kind])[:, 0].min() > -3.0, kind


def test_epidural_is_a_lens_and_subdural_a_crescent(bleeding: dict[str, Phantom]) -> None:
    extent, thickness = {}, {}
    for kind in ("epidural", "subdural"):
        points = patient_points(bleeding[kind], bleeding[kind].masks[kind])
        extent[kind] = np.ptp(points[:, 1])
        thickness[kind] = cavity_depth(points, 2).max()
    assert thickness["epidural"] > 1.5 * thickness["subdural"]
    assert extent["subdural"] > 1.5 * extent["epidural"]
    assert extent["epidural"] < 85.0


def test_epidural_bulges_into_the_brain(bleeding: dict[str, Phantom]) -> None:
    points = patient_points(bleeding["epidural"], bleeding["epidural"].masks["epidural"])
    slice_height = np.median(points[:, 2])
    level = points[np.abs(points[:, 2] - slice_height) < 3.1]
    inner = [(y, level[level[:, 1] == y][:, 0].max()) for y in np.unique(level[:, 1])]
    across = np.array(inner)
    chord = np.interp(across[:, 0], across[[0, -1], 0], across[[0, -1], 1])
    assert (across[:, 1] - chord).max() > 4.0


def test_ventricular_blood_lies_in_the_ventricles_and_sinks_to_the_back(bleeding: dict[str, Phantom]) -> None:
    phantom = bleeding["intraventricular"]
    anatomy = Anatomy.individual(phantom.seed)
    everywhere = patient_points(phantom, np.ones_like(phantom.voxels, dtype=bool))
    ventricles = ventricle_distance(anatomy, anatomy.to_head(everywhere.T.astype(np.float32))) < 0.0
    blood = phantom.masks["intraventricular"].ravel()
    assert np.all(ventricles[blood])
    fluid = everywhere[ventricles & ~blood]
    assert everywhere[blood][:, 1].max() <= fluid[:, 1].min() + phantom.grid.spacing[1]
    assert np.median(phantom.voxels.ravel()[ventricles & ~blood]) < 20.0


def test_subarachnoid_blood_lies_in_fluid_spaces_of_the_healthy_head(bleeding: dict[str, Phantom]) -> None:
    phantom = bleeding["subarachnoid"]
    without = make_phantom(FINE, noise_hu=0.0, seed=phantom.seed)
    blood = phantom.masks["subarachnoid"]
    assert np.median(without.voxels[blood]) < 22.0
    assert np.median(without.voxels[blood]) < np.median(phantom.voxels[blood]) - 25.0


def test_parenchymal_blood_has_a_rim_of_oedema(bleeding: dict[str, Phantom]) -> None:
    phantom = bleeding["intraparenchymal"]
    points = patient_points(phantom, phantom.masks["intraparenchymal"])
    centre = points.mean(axis=0)
    assert -45.0 < centre[0] < -15.0
    values = phantom.voxels.astype(float)
    everywhere = patient_points(phantom, np.ones_like(phantom.voxels, dtype=bool))
    radius = np.cbrt(35_000.0 * 3.0 / (4.0 * np.pi))
    away = np.linalg.norm((everywhere - centre) / (0.82, 1.25, 1.0), axis=1) - radius
    rim = (away > 2.0) & (away < 5.0) & ~phantom.masks["intraparenchymal"].ravel()
    outer = (away > 14.0) & (away < 18.0)
    assert np.percentile(values.ravel()[rim], 40) < np.percentile(values.ravel()[outer], 40) - 4.0


def test_several_haemorrhages_share_one_head() -> None:
    asked = [Haemorrhage("subdural", "left", 30.0), Haemorrhage("subdural", "right", 20.0), Haemorrhage("epidural")]
    phantom = make_phantom(FINE, asked, noise_hu=0.0)
    assert sorted(phantom.masks) == ["epidural", "subdural"]
    points = patient_points(phantom, phantom.masks["subdural"])
    voxel_ml = 1.75 * 1.75 * 6.0 / 1000.0
    assert np.sum(points[:, 0] < 0) * voxel_ml == pytest.approx(30.0, rel=0.15)
    assert np.sum(points[:, 0] > 0) * voxel_ml == pytest.approx(20.0, rel=0.15)


def third_ventricle_position(phantom: Phantom, expected_mm: float) -> float:
    """Position x in mm of the third ventricle's middle, looked for within 14 mm of where it should be."""
    x = np.arange(expected_mm - 14.0, expected_mm + 14.0, 0.25)
    row = np.column_stack([x, np.full_like(x, -4.0), np.zeros_like(x)])
    values = at(phantom, *map(tuple, row)).astype(float)
    return float(np.average(x, weights=np.clip(25.0 - values, 0.0, None)))


@pytest.mark.parametrize("shift", [-8.0, 5.0, 12.0])
def test_midline_shift_moves_the_midline_by_what_was_asked_and_leaves_the_skull(shift: float) -> None:
    grid = Grid((3, 300, 300), (0.7, 0.7, 2.0), slice_thickness_mm=1.0, centre_mm=(0.0, 0.0, 0.0))
    still, moved = (
        make_phantom(grid, noise_hu=0.0, variation=0.0, midline_shift_mm=value, beam_hardening=0.0)
        for value in (0.0, shift)
    )
    assert third_ventricle_position(still, 0.0) == pytest.approx(0.0, abs=0.4)
    assert third_ventricle_position(moved, shift + 2.0) == pytest.approx(shift, abs=0.6)
    bone = still.voxels > 400
    # The innermost bone voxels share their volume with the brain beneath.
    assert np.abs(moved.voxels[bone] - still.voxels[bone]).max() <= 60


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Oblique, flipped, tilted, shifted grids with pixels that are not square."""
    angle = st.floats(-40.0, 40.0)
    return Grid(
        shape=draw(st.tuples(st.integers(5, 9), st.integers(30, 60), st.integers(30, 60))),
        spacing=draw(st.tuples(st.floats(1.5, 3.5), st.floats(1.5, 3.5), st.floats(3.0, 9.0))),
        slice_thickness_mm=0.5,
        tilt_degrees=draw(st.floats(-25.0, 25.0)),
        rotation_degrees=draw(st.tuples(angle, angle, st.floats(-180.0, 180.0))),
        flips=draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
        centre_mm=draw(st.tuples(st.floats(-15.0, 15.0), st.floats(-15.0, 15.0), st.floats(0.0, 30.0))),
    )


@pytest.fixture(scope="module")
def reference() -> Phantom:
    """Blood under the right temple on a fine upright grid."""
    grid = Grid((110, 130, 130), (1.5, 1.5, 1.5), slice_thickness_mm=0.5)
    return make_phantom(grid, [Haemorrhage("epidural", "right", 40.0)], noise_hu=0.0, headrest=False)


@settings(max_examples=20, deadline=None)
@given(grid=grids())
def test_any_grid_shows_the_same_anatomy_at_the_same_patient_coordinates(reference: Phantom, grid: Grid) -> None:
    phantom = make_phantom(grid, reference.haemorrhages, noise_hu=0.0, headrest=False)
    points = patient_points(phantom, np.ones(grid.shape, dtype=bool))
    index = np.rint(reference.grid.indices(points)).astype(int)
    within = np.all((index >= 0) & (index < reference.grid.shape), axis=1)
    there = tuple(index[within].T)
    here = phantom.masks["epidural"].ravel()[within]
    # Nearest neighbours of a 1.5 mm grid: blood may differ within a voxel of its surface only.
    disagreement = np.count_nonzero(here != reference.masks["epidural"][there])
    assert disagreement <= 3 + 0.25 * max(np.count_nonzero(here), 1)
    air = phantom.voxels.ravel()[within] < -500
    assert np.mean(air == (reference.voxels[there] < -500)) > 0.93
    assert phantom.study.spacing_mm == pytest.approx(grid.spacing, rel=1e-6)
    assert phantom.study.tilt_degrees == pytest.approx(abs(grid.tilt_degrees), abs=0.01)


@settings(max_examples=40, deadline=None)
@given(grid=grids(), place=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)))
def test_index_and_patient_coordinates_are_inverse(grid: Grid, place: tuple[float, float, float]) -> None:
    index = np.array(place) * (np.array(grid.shape) - 1)
    point = grid.affine[:3, :3] @ index[::-1] + grid.affine[:3, 3]
    assert grid.indices(point[None])[0] == pytest.approx(index, abs=1e-6)


def test_an_unrotated_grid_is_an_axial_ct_and_a_flip_is_left_handed() -> None:
    assert make_phantom(SMALL).study.orientation == "LPS"
    flipped = Grid(SMALL.shape, SMALL.spacing, flips=(True, False, False))
    assert np.linalg.det(flipped.affine) * np.linalg.det(SMALL.affine) < 0.0
    assert np.array_equal(
        make_phantom(flipped, noise_hu=0.0).voxels, make_phantom(SMALL, noise_hu=0.0).voxels[:, :, ::-1]
    )


def test_one_seed_gives_one_head_and_another_seed_another() -> None:
    bleed = [Haemorrhage("subdural", "right", 25.0)]
    first, again, other = (make_phantom(SMALL, bleed, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.voxels, again.voxels)
    assert np.array_equal(first.masks["subdural"], again.masks["subdural"])
    bone_of_first, bone_of_other = (make_phantom(SMALL, noise_hu=0.0, seed=seed).voxels > 300 for seed in (5, 6))
    assert not np.array_equal(bone_of_first, bone_of_other)
    assert not np.array_equal(first.voxels, other.voxels)


def test_study_carries_voxels_positions_and_provenance() -> None:
    grid = Grid(SMALL.shape, SMALL.spacing, tilt_degrees=17.0)
    study = make_phantom(grid, seed=4).study
    assert study.provenance.source_format == "phantom"
    assert np.diff(study.positions_mm) == pytest.approx(np.full(13, 11.0))
    assert study.voxels.min() >= -1024


@pytest.mark.parametrize(
    "grid",
    [
        SMALL,
        Grid((6, 50, 40), (3.5, 4.5, 12.0), tilt_degrees=18.5, rotation_degrees=(4.0, -12.0, 25.0)),
        Grid((6, 50, 40), (3.5, 4.5, 12.0), flips=(True, False, True), centre_mm=(5.0, 3.0, -1000.0)),
    ],
)
def test_dicom_series_reads_back_with_the_same_voxels_and_positions(grid: Grid, tmp_path) -> None:
    phantom = make_phantom(grid, seed=9)
    for index, path in enumerate(write_dicom_series(phantom, tmp_path / "série 1")):
        slice_read = pydicom.dcmread(path)
        hounsfield = slice_read.pixel_array.astype(int) * int(slice_read.RescaleSlope) + int(
            slice_read.RescaleIntercept
        )
        assert np.array_equal(hounsfield, phantom.voxels[index])
        along_row, down_column = np.array(slice_read.ImageOrientationPatient, dtype=float).reshape(2, 3)
        row_mm, column_mm = map(float, slice_read.PixelSpacing)
        last = (
            np.array(slice_read.ImagePositionPatient, dtype=float)
            + along_row * column_mm * (grid.shape[2] - 1)
            + down_column * row_mm * (grid.shape[1] - 1)
        )
        expected = phantom.affine @ (grid.shape[2] - 1, grid.shape[1] - 1, index, 1)
        assert last * (-1, -1, 1) == pytest.approx(expected[:3], abs=1e-4)
        assert float(slice_read.GantryDetectorTilt) == pytest.approx(grid.tilt_degrees)
        assert slice_read.PatientName == "PHANTOM^ICH"
        assert slice_read.SOPClassUID == pydicom.uid.CTImageStorage


def test_dicom_identifiers_follow_from_the_phantom(tmp_path) -> None:
    def identifiers(phantom: Phantom, name: str) -> list[tuple[str, str]]:
        files = [pydicom.dcmread(path) for path in write_dicom_series(phantom, tmp_path / name)]
        return [(file.SeriesInstanceUID, file.SOPInstanceUID) for file in files]

    first = identifiers(make_phantom(SMALL, seed=1), "first")
    assert first == identifiers(make_phantom(SMALL, seed=1), "again")
    other = identifiers(make_phantom(SMALL, seed=2), "other")
    assert len({uid for pair in first + other for uid in pair}) == 2 * (SMALL.shape[0] + 1)
    assert all(pydicom.uid.UID(uid).is_valid for pair in first for uid in pair)


def test_nifti_and_masks_overlay_voxel_on_voxel(tmp_path) -> None:
    grid = Grid((8, 60, 70), (3.0, 3.4, 15.0), tilt_degrees=10.0, rotation_degrees=(0.0, 5.0, 8.0))
    phantom = make_phantom(grid, [Haemorrhage("epidural", "right", 30.0)])
    image = nib.load(write_nifti(phantom, tmp_path / "ct.nii.gz"))
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), phantom.voxels)
    assert image.affine == pytest.approx(phantom.affine, abs=1e-4)
    (mask_path,) = write_masks(phantom, tmp_path)
    mask = nib.load(mask_path)
    assert mask_path.name == "truth_epidural.nii.gz"
    assert np.array_equal(np.asarray(mask.dataobj).transpose(2, 1, 0) == 1, phantom.masks["epidural"])
    assert mask.affine == pytest.approx(phantom.affine, abs=1e-4)


@pytest.mark.parametrize("form", ["dicom", "nifti"])
def test_command_line_writes_ct_and_truth(tmp_path, form: str) -> None:
    arguments = ["--output", str(tmp_path / "out"), "--haemorrhage", "subdural", "--haemorrhage", "intraparenchymal"]
    assert main([*arguments, "--format", form, "--seed", "3", "--slices", "10", "--pixels", "64"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"truth_subdural.nii.gz", "truth_intraparenchymal.nii.gz", "ct" if form == "dicom" else "ct.nii.gz"}


def test_command_line_reports_what_cannot_be_made_in_one_line(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = ["--output", str(tmp_path), "--haemorrhage", "intraventricular", "--side", "both", "--volume", "150"]
    assert main([*arguments, "--slices", "4", "--pixels", "32"]) == 1
    assert "does not fit into this head" in caplog.records[-1].getMessage()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"kind": "subgaleal"}, "unknown haemorrhage"),
        ({"kind": "subdural", "side": "both"}, "lies on one side"),
        ({"kind": "epidural", "side": "up"}, "unknown side"),
        ({"kind": "epidural", "volume_ml": 500.0}, "500.0 ml"),
    ],
)
def test_impossible_haemorrhages_are_refused(arguments: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Haemorrhage(**arguments)


def test_impossible_grids_and_shifts_are_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Grid((0, 10, 10))
    with pytest.raises(ValueError, match="gantry tilt"):
        Grid(tilt_degrees=75.0)
    with pytest.raises(ValueError, match="midline shift"):
        make_phantom(SMALL, midline_shift_mm=35.0)


def test_montage_is_a_small_picture(tmp_path) -> None:
    picture = np.asarray(Image.open(write_montage(tmp_path / "montage.png", pixels=32)).convert("L"))
    assert picture.shape == (8 * 32, 8 * 26)
    assert picture.max() == 255
    assert picture.min() == 0
    in_the_readme = Path(__file__).parents[1] / "Resources" / "phantom_montage.png"
    assert in_the_readme.stat().st_size < 300_000
