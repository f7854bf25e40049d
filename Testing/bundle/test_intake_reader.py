"""The intake inside MONAI: LoadImaged finds the reader by name, and nothing gets past its refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_files import Series, head_voxels, write_series
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, LoadImaged, ScaleIntensityRanged

from scripts.intake.discovery import find_studies
from scripts.intake.quality import QualityLimits
from scripts.intake.reader import CTStudyReader, study_of
from scripts.intake.study import IntakeError, NotEvaluableError


@pytest.fixture
def head(tmp_path: Path) -> Path:
    write_series(tmp_path / "head")
    return tmp_path / "head"


@pytest.mark.parametrize("reader", ["scripts.intake.reader.CTStudyReader", CTStudyReader, CTStudyReader()])
def test_load_imaged_takes_the_reader_by_name_by_class_and_as_an_instance(head: Path, reader: object):
    image = Compose([LoadImaged(keys="image", reader=reader)])({"image": str(head)})["image"]
    assert isinstance(image, MetaTensor)
    assert image.dtype == torch.float32
    study = study_of(image)
    np.testing.assert_array_equal(image.numpy(), study.voxels)
    place = image.affine.numpy() @ (3, 4, 5, 1)
    np.testing.assert_allclose(place, study.affine @ (5, 4, 3, 1))
    np.testing.assert_allclose(image.meta["original_affine"], image.affine)
    assert image.meta["spatial_shape"].tolist() == [24, 64, 64]


def test_a_configuration_names_the_reader(head: Path):
    config = {
        "reader": {"_target_": "scripts.intake.reader.CTStudyReader", "limits": {"minimum_slices": 20}},
        "load": {"_target_": "LoadImaged", "keys": "image", "reader": "@reader", "expanduser": False},
    }
    parser = ConfigParser(config)
    (source,) = find_studies(head)
    image = parser.get_parsed_content("load")({"image": source})["image"]
    assert study_of(image).provenance.source_name == "head"
    assert str(head) not in str(image.meta)


def test_the_study_passes_transforms_and_batches_uncopied(head: Path):
    transforms = Compose([LoadImaged("image", CTStudyReader()), ScaleIntensityRanged("image", 0, 80, 0, 1, clip=True)])
    item = transforms({"image": str(head)})
    study = study_of(item["image"])
    assert study_of(item["image"] * 2) is study
    assert study.voxels.min() < -900
    (batch,) = DataLoader(Dataset([{"image": str(head)}], transforms), batch_size=1)
    assert batch["image"].shape == (1, 24, 64, 64)


def test_the_study_passes_a_worker(head: Path):
    transforms = LoadImaged("image", CTStudyReader())
    (batch,) = DataLoader(
        Dataset([{"image": str(head)}], transforms),
        num_workers=1,
        collate_fn=lambda items: items,
        multiprocessing_context="fork",
    )
    assert study_of(batch[0]["image"]).provenance.source_name == "head"


def test_no_reader_of_monai_reads_what_was_refused(tmp_path: Path):
    write_series(tmp_path / "mr", Series(modality="MR"))
    with pytest.raises(NotEvaluableError, match="modality MR, CT needed"):
        LoadImaged("image", CTStudyReader())({"image": str(tmp_path / "mr")})


def test_compose_keeps_the_refusal_as_the_cause(tmp_path: Path):
    write_series(tmp_path / "few", Series(head_voxels(7)))
    with pytest.raises(RuntimeError) as fault:
        Compose([LoadImaged("image", CTStudyReader())])({"image": str(tmp_path / "few")})
    assert isinstance(fault.value.__cause__, NotEvaluableError)
    assert str(fault.value.__cause__) == "7 slices, at least 12 needed"


def test_the_limits_reach_the_gate_and_the_gate_can_be_left_out(head: Path):
    with pytest.raises(NotEvaluableError, match="24 slices, at least 40 needed"):
        LoadImaged("image", CTStudyReader(QualityLimits(minimum_slices=40)))({"image": str(head)})
    unchecked = CTStudyReader({"minimum_slices": 40}, check=False)
    assert LoadImaged("image", unchecked)({"image": str(head)})["image"].shape == (24, 64, 64)


def test_a_path_with_two_studies_is_not_guessed_at(tmp_path: Path):
    write_series(tmp_path / "all" / "one", Series(head_voxels(4)))
    write_series(tmp_path / "all" / "two", Series(head_voxels(4)))
    with pytest.raises(IntakeError, match=r"^all: holds 2 studies; give each of them by itself$"):
        LoadImaged("image", CTStudyReader())({"image": str(tmp_path / "all")})


def test_an_image_of_another_reader_has_no_study():
    with pytest.raises(KeyError):
        study_of(MetaTensor(torch.zeros(2, 2, 2)))
