"""What the bundle is given to read of a volume, and that maps come back on the very voxels that were given."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer
from numpy.typing import NDArray

from ICHDiagnosisLib import logic as logic_module
from ICHDiagnosisLib.bundle.exit_status import Ending
from ICHDiagnosisLib.parameters import DeviceChoice, ExplanationMethod, Parameters
from ICHDiagnosisLib.scene.volume_geometry import ijk_to_ras
from ICHDiagnosisLib.scene.volume_input import (
    INSTANCE_UIDS,
    VolumeNotWritableError,
    is_from_dicom,
    original_files,
    write_stored_voxels,
)
from logic_cases import a_tilted_series, ended, on_scene
from reading_runner import ReadingRunner, map_value_of
from scene_cases import GEOMETRIES, a_ct, gantry_tilt
from scripts.intake.volume_file import read_nrrd


def voxels(node: slicer.vtkMRMLScalarVolumeNode) -> NDArray:
    return slicer.util.arrayFromVolume(node)


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_stored_voxels_reach_the_bundle_bit_for_bit_and_axis_for_axis(name: str, kind: type, tmp_path: Path):
    ct = a_ct(GEOMETRIES[name])
    values = (voxels(ct).astype(np.int32) + 100).astype(kind)
    slicer.util.updateVolumeFromArray(ct, values)
    study = read_nrrd(write_stored_voxels(ct, tmp_path / "volume.nrrd"))
    assert np.array_equal(study.in_file_order(study.voxels), values.transpose(2, 1, 0))
    assert np.allclose(study.file_affine, GEOMETRIES[name], atol=1e-6)


def test_writing_leaves_the_volume_and_its_transform_as_they_were(tmp_path: Path):
    ct = a_ct(GEOMETRIES["oblique"])
    transform = gantry_tilt(0.3)
    ct.SetAndObserveTransformNodeID(transform.GetID())
    ct.SetAttribute("DICOM.PatientName", "Doe^John")
    before = (ct.GetModifiedSinceRead(), ct.GetStorageNodeID(), slicer.mrmlScene.GetNumberOfNodes())
    written = write_stored_voxels(ct, tmp_path / "volume.nrrd")
    assert (ct.GetModifiedSinceRead(), ct.GetStorageNodeID(), slicer.mrmlScene.GetNumberOfNodes()) == before
    assert ct.GetTransformNodeID() == transform.GetID()
    assert np.allclose(read_nrrd(written).file_affine, GEOMETRIES["oblique"], atol=1e-6)
    assert b"Doe" not in written.read_bytes()


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path):
    with pytest.raises(VolumeNotWritableError, match="'CT' could not be written"):
        write_stored_voxels(a_ct(GEOMETRIES["axial LPS"]), tmp_path / "nowhere" / "volume.nrrd")


@pytest.mark.parametrize("name", GEOMETRIES)
def test_maps_come_back_on_the_voxels_that_they_were_made_from(name: str, a_logic, settings):
    ct = a_ct(GEOMETRIES[name])
    logic = a_logic(ReadingRunner())
    logic.start(ct, settings)
    ending = ended(logic)
    assert ending.outcome.ending is Ending.EVALUATED, ending.outcome
    for attribution_map in ending.shown.attribution_maps.values():
        assert np.array_equal(voxels(attribution_map), map_value_of(voxels(ct)))


@pytest.mark.parametrize("tilt", [15.0, -8.0, 0.0])
def test_maps_of_a_tilted_series_read_from_its_files_lie_on_the_volume_under_its_transform(
    tilt, tmp_path, a_logic, settings
):
    ct, database = a_tilted_series(tmp_path / "dicom", tilt)
    runner = ReadingRunner()
    logic = a_logic(runner, database=database)
    logic.start(ct, settings)
    ending = ended(logic)
    assert runner.given == [[f"{number:05d}.dcm" for number in range(1, 21)]]
    assert ending.shown.caveat is None
    assert json.loads(ending.result.document)["study"]["tilt_degrees"] == pytest.approx(abs(tilt), abs=0.01)
    for attribution_map in ending.shown.attribution_maps.values():
        assert np.array_equal(voxels(attribution_map), map_value_of(voxels(ct)))
        assert attribution_map.GetTransformNodeID() == ct.GetTransformNodeID()


# RSNA 2019 has identifiers such as ID_1f6d1e8aeb.
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning")
@pytest.mark.parametrize("name", ["ge-gantry-tilt", "rsna-series-iph-ivh"])
def test_maps_of_real_tilted_series_lie_on_their_voxels_whatever_the_gaps(name, ich_data, a_logic, settings):
    ct, database = on_scene(sorted((ich_data / name).rglob("*.dcm")))
    logic = a_logic(ReadingRunner(), database=database)
    logic.start(ct, settings)
    ending = ended(logic)
    assert ending.outcome.ending is Ending.EVALUATED, ending.outcome
    assert json.loads(ending.result.document)["study"]["tilt_degrees"] > 5
    # The bundle makes air of padding and of whatever lies below -1024 HU.
    expected = map_value_of(np.maximum(voxels(ct), -1024))
    assert np.array_equal(voxels(ending.shown.attribution_maps["subdural"]), expected)


def test_a_tilted_series_read_from_its_stored_voxels_gives_the_same_map(tmp_path, a_logic, settings):
    ct, _database = a_tilted_series(tmp_path / "dicom")
    runner = ReadingRunner()
    logic = a_logic(runner)
    logic.start(ct, settings)
    shown = ended(logic).shown
    assert runner.given == [["volume.nrrd"]]
    assert np.array_equal(voxels(shown.attribution_maps["subdural"]), map_value_of(voxels(ct)))


def test_original_files_are_taken_only_when_all_are_there_and_fit_the_volume(tmp_path: Path):
    ct, database = a_tilted_series(tmp_path / "dicom", pixels=32)
    assert is_from_dicom(ct)
    assert len(original_files(ct, database)) == 20
    assert original_files(ct, None) == []
    cropped = slicer.util.addVolumeFromArray(voxels(ct)[2:12], ijk_to_ras(ct))
    cropped.SetAttribute(INSTANCE_UIDS, ct.GetAttribute(INSTANCE_UIDS))
    assert original_files(cropped, database) == []
    next(iter(database.files.values())).unlink()
    assert original_files(ct, database) == []
    assert not is_from_dicom(a_ct(GEOMETRIES["oblique"]))


def test_original_files_are_copied_where_they_cannot_be_linked(tmp_path, monkeypatch, a_logic, settings):
    def no_links(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", no_links)
    ct, database = a_tilted_series(tmp_path / "dicom", pixels=32)
    runner = ReadingRunner()
    logic = a_logic(runner, database=database)
    logic.start(ct, settings)
    assert ended(logic).outcome.ending is Ending.EVALUATED
    assert len(runner.given[0]) == 20
    assert all(file.is_file() for file in database.files.values())


def test_files_that_do_not_fit_the_volume_are_refused_with_the_way_out(tmp_path, a_logic, settings):
    ct, database = a_tilted_series(tmp_path / "dicom", pixels=32)
    ct.SetOrigin(90.0, 0.0, 0.0)
    logic = a_logic(ReadingRunner(), database=database)
    logic.start(ct, settings)
    outcome = ended(logic).outcome
    assert outcome.ending is Ending.FAILED
    assert "belongs to another volume" in outcome.message
    assert "without the original DICOM files" in outcome.suggestion
    logic.start(ct, replace(settings, use_original_files=False))
    assert ended(logic).outcome.ending is Ending.EVALUATED


def test_original_files_can_be_declined(tmp_path, a_logic, settings):
    ct, database = a_tilted_series(tmp_path / "dicom", pixels=32)
    runner = ReadingRunner()
    logic = a_logic(runner, database=database)
    logic.start(ct, replace(settings, use_original_files=False))
    ended(logic)
    assert runner.given == [["volume.nrrd"]]


def test_what_the_user_chose_reaches_the_bundle(a_logic, tmp_path):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    parameters = Parameters(node)  # type: ignore[call-arg] # its decorator makes the constructor
    assert parameters.device is DeviceChoice.AUTOMATIC
    assert parameters.mapThreshold == 50.0
    parameters.device, parameters.operatingPoint = DeviceChoice.CPU, "sensitive"
    parameters.explanationMethod = ExplanationMethod.GRADCAM_PLUS_PLUS
    runner = ReadingRunner()
    chosen = logic_module.settings_of(parameters, tmp_path / "out")
    a_logic(runner).start(a_ct(GEOMETRIES["oblique"], "5: Head/4.8"), chosen)
    request = runner.requests[0]
    assert (request.device, request.operating_point) == ("cpu", "sensitive")
    assert request.overrides == {"explanation_method": "gradcam++"}
    assert request.output_dir.parent == tmp_path / "out"
    assert request.output_dir.name.startswith("5_ Head_4.8 ")


def test_the_graphics_card_is_named_as_torch_names_it(monkeypatch):
    assert DeviceChoice.AUTOMATIC.torch_device is None
    monkeypatch.setattr(sys, "platform", "linux")
    assert DeviceChoice.GPU.torch_device == "cuda"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert DeviceChoice.GPU.torch_device == "mps"


def test_every_choice_has_a_text_of_its_own():
    for choices in (DeviceChoice, ExplanationMethod):
        texts = [choice.label() for choice in choices]
        assert all(texts)
        assert len(set(texts)) == len(texts)
