"""What training minimises, against calculation by hand; a label of which nothing is known must add nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scripts.training.losses import DrCTLoss, SliceLoss, attention_loss, mask_loss

torch.set_num_threads(1)

LOGITS = torch.tensor([[[0.5, -1.0], [2.0, 0.0], [-0.5, 1.5]], [[0.0, 3.0], [1.0, 1.0], [0.2, -2.0]]])
"""Two scans, three readings (the answer, the primary network, the APS network), two labels."""
SCAN = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
NAN = math.nan


def a_reading(logits: Tensor = LOGITS) -> dict[str, Tensor]:
    """Three slices, of which 2 and 0 were read again."""
    count = len(logits)
    generator = torch.Generator().manual_seed(0)
    return {
        "logits": logits,
        "slice_attention": torch.rand(count, 3, generator=generator).softmax(dim=1),
        "key_slices": torch.tensor([[0, 2]]).expand(count, 2),
        "slice_logits": torch.randn(count, 3, 2, generator=generator),
        "key_slice_logits": torch.randn(count, 2, 2, generator=generator),
    }


def with_slices(scan: Tensor, slices: Tensor | float = NAN) -> Tensor:
    """The target of scans whose three slices have these labels."""
    of_slices = torch.as_tensor(slices).expand(len(scan), 3, 2)
    return torch.cat([scan[:, None], of_slices], dim=1)


def cross_entropy(logit: float, label: float) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -(label * math.log(probability) + (1 - label) * math.log(1 - probability))


@pytest.mark.parametrize("primary", ["mse", "bce"])
@pytest.mark.parametrize("aps", ["mse", "bce"])
def test_the_loss_is_the_sum_of_equations_11_to_13(primary: str, aps: str):
    p, y = 1 / (1 + np.exp(-LOGITS.double().numpy())), SCAN.double().numpy()
    entropy = [-(y * np.log(p[:, branch]) + (1 - y) * np.log(1 - p[:, branch])).mean() for branch in range(3)]
    squares = [((p[:, branch] - y) ** 2).mean() for branch in range(3)]
    of_primary, of_aps = (entropy if kind == "bce" else squares for kind in (primary, aps))
    expected = entropy[0] + of_primary[1] + of_aps[2]
    assert DrCTLoss(primary, aps)(a_reading(), with_slices(SCAN)).item() == pytest.approx(expected, rel=1e-5)


def test_drct1_as_the_papers_primary_network_has_its_squared_error():
    p, y = 1 / (1 + np.exp(-LOGITS[:, 0].double().numpy())), SCAN.double().numpy()
    found = DrCTLoss(alone="mse")(a_reading(LOGITS[:, :1]), with_slices(SCAN))
    assert found.item() == pytest.approx(((p - y) ** 2).mean(), rel=1e-5)


def test_the_loss_of_a_network_without_branches_is_its_cross_entropy():
    expected = (cross_entropy(0.5, 1) + cross_entropy(-1, 0) + cross_entropy(0, 0) + cross_entropy(3, 1)) / 4
    found = DrCTLoss()(a_reading(LOGITS[:, :1]), with_slices(SCAN))
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("branch", ["primary", "aps"])
def test_an_unknown_loss_is_refused_by_name(branch: str):
    with pytest.raises(ValueError, match=f"{branch} must be 'mse' or 'bce', not 'hinge'"):
        DrCTLoss(**{branch: "hinge"})


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_an_unknown_label_of_a_scan_adds_nothing_and_moves_nothing(kind: str):
    target = SCAN.clone()
    target[0, 1] = NAN
    logits = LOGITS.clone().requires_grad_()
    DrCTLoss(kind, kind)(a_reading(logits), with_slices(target)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[0, :, 1].any()
    assert logits.grad[0, :, 0].all()
    assert logits.grad[1].all()
    other = LOGITS.clone()
    other[0, :, 1] = 7.0
    losses = [DrCTLoss(kind, kind)(a_reading(values), with_slices(target)).item() for values in (LOGITS, other)]
    assert losses[0] == losses[1]
    known = (cross_entropy(0.5, 1) + cross_entropy(0, 0) + cross_entropy(3, 1)) / 3
    assert DrCTLoss()(a_reading(LOGITS[:, :1]), with_slices(target)).item() == pytest.approx(known, rel=1e-5)


def test_a_batch_of_which_nothing_is_known_costs_nothing_but_can_be_learnt_from():
    logits = LOGITS.clone().requires_grad_()
    loss = DrCTLoss(slice_weight=1.0, attention_weight=1.0)(a_reading(logits), torch.full((2, 4, 2), NAN))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_slices_are_judged_by_their_own_labels_and_high_resolution_ones_by_those_of_their_slice():
    reading = a_reading(LOGITS[:1])
    labels = torch.tensor([[1.0, 0.0], [0.0, NAN], [1.0, 1.0]])
    target = with_slices(SCAN[:1], labels)
    added = DrCTLoss(slice_weight=0.5)(reading, target) - DrCTLoss()(reading, target)
    of_all = [
        cross_entropy(reading["slice_logits"][0, slice_, label].item(), labels[slice_, label].item())
        for slice_, label in ((0, 0), (0, 1), (1, 0), (2, 0), (2, 1))
    ]
    of_keys = [
        cross_entropy(reading["key_slice_logits"][0, place, label].item(), labels[slice_, label].item())
        for place, slice_ in enumerate((0, 2))
        for label in (0, 1)
    ]
    assert added.item() == pytest.approx(0.5 * (np.mean(of_all) + np.mean(of_keys)), rel=1e-4)


def test_slice_labels_count_for_nothing_where_their_weight_is_zero():
    reading = a_reading()
    losses = {DrCTLoss()(reading, with_slices(SCAN, value)).item() for value in (NAN, 0.0, 1.0)}
    assert len(losses) == 1


def test_attention_is_judged_by_the_positive_slices_of_positive_scans():
    attention = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]])
    positive = torch.tensor([[0.0, 1.0, 1.0, NAN], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, NAN, 0.0]])
    first, second = -(math.log(0.2) + math.log(0.3)) / 2, -math.log(0.7)
    assert attention_loss(attention, positive).item() == pytest.approx((first + second) / 2, rel=1e-5)
    assert attention_loss(attention[2:], positive[2:]).item() == 0.0


def test_attention_that_misses_a_positive_slice_altogether_costs_a_finite_amount():
    attention = torch.tensor([[1.0, 0.0]], requires_grad=True)
    loss = attention_loss(attention, torch.tensor([[0.0, 1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-6), rel=1e-4)
    assert attention.grad is not None
    assert attention.grad.isfinite().all()


@given(st.lists(st.booleans(), min_size=2, max_size=12).filter(any), st.integers(0, 1000))
def test_no_attention_is_better_than_the_even_one_over_the_positive_slices(shown: list[bool], seed: int):
    positive = torch.tensor([shown], dtype=torch.float32)
    even = positive / positive.sum()
    other = torch.randn(1, len(shown), generator=torch.Generator().manual_seed(seed)).softmax(dim=1)
    best = attention_loss(even, positive).item()
    assert best == pytest.approx(math.log(sum(shown)), abs=1e-5)
    assert attention_loss(other, positive).item() >= best - 1e-5


def test_the_weight_of_attention_is_that_of_its_loss_on_the_first_label():
    reading = a_reading()
    slices = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    target = with_slices(SCAN, slices)
    added = DrCTLoss(attention_weight=0.2)(reading, target) - DrCTLoss()(reading, target)
    expected = attention_loss(reading["slice_attention"], slices[:, 0].expand(2, 3))
    assert added.item() == pytest.approx(0.2 * expected.item(), rel=1e-4)


def test_single_slices_are_judged_by_their_labels():
    logits = torch.tensor([[0.5, -1.0], [2.0, 0.3]])
    unmixed = {"logits": logits, "partner": torch.tensor([0, 1]), "weight": torch.ones(2)}
    labels = torch.tensor([[1.0, NAN], [0.0, 1.0]])
    expected = (cross_entropy(0.5, 1) + cross_entropy(2.0, 0) + cross_entropy(0.3, 1)) / 3
    assert SliceLoss()(unmixed, labels).item() == pytest.approx(expected, rel=1e-5)


def test_mixed_slices_are_judged_by_labels_mixed_alike_and_only_where_both_are_known():
    logits = torch.tensor([[0.5, -1.0], [2.0, 0.3], [-0.7, 1.1]])
    mixed = {"logits": logits, "partner": torch.tensor([2, 0, 1]), "weight": torch.tensor([0.8, 0.6, 1.0])}
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, NAN]])
    losses = [
        cross_entropy(0.5, 0.8 * 1 + 0.2 * 1),
        cross_entropy(2.0, 0.6 * 0 + 0.4 * 1),
        cross_entropy(0.3, 0.6 * 1 + 0.4 * 0),
        cross_entropy(-0.7, 1.0),
    ]
    assert SliceLoss()(mixed, labels).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_mask_is_asked_for_only_where_a_label_is_shown_and_a_mask_was_drawn():
    cells = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    positive = torch.tensor([[1.0, 0.0], [1.0, NAN], [1.0, 1.0]])
    mask = torch.tensor([[0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0], [0.2, 0.0, 0.0, 0.6]])
    said = cells.log_softmax(dim=-1)
    expected = [
        -(said[0, 0, 1] + said[0, 0, 2]) / 2,
        -(0.25 * said[2, 0, 0] + 0.75 * said[2, 0, 3]),
        -(0.25 * said[2, 1, 0] + 0.75 * said[2, 1, 3]),
    ]
    assert mask_loss(cells, positive, mask).item() == pytest.approx(float(sum(expected) / 3), rel=1e-5)
    assert mask_loss(cells, positive, torch.zeros(3, 4)).item() == 0


def test_the_weight_of_masks_is_that_of_their_loss_and_mixed_slices_are_not_asked():
    generator = torch.Generator().manual_seed(1)
    logits, cells = torch.randn(3, 2, generator=generator), torch.randn(3, 2, 4, generator=generator)
    labels, mask = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]]), torch.eye(4)[:3]
    reading = {"logits": logits, "partner": torch.tensor([2, 1, 0]), "weight": torch.tensor([0.7, 1.0, 0.7])}
    target = torch.cat([labels, mask], dim=1)
    added = SliceLoss(0.5)(reading | {"cells": cells}, target) - SliceLoss()(reading, target)
    assert added.item() == pytest.approx(0.5 * mask_loss(cells[1:2], labels[1:2], mask[1:2]).item(), rel=1e-4)


def test_a_mask_of_haemorrhage_is_not_asked_of_a_fracture():
    generator = torch.Generator().manual_seed(1)
    reading = {
        "logits": torch.randn(2, 2, generator=generator),
        "partner": torch.arange(2),
        "weight": torch.ones(2),
        "cells": torch.randn(2, 2, 4, generator=generator),
    }
    mask = torch.eye(4)[:2]
    target = torch.cat([torch.ones(2, 2), mask], dim=1)
    added = SliceLoss(0.5, of_haemorrhage=(True, False))(reading, target) - SliceLoss()(reading, target)
    of_blood = mask_loss(reading["cells"], torch.tensor([[1.0, 0.0], [1.0, 0.0]]), mask)
    assert added.item() == pytest.approx(0.5 * of_blood.item(), rel=1e-4)
