"""A network reads a study in memory as the configuration has it: on the original slices, whatever their order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from brightness_network import OVERRIDES
from phantom_scans import GRID

from research.evidence.network_reading import VOLUME_GROUPS, FoldReaders, NetworkReader, NetworkReading
from scripts.intake.study import NotEvaluableError
from scripts.phantom import Haemorrhage, Phantom, make_phantom

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


@pytest.fixture(autouse=True)
def in_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BUNDLE)


@pytest.fixture(scope="module")
def reader() -> NetworkReader:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(BUNDLE)
        return NetworkReader(None, OVERRIDES)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(GRID, [Haemorrhage("intraparenchymal", "left", 40.0)], noise_hu=1.0)


@pytest.fixture(scope="module")
def reading(reader: NetworkReader, phantom: Phantom) -> NetworkReading:
    return reader.read(phantom.study)


def test_the_lesion_map_lies_on_the_original_voxels_and_has_its_volume(reading: NetworkReading, phantom: Phantom):
    assert reading.lesions is not None
    found, blood = reading.lesions.probability >= 128, phantom.masks["intraparenchymal"]
    assert 2 * (found & blood).sum() / (found.sum() + blood.sum()) > 0.8
    assert set(reading.volumes_ml) == set(VOLUME_GROUPS)
    assert reading.volumes_ml["total"] == pytest.approx(phantom.volumes_ml["intraparenchymal"], rel=0.3)
    assert reading.volumes_ml["parenchymal"] == reading.volumes_ml["total"]
    assert reading.volumes_ml["ventricular"] == 0.0


def test_slices_have_their_values_in_the_order_of_the_study(reading: NetworkReading, phantom: Phantom):
    area = phantom.masks["intraparenchymal"].sum(axis=(1, 2))
    for values in (reading.slice_attention, reading.slice_logits[:, 0]):
        assert values.shape == area.shape
        assert abs(int(np.argmax(values)) - int(np.argmax(area))) <= 1
    assert reading.slice_attention.sum() == pytest.approx(1.0)
    assert reading.slice_logits.shape == (len(area), 6)
    assert reading.logits.shape == (6,)


def test_a_stack_from_the_top_down_is_read_alike(reader: NetworkReader, phantom: Phantom, reading: NetworkReading):
    turned = make_phantom(
        replace(GRID, flips=(False, False, True)), [Haemorrhage("intraparenchymal", "left", 40.0)], noise_hu=0.0
    )
    still = make_phantom(GRID, [Haemorrhage("intraparenchymal", "left", 40.0)], noise_hu=0.0)
    np.testing.assert_array_equal(turned.voxels[::-1], still.voxels)
    one, other = reader.read(still.study), reader.read(turned.study)
    np.testing.assert_allclose(one.slice_logits, other.slice_logits[::-1], atol=1e-5)
    np.testing.assert_allclose(one.logits, other.logits, atol=1e-5)
    assert one.volumes_ml == pytest.approx(other.volumes_ml)


def test_a_study_without_a_head_is_refused(reader: NetworkReader, phantom: Phantom):
    empty = replace(phantom.study, voxels=np.full_like(phantom.voxels, -1000))
    with pytest.raises(NotEvaluableError):
        reader.read(empty)


def test_every_fold_has_its_own_network_which_is_loaded_once(tmp_path: Path):
    states = [NetworkReader(None, OVERRIDES).network.state_dict() for _ in range(2)]
    states[1] = {name: value + 1 for name, value in states[1].items()}
    for fold, state in enumerate(states):
        torch.save(state, tmp_path / f"{fold}.pt")
    readers = FoldReaders(str(tmp_path / "{fold}.pt"), OVERRIDES)
    assert readers.held_out
    assert readers.missing(range(3)) == [str(tmp_path / "2.pt")]
    assert readers(0) is readers(0)
    assert readers(0).key != readers(1).key
    one = FoldReaders(str(tmp_path / "0.pt"), OVERRIDES)
    assert not one.held_out
    assert one.missing(range(5)) == []
    assert one(0) is one(4)


def test_attribution_maps_are_computed_of_the_labels_that_are_asked_for(reader: NetworkReader, phantom: Phantom):
    found = NetworkReader(None).read(phantom.study, ("any", "subdural"))
    assert set(found.largest) == {"any", "subdural"}
    assert all(value > 0 for value in found.largest.values())
    # A network without feature maps has nothing to explain.
    assert reader.read(phantom.study, ("any",)).largest == {}
