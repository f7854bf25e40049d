"""Maps against MONAI's Grad-CAM and hand computation: sign, one scale, one unit, nothing outside the head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.visualize import GradCAM, GradCAMpp
from torch import Tensor, nn

from scripts.explanation.grad_cam import (
    CellValues,
    grad_cam,
    grad_cam_in_logits,
    grad_cam_plus_plus,
    layers,
    slice_evidence,
)
from scripts.explanation.maps import as_stored_map, attention_map, feature_attention_map, key_slice_ranks
from scripts.explanation.methods import METHODS
from scripts.networks.backbone import pool
from scripts.networks.drct import DrCT1
from scripts.networks.study_network import FeatureMaps, StudyOutput
from scripts.networks.vgg16 import VGG16Features
from scripts.reading_geometry import CropPlane, ReadingGeometry

torch.set_num_threads(1)


class OneSlice(nn.Module):
    """DrCT1 as MONAI's Grad-CAM knows networks: images (batch, 3, height, width) in, logits out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.network = DrCT1(VGG16Features(), slices=1)
        for layer in self.network.backbone.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        # Labels that differ, so that a map of the wrong label cannot pass.
        nn.init.normal_(self.network.primary.classifier[-1].weight, std=3.0)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image[:, :, None])


def monais(method: type[GradCAM], one_slice: OneSlice) -> GradCAM:
    """MONAI's map as computed: neither enlarged, inverted nor stretched, which MONAI does unless told otherwise."""
    return method(
        one_slice, "network.backbone", upsampler=lambda _size: lambda cells: cells, postprocessing=lambda cells: cells
    )


@pytest.fixture(scope="module")
def one_slice() -> OneSlice:
    return OneSlice().eval()


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def readings_of(one_slice: OneSlice, image: Tensor) -> tuple[Tensor, tuple[FeatureMaps, ...]]:
    """Logits and feature maps as the inferer has them: the backbone without gradients, the heads with."""
    with torch.no_grad():
        maps = one_slice.network.backbone(image)
    reading = FeatureMaps(maps.requires_grad_(), torch.tensor([0]))
    return one_slice.network.read(pool(reading.maps)[None], pytest.fail).logits[0], (reading,)


def test_grad_cam_is_monais(one_slice: OneSlice, image: Tensor):
    monai = monais(GradCAM, one_slice)
    logits, readings = readings_of(one_slice, image)
    compared = 0
    for number, logit in enumerate(logits):
        (layer,) = layers(logit, readings, 1, grad_cam_in_logits)
        ours = layer / layer[0].numel()
        theirs = monai(image, class_idx=number)[0]
        # As a share of the map's largest value: a network without training gives small ones.
        largest = theirs.max() if theirs.any() else ours.abs().max()
        torch.testing.assert_close(ours.clamp(min=0) / largest, theirs / largest, atol=1e-5, rtol=0)
        compared += theirs.max() > 0
    assert compared >= 3


def test_grad_cam_plus_plus_is_monais(one_slice: OneSlice, image: Tensor):
    monai = monais(GradCAMpp, one_slice)
    logits, readings = readings_of(one_slice, image)
    for number, logit in enumerate(logits):
        (ours,) = layers(logit, readings, 1, grad_cam_plus_plus)
        # MONAI explains exp(logit), as the paper does: the same map times exp(logit).
        theirs = monai(image, class_idx=number)[0] / logit.detach().exp()
        largest = theirs.max()
        assert largest > 0
        # MONAI adds 1e-7 to a denominator that is as small as the squared gradient.
        torch.testing.assert_close(ours / largest, theirs / largest, atol=1e-3, rtol=0)


def test_grad_cam_is_equation_1_and_2_with_its_sign():
    maps = torch.tensor([[[[1.0, 2.0], [0.0, 3.0]], [[4.0, 0.0], [1.0, 1.0]]]])
    gradients = torch.tensor([[[[0.4, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, -0.8]]]])
    expected = 0.1 * maps[0, 0] - 0.2 * maps[0, 1]
    torch.testing.assert_close(grad_cam(maps, gradients)[0], expected)
    assert expected.min() < 0


def test_grad_cam_plus_plus_by_hand():
    maps = torch.tensor([[[[1.0, 2.0], [0.0, 3.0]], [[4.0, 0.0], [1.0, 1.0]]]])
    gradients = torch.tensor([[[[0.5, 0.0], [0.0, 0.0]], [[-0.5, 0.0], [0.0, 0.25]]]])
    # Channel 0: alpha = .25 / (.5 + .125); channel 1: sum of A g^3 = 4 x -.125 + .015625.
    first = 0.25 / (0.5 + 1.0 * 0.125) * 0.5
    second = 0.0625 / (0.125 + 4.0 * -0.125 + 1.0 * 0.015625) * 0.25
    torch.testing.assert_close(grad_cam_plus_plus(maps, gradients)[0], first * maps[0, 0] + second * maps[0, 1])


