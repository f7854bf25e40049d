"""Backbone, slice classifier and lesion decoder learn together from single slices, masks included."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from prepared_groups import SUBDURAL, a_group
from small_networks import drct1, drct2
from torch import nn

from scripts.messages import ExpectedError
from scripts.networks.drct import DrCT2
from scripts.networks.efficientnet_lite import EfficientNetLite0
from scripts.training.balanced_batches import BalancedBatches, BatchParts
from scripts.training.slice_reading import (
    ClippedGradients,
    HeldOutSlices,
    SliceReading,
    SliceReadingLoss,
    averaged_weights,
    pixel_targets,
    slice_batch,
)

torch.set_num_threads(1)

WINDOWS = [[40, 80], [80, 200], [600, 2800]]
HEADS = {"slice_classifier": True}


def a_network() -> DrCT2:
    torch.manual_seed(0)
    return DrCT2(EfficientNetLite0(), slices=6, key_slices=3, high_res_size=96, heads=HEADS)


def a_batch() -> dict[str, torch.Tensor]:
    group = a_group("scan", 0, (0, 1, 2))
    batches = BalancedBatches([group], {}, WINDOWS, [(64, 6, 1.0)], 1, parts=BatchParts(0.5, 0.0, 0.0))
    return batches[0]


def test_every_part_learns_from_one_step():
    network = a_network()
    reading = SliceReading(network, 96)
    optimizer = torch.optim.SGD([group | {"lr": 0.1} for group in reading.parameter_groups(0.1, 0.2)])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    image, target = slice_batch(a_batch(), "cpu")
    SliceReadingLoss()(reading(image), target).backward()
    optimizer.step()
    changed = {
        name.split(".")[0] for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"backbone", "lesion_decoder", "primary"}


def test_large_images_train_the_slice_classifier_of_high_resolution():
    reading = SliceReading(a_network(), 96)
    reading(torch.rand(2, 3, 96, 96))["logits"].sum().backward()
    assert reading.high_resolution.output.weight.grad is not None
    assert reading.primary.output.weight.grad is None


def test_a_network_without_slice_classifier_cannot_learn_from_slices():
    with pytest.raises(ExpectedError):
        SliceReading(drct1(), 96)


def test_a_backbone_without_levels_has_no_lesion_decoder_and_learns_labels_alone():
    network = drct2(heads=HEADS)
    assert network.lesion_decoder is None
    reading = SliceReading(network, 32)
    assert set(reading(torch.rand(2, 3, 16, 16))) == {"logits"}


def test_any_haemorrhage_counts_double():
    weights = []
    for column in (0, 1):
        logits = torch.zeros(1, 6, requires_grad=True)
        target = {"label": torch.zeros(1, 6)}
        SliceReadingLoss()({"logits": logits}, target).backward()
        assert logits.grad is not None
        weights.append(float(logits.grad[0, column]))
    assert weights[0] == pytest.approx(2 * weights[1])


def test_an_unknown_label_teaches_nothing():
    logits = torch.zeros(1, 6, requires_grad=True)
    label = torch.full((1, 6), torch.nan)
    SliceReadingLoss()({"logits": logits}, {"label": label}).backward()
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


def test_pixels_of_unknown_subtype_are_known_to_be_blood_alone():
    mask = torch.tensor([[[[0, SUBDURAL, 255]]]], dtype=torch.uint8)
    target, known = pixel_targets(mask, torch.tensor([True]))
    assert target[0, 0, 0].tolist() == [0, 1, 1]
    assert target[0, 5, 0].tolist() == [0, 1, 0]
    assert known[0, 0, 0].tolist() == [True, True, True]
    assert known[0, 5, 0].tolist() == [True, True, False]
    assert not pixel_targets(mask, torch.tensor([False]))[1].any()


def test_a_map_that_covers_the_mask_costs_less_than_one_beside_it():
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    mask[..., :4] = SUBDURAL
    batch = {"label": torch.full((1, 6), torch.nan), "mask": mask, "mask_known": torch.tensor([True])}
    losses = []
    for inside in (True, False):
        pixels = torch.full((1, 6, 8, 8), -6.0)
        columns = slice(0, 4) if inside else slice(4, 8)
        pixels[:, [0, 5], :, columns] = 6.0
        losses.append(float(SliceReadingLoss()({"logits": torch.zeros(1, 6), "pixels": pixels}, batch)))
    assert losses[0] < 0.1
    assert losses[1] > 1.0


def test_a_pixel_named_by_another_subtype_costs_more_however_few_show_blood():
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    mask[..., :2, :2] = SUBDURAL
    batch = {"label": torch.full((1, 6), torch.nan), "mask": mask, "mask_known": torch.tensor([True])}

    def loss(subtype: int, weight: float) -> float:
        pixels = torch.full((1, 6, 64, 64), -6.0)
        pixels[:, [0, subtype], :2, :2] = 2.0
        found = {"logits": torch.zeros(1, 6), "pixels": pixels}
        return float(SliceReadingLoss(subtype_weight=weight)(found, batch))

    own, other = SUBDURAL, 1
    without, with_choice = (loss(other, weight) - loss(own, weight) for weight in (0.0, 0.5))
    assert with_choice == pytest.approx(without + 0.5 * 8.0, abs=0.01)
    assert without < 0.1 * with_choice
    # A mask that is not known, or not by subtype, says nothing about it.
    batch["mask_known"] = torch.tensor([False])
    assert loss(other, 0.5) == pytest.approx(loss(other, 0.0))
    batch |= {"mask_known": torch.tensor([True]), "mask": mask.masked_fill(mask > 0, 255)}
    assert loss(other, 0.5) == pytest.approx(loss(other, 0.0))


def test_each_subtype_counts_the_same_among_pixels_with_blood():
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    mask[..., :7] = SUBDURAL
    mask[..., 7:] = 1
    batch = {"label": torch.full((1, 6), torch.nan), "mask": mask, "mask_known": torch.tensor([True])}
    pixels = torch.zeros(1, 6, 8, 8, requires_grad=True)
    weights = {"pixel_weight": 0.0, "dice_weight": 0.0, "strongest_weight": 0.0, "subtype_weight": 1.0}
    SliceReadingLoss(**weights)({"logits": torch.zeros(1, 6), "pixels": pixels}, batch).backward()
    pulled = pixels.grad.abs().sum(dim=(0, 2, 3))
    assert pulled[0] == 0
    assert pulled[1] == pytest.approx(float(pulled[SUBDURAL]), rel=1e-4)


def test_gradients_are_bounded_between_backward_and_step():
    layer = nn.Linear(2, 1)
    engine = Engine(lambda *_: None)
    engine.register_events(*IterationEvents)
    ClippedGradients(layer, 0.5).attach(engine)
    layer(torch.full((1, 2), 1000.0)).sum().backward()
    engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
    assert torch.cat([each.grad.flatten() for each in layer.parameters()]).norm() == pytest.approx(0.5, rel=1e-4)


def test_held_out_slices_are_real_and_of_the_fold():
    groups = [
        a_group("scan", 0, (1,)),
        a_group("scan", 1, (2,)),
        a_group("synthetic scan", 1, (2,)),
        a_group("slices", 1),
    ]
    held_out = HeldOutSlices(groups, 1, WINDOWS, 48)
    assert len(held_out) == 12
    assert held_out[2]["image"].shape == (3, 48, 48)
    assert held_out[2]["label"].tolist() == [1, 0, 0, 0, 0, 1]


def test_averaged_weights_replace_the_last_ones():
    reading, average = SliceReading(a_network(), 96), SliceReading(a_network(), 96)
    with torch.no_grad():
        average.primary.output.bias.fill_(7.0)
    averaged_weights(reading, average)
    assert (reading.primary.output.bias == 7.0).all()
