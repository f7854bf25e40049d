"""What published systems find in pixels: RADnet's segmentations as a lesion of no subtype, and predicted saliency."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from dicom_output_cases import a_result, read_back, write_series
from PIL import Image
from sample_diagnosis import (
    NEGATIVE,
    a_diagnosis,
    with_lesions,
    with_lesions_of_no_subtype,
    with_saliency,
)
from test_saliency_multitask import fused

from scripts.demo import _volumes
from scripts.dicom_output.export import dicom_files, write_files
from scripts.explanation.saliency import RECORDED, STAND_IN, saliency_kind, saliency_map
from scripts.inferer import StudyInferer, StudyReading
from scripts.labels import LESION_GROUPS, RSNA, UNSPECIFIED_GROUP, UNSPECIFIED_SUBTYPE
from scripts.networks.densenet40 import DenseNet40
from scripts.networks.inference_form import fuse_for_inference
from scripts.networks.radnet import RADnet
from scripts.networks.saliency_multitask import SaliencyMultiTask
from scripts.networks.slice_system import SliceSystem
from scripts.networks.study_network import StudyOutput
from scripts.output.impression import impression
from scripts.output.lesion_images import group_masks, lesion_slices
from scripts.output.report import render_report
from scripts.output.result import result_document, write_result_folder
from scripts.output.slice_images import display_of
from scripts.phantom import Grid
from scripts.reading_geometry import CropPlane, ReadingGeometry

torch.set_num_threads(1)

SLICES, SIDE = 3, 64
PLANE = CropPlane(0, SIDE, 0, SIDE, flip_rows=False, flip_columns=False)
GEOMETRY = ReadingGeometry(PLANE, tuple((index,) for index in range(SLICES)), (SLICES, SIDE, SIDE))
KEYS = tuple(label.key for label in RSNA)
NOTHING = torch.zeros(0)


def radnet(segmentations: bool = True) -> RADnet:
    torch.manual_seed(3)
    return RADnet(DenseNet40(growth=2), reach=1, hidden=4, segmentations=segmentations).eval()


def read(network: SliceSystem, channels: int) -> tuple[torch.Tensor, StudyReading]:
    image = torch.rand(channels, SLICES, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    entry = {"image": image, "geometry": GEOMETRY, "head": np.ones((SLICES, SIDE, SIDE), dtype=bool)}
    return image, StudyInferer(precision="float32", method="slice_gradcam", micro_batch=2)(entry, network)


# --- lesions without a subtype


def test_radnets_lesion_map_is_the_mean_of_its_three_segmentations_and_tells_no_subtype():
    network = radnet()
    image, reading = read(network, 1)
    with torch.no_grad():
        pixels = torch.stack(network.learn(image.movedim(0, 1)[None]).pixels).mean(dim=0)[:, 0]
    assert reading.lesions.subtypes is None
    assert np.abs(reading.lesions.probability - (255 * pixels.sigmoid()).numpy()).max() <= 0.51


def test_its_decoder_is_no_part_of_its_weights_and_is_missing_without_segmentations():
    network = radnet()
    before = set(network.state_dict())
    assert network.lesion_decoder is not None
    assert set(network.state_dict()) == before
    assert not any("lesion_decoder" in name for name in before)
    without = radnet(segmentations=False)
    assert without.lesion_decoder is None
    assert read(without, 1)[1].lesions is None


def test_the_form_for_inference_finds_the_same_lesion():
    _, plain = read(radnet(), 1)
    _, fast = read(fuse_for_inference(radnet()), 1)
    assert np.abs(plain.lesions.probability.astype(int) - fast.lesions.probability).max() <= 1


def test_a_lesion_without_subtype_has_a_mask_and_states_no_volume_whatever_the_calibration():
    diagnosis = with_lesions_of_no_subtype(a_diagnosis())
    lesions, told = diagnosis.lesions, with_lesions(a_diagnosis()).lesions
    assert set(np.unique(lesions.subtypes)) == {0, UNSPECIFIED_SUBTYPE}
    assert np.array_equal(lesions.subtypes > 0, told.subtypes > 0), "the same specks are dropped"
    assert (lesions.volumes, lesions.groups, lesions.measurable) == ((), (UNSPECIFIED_GROUP,), False)
    assert told.groups == LESION_GROUPS
    assert diagnosis.stated_lesions is lesions
    assert with_lesions_of_no_subtype(a_diagnosis(probabilities=NEGATIVE)).stated_lesions is None
    masks = group_masks(lesions, KEYS, int(lesions.subtypes.any(axis=(1, 2)).argmax()))
    assert list(masks) == [UNSPECIFIED_GROUP]


def test_the_result_says_why_it_states_no_volume_and_its_files_lie_on_the_voxels(tmp_path: Path):
    diagnosis = with_lesions_of_no_subtype(a_diagnosis())
    folder = write_result_folder(diagnosis, tmp_path)
    stated = json.loads((folder / "result.json").read_text("utf-8"))
    assert stated["lesions"]["stated"]
    assert stated["lesions"]["volumes"] == []
    assert "No volume or area" in stated["lesions"]["volumes_left_out"]
    assert [group["key"] for group in stated["lesions"]["groups"]] == ["unspecified"]
    assert " ml" not in stated["impression"]["text"]
    subtypes = np.asarray(nib.Nifti1Image.from_filename(folder / "lesion_subtypes.nii.gz").dataobj).transpose(2, 1, 0)
    assert np.array_equal(subtypes, diagnosis.lesions.subtypes)
    assert Image.open(folder / "thumbnail.jpg").size
    assert _volumes(stated, None) == []
    assert "volumes_left_out" not in result_document(with_lesions(a_diagnosis()))["lesions"]


def test_the_report_draws_the_lesion_and_gives_neither_volume_nor_area():
    diagnosis = with_lesions_of_no_subtype(a_diagnosis())
    page = render_report(diagnosis)
    assert "Lesions: place</h2>" in page
    assert "No volume or area is therefore stated" in page
    assert "cm² of lesion" not in page
    assert '<table class="volumes">' not in page
    assert page.count("with the contour of the lesion") >= 2
    drawn = lesion_slices(diagnosis, diagnosis.lesions, display_of(diagnosis.study, diagnosis.head))
    assert all(each.area_cm2 is None for each in drawn)
    assert "cm² of lesion" in render_report(with_lesions(a_diagnosis()))


def test_a_positive_scan_without_any_voxel_above_the_threshold_says_so():
    diagnosis = a_diagnosis()
    lesions = with_lesions_of_no_subtype(diagnosis).lesions
    nothing = replace(lesions, subtypes=np.zeros_like(lesions.subtypes))
    empty = replace(diagnosis, lesions=nothing)
    assert empty.stated_lesions is None
    assert "No voxel reaches the lesion threshold" in render_report(empty)
    assert impression(empty.findings, lesions=nothing) == impression(diagnosis.findings)


def test_dicom_objects_hold_one_segment_and_no_volume(tmp_path: Path):
    source, study = read_back(write_series(tmp_path / "series", Grid((12, 40, 44), (1.0, 1.0, 5.0))))
    finished = a_result(tmp_path / "results", with_lesions_of_no_subtype(a_diagnosis(study)))
    write_files(dicom_files(finished, source.headers), tmp_path / "objects")
    objects = {path.stem: pydicom.dcmread(path) for path in (tmp_path / "objects").iterdir()}
    segmentation = objects["lesions"]
    assert [segment.SegmentLabel for segment in segmentation.SegmentSequence] == ["Lesion, total"]
    assert "Volume" not in str(objects["findings"])


# --- predicted saliency


def test_the_saliency_map_comes_from_the_pass_that_classifies_and_shares_out_each_slice():
    network = SaliencyMultiTask(fused()).eval()
    image, reading = read(network, 3)
    assert reading.lesions is None
    with torch.no_grad():
        logits = network.backbone.saliency(image.movedim(0, 1))
    share = logits.flatten(1).softmax(dim=1).reshape(SLICES, SIDE, SIDE) * SIDE**2
    assert reading.saliency.scale == pytest.approx(share.max().item(), rel=1e-4)
    assert np.abs(reading.saliency.voxels - (255 * share / share.max()).numpy()).max() <= 1
    output = StudyOutput(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, saliency_logits=logits)
    np.testing.assert_allclose(saliency_map(output, GEOMETRY).mean(dim=(1, 2)), 1.0, rtol=1e-4)


def test_a_network_without_it_has_no_saliency():
    assert read(radnet(), 1)[1].saliency is None
    assert saliency_map(StudyOutput(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING), GEOMETRY) is None


@pytest.mark.parametrize(
    ("trained_on", "kind"),
    [
        (f"82 x scan, 12 epochs; {STAND_IN}", "saliency_masks"),
        (f"82 x scan, 12 epochs; {RECORDED}", "saliency_gaze"),
        ("not known", "saliency"),
    ],
)
def test_what_it_learned_from_follows_from_what_the_weights_state(trained_on: str, kind: str):
    assert saliency_kind(trained_on) == kind


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("saliency_masks", "learned from readers&#39; masks in place of gaze"),
        ("saliency_gaze", "Predicted gaze of a reader"),
        ("saliency", "what it was learned from is not stated"),
    ],
)
def test_result_and_report_say_what_the_map_is(kind: str, words: str, tmp_path: Path):
    diagnosis = with_saliency(a_diagnosis(probabilities=NEGATIVE), kind)
    folder = write_result_folder(diagnosis, tmp_path)
    (entry,) = [
        each for each in json.loads((folder / "result.json").read_text("utf-8"))["maps"] if "sal" in each["kind"]
    ]
    assert (entry["kind"], entry["label"], entry["file"]) == (kind, None, "saliency.nii.gz")
    stored = np.asarray(nib.Nifti1Image.from_filename(folder / "saliency.nii.gz").dataobj).transpose(2, 1, 0)
    assert np.array_equal(stored, diagnosis.maps[-1].voxels)
    page = (folder / "report.html").read_text("utf-8")
    assert words in page
    assert "No evidence for or against haemorrhage" in page
    assert page.count('id="saliency"') == 1
    assert 'id="saliency"' not in render_report(a_diagnosis())
