"""The heads of the demo: what they hold, where their truth lies, and that blood is all that a haemorrhage changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from phantom_cases import SMALL

from scripts import demo
from scripts.intake.discovery import find_studies, read_study
from scripts.phantom import Haemorrhage
from scripts.synthesis import demo_phantoms
from scripts.synthesis.demo_phantoms import HEADS, STUDIES, TRUTH, TRUTH_FILE, main
from scripts.synthesis.random_phantom import draw_phantom, draw_phantom_scan


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    assert main(["--output", str(folder), "--slices", "20", "--pixels", "96"]) == 0
    return folder


def test_the_studies_are_found_under_the_names_of_the_heads(written: Path):
    found = find_studies(written / STUDIES)
    assert [source.source_name for source in found] == [head.name for head in HEADS]
    assert len({header.study_uid for source in found for header in source.headers}) == 2
    assert all(read_study(source).voxels.shape == (20, 96, 96) for source in found)


def test_the_true_volumes_are_those_of_the_masks(written: Path):
    truth = json.loads((written / TRUTH_FILE).read_text("utf-8"))["volume_ml"]
    assert truth["phantom_without_haemorrhage"] == {}
    assert set(truth["phantom_with_haemorrhage"]) == {"intraparenchymal", "intraventricular", "subdural"}
    for kind, volume in truth["phantom_with_haemorrhage"].items():
        image: Any = nib.load(written / TRUTH / "phantom_with_haemorrhage" / f"truth_{kind}.nii.gz")
        ml = np.asarray(image.dataobj).sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000.0
        assert ml == pytest.approx(volume, abs=0.01)
    asked = {each.kind: each.volume_ml for each in HEADS[0].haemorrhages}
    assert truth["phantom_with_haemorrhage"] == pytest.approx(asked, rel=0.15)


def test_the_demo_knows_where_the_phantoms_lie():
    assert (demo.STUDIES, demo.TRUTH_FILE) == (demo_phantoms.STUDIES, demo_phantoms.TRUTH_FILE)


def test_the_same_head_with_blood_differs_where_the_blood_is():
    healthy, bleeding = (
        draw_phantom_scan(np.random.default_rng(4), SMALL, haemorrhages=bleeds)
        for bleeds in ((), (Haemorrhage("intraparenchymal", "left", 20.0),))
    )
    mask = bleeding.masks["intraparenchymal"]
    change = bleeding.voxels.astype(int) - healthy.voxels
    assert change[mask].mean() > 20
    assert np.abs(change[~mask]).mean() < 0.5


def test_a_host_is_the_study_of_a_drawn_phantom():
    study = draw_phantom(np.random.default_rng(4), SMALL)
    scan = draw_phantom_scan(np.random.default_rng(4), SMALL)
    np.testing.assert_array_equal(study.voxels, scan.voxels)
    assert scan.masks == {}


def test_a_grid_without_slices_is_refused_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert main(["--output", str(tmp_path), "--slices", "0"]) == 1
    assert "phantoms not written" in caplog.text
