"""What resembles blood carries no label, changes the image where it should, and leaves the geometry alone."""

from __future__ import annotations

import numpy as np
import pytest
from synthesis_cases import anatomy, host, on_stored_voxels

from scripts.synthesis.artefacts import ARTEFACTS
from scripts.synthesis.canvas import HostCanvas
from scripts.synthesis.mimics import MIMICS
from scripts.synthesis.random_synthesis import SynthesisSettings, draw_synthesis
from scripts.synthesis.synthesis import Synthesis, result
from scripts.synthesis.working_grid import SynthesisError


def painted(name: str, seed: int = 3) -> Synthesis:
    canvas = HostCanvas(host(), anatomy(), np.random.default_rng(seed))
    return result(host(), canvas, {**MIMICS, **ARTEFACTS}[name](canvas))


@pytest.mark.parametrize("name", [*MIMICS, *ARTEFACTS])
def test_it_changes_the_image_and_carries_no_label(name: str):
    made = painted(name)
    changed = made.study.voxels != host().voxels
    assert changed.sum() > 5
    assert not made.label_map.any()
    assert not any(made.labels.values())
    assert made.lesions[0].kind == name
    assert made.lesions[0].volume_ml == 0.0 or name in MIMICS
    assert np.array_equal(made.study.affine, host().affine)


@pytest.mark.parametrize("name", [*MIMICS, "beam hardening", "streak", "partial volume"])
def test_it_stays_inside_the_skull(name: str):
    changed = painted(name).study.voxels != host().voxels
    depth = on_stored_voxels(anatomy(), anatomy().cavity.depth)
    assert depth[changed].min() > -3.0


@pytest.mark.parametrize(
    ("name", "lowest"),
    [("plexus calcification", 60.0), ("pineal calcification", 70.0), ("basal ganglia calcification", 45.0)],
)
def test_calcifications_are_denser_than_brain(name: str, lowest: float):
    made = painted(name)
    changed = made.study.voxels.astype(int) - host().voxels
    assert made.study.voxels[changed > 15].max() > lowest


def test_calcified_plexus_lies_in_the_ventricles():
    made = painted("plexus calcification")
    ventricles = np.argwhere(on_stored_voxels(anatomy(), anatomy().ventricles)) * (5.8, 1.25, 1.3)
    for lesion in made.lesions:
        index = np.linalg.inv(host().affine) @ (*lesion.centre_ras_mm, 1.0)
        away = np.linalg.norm(ventricles - index[2::-1] * (5.8, 1.25, 1.3), axis=1)
        assert away.min() < 6.0


def test_metal_is_brighter_than_bone_and_streaks_across_tissue():
    made = painted("metal")
    change = made.study.voxels.astype(int) - host().voxels
    assert made.study.voxels.max() > 1800
    assert (np.abs(change) > 8).any(axis=0).sum() > 300


def test_a_negative_host_may_get_mimics_but_never_a_label():
    settings = SynthesisSettings(mimic=1.0, artefact=1.0)
    for seed in range(6):
        made = draw_synthesis(host(), np.random.default_rng(seed), settings, haemorrhage=False, anatomy=anatomy())
        assert not made.label_map.any()
        assert all(lesion.kind in {**MIMICS, **ARTEFACTS} for lesion in made.lesions)


def test_a_mimic_without_a_place_is_refused_by_name():
    bare = anatomy()
    bare = type(bare)(**{**bare.__dict__, "ventricles": np.zeros_like(bare.ventricles)})
    with pytest.raises(SynthesisError) as fault:
        MIMICS["plexus calcification"](HostCanvas(host(), bare, np.random.default_rng(0)))
    assert fault.value.code == "no_site"
