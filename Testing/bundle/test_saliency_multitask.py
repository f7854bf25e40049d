"""The saliency multi-task network: shapes and parts as the thesis has them, stages that leave the others alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scripts.networks.backbone import Backbone
from scripts.networks.residual_se_unet import Block, ResidualSEUNet, SqueezeExcitation
from scripts.networks.saliency_multitask import DenseNet201Encoder, FusedBackbone, SaliencyMultiTask
from scripts.training.saliency_learning import SaliencyLearning, SaliencyLoss
from scripts.training.saliency_losses import blurred_mask, divergence, triplet_loss

torch.set_num_threads(1)


class Coarse(Backbone):
    """Stands for the encoder: maps at 1/32 of the size."""

    channels, stride, frozen_layers, pooling = 5, 32, 0, "mean"

    def __init__(self) -> None:
        super().__init__([nn.Conv2d(3, 5, 32, stride=32), nn.BatchNorm2d(5)])


def fused() -> FusedBackbone:
    torch.manual_seed(0)
    return FusedBackbone(Coarse(), ResidualSEUNet(width=4, second_encoder=5))


def test_the_encoder_is_densenet_201_without_its_last_block():
    with torch.device("meta"):
        network = DenseNet201Encoder(pretrained=False)
    # torchvision's DenseNet-201 without its classifier, last normalisation and last block of 32 layers.
    last_block = sum(2 * (896 + 32 * layer) + 128 * (896 + 32 * layer) + 2 * 128 + 32 * 128 * 9 for layer in range(32))
    assert sum(each.numel() for each in network.parameters()) == 20_013_928 - 1_921_000 - 2 * 1920 - last_block
    assert (
        network.file_name("features.4.denselayer1.layers.norm1.bias") == "features.denseblock1.denselayer1.norm.1.bias"
    )


def test_one_pass_gives_maps_of_both_encoders_fused_at_a_32nd_of_the_size_and_a_saliency_map_of_the_whole():
    network = fused().eval()
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert network(image).shape == (2, 256, 2, 3)
        assert network.saliency(image).shape == (2, 1, 64, 96)
        whole = SaliencyMultiTask(network, labels=6)
        assert whole.learn(image[:, None]).logits[0].shape == (2, 1, 6)


def test_the_default_unet_takes_the_encoders_maps():
    assert FusedBackbone(Coarse()).unet.second_encoder == 5


def test_the_encoder_changes_the_saliency_map_only_where_there_are_two_encoders():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32)
    alone = FusedBackbone(Coarse(), ResidualSEUNet(width=4)).eval()
    for network, changes in ((fused().eval(), True), (alone, False)):
        with torch.no_grad():
            before = network.saliency(image)
            network.encoder.features[0].bias.add_(3.0)
            assert (not torch.equal(before, network.saliency(image))) is changes


@pytest.mark.parametrize(("channels", "beside"), [(5, None), (0, torch.zeros(1, 5, 1, 1))])
def test_a_unet_is_given_a_second_encoders_maps_or_none(channels: int, beside: torch.Tensor | None):
    with pytest.raises(ValueError, match="second encoder"):
        ResidualSEUNet(width=4, second_encoder=channels)(torch.rand(1, 3, 32, 32), beside)


def test_the_standard_unet_of_the_ablation_has_neither_shortcut_nor_excitation():
    plain, residual = ResidualSEUNet(width=4, residual=False), ResidualSEUNet(width=4)
    assert not any(isinstance(each, SqueezeExcitation) for each in plain.modules())
    assert sum(isinstance(each, SqueezeExcitation) for each in residual.modules()) == 6
    assert sum(block.shortcut is not None for block in residual.modules() if isinstance(block, Block)) == 6
    with torch.no_grad():
        logits, last = plain.eval()(torch.rand(1, 3, 32, 32))
    assert (logits.shape, last.shape) == ((1, 1, 32, 32), (1, 4, 32, 32))


def a_batch() -> dict[str, torch.Tensor]:
    mask = torch.zeros(4, 1, 64, 64, dtype=torch.uint8)
    mask[:2, 0, 20:30, 30:40] = 5
    label = torch.zeros(4, 1, 6)
    label[:2, 0, [0, 5]] = 1.0
    label[3, 0, 0] = torch.nan
    known = torch.tensor([[True], [False], [True], [True]])
    return {"image": torch.rand(4, 1, 3, 64, 64), "label": label, "mask": mask, "mask_known": known}


@pytest.mark.parametrize(
    ("stage", "trained"),
    [
        ("triplets", {"backbone.encoder"}),
        ("encoder", {"backbone.encoder", "encoder_head.weight", "encoder_head.bias"}),
        ("saliency", {"backbone.unet"}),
        ("fusion", {"backbone.fusion", "head.1"}),
    ],
)
def test_each_stage_learns_in_its_own_parts_and_leaves_the_others_as_they_are(stage: str, trained: set[str]):
    network = SaliencyMultiTask(fused())
    learning, loss, batch = SaliencyLearning(network, stage, "float32").train(), SaliencyLoss(stage), a_batch()
    network.requires_grad_(True)  # as a configuration's initialize does
    learning.train()
    changing = {".".join(name.split(".")[:2]) for name, each in network.named_parameters() if each.requires_grad}
    assert changing == trained
    before = {name: each.clone() for name, each in network.state_dict().items()}
    optimizer = torch.optim.Adam([each for each in network.parameters() if each.requires_grad], lr=0.01)
    costs = []
    for _ in range(8):
        cost = loss(learning(batch["image"]), batch)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert costs[-1] < costs[0], "it learns"
    moved = {name for name, each in network.state_dict().items() if not torch.equal(each, before[name])}
    assert {".".join(name.split(".")[:2]) for name in moved} == trained, "no statistic of the others either"


def test_evaluation_answers_by_the_encoder_in_its_stages_and_by_the_whole_network_then():
    network = SaliencyMultiTask(fused()).eval()
    image = torch.rand(2, 1, 3, 64, 64)
    with torch.no_grad():
        encoder, whole = (
            SaliencyLearning(network, stage, "float32").eval()(image) for stage in ("encoder", "saliency")
        )
        torch.testing.assert_close(encoder, network.encoder_head(network.encoded(image[:, 0])))
        torch.testing.assert_close(whole, network.learn(image).logits[0][:, 0])


def test_similar_slices_that_are_nearer_by_the_margin_cost_nothing():
    positive = torch.tensor([True, True, False, False])
    apart = torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [5.1, 0.0]], requires_grad=True)
    loss = triplet_loss(apart, positive)
    loss.backward()
    assert loss.item() == 0.0
    # All anchors: the similar slice at 1, the others at 1 and sqrt 2, margin 1.
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert triplet_loss(square, positive).item() == pytest.approx((1.0 + 2.0 - 2**0.5) / 2)
    assert triplet_loss(square, torch.ones(4, dtype=torch.bool)).item() == 0.0


def test_the_divergence_is_zero_for_the_same_distribution_in_any_unit_and_grows_with_the_distance():
    saliency = torch.rand(2, 1, 8, 8) + 0.1
    assert divergence((5.0 * saliency).log(), saliency).item() == pytest.approx(0.0, abs=1e-6)
    uniform = divergence(torch.zeros(1, 1, 8, 8), torch.eye(8)[None, None])
    assert uniform.item() == pytest.approx(torch.tensor(8.0).log().item())


def test_slices_without_saliency_teach_nothing():
    logits = torch.rand(2, 1, 4, 4, requires_grad=True)
    saliency = torch.zeros(2, 1, 4, 4)
    saliency[0, 0, 1, 1] = 1.0
    divergence(logits, saliency).backward()
    assert logits.grad[0].abs().sum() > 0
    assert not logits.grad[1].any()
    assert divergence(logits, torch.zeros(2, 1, 4, 4)).item() == 0.0


def test_a_blurred_mask_stands_in_for_a_gaze_map():
    mask = torch.zeros(2, 1, 17, 17, dtype=torch.uint8)
    mask[0, 0, 8, 8] = 3
    found = blurred_mask(mask, 2.0)
    assert found[0].max() == 1.0
    assert found[0, 0, 8, 10].item() == pytest.approx(torch.tensor(-0.5).exp().item(), abs=1e-5)
    torch.testing.assert_close(found[0, 0], found[0, 0].T)
    assert not found[1].any()
