"""On real heads: every subtype has a place, its volume, its side of the skull, and the cavity is found."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from synthesis_cases import on_stored_voxels

from scripts.datasets.ct_ich import find_scans
from scripts.datasets.rsna_slices import find_slices, read_slice
from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import CTStudy
from scripts.synthesis.anatomy import HeadAnatomy, find_anatomy
from scripts.synthesis.lesion import LABEL_VALUES, LesionRequest
from scripts.synthesis.random_synthesis import draw_synthesis
from scripts.synthesis.single_slice import slice_study
from scripts.synthesis.synthesis import synthesise
from scripts.synthesis.working_grid import SynthesisError

HOSTS = ["ct-ich 054", "ct-ich 061", "ge-gantry-tilt", "rsna-series-iph-ivh"]


@lru_cache(maxsize=4)
def host(folder: Path, name: str) -> tuple[CTStudy, HeadAnatomy]:
    if name.startswith("ct-ich"):
        scans = {scan.name: scan for scan in find_scans(folder / "ct-ich")}
        study = scans[name.split()[1]].read()
    else:
        study = read_study(find_studies(folder / name)[0])
    return study, find_anatomy(study)


@pytest.mark.parametrize("name", HOSTS)
def test_the_cavity_has_the_volume_of_a_brain(ich_data: Path, name: str):
    _, found = host(ich_data, name)
    volume = float(found.cavity.inside.sum()) * float(np.prod(found.grid.spacing)) / 1000.0
    # CT-ICH's spacing is an assumption, so its volumes are, too.
    assert 1000.0 < volume < 2600.0
    assert found.frame.error_mm < 5.0


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("subtype", list(LABEL_VALUES))
def test_every_subtype_has_its_volume_inside_the_skull(ich_data: Path, name: str, subtype: str):
    study, found = host(ich_data, name)
    made = synthesise(study, [LesionRequest(subtype, 6.0)], np.random.default_rng(3), found)
    assert sum(lesion.volume_ml for lesion in made.lesions) == pytest.approx(6.0, rel=0.15)
    mask = made.label_map > 0
    depth = on_stored_voxels(found, found.cavity.depth)
    assert depth[mask].min() > -1.5
    assert np.median(study.voxels[mask]) < 100
    assert not (made.study.voxels != study.voxels)[depth < -4.0].any()
    if subtype in ("epidural", "subdural") and made.lesions[0].pattern in ("lens", "convexity"):
        bone = study.voxels > 150
        spacing = (1000.0, *study.spacing_mm[1::-1])
        to_bone = ndimage.distance_transform_edt(~bone, sampling=spacing)
        shown = np.flatnonzero(mask.sum(axis=(1, 2)) > 60)
        assert np.mean([to_bone[k][mask[k]].min() < 1.5 + study.spacing_mm[0] for k in shown]) > 0.8


def test_most_slices_without_bone_take_a_haemorrhage(ich_data: Path):
    slices = [each for each in find_slices(ich_data / "rsna-slices") if not each.labels["any"]][::60]
    taken, refused = 0, 0
    for number, each in enumerate(slices):
        study = slice_study(read_slice(each)[0], 0.65)
        try:
            made = draw_synthesis(study, np.random.default_rng(number))
        except SynthesisError:
            refused += 1
            continue
        taken += 1
        assert made.labels["any"]
        assert made.study.voxels.max() <= 75
    # Slices of the neck and of the bare vertex show no brain.
    assert taken > 0.6 * (taken + refused)
