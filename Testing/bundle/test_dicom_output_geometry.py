"""Segmentations and maps lie on the original frames, however those lie: marked voxels come back where they were."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import dcmqi
import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import Series, head_voxels, write_multi_frame
from dicom_output_cases import (
    SHAPE,
    a_crescent,
    a_result,
    complaints,
    floats_of,
    identity_of,
    places_of_frames,
    read_back,
    with_marks,
    write_series,
)
from marked_phantoms import GRIDS
from pydicom.dataset import Dataset

from scripts.dicom_output.export import dicom_files
from scripts.dicom_output.finished_result import read_finished
from scripts.dicom_output.identity import Identity
from scripts.dicom_output.parametric_maps import in_units, maps_to_export, parametric_map
from scripts.dicom_output.patient import silence
from scripts.dicom_output.segmentation import lesion_segmentation, lesion_segments
from scripts.dicom_output.source_series import find_source
from scripts.phantom import Grid

MARKS = ((3, 5, 9), (4, 30, 2), (9, 11, 40))
CHOSEN = (
    "axial",
    "oblique",
    "all flipped",
    "columns flipped",
    "tilted",
    "tilted the other way and flipped",
    "pixels not square",
)


def written(image: Dataset) -> Dataset:
    """An object as a receiver reads it."""
    stream = io.BytesIO()
    image.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return pydicom.dcmread(stream)


def segmentation_and_map(identity: Identity) -> tuple[Dataset, Dataset]:
    with silence():
        segmentation = lesion_segmentation(identity, lesion_segments(identity))
        return written(segmentation), written(parametric_map(identity, next(maps_to_export(identity)), 1))


def frames_of_segment(segmentation: Dataset, number: int) -> tuple[Dataset, np.ndarray]:
    """The frames of one segment, as an object of its own, and their pixels."""
    frames = segmentation.PerFrameFunctionalGroupsSequence
    kept = [
        place
        for place, frame in enumerate(frames)
        if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
    ]
    part = Dataset()
    part.SharedFunctionalGroupsSequence = segmentation.SharedFunctionalGroupsSequence
    part.PerFrameFunctionalGroupsSequence = [frames[place] for place in kept]
    return part, segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)[kept]


def sorted_places(places: np.ndarray) -> np.ndarray:
    return places[np.lexsort(np.round(places, 2).T)]


def marked_places(affine: np.ndarray, marks=MARKS) -> np.ndarray:
    return np.array([affine[:3, :3] @ mark[::-1] + affine[:3, 3] for mark in marks])


@pytest.mark.parametrize("name", CHOSEN)
def test_marked_voxels_come_back_at_their_place_in_the_patient(name: str, tmp_path: Path):
    known = GRIDS[name]
    grid = Grid(SHAPE, known.spacing, None, known.tilt_degrees, known.rotation_degrees, known.flips)
    source, study = read_back(write_series(tmp_path / "series", grid))
    # Slices of the study ascend along their normal, those of the grid as it likes.
    marks = MARKS
    identity = identity_of(tmp_path / "results", source, with_marks(study, marks))
    segmentation, probability = segmentation_and_map(identity)
    expected = sorted_places(marked_places(study.affine, marks))
    part, pixels = frames_of_segment(segmentation, 1)
    assert sorted_places(places_of_frames(part, pixels)) == pytest.approx(expected, abs=0.01)
    assert sorted_places(places_of_frames(probability, floats_of(probability))) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("name", CHOSEN)
def test_each_frame_lies_exactly_where_the_original_slice_does_and_refers_to_it(name: str, tmp_path: Path):
    known = GRIDS[name]
    grid = Grid(SHAPE, known.spacing, None, known.tilt_degrees, known.rotation_degrees, known.flips)
    source, study = read_back(write_series(tmp_path / "series", grid))
    identity = identity_of(tmp_path / "results", source, with_marks(study, MARKS))
    images = {str(each.SOPInstanceUID): each for each in identity.source.instances}
    for written_object in segmentation_and_map(identity):
        shared = written_object.SharedFunctionalGroupsSequence[0]
        for frame in written_object.PerFrameFunctionalGroupsSequence:
            reference = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            image = images[reference]
            place = frame.PlanePositionSequence[0].ImagePositionPatient
            assert [float(value) for value in place] == pytest.approx([float(v) for v in image.ImagePositionPatient])
            cosines = shared.PlaneOrientationSequence[0].ImageOrientationPatient
            assert [float(v) for v in cosines] == pytest.approx([float(v) for v in image.ImageOrientationPatient])
        assert written_object.FrameOfReferenceUID == identity.source.first.FrameOfReferenceUID


def test_values_of_a_map_are_those_of_the_file_slice_by_slice(tmp_path: Path):
    source, study = read_back(write_series(tmp_path / "series", Grid(SHAPE, (2.0, 2.0, 5.0), tilt_degrees=20.0)))
    identity = identity_of(tmp_path / "results", source, a_crescent(study))
    described = {each.name: each for each in maps_to_export(identity)}
    assert set(described) == {"lesion_probability", *(f"attribution_{key}" for key in identity.result.positive_keys)}
    for each in described.values():
        with silence():
            image = written(parametric_map(identity, each, 1))
        stored = identity.result.voxels(each.file)
        uids = [str(instance.SOPInstanceUID) for instance in identity.source.instances]
        left = np.ones(len(uids), dtype=bool)
        for frame, values in zip(image.PerFrameFunctionalGroupsSequence, floats_of(image), strict=True):
            index = uids.index(frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
            np.testing.assert_array_equal(values, in_units(stored[index], each.largest))
            left[index] = False
        assert not stored[left].any()
        mapping = image.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
        quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
        assert quantity.CodeValue == ("110854" if each.name == "lesion_probability" else "130403")
        assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
        assert mapping.DoubleFloatRealWorldValueLastValueMapped == pytest.approx(each.largest)


def test_slices_of_uneven_spacing_and_thickness_keep_their_own(tmp_path: Path):
    thickness = {}

    def uneven(number: int, dataset: Dataset) -> None:
        dataset.ImagePositionPatient[2] = float(dataset.ImagePositionPatient[2]) + (
            5.0 * (number - 5) if number > 5 else 0
        )
        dataset.SliceThickness = 10.0 if number > 5 else 5.0
        thickness[str(dataset.SOPInstanceUID)] = dataset.SliceThickness

    source, study = read_back(write_series(tmp_path / "series", Grid(SHAPE, (1.0, 1.0, 5.0)), uneven))
    identity = identity_of(tmp_path / "results", source, with_marks(study, MARKS))
    for image in segmentation_and_map(identity):
        assert "PixelMeasuresSequence" not in image.SharedFunctionalGroupsSequence[0]
        for frame in image.PerFrameFunctionalGroupsSequence:
            uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            assert frame.PixelMeasuresSequence[0].SliceThickness == thickness[uid]
            assert "SpacingBetweenSlices" not in frame.PixelMeasuresSequence[0]
        path = tmp_path / "object.dcm"
        image.save_as(path)
        assert complaints("dciodvfy", [path], "Error") == []
    part, pixels = frames_of_segment(segmentation_and_map(identity)[0], 1)
    heights = sorted({round(float(z), 2) for z in places_of_frames(part, pixels)[:, 2]})
    assert heights == pytest.approx(sorted(study.positions_mm[index] for index, *_ in MARKS), abs=0.02)


def test_a_multi_frame_image_is_referred_to_frame_by_frame(tmp_path: Path):
    voxels = head_voxels(slices=14, rows=40, columns=44)

    path, uid = write_multi_frame(tmp_path / "series", Series(voxels=voxels, step=(0.0, 1.5, 5.0)))
    dataset = pydicom.dcmread(path)
    dataset.FrameOfReferenceUID = pydicom.uid.generate_uid()
    dataset.save_as(path)
    source, study = read_back(tmp_path / "series")
    result = a_result(tmp_path / "results", with_marks(study, MARKS))
    files = {
        name: pydicom.dcmread(io.BytesIO(content)) for name, content in dicom_files(result, source.headers).items()
    }
    part, pixels = frames_of_segment(files["lesions.dcm"], 1)
    expected = sorted_places(marked_places(study.affine))
    assert sorted_places(places_of_frames(part, pixels)) == pytest.approx(expected, abs=0.01)
    probability = files["lesion_probability.dcm"]
    assert sorted_places(places_of_frames(probability, floats_of(probability))) == pytest.approx(expected, abs=0.01)
    references = [
        frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in part.PerFrameFunctionalGroupsSequence
    ]
    assert {reference.ReferencedSOPInstanceUID for reference in references} == {uid}
    assert sorted(reference.ReferencedFrameNumber for reference in references) == [index + 1 for index, *_ in MARKS]
    keys = sorted(entry["index"] + 1 for entry in result.key_slices)
    images = [item for item in files["key_slices.dcm"].ContentSequence if item.ValueType == "IMAGE"]
    assert [list(item.ReferencedSOPSequence[0].ReferencedFrameNumber) for item in images] == [keys]
    content = hd.sr.Comprehensive3DSR.from_dataset(files["findings.dcm"]).content
    assert isinstance(content, hd.sr.MeasurementReport)
    group = content.get_image_measurement_groups()[0]
    assert [list(image.referenced_frame_numbers) for image in group.source_images] == [keys]


def test_the_reader_behind_slicers_extension_reads_segments_and_maps_as_they_were_written(tmp_path: Path):
    source, study = read_back(
        write_series(tmp_path / "series", Grid(SHAPE, (1.0, 1.0, 5.0), rotation_degrees=(0, 0, 30)))
    )
    identity = identity_of(tmp_path / "results", source, with_marks(study, MARKS))
    for image, tool in zip(segmentation_and_map(identity), ("segimage2itkimage", "paramap2itkimage"), strict=True):
        image.save_as(tmp_path / f"{tool}.dcm")
        place = tmp_path / tool
        place.mkdir()
        program = Path(dcmqi.__file__).parent / "bin" / tool
        command = [
            str(program),
            "--inputDICOM",
            str(tmp_path / f"{tool}.dcm"),
            "--outputDirectory",
            str(place),
            "-t",
            "nifti",
        ]
        subprocess.run(command, check=True, capture_output=True)
        read = nib.Nifti1Image.from_filename(sorted(place.glob("*.nii.gz"))[0])
        values = np.asarray(read.dataobj)
        found = np.argwhere(values > 0)
        places = found @ read.affine[:3, :3].T + read.affine[:3, 3]
        assert sorted_places(places) == pytest.approx(sorted_places(marked_places(study.affine)), abs=0.01)


def test_a_real_tilted_series_of_two_spacings_is_marked_on_its_own_frames(ich_data: Path, tmp_path: Path):
    source, study = read_back(ich_data / "ge-gantry-tilt")
    assert abs(study.tilt_degrees) > 15
    marks = ((4, 100, 200), (13, 300, 111), (26, 250, 400))
    result = a_result(tmp_path, with_marks(study, marks))
    identity = Identity(result, find_source(read_finished(result.folder), source.headers))
    segmentation, probability = segmentation_and_map(identity)
    headers = identity.source.headers
    places = []
    for index, row, column in marks:
        header = headers[index]
        cosines, (row_mm, column_mm) = np.array(header.orientation), header.pixel_spacing
        places.append(np.array(header.position) + cosines[:3] * column_mm * column + cosines[3:] * row_mm * row)
    expected = sorted_places(np.array(places) * (-1, -1, 1))
    part, pixels = frames_of_segment(segmentation, 1)
    assert sorted_places(places_of_frames(part, pixels)) == pytest.approx(expected, abs=0.02)
    assert sorted_places(places_of_frames(probability, floats_of(probability))) == pytest.approx(expected, abs=0.02)
    for name, image in (("segmentation.dcm", segmentation), ("map.dcm", probability)):
        image.save_as(tmp_path / name)
        assert complaints("dciodvfy", [tmp_path / name], "Error") == []
