"""Contrast of a haemorrhage to the brain beside it: measured in synthetic scans whose HU are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from synthesis_cases import anatomy, host

from research.metrics.contrast_sensitivity import sensitivity_by_contrast
from research.metrics.lesion_contrast import LesionContrast, lesion_contrast
from research.metrics.volume_sensitivity import ScoredScan
from scripts.intake.study import CTStudy
from scripts.synthesis import synthesis
from scripts.synthesis.lesion import Density, LesionRequest
from scripts.synthesis.synthesis import Synthesis, fresh_blood, synthesise


def a_subdural(
    patch: pytest.MonkeyPatch, hounsfield: float, second_hu: float | None = None, volume_ml: float = 40.0
) -> Synthesis:
    """A subdural haemorrhage of known HU; with ``second_hu``, half of it is serum above a level."""

    def density(generator: np.random.Generator, found: object) -> Density:
        blood = fresh_blood(generator, (hounsfield, hounsfield), anatomy(), texture=1.0)
        return blood if second_hu is None else replace(blood, second_hu=second_hu, second_part=0.5, layered=True)

    patch.setattr(synthesis, "subdural_density", density)
    request = LesionRequest("subdural", volume_ml, "convexity")
    return synthesise(host(), [request], np.random.default_rng(1), anatomy())


@pytest.fixture(scope="module")
def subdurals() -> dict[str, Synthesis]:
    """The same haemorrhage as dense as the brain beside it, white, dark, and in two layers."""
    grey = anatomy().brain_hu
    densities: dict[str, tuple[float, float | None]] = {
        "isodense": (grey, None),
        "acute": (grey + 35.0, None),
        "old": (grey - 22.0, None),
    }
    densities["layered"] = (grey + 25.0, grey - 20.0)
    with pytest.MonkeyPatch.context() as patch:
        return {name: a_subdural(patch, *each) for name, each in densities.items()}


def contrast_of(made: Synthesis, study: CTStudy | None = None) -> LesionContrast:
    found = lesion_contrast(study or made.study, made.label_map > 0, anatomy())
    assert found is not None
    return found


def beside_bone(made: Synthesis) -> NDArray[np.bool_]:
    """Voxels of the haemorrhage that share an edge with bone."""
    bone = made.study.voxels > 110
    return np.asarray((made.label_map > 0) & ndimage.binary_dilation(bone, np.ones((1, 3, 3), bool)))


def test_blood_of_known_density_has_the_contrast_that_it_was_made_with(subdurals: dict[str, Synthesis]):
    found = {name: contrast_of(made) for name, made in subdurals.items()}
    assert found["isodense"].median_hu == pytest.approx(0.0, abs=5.0)
    assert found["acute"].median_hu - found["isodense"].median_hu == pytest.approx(35.0, abs=3.0)
    assert found["old"].median_hu - found["isodense"].median_hu == pytest.approx(-22.0, abs=3.0)
    assert {name for name, each in found.items() if each.mixed} == {"layered"}


@pytest.mark.parametrize(
    ("name", "row"),
    [("isodense", "-10 to 10 HU"), ("acute", "from 20 HU"), ("old", "below -10 HU"), ("layered", "mixed density")],
)
def test_a_haemorrhage_is_counted_in_the_row_of_its_contrast(subdurals: dict[str, Synthesis], name: str, row: str):
    scans = [ScoredScan(f"host {number}", {"any": 0.0}) for number in range(5)]
    scans.append(ScoredScan("host 0", {"any": 1.0}, "subdural", 40.0, contrast_of(subdurals[name])))
    for subtype in ("any", "subdural"):
        counts = {
            key: each.positive for key, each in sensitivity_by_contrast(scans, count=20)[subtype]["from 5 ml"].items()
        }
        assert {key for key, positive in counts.items() if positive} == {row}


def test_bone_that_brightens_the_blood_beside_it_adds_no_contrast(subdurals: dict[str, Synthesis]):
    made = subdurals["isodense"]
    touching = beside_bone(made)
    assert touching.sum() > 100
    voxels = made.study.voxels.copy()
    voxels[touching] = 100
    assert contrast_of(made, replace(made.study, voxels=voxels)) == contrast_of(made)


def test_what_is_no_brain_beside_it_is_not_compared_with(subdurals: dict[str, Synthesis]):
    made = subdurals["acute"]
    far, fluid = made.study.voxels.copy(), made.study.voxels.copy()
    grid = anatomy().grid
    distance = np.stack(
        [ndimage.distance_transform_edt(plane == 0, sampling=grid.stored_spacing[1:]) for plane in made.label_map]
    )
    far[(distance > 12.0) & (far < 100)] += 30
    assert contrast_of(made, replace(made.study, voxels=far)) == contrast_of(made)
    # A cistern in a part of the ring: fluid is left out, so that the rest decides.
    rows = np.arange(fluid.shape[1])[:, None] < np.median(np.argwhere(made.label_map)[:, 1])
    fluid[(distance > 3.0) & (distance < 11.0) & rows & (fluid > 0) & (fluid < 100)] = 4
    seen = contrast_of(made, replace(made.study, voxels=fluid))
    assert seen.median_hu == pytest.approx(contrast_of(made).median_hu, abs=3.0)


def test_a_film_along_bone_and_a_scan_without_blood_have_no_contrast(subdurals: dict[str, Synthesis]):
    made = subdurals["acute"]
    assert lesion_contrast(made.study, beside_bone(made), anatomy()) is None
    assert lesion_contrast(host(), np.zeros(host().voxels.shape, dtype=bool), anatomy()) is None
