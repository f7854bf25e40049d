"""Fine-tuning on single slices: what it trains and what it must leave alone, where it starts, and how it mixes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_backbone import TinyBackbone
from torch import Tensor, nn

from scripts.messages import ExpectedError
from scripts.networks.backbone import pool
from scripts.networks.drct import DrCT1, DrCT2
from scripts.networks.vgg16 import VGG16Features
from scripts.training.losses import SliceLoss
from scripts.training.slice_network import SliceNetwork, with_high_res_classifier

torch.set_num_threads(1)

FREQUENCIES = (0.5, 0.1, 0.0, 1.0, 0.2, 0.3)


def a_network(kind: type[DrCT1] = DrCT2, **heads: Any) -> Any:
    torch.manual_seed(5)
    settings: dict[str, Any] = {"slices": 4, "heads": {"slice_classifier": True, **heads}}
    network = kind(VGG16Features(), **settings, **({"key_slices": 2} if kind is DrCT2 else {}))
    for layer in network.backbone.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return network


@pytest.fixture(scope="module")
def maps() -> Tensor:
    """Maps in front of the last block, as the cache keeps them."""
    return torch.rand(8, 512, 2, 2, generator=torch.Generator().manual_seed(3)).mul(4).to(torch.bfloat16)


def slice_network(network: DrCT1, mixup: float = 0.0) -> SliceNetwork:
    return SliceNetwork(network, FREQUENCIES, mixup, precision="float32")


def changed_by_training(network: DrCT1, maps: Tensor) -> set[str]:
    """Take two steps as configs/finetune.json does and name the weights that are others then."""
    reading = slice_network(network).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW([*reading.block.parameters(), *reading.slice_classifier.parameters()], lr=1e-3)
    labels = torch.randint(0, 2, (len(maps), 6), generator=torch.Generator().manual_seed(0)).float()
    for _ in range(2):
        optimiser.zero_grad()
        SliceLoss()(reading(maps), labels).backward()
        optimiser.step()
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def test_the_last_block_and_the_primary_evidence_are_trained_and_nothing_else(maps: Tensor):
    changed = changed_by_training(a_network(), maps)
    block = {f"backbone.features.{place}.{kind}" for place in (24, 26, 28) for kind in ("weight", "bias")}
    assert {name for name in changed if name.startswith("backbone.")} == block
    others = changed - block
    assert {"primary.slice_classifier.output.weight", "primary.slice_classifier.output.bias"} <= others
    assert all(name.startswith("primary.slice_classifier.") for name in others)


def test_gradients_end_in_front_of_the_last_block(maps: Tensor):
    network = a_network()
    reading = slice_network(network)
    trainable = {name for name, weight in network.backbone.named_parameters() if weight.requires_grad}
    assert trainable == {f"features.{place}.{kind}" for place in (24, 26, 28) for kind in ("weight", "bias")}
    SliceLoss()(reading.train()(maps), torch.zeros(8, 6)).backward()
    with_gradient = {name for name, weight in network.named_parameters() if weight.grad is not None}
    assert {name for name in with_gradient if name.startswith("backbone.")} == {
        f"backbone.{name}" for name in trainable
    }
    assert not [name for name in with_gradient if name.startswith(("aps.", "fusion."))]


def test_a_slice_is_read_as_the_network_itself_reads_it():
    network = a_network().eval()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        network.primary.slice_classifier.normalisation.norm.running_mean.uniform_(0, 3)
        reading = slice_network(network).eval()
        found = reading(network.backbone.frozen_stage()(images))
        expected = network.primary.slice_classifier(pool(network.backbone(images))[None])[0]
    assert found.shape == (3, 6)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_evidence_starts_at_how_often_each_label_is_shown():
    network = a_network()
    slice_network(network)
    bias = network.primary.slice_classifier.output.bias.detach().sigmoid()
    torch.testing.assert_close(bias, torch.tensor([0.5, 0.1, 0.001, 0.999, 0.2, 0.3]))


def test_what_was_known_of_a_label_stays_where_no_slice_tells_of_it():
    network = a_network()
    with torch.no_grad():
        network.primary.slice_classifier.output.bias.fill_(-2.5)
    SliceNetwork(network, (0.5, float("nan"), 0.5, 0.5, 0.5, 0.5))
    assert network.primary.slice_classifier.output.bias.tolist() == [0.0, -2.5, 0.0, 0.0, 0.0, 0.0]


def test_a_norm_shared_by_several_processes_has_a_slope_too(maps: Tensor):
    network = a_network()
    alone = slice_network(network).slice_classifier.slope()
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    torch.testing.assert_close(slice_network(shared).slice_classifier.slope(), alone)


def test_a_backbone_without_trained_layers_is_refused():
    network = a_network()
    network.backbone = TinyBackbone()
    network.backbone.frozen_layers = 4
    with pytest.raises(ExpectedError, match="TinyBackbone has no layers that are trained"):
        slice_network(network)


def test_a_network_without_evidence_is_refused():
    network = a_network(slice_classifier=False)
    with pytest.raises(ExpectedError, match="needs network_def#heads#slice_classifier true"):
        SliceNetwork(network, FREQUENCIES)


def test_a_network_that_compares_slices_with_their_scan_cannot_learn_from_single_ones():
    network = a_network(normalisation="scan")
    with pytest.raises(ExpectedError, match="normalisation 'batch'"):
        SliceNetwork(network, FREQUENCIES)
    with pytest.raises(ValueError, match="'batch' only"):
        network.primary.slice_classifier.slope()


def test_without_mixup_every_slice_is_its_own_partner(maps: Tensor):
    reading = slice_network(a_network()).train()
    mixed = reading(maps)
    assert mixed["logits"].shape == (8, 6)
    assert mixed["partner"].tolist() == list(range(8))
    assert mixed["weight"].tolist() == [1.0] * 8


def test_mixed_slices_are_the_mean_of_both_by_their_weights(maps: Tensor):
    network = a_network(dropout=0.0)
    reading = slice_network(network, mixup=0.4).train()
    torch.manual_seed(0)
    maps = maps.float()
    mixed = reading(maps)
    partner, weight = mixed["partner"], mixed["weight"]
    assert sorted(partner.tolist()) == list(range(8))
    assert partner.tolist() != list(range(8))
    assert (weight >= 0.5).all()
    assert (weight <= 1.0).all()
    assert weight.unique().numel() > 4
    of_maps = weight[:, None, None, None]
    blended = of_maps * maps + (1 - of_maps) * maps[partner]
    expected = slice_network(network).train()(blended)["logits"]
    torch.testing.assert_close(mixed["logits"], expected, atol=1e-5, rtol=1e-4)


def test_the_cells_of_a_slice_are_its_grad_cam_before_rectification(maps: Tensor):
    network = a_network(dropout=0.0)
    reading = slice_network(network).requires_grad_(False)
    norm = network.primary.slice_classifier.normalisation.norm
    for values, low, high in ((norm.running_mean, 0, 3), (norm.running_var, 0.5, 2), (norm.weight, 0.5, 2)):
        values.data.uniform_(low, high)
    seen = reading.block(maps.float()).requires_grad_(True)
    cells = torch.einsum("bchw,lc->blhw", seen, reading.slice_classifier.slope())
    logits = reading.eval().slice_classifier(pool(seen)[:, None])[:, 0]
    for label in range(6):
        # Each map weighted by the sum over its cells of the logit's gradient (Selvaraju et al. 2017, eq. 1 and 2).
        gradient = torch.autograd.grad(logits[:, label].sum(), seen, retain_graph=True)[0]
        expected = (gradient.sum(dim=(2, 3), keepdim=True) * seen).sum(dim=1)
        torch.testing.assert_close(cells[:, label], expected, atol=1e-4, rtol=1e-4)
    norm.momentum = 0.0
    trained = reading.train()(maps)["cells"]
    torch.testing.assert_close(trained, cells.flatten(2).detach(), atol=1e-4, rtol=1e-4)


def test_masks_draw_attribution_to_where_they_are(maps: Tensor):
    network = a_network(dropout=0.0)
    reading = slice_network(network).train()
    mask = torch.zeros(8, 4)
    mask[:, 3] = 1.0
    target = torch.cat([torch.ones(8, 6), mask], dim=1)
    optimiser = torch.optim.AdamW([*reading.block.parameters(), *reading.slice_classifier.parameters()], lr=1e-3)

    def fraction_in_mask() -> float:
        return float(reading(maps)["cells"].softmax(dim=-1)[..., 3].mean().detach())

    before = fraction_in_mask()
    for _ in range(10):
        optimiser.zero_grad()
        SliceLoss(mask_weight=1.0)(reading(maps), target).backward()
        optimiser.step()
    assert fraction_in_mask() > before + 0.3


def test_slices_are_not_mixed_in_validation(maps: Tensor):
    reading = slice_network(a_network(), mixup=0.4).eval()
    with torch.no_grad():
        assert torch.equal(reading(maps), reading(maps))
        assert reading(maps).shape == (8, 6)


def test_the_high_resolution_classifier_starts_where_the_other_one_ends():
    network = a_network()
    with torch.no_grad():
        network.primary.slice_classifier.output.weight.fill_(0.25)
        network.primary.slice_classifier.normalisation.norm.running_mean.fill_(3.0)
    assert with_high_res_classifier(network) is network
    high_res, primary = network.aps.slice_classifier.state_dict(), network.primary.slice_classifier.state_dict()
    assert all(torch.equal(high_res[name], value) for name, value in primary.items())
    with torch.no_grad():
        network.primary.slice_classifier.output.weight.fill_(1.0)
    assert network.aps.slice_classifier.output.weight.unique().tolist() == [0.25]


def test_a_network_without_key_slices_has_nothing_to_start():
    network = a_network(DrCT1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    after = with_high_res_classifier(network).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
