"""The phantom's haemorrhages: each kind's volume, density, place and shape, and those that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from phantom_cases import FINE, SMALL, patient_points

from scripts.phantom import Haemorrhage, Phantom, make_phantom
from scripts.phantom.anatomy import Anatomy
from scripts.phantom.brain import ventricle_distance

KINDS = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")


def cavity_depth(points: NDArray[np.float64], seed: int) -> NDArray[np.floating]:
    """Depth in mm below the inner table of the skull."""
    anatomy = Anatomy.individual(seed)
    return -anatomy.cavity(anatomy.to_head(points.T.astype(np.float32)))


@pytest.fixture(scope="module")
def bleeding() -> dict[str, Phantom]:
    made = {}
    for kind in KINDS:
        side = "both" if kind == "intraventricular" else "left"
        volume = {"subarachnoid": 12.0, "intraventricular": 8.0}.get(kind, 35.0)
        made[kind] = make_phantom(FINE, [Haemorrhage(kind, side, volume)], noise_hu=0.0, seed=2)
    return made


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
