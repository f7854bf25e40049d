"""The command writes a marked synthetic study, and one named line where it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from synthesis_cases import host

from scripts.intake.volume_file import read_nifti
from scripts.synthesis.__main__ import main
from scripts.synthesis.lesion import LABEL_VALUES

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("host") / "head.nii.gz"
    nib.save(nib.Nifti1Image(np.ascontiguousarray(host().voxels.transpose(2, 1, 0)), host().affine), path)
    return path


@pytest.fixture(scope="module")
def written(ct: Path) -> Path:
    folder = ct.parent / "made"
    command = [sys.executable, "-m", "scripts.synthesis", "--study", str(ct), "--output", str(folder)]
    command += ["--subtype", "subdural", "--subtype", "intraparenchymal", "--volume-ml", "20", "--seed", "3"]
    subprocess.run(command, cwd=BUNDLE, check=True, capture_output=True, timeout=240)
    return folder


def test_every_file_says_that_it_is_synthetic(written: Path):
    names = sorted(path.name for path in written.iterdir())
    assert names == [
        "head_SYNTHETIC_ct.nii.gz",
        "head_SYNTHETIC_label_map.nii.gz",
        "head_SYNTHETIC_labels.json",
        "head_SYNTHETIC_mask_intraparenchymal.nii.gz",
        "head_SYNTHETIC_mask_subdural.nii.gz",
        "head_SYNTHETIC_montage.png",
    ]
    told = json.loads((written / "head_SYNTHETIC_labels.json").read_text())
    assert told["synthetic"] is True
    assert "Research use only" in told["notice"]


def stored(path: Path) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj)


def test_ct_masks_and_labels_agree(written: Path):
    told = json.loads((written / "head_SYNTHETIC_labels.json").read_text())
    made = read_nifti(written / "head_SYNTHETIC_ct.nii.gz")
    assert np.allclose(made.affine, host().affine, atol=1e-4)
    label_map = stored(written / "head_SYNTHETIC_label_map.nii.gz")
    assert label_map.dtype == np.uint8
    changed = (made.voxels != host().voxels).transpose(2, 1, 0)
    assert changed[label_map > 0].mean() > 0.9
    voxel_ml = abs(np.linalg.det(host().affine[:3, :3])) / 1000.0
    for subtype in ("subdural", "intraparenchymal"):
        mask = stored(written / f"head_SYNTHETIC_mask_{subtype}.nii.gz")
        assert np.array_equal(mask > 0, label_map == LABEL_VALUES[subtype])
        assert told["volume_ml"][subtype] == pytest.approx(20.0, rel=0.15)
        assert mask.sum() * voxel_ml == pytest.approx(20.0, rel=0.3)
        assert told["slice_labels"][subtype] == [int(each) for each in (mask > 0).any(axis=(0, 1))]
    assert told["labels"]["any"]
    assert not told["labels"]["epidural"]


def test_the_montage_shows_the_contour(written: Path):
    image = np.asarray(Image.open(written / "head_SYNTHETIC_montage.png")).astype(int)
    assert ((image[..., 0] - image[..., 1]) > 60).sum() > 50


def test_the_same_seed_writes_the_same_study(ct: Path, tmp_path: Path):
    for name in ("first", "second"):
        arguments = ["--study", str(ct), "--output", str(tmp_path / name), "--subtype", "epidural", "--seed", "7"]
        assert main(arguments) == 0
    first, second = ((tmp_path / name / "head_SYNTHETIC_labels.json").read_text() for name in ("first", "second"))
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--study", "{folder}/absent.nii"], "no_study"),
        (["--study", "{folder}/text.nii"], "unreadable_file"),
        (["--study", "{ct}", "--subtype", "subdural", "--volume-ml", "900"], "ValueError"),
        (["--study", "{ct}", "--subtype", "subdural", "--volume-ml", "2", "--volume-ml", "3"], "bad_volumes"),
        (["--study", "{folder}/noise.nii.gz", "--subtype", "subdural"], "no_cavity"),
    ],
)
def test_bad_input_is_one_named_line(
    ct: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, arguments: list[str], code: str
):
    (tmp_path / "text.nii").write_text("not a volume")
    noise = np.random.default_rng(0).normal(-1000, 5, size=(64, 64, 14)).astype(np.int16)
    nib.save(nib.Nifti1Image(noise, np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / "noise.nii.gz")
    filled = [each.format(folder=tmp_path, ct=ct) for each in arguments]
    assert main([*filled, "--output", str(tmp_path / "made")]) == 1
    faults = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(faults) == 1
    assert f"({code})" in faults[0]
    assert "\n" not in faults[0]
    assert not (tmp_path / "made").exists()
