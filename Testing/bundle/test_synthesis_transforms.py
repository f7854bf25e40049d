"""The MONAI transforms are reproducible, keep what the entry holds, and add labels to labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Compose
from synthesis_cases import anatomy, host

from scripts.intake.study import CTStudy, Provenance
from scripts.labels import RSNA
from scripts.synthesis.lesion import LABEL_VALUES
from scripts.synthesis.transforms import SynthesiseHaemorrhage, SynthesiseHaemorrhaged

KEYS = [label.key for label in RSNA]


def entry(**more: object) -> dict[str, object]:
    return {"study": host(), "anatomy": anatomy(), "name": "phantom", **more}


def test_the_random_state_decides_everything():
    transform = SynthesiseHaemorrhaged("study", prob=0.7)
    runs = []
    for _ in range(2):
        transform.set_random_state(seed=11)
        runs.append([transform(entry()) for _ in range(3)])
    for first, second in zip(*runs, strict=True):
        assert np.array_equal(first["study"].voxels, second["study"].voxels)
        assert first["lesions"] == second["lesions"]
    assert not np.array_equal(runs[0][0]["study"].voxels, runs[0][1]["study"].voxels)


def test_compose_sets_its_random_state():
    results = []
    for _ in range(2):
        chain = Compose([SynthesiseHaemorrhaged("study", prob=1.0)]).set_random_state(seed=4)
        results.append(chain(entry())["study"].voxels)
    assert np.array_equal(*results)


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_the_probability_is_kept(prob: float):
    transform = SynthesiseHaemorrhaged("study", prob=prob).set_random_state(seed=1)
    for _ in range(4):
        assert transform(entry())["label_map"].any() == bool(prob)


def test_only_the_subtypes_that_are_asked_for_are_drawn():
    transform = SynthesiseHaemorrhage(1.0, {"subdural": 1.0}, (2.0, 20.0)).set_random_state(seed=2)
    for _ in range(4):
        made = transform(host(), anatomy())
        assert {lesion.kind for lesion in made.lesions} & set(LABEL_VALUES) == {"subdural"}


def test_labels_of_the_host_stay_and_unknown_ones_become_known():
    before = np.zeros((len(host().voxels), len(KEYS)), dtype=np.float32)
    before[3, KEYS.index("epidural")] = 1.0
    before[:, KEYS.index("subdural")] = np.nan
    transform = SynthesiseHaemorrhaged("study", 1.0, {"subdural": 1.0}, (20.0, 40.0)).set_random_state(seed=5)
    after = transform(entry(slice_labels=before))
    labels, mask = after["slice_labels"], after["label_map"] == LABEL_VALUES["subdural"]
    assert labels[3, KEYS.index("epidural")] == 1.0
    with_blood = mask.any(axis=(1, 2))
    assert (labels[with_blood][:, KEYS.index("subdural")] == 1.0).all()
    assert np.isnan(labels[~with_blood][:, KEYS.index("subdural")]).all()
    assert (labels[with_blood][:, KEYS.index("any")] == 1.0).all()


def test_labels_come_in_the_order_that_is_asked_for():
    order = list(reversed(KEYS))
    transform = SynthesiseHaemorrhaged("study", 1.0, labels=order).set_random_state(seed=5)
    after = transform(entry())
    assert np.array_equal(after["slice_labels"][:, order.index("any")] > 0, (after["label_map"] > 0).any(axis=(1, 2)))


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_a_slice_comes_back_in_the_type_and_shape_that_it_had(kind: str):
    plane = np.clip(host().voxels[13], -5, 75).astype(np.float32)[None] + np.float32(0.25)
    value = torch.from_numpy(plane) if kind == "tensor" else plane
    transform = SynthesiseHaemorrhaged("image", 1.0, pixel_mm=1.28).set_random_state(seed=3)
    after = transform({"image": value})
    assert type(after["image"]) is type(value)
    assert after["image"].shape == value.shape
    untouched = np.asarray(after["image"]) == plane
    assert 0.5 < untouched.mean() < 1.0
    assert after["slice_labels"].shape == (1, len(KEYS))


def test_a_host_that_cannot_be_used_stays_as_it_is():
    empty = CTStudy(
        np.full((3, 64, 64), -1000, dtype=np.int16),
        np.diag([-1.0, -1.0, 5.0, 1.0]),
        np.arange(3.0),
        Provenance("empty", "nifti"),
    )
    after = SynthesiseHaemorrhaged("study", 1.0).set_random_state(seed=0)({"study": empty})
    assert after["study"] is empty
    assert not after["label_map"].any()
    assert not after["slice_labels"].any()
    assert after["lesions"] == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"subtype_probabilities": {"extradural": 1.0}},
        {"subtype_probabilities": {"subdural": 0.0}},
        {"volume_ml": (5.0, 1.0)},
        {"second": 1.5},
    ],
)
def test_settings_that_cannot_be_drawn_from_are_refused(wrong: dict[str, object]):
    with pytest.raises(ValueError, match=r"unknown|probabilit|volumes"):
        SynthesiseHaemorrhage(**wrong)
