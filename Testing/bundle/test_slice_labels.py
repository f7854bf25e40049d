"""Labels of single slices: from the slice classifier to every original slice of ``result.json``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from entries_of_studies import a_network, an_entry, read
from marked_phantoms import GRIDS, MARK_HU, a_marked_study, as_dicom, geometry_of
from sample_diagnosis import MODEL, a_diagnosis, with_slice_labels
from scipy.special import expit, logit
from test_output_result import SCHEMA
from tiny_backbone import TinyBackbone

from scripts.calibration import Calibration, identity
from scripts.inferer import ImageSource, StudyInferer
from scripts.intake.discovery import StudySource
from scripts.intake.study import CTStudy
from scripts.labels import RSNA
from scripts.networks.drct import DrCT1
from scripts.networks.study_network import SliceSource, StudyOutput
from scripts.output.folder import OutputError
from scripts.output.result import result_document
from scripts.precision import choose_precision
from scripts.progress import Progress
from scripts.reading_geometry import ReadingGeometry, head_centred_crop
from scripts.study_evaluator import Reader, StudyEvaluator
from scripts.transforms import HounsfieldWindowsd, ReadSlicesd

torch.set_num_threads(1)

WINDOWS = [[MARK_HU / 2, MARK_HU]] * 3
KEYS = [label.key for label in RSNA]
LEADING = 3
"""Place of the subtype that the network below prefers."""


class BrightestPixelNetwork(DrCT1):
    """A network of random weights whose slice classifier goes by the brightest pixel of each input slice."""

    def read_study(self, source: SliceSource) -> StudyOutput:
        output = super().read_study(source)
        assert isinstance(source, ImageSource)
        brightest = source.images["image"].amax(dim=(1, 2, 3))[:, None].repeat(1, self.labels)
        # The mean of thin slices with one that is marked is still far brighter than tissue.
        logits = 5 * (brightest / 0.06).log10()
        logits[:, 1:] -= 3
        logits[:, LEADING] += 2
        return replace(output, slice_logits=logits)


def evaluated(
    study: CTStudy, output_dir: Path, slice_classifier: bool = True, of_slices: Calibration | None = None
) -> dict[str, Any]:
    """Read a study as inference does, up to its folder; return what ``result.json`` states."""
    entry: dict[Any, Any] = {"study": study, "source": StudySource("study", "study", Path("study"))}
    entry |= {"geometry": geometry_of(study), "head": np.ones(study.voxels.shape, dtype=bool)}
    for step in (ReadSlicesd("study", {"image": 64}), HounsfieldWindowsd("image", WINDOWS)):
        entry = step(entry)
    torch.manual_seed(2)
    network = BrightestPixelNetwork(TinyBackbone(), slices=4, heads={"slice_classifier": slice_classifier}).eval()
    calibration = replace(identity(KEYS), slices=of_slices)
    reader = Reader(MODEL, RSNA, "balanced", (0.5,) * len(RSNA), calibration)
    inferer, progress = StudyInferer(precision="float32"), Progress(studies=1)
    evaluator = StudyEvaluator(torch.device("cpu"), [entry], network, inferer, reader, output_dir, progress)
    evaluator.run()
    assert evaluator.diagnoses == ["study"]
    return dict(json.loads((output_dir / "study" / "result.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("grid", "longest_mm"),
    [("axial", 5.0), ("slices flipped", 5.0), ("thin slices", 5.5), ("tilted the other way and flipped", 5.0)],
)
def test_the_slice_that_shows_blood_has_the_largest_value(grid: str, longest_mm: float, tmp_path: Path):
    study = a_marked_study(GRIDS[grid], (3, 20, 22), as_dicom)
    marked = int(np.argwhere(study.voxels == MARK_HU)[0, 0])
    slices = evaluated(study, tmp_path)["slices"]
    overall = [entry["probabilities"]["any"] for entry in slices]
    strongest = [index for index, value in enumerate(overall) if value == max(overall)]
    assert marked in strongest
    assert strongest == list(range(strongest[0], strongest[-1] + 1))
    assert len(strongest) * study.spacing_mm[2] <= longest_mm + 1e-6
    assert max(overall) > 0.8
    assert max(value for value in overall if value != max(overall)) < 0.1


def test_every_label_of_a_slice_is_stated(tmp_path: Path):
    study = a_marked_study(GRIDS["axial"], (6, 20, 22), as_dicom)
    document = evaluated(study, tmp_path)
    jsonschema.validate(document, SCHEMA)
    of_labels = document["slices"][6]["probabilities"]
    assert list(of_labels) == document["model"]["labels"]
    assert max((key for key in of_labels if key != "any"), key=of_labels.get) == RSNA[LEADING].key


def test_slices_have_a_calibration_of_their_own_and_the_finding_keeps_its(tmp_path: Path):
    study = a_marked_study(GRIDS["axial"], (6, 20, 22), as_dicom)
    plain = evaluated(study, tmp_path / "plain")
    lines = Calibration(tuple(KEYS), (0.5,) * len(KEYS), (-1.0,) * len(KEYS), {})
    calibrated = evaluated(study, tmp_path / "calibrated", of_slices=lines)
    assert calibrated["findings"] == plain["findings"]
    for before, after in zip(plain["slices"], calibrated["slices"], strict=True):
        expected = expit(0.5 * logit(list(before["probabilities"].values())) - 1.0)
        expected = np.minimum(expected, expected[0])
        assert list(after["probabilities"].values()) == pytest.approx(expected, abs=2e-3)


def test_no_subtype_of_a_slice_is_likelier_than_any_haemorrhage(tmp_path: Path):
    lines = Calibration(tuple(KEYS), (1.0,) * len(KEYS), (-2.0, *(2.0,) * (len(KEYS) - 1)), {})
    study = a_marked_study(GRIDS["axial"], (6, 20, 22), as_dicom)
    for entry in evaluated(study, tmp_path, of_slices=lines)["slices"]:
        assert max(entry["probabilities"].values()) == entry["probabilities"]["any"]


def test_a_network_without_a_slice_classifier_states_none(tmp_path: Path):
    document = evaluated(a_marked_study(GRIDS["axial"], (6, 20, 22), as_dicom), tmp_path, slice_classifier=False)
    assert [entry["probabilities"] for entry in document["slices"]] == [None] * 13
    assert "Lower plot" not in (tmp_path / "study" / "report.html").read_text(encoding="utf-8")


def test_a_slice_that_was_read_twice_has_the_mean_of_both_logits():
    network, entry = a_network(heads={"slice_classifier": True}), an_entry()
    source = ImageSource(entry, network, choose_precision(torch.device("cpu"), "float32"), 8, 2, lambda *_: None)
    output = network.read_study(source)
    expected = output.slice_logits.detach().clone()
    for place, key_slice in enumerate(output.key_slices.tolist()):
        expected[key_slice] = (expected[key_slice] + output.key_slice_logits[place].detach()) / 2
    assert not torch.allclose(expected, output.slice_logits, atol=1e-3)
    reading = read(network, entry)
    assert reading.slice_probabilities is not None
    torch.testing.assert_close(reading.slice_probabilities, expected.sigmoid(), atol=1e-5, rtol=0)


def test_original_slices_of_one_input_slice_share_its_values_and_others_have_none():
    study = a_marked_study(GRIDS["axial"], (6, 20, 22), as_dicom)
    plane = head_centred_crop(study, np.ones(study.voxels.shape, dtype=bool), 1.1)
    geometry = ReadingGeometry(plane, ((4, 5), (1, 2)), (7, 40, 44))
    values = geometry.repeat_on_original(torch.tensor([[0.9, 0.8], [0.1, 0.2]]))
    given = [None if value is None else pytest.approx(value.tolist()) for value in values]
    assert given == [None, [0.1, 0.2], [0.1, 0.2], None, [0.9, 0.8], [0.9, 0.8], None]


def test_a_result_from_before_slices_had_labels_keeps_the_schema():
    document = result_document(with_slice_labels(a_diagnosis()))
    jsonschema.validate(document, SCHEMA)
    for entry in document["slices"]:
        del entry["probabilities"]
    jsonschema.validate(document, SCHEMA)


def test_a_slice_s_value_that_is_no_probability_is_refused():
    diagnosis = a_diagnosis()
    broken = (replace(diagnosis.slices[0], probabilities={"any": 1.2}), *diagnosis.slices[1:])
    with pytest.raises(OutputError, match=r"slices\[0\]\.probabilities\.any"):
        result_document(replace(diagnosis, slices=broken))
