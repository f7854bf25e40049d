"""Training batches hold the parts of positives that were asked for, never a held-out patient, and repeat themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from prepared_groups import SUBDURAL, a_group

from scripts.messages import ExpectedError
from scripts.training.balanced_batches import BalancedBatches, BatchParts, EpochOfDataset, stated_labels
from scripts.training.slice_augmentation import SliceAugmentation

torch.set_num_threads(1)

WINDOWS = [[35, 80], [57.5, 35], [80, 200]]
STILL = SliceAugmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def batches(**settings: Any) -> BalancedBatches:
    groups = [
        a_group("scan", 0, (1, 2)),
        a_group("scan", 1, (3,), name="other"),
        a_group("slices", 0, (0,), bone=False),
        a_group("synthetic scan", 1, (2, 3)),
        a_group("phantom", -1, (1,)),
    ]
    chosen = {"groups": groups, "held_out": {}, "windows": WINDOWS, "sizes": [(64, 40, 1.0)], "count": 3}
    return BalancedBatches(**{**chosen, "augmentation": STILL, **settings})


def test_a_batch_holds_windows_labels_and_masks_of_every_slice():
    batch = batches()[0]
    assert batch["image"].shape == (40, 3, 64, 64)
    assert batch["image"].min() >= 0.0
    assert batch["image"].max() <= 1.0
    assert batch["label"].shape == (40, 6)
    assert batch["mask"].shape == (40, 1, 16, 16)
    shown = batch["label"][:, 0] == 1
    assert torch.equal((batch["mask"] > 0).flatten(1).any(dim=1), shown)


@pytest.mark.parametrize("parts", [BatchParts(0.0, 0.0, 0.0), BatchParts(0.5, 0.5, 0.0)])
def test_the_parts_of_a_batch_are_those_asked_for(parts: BatchParts):
    positive = torch.cat([batches(parts=parts)[number]["label"][:, 0] for number in range(3)])
    assert positive.mean() == parts.positive + parts.synthetic


def test_parts_beyond_the_whole_are_refused():
    with pytest.raises(ValueError, match="exceed the whole"):
        BatchParts(0.6, 0.5)


def test_a_held_out_fold_is_left_out_with_all_that_was_made_of_its_patients():
    names = {group.name for group in batches(held_out={"scan": [1]}).groups}
    assert names == {"scan-0", "slices-0", "phantom--1"}
    assert len(batches(held_out={"scan": None}).groups) == 5


def test_the_same_epoch_and_number_give_the_same_batch_and_others_another():
    augmentation = SliceAugmentation()
    first, again = batches(augmentation=augmentation), batches(augmentation=augmentation)
    assert torch.equal(first[1]["image"], again[1]["image"])
    assert not torch.equal(first[1]["image"], first[2]["image"])
    again.epoch = 1
    assert not torch.equal(first[1]["image"], again[1]["image"])


def test_the_dataset_is_told_each_epoch():
    dataset = batches()
    seen = []
    engine = Engine(lambda _engine, _batch: seen.append(dataset.epoch))
    EpochOfDataset(dataset).attach(engine)
    engine.run([0, 1], max_epochs=2)
    assert seen == [0, 0, 1, 1]


def test_without_a_negative_slice_there_is_nothing_to_train_on():
    with pytest.raises(ExpectedError, match="label"):
        batches(groups=[a_group("scan", 0, (0, 1, 2, 3, 4, 5))])


def test_a_few_pixels_of_synthetic_blood_decide_no_label_but_those_of_a_reader_do():
    faint = a_group("synthetic scan", 0, (1,), blood_pixels=2)
    assert stated_labels(faint)[1, [0, 5]].isnan().all()
    assert stated_labels(faint)[0].eq(0).all()
    assert stated_labels(a_group("scan", 0, (1,), blood_pixels=2))[1, 5] == 1


def test_mask_and_image_are_moved_together():
    group = a_group("scan", 0, tuple(range(3)))
    augmentation = SliceAugmentation(0.4, 0.2, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0)
    dataset = batches(groups=[group], parts=BatchParts(1.0, 0.0, 0.0), augmentation=augmentation)
    batch = dataset[0]
    blood = torch.nn.functional.avg_pool2d((batch["image"][:, :1] > 0.6).float(), 4)
    inside = batch["mask"] == SUBDURAL
    assert inside.any()
    assert blood[inside].mean() > 0.8
    assert blood[~inside].mean() < 0.05


def test_a_slice_read_as_an_eight_bit_image_loses_what_lies_beyond_the_window():
    image = torch.full((4, 1, 32, 32), 300.0)
    mask = torch.zeros(4, 1, 32, 32, dtype=torch.uint8)
    narrow = SliceAugmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    generator = np.random.default_rng(0)
    seen, _ = narrow(image, mask, torch.ones(4, dtype=torch.bool), 32, generator)
    assert seen.max() <= 75.0


@pytest.mark.parametrize(("mirror", "upside_down", "axes"), [(0.0, 0.0, ()), (1.0, 0.0, (-1,)), (1.0, 1.0, (-1, -2))])
def test_slices_are_mirrored_as_often_as_was_asked_for(mirror: float, upside_down: float, axes: tuple[int, ...]):
    image = torch.rand(3, 1, 32, 32) * 40
    mask = (image > 20).to(torch.uint8)
    change = SliceAugmentation(*(0.0,) * 9, mirror=mirror, upside_down=upside_down)
    found, inside = change(image, mask, torch.ones(3, dtype=torch.bool), 32, np.random.default_rng(0), stride=1)
    torch.testing.assert_close(found, image.flip(axes), atol=1e-3, rtol=0)
    assert torch.equal(inside, mask.flip(axes))