def test_a_gradient_of_zero_leaves_the_map_dark():
    maps = torch.rand(1, 512, 4, 4)
    for method in (grad_cam, grad_cam_plus_plus):
        assert method(maps, torch.zeros_like(maps)).abs().max() == 0


def a_geometry(slabs: tuple[tuple[int, ...], ...] = ((0,), (1,), (2,)), side: int = 32) -> ReadingGeometry:
    """The whole matrix is the image, as it is stored."""
    plane = CropPlane(0, side, 0, side, flip_rows=False, flip_columns=False)
    return ReadingGeometry(plane, slabs, (max(map(max, slabs)) + 1, side, side))


def linear_logit(readings: tuple[FeatureMaps, ...], weights: list[Tensor]) -> Tensor:
    """A head whose contributions are known: weights times pooled features, added over slices and readings."""
    contributions = [(pool(reading.maps) * weight).sum() for reading, weight in zip(readings, weights, strict=True)]
    return torch.stack(contributions).sum()


def test_a_map_shows_contributions_in_logits_whatever_the_resolution():
    peaks = torch.zeros(1, 512, 14, 14), torch.zeros(1, 512, 32, 32)
    peaks[0][0, 5, 3, 4], peaks[1][0, 9, 20, 21] = 2.0, 4.0
    readings = tuple(FeatureMaps(maps.requires_grad_(), torch.tensor([1])) for maps in peaks)
    weights = torch.zeros(512), torch.zeros(512)
    weights[0][5], weights[1][9] = 0.75, -0.25
    logit = linear_logit(readings, list(weights))
    found = layers(logit, readings, 3, grad_cam_in_logits)
    assert found[0].shape == (3, 14, 14)
    assert found[1].shape == (3, 32, 32)
    assert found[0][1, 3, 4].item() == pytest.approx(1.5)
    assert found[1][1, 20, 21].item() == pytest.approx(-1.0)
    assert logit.item() == pytest.approx(sum(layer.sum().item() for layer in found))


