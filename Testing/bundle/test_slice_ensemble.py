"""An ensemble's arithmetic, its members, and a Grad-CAM that is the weighted mean of theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from scripts.networks.backbone import Backbone
from scripts.networks.ensemble_rules import combined, member_weights
from scripts.networks.joint_backbone import JointBackbone
from scripts.networks.slice_ensemble import (
    ADJACENT,
    TWELVE,
    WINDOWS,
    EnsembleMembers,
    SliceEnsemble,
    architecture_and_input,
    assembled_state,
    members_file,
    read_members,
)
from scripts.networks.slice_system import SliceClassifierSystem

torch.set_num_threads(1)

THREE = torch.tensor([[0.2, 0.9, 0.6], [0.6, 0.8, 0.4], [0.7, 0.1, 0.2]])
PAIR = (TWELVE[0], TWELVE[2])


class Tiny(Backbone):
    """A slice becomes one pixel per stride of 4."""

    channels, stride, frozen_layers, pooling = 5, 4, 0, "mean"

    def __init__(self) -> None:
        super().__init__([nn.Conv2d(3, 5, 4, stride=4)])


def test_the_three_rules_are_the_papers_equations():
    assert combined(THREE, "average").tolist() == pytest.approx([0.5, 0.6, 0.4])
    votes = combined(THREE, "vote")
    assert votes.tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    assert (votes >= 0.5).tolist() == [True, True, False]
    weighted = combined(THREE, "accuracy", torch.tensor([0.9, 0.6, 0.5]))
    assert weighted[0] == pytest.approx((0.9 * 0.2 + 0.6 * 0.6 + 0.5 * 0.7) / 2.0)


def test_a_rule_that_is_unknown_or_lacks_its_weights_is_refused():
    with pytest.raises(ValueError, match="average, vote, accuracy, not 'best'"):
        combined(THREE, "best")
    for accuracies in (None, torch.ones(2), torch.tensor([1.0, 0.0, 1.0])):
        with pytest.raises(ValueError, match="3 members need as many accuracies above 0"):
            member_weights(3, "accuracy", accuracies)


def test_the_twelve_are_three_architectures_two_inputs_and_two_trainings():
    assert len(set(TWELVE)) == 12
    assert {architecture_and_input(name)[0].__name__ for name in TWELVE} == {
        "EfficientNetB2Features",
        "ResNet50Features",
        "DenseNet121Features",
    }
    assert {architecture_and_input(name)[1] for name in TWELVE} == {WINDOWS, ADJACENT}


def test_members_are_kept_in_a_file_and_all_twelve_are_averaged_without_one(tmp_path: Path):
    members = EnsembleMembers(PAIR, "accuracy", (0.75, 0.25), "folds 1 to 4")
    members.write(members_file(tmp_path / "model.pt"))
    assert read_members(tmp_path / "model.pt") == members
    assert [path.name for path in tmp_path.iterdir()] == ["model.members.json"]
    assert read_members("model.pt", tmp_path) == members
    assert read_members(tmp_path / "none.pt").names == read_members(None).names == TWELVE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ("resnet",)}, "members must be some of"),
        ({"names": (PAIR[0], PAIR[0])}, "each once"),
        ({"names": ()}, "members must be some of"),
        ({"accuracies": (0.5,)}, "2 members, 1 accuracies"),
        ({"rule": "best"}, "rule 'best'"),
    ],
)
def test_members_that_do_not_fit_are_refused(changes: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        replace(EnsembleMembers(PAIR, "average", (1.0, 1.0)), **changes)


def an_ensemble(rule: str) -> tuple[SliceEnsemble, list[SliceClassifierSystem]]:
    """Return an ensemble of two tiny members, and the members with the same weights."""
    torch.manual_seed(0)
    members = [SliceClassifierSystem(Tiny(), hidden=128, dropout=0.125).eval() for _ in PAIR]
    joint = JointBackbone([Tiny(), Tiny()], [WINDOWS, ADJACENT])
    ensemble = SliceEnsemble(joint, EnsembleMembers(PAIR, rule, (0.75, 0.25))).eval()
    ensemble.load_state_dict(assembled_state([each.state_dict() for each in members]))
    return ensemble, members


@pytest.mark.parametrize("rule", ["average", "vote", "accuracy"])
def test_an_ensemble_answers_as_its_members_combined(rule: str):
    ensemble, members = an_ensemble(rule)
    image = torch.rand(4, 6, 16, 16)
    with torch.no_grad():
        found = ensemble.learn(image[:, None]).logits[0][:, 0].sigmoid()
        parts = [image[:, :3], image[:, 3:]]
        alone = torch.stack(
            [each.learn(part[:, None]).logits[0][:, 0].sigmoid() for each, part in zip(members, parts, strict=True)]
        )
    wanted = combined(alone, rule, torch.tensor([0.75, 0.25])).clamp(1e-4, 1 - 1e-4)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("rule", "weights"), [("average", (0.5, 0.5)), ("vote", (0.5, 0.5)), ("accuracy", (0.75, 0.25))]
)
def test_grad_cam_of_an_ensemble_is_the_weighted_mean_of_its_members(rule: str, weights: tuple[float, float]):
    ensemble, members = an_ensemble(rule)
    image = torch.rand(2, 6, 16, 16)
    maps = ensemble.backbone(image).detach().requires_grad_()
    found = grad_cam(maps, ensemble.slice_logits(ensemble.backbone.pool(maps), torch.zeros(2))[:, 1])
    wanted = torch.zeros_like(found)
    for weight, member, part in zip(weights, members, (image[:, :3], image[:, 3:]), strict=True):
        own = member.backbone(part).detach().requires_grad_()
        wanted += weight * grad_cam(own, member.head(member.backbone.pool(own))[:, 1])
    torch.testing.assert_close(found, wanted)


def grad_cam(maps: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    gradients = torch.autograd.grad(logits.sum(), maps)[0]
    return (gradients.mean(dim=(-2, -1), keepdim=True) * maps).sum(dim=1)
