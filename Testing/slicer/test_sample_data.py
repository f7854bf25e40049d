"""Sample data: the phantom is really made and loaded, the public head CT is taken only with the right checksum."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import slicer

import host
from host.sample_data import SampleDataLogic, install_sample_data, sources_of
from ICHDiagnosisLib import sample_data
from ICHDiagnosisLib.bundle.process import BundleProcess
from ICHDiagnosisLib.sample_data import SampleDataError, load_phantom, phantom_command, register_sample_data
from logic_cases import BUNDLE
from scene_cases import GEOMETRIES

SMALL = {"pixels": "64", "slices": "12"}


@pytest.fixture(autouse=True)
def a_scene_of_its_own() -> Iterator[None]:
    host.empty_scene()
    install_sample_data()
    yield
    host.empty_scene()


def a_phantom(**options: str) -> slicer.vtkMRMLScalarVolumeNode:
    polls = []
    runner = BundleProcess(build=phantom_command)
    node = load_phantom(runner, Path(sys.executable), BUNDLE, lambda: polls.append(1), SMALL | options)
    assert polls
    assert not runner.running
    return node


@pytest.fixture
def a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A head CT on this computer in place of the one on the internet."""
    file = tmp_path / "ICH ADAPT2.nii.gz"
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    nib.save(nib.Nifti1Image(values, GEOMETRIES["axial LPS"]), file)
    monkeypatch.setattr(sample_data, "HEAD_CT_ADDRESS", file.as_uri())
    cached = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()) / sample_data.HEAD_CT_FILE
    cached.unlink(missing_ok=True)
    return file


def register(monkeypatch: pytest.MonkeyPatch, sha256: str) -> None:
    monkeypatch.setattr(sample_data, "HEAD_CT_SHA256", sha256)
    register_sample_data(lambda _source: None, Path("icon.png"))


def test_the_phantom_is_made_in_a_child_process_and_belongs_to_the_scene():
    node = a_phantom()
    voxels = slicer.util.arrayFromVolume(node)
    assert node.GetName() == "ICHPhantom"
    assert voxels.shape == (12, 64, 64)
    assert voxels.min() < -900
    assert voxels.max() > 400
    assert node.GetStorageNode() is None
    assert node.GetModifiedSinceRead()


def test_a_phantom_that_cannot_be_made_states_why():
    with pytest.raises(SampleDataError, match="60 either way"):
        a_phantom(tilt="70")
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []


def test_a_phantom_that_is_cancelled_leaves_nothing():
    runner = BundleProcess(build=phantom_command)
    with pytest.raises(SampleDataError, match="cancelled"):
        load_phantom(runner, Path(sys.executable), BUNDLE, runner.cancel, {})
    assert not runner.running
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []


def test_both_samples_are_offered_once_with_address_and_checksum():
    made = []
    for _start in range(2):
        register_sample_data(made.append, Path("icon.png"))
    phantom, head_ct = sources_of("ICHDiagnosis")
    assert head_ct.uris == [
        "https://github.com/lassoan/SlicerMONAIAuto3DSeg/releases/download/TestingData/ICH-ADAPT2.nii.gz"
    ]
    assert head_ct.checksums == ["SHA256:40e9f1cb82dd68e8bd19dccf0ad116c8cb2eb67a8cfadf3ad9155642e4851d89"]
    SampleDataLogic().downloadSample("ICHPhantom")
    assert made == [phantom]


def test_the_head_ct_is_loaded_when_its_checksum_is_right(a_file: Path, monkeypatch):
    register(monkeypatch, hashlib.sha256(a_file.read_bytes()).hexdigest())
    node = SampleDataLogic().downloadSample("ICH-ADAPT2")
    assert node.GetName() == "ICH-ADAPT2"
    assert slicer.util.arrayFromVolume(node).shape == (6, 5, 4)


def test_the_head_ct_is_refused_when_its_checksum_is_wrong(a_file: Path, monkeypatch):
    register(monkeypatch, "0" * 64)
    assert SampleDataLogic().downloadSample("ICH-ADAPT2") is None
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
