"""A file of ImageNet weights is taken from torch's cache, fetched only when asked for, and held to its checksum."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
import torch

from scripts.networks.imagenet_files import ImageNetFile
from scripts.networks.imagenet_weights import ImageNetWeightsError
from scripts.networks.joint_backbone import JointBackbone
from scripts.networks.se_resnext import WEIGHTS, SEResNeXt101Features

torch.set_num_threads(1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's cache, empty."""
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


def published(folder: Path) -> ImageNetFile:
    """Write a file of weights as if it had been published."""
    path = folder / "published.pth"
    torch.save({"layer0.conv1.weight": torch.ones(2)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return ImageNetFile(path.name, path.as_uri(), digest[:8], "BSD-3-Clause")


def test_a_file_in_the_cache_is_read(cache: Path):
    file = published(cache)
    assert file.available()
    assert torch.equal(file.read()["layer0.conv1.weight"], torch.ones(2))


def test_nothing_is_fetched_unasked_and_what_is_asked_for_is_checked(cache: Path, tmp_path: Path):
    elsewhere = published(tmp_path)
    assert not elsewhere.available()
    assert elsewhere.available(fetch=True)
    assert (cache / elsewhere.name).is_file()


def test_what_cannot_be_fetched_is_not_available(cache: Path, caplog: pytest.LogCaptureFixture):
    gone = ImageNetFile("gone.pth", (cache / "nowhere.pth").as_uri(), "00000000", "")
    with caplog.at_level(logging.WARNING):
        assert not gone.available(fetch=True)
    assert "gone.pth" in caplog.text


def test_another_file_of_the_same_name_is_refused(cache: Path):
    file = published(cache)
    (cache / file.name).write_bytes(b"something else")
    with pytest.raises(ImageNetWeightsError):
        file.read()


def test_training_says_what_it_begins_with(cache: Path):
    assert SEResNeXt101Features().starts_from() == "random weights"
    (cache / WEIGHTS.name).write_bytes(b"")
    backbone = SEResNeXt101Features()
    assert WEIGHTS.name in backbone.starts_from()
    joint = JointBackbone([SEResNeXt101Features(pretrained=False), backbone], [[0, 1, 2], [3, 4, 5]])
    assert joint.pretrained
    assert joint.starts_from() == f"random weights; ImageNet weights ({WEIGHTS.name})"


def test_members_begin_with_their_own_weights(cache: Path, monkeypatch: pytest.MonkeyPatch):
    (cache / WEIGHTS.name).write_bytes(b"")
    joint = JointBackbone([SEResNeXt101Features(pretrained=False), SEResNeXt101Features()], [[0, 1, 2], [3, 4, 5]])
    known = {name: torch.full_like(each, 3) for name, each in joint.members[1].state_dict().items()}
    monkeypatch.setattr(SEResNeXt101Features, "pretrained_state", lambda _: known)
    state = joint.pretrained_state()
    assert state.keys() == joint.state_dict().keys()
    weight = "features.0.conv1.weight"
    assert torch.equal(state[f"members.1.{weight}"], known[weight])
    assert torch.equal(state[f"members.0.{weight}"], joint.state_dict()[f"members.0.{weight}"])