@pytest.mark.parametrize("cell_values", [grad_cam_in_logits, grad_cam_plus_plus])
def test_both_resolutions_weigh_alike_where_their_maps_are_alike(cell_values: CellValues):
    found = []
    for side in (14, 32):
        maps = torch.zeros(1, 512, side, side)
        maps[0, 5, side // 2, side // 2] = 2.0
        reading = FeatureMaps(maps.requires_grad_(), torch.tensor([0]))
        weight = torch.zeros(512)
        weight[5] = 0.75
        found += layers(linear_logit((reading,), [weight]), (reading,), 1, cell_values)
    assert found[0].max().item() == pytest.approx(found[1].max().item(), rel=1e-5)
    assert found[0].max() > 0


def test_slices_that_a_reading_left_out_stay_dark():
    generator = torch.Generator().manual_seed(1)
    readings = (
        FeatureMaps(torch.rand(3, 512, 4, 4, generator=generator).requires_grad_(), torch.arange(3)),
        FeatureMaps(torch.rand(1, 512, 8, 8, generator=generator).requires_grad_(), torch.tensor([2])),
    )
    logit = linear_logit(readings, [torch.ones(512), torch.ones(512)])
    all_slices, key_slices = layers(logit, readings, 3, grad_cam_in_logits)
    assert (all_slices.amax(dim=(1, 2)) > 0).tolist() == [True, True, True]
    assert (key_slices.amax(dim=(1, 2)) > 0).tolist() == [False, False, True]


def an_output(maps: tuple[FeatureMaps, ...], logits: Tensor, feature_attention: Tensor | None = None) -> StudyOutput:
    """One label, no slice classifier; as many input slices as the first maps have."""
    count = len(maps[0].maps)
    return StudyOutput(
        sub_stack_logits=logits.reshape(-1, 1),
        slice_attention=torch.full((count,), 1 / count),
        slice_logits=torch.zeros(count, 1),
        key_slices=maps[-1].input_slices,
        key_slice_logits=torch.zeros(len(maps[-1].input_slices), 1),
        feature_attention=feature_attention,
        feature_maps=maps,
    )


def test_layers_of_both_resolutions_are_added_on_the_original_voxels():
    generator = torch.Generator().manual_seed(1)
    maps = (
        FeatureMaps(torch.rand(2, 512, 4, 4, generator=generator).requires_grad_(), torch.arange(2)),
        FeatureMaps(torch.rand(1, 512, 8, 8, generator=generator).requires_grad_(), torch.tensor([1])),
    )
    output = an_output(maps, linear_logit(maps, [torch.ones(512), -torch.ones(512)]))
    geometry = a_geometry(((0, 1), (2,)))
    all_slices, key_slices = METHODS["gradcam"].explain(output, 0)
    original = geometry.resample_back(all_slices, key_slices)
    assert original.shape == (3, 32, 32)
    torch.testing.assert_close(original, geometry.resample_back(all_slices) + geometry.resample_back(key_slices))
    assert torch.equal(original[0], original[1])
    assert original[0].min() > 0
    assert original[2].min() < 0


def test_slice_evidence_is_the_probability_that_no_slice_shows_the_label():
    logits = torch.tensor([[0.3], [-1.0], [2.0]])
    none = (1 - logits.sigmoid()).prod()
    torch.testing.assert_close(slice_evidence(logits), -none.log()[None])


def test_feature_attention_shows_where_the_preferred_features_lie():
    maps = torch.zeros(2, 512, 4, 4)
    maps[0, 7, 1, 2], maps[1, 8, 3, 0] = 5.0, 4.0
    weights = torch.full((2, 512), 0.001)
    weights[0, 7] = 0.5
    output = an_output((FeatureMaps(maps, torch.arange(2)),), torch.zeros(1), weights)
    stored = feature_attention_map(output, a_geometry(((0,), (1,)), side=4))
    assert stored[0, 1, 2].item() == pytest.approx(2.5)
    assert stored[1, 3, 0].item() == pytest.approx(0.004)
    assert stored.count_nonzero() == 2


def test_a_scan_has_one_scale_and_its_largest_magnitude_is_255():
    values = torch.tensor([[[1.0, 2.0]], [[4.0, 0.5]]])
    stored = as_stored_map(values, np.ones((2, 1, 2), dtype=bool))
    assert stored.scale == pytest.approx(4.0)
    assert stored.voxels.dtype == np.uint8
    assert stored.voxels.tolist() == [[[64, 128]], [[255, 32]]]


def test_evidence_against_a_label_is_dark_and_sets_the_scale_where_it_is_stronger():
    values = torch.tensor([[[1.0, -4.0]]])
    stored = as_stored_map(values, np.ones((1, 1, 2), dtype=bool))
    assert stored.scale == pytest.approx(4.0)
    assert stored.voxels.tolist() == [[[64, 0]]]


def test_a_scan_with_nothing_but_evidence_against_stays_dark():
    stored = as_stored_map(-torch.rand(3, 4, 4) - 0.1, np.ones((3, 4, 4), dtype=bool))
    assert stored.voxels.max() == 0
    assert stored.scale > 0


def test_a_map_of_zeros_has_no_scale():
    stored = as_stored_map(torch.zeros(2, 3, 3), np.ones((2, 3, 3), dtype=bool))
    assert stored.scale == 0.0
    assert stored.voxels.max() == 0


def test_outside_the_head_nothing_shows_nor_counts():
    head = np.zeros((2, 4, 4), dtype=bool)
    head[:, 1:3, 1:3] = True
    values = torch.ones(2, 4, 4)
    values[0, 0, 0] = 100.0
    stored = as_stored_map(values, head)
    assert stored.scale == pytest.approx(1.0)
    assert np.array_equal(stored.voxels, np.where(head, 255, 0))


def test_a_scan_without_a_head_has_a_dark_map():
    assert as_stored_map(torch.ones(2, 4, 4), np.zeros((2, 4, 4), dtype=bool)).scale == 0.0


def test_the_callers_values_are_left_as_they_were():
    values = torch.tensor([[[1.0, -4.0]]])
    as_stored_map(values, np.ones((1, 1, 2), dtype=bool))
    assert values.tolist() == [[[1.0, -4.0]]]


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=60))
def test_stored_values_times_scale_are_the_values_to_half_a_step(values: list[float]):
    stored = as_stored_map(torch.tensor(values)[None, None], np.ones((1, 1, len(values)), dtype=bool))
    back = stored.voxels[0, 0] * (stored.scale / 255)
    assert np.abs(back - np.clip(values, 0, None)).max() <= 0.5001 * stored.scale / 255 + 1e-9


def test_attention_is_painted_on_the_head_alone():
    head = np.zeros((3, 4, 4), dtype=bool)
    head[:, 1:3, 1:3] = True
    stored = attention_map(torch.tensor([0.12, 0.6, 0.28]), head)
    assert stored.scale == pytest.approx(0.6)
    assert [int(plane.max()) for plane in stored.voxels] == [51, 255, 119]
    assert not stored.voxels[~head].any()


def test_key_slices_are_ranked_by_the_attention_of_input_slices():
    geometry = a_geometry(((4, 5), (2, 3), (0, 1)))
    assert key_slice_ranks(torch.tensor([0.2, 0.5, 0.3]), geometry, 2) == {3: 1, 1: 2}


def test_equal_attention_ranks_from_the_feet():
    assert key_slice_ranks(torch.tensor([0.25, 0.5, 0.25]), a_geometry(), 3) == {1: 1, 0: 2, 2: 3}


def test_a_short_scan_has_fewer_key_slices_than_asked_for():
    assert key_slice_ranks(torch.tensor([0.2, 0.5, 0.3]), a_geometry(), 5) == {1: 1, 2: 2, 0: 3}
