"""Files of tensors: what is written comes back, and what is old, cut off or of another kind is made again."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.training.tensor_cache import read_cached, write_cached

torch.set_num_threads(1)

TENSORS = {
    "image": torch.arange(24, dtype=torch.bfloat16).reshape(2, 3, 4),
    "read_slice": torch.tensor([0, 0, 1]),
}
NAMES = ("image", "read_slice")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "049.pt"
    write_cached(path, "mark", TENSORS)
    return path


def read(path: Path, mark: str = "mark") -> dict[str, torch.Tensor]:
    found = read_cached(path, mark, NAMES)
    assert found is not None
    return found


def test_tensors_come_back_as_they_were(written: Path):
    found = read(written)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_only_what_is_asked_for_is_read(written: Path):
    found = read_cached(written, "mark", ("image",))
    assert found is not None
    assert list(found) == ["image"]


def test_a_missing_file_is_to_be_made(tmp_path: Path):
    assert read_cached(tmp_path / "049.pt", "mark", NAMES) is None


def test_a_file_made_from_something_else_is_made_again(written: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        assert read_cached(written, "other mark", NAMES) is None
    assert caplog.messages == ["049: inputs changed, it is made again"]


def test_a_file_that_lacks_a_tensor_is_made_again(written: Path):
    assert read_cached(written, "mark", ("image", "high_res")) is None


class _Foreign:
    """An object of a class that the reader does not know."""


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-300]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(b"no archive at all"),
    "other content": lambda path: torch.save({"image": torch.zeros(1)}, path),
    "a bare tensor": lambda path: torch.save(torch.zeros(3), path),
    "a foreign class": lambda path: path.write_bytes(pickle.dumps(_Foreign())),
    "a foreign class in an archive": lambda path: torch.save({"fingerprint": "mark", "image": _Foreign()}, path),
    "an old archive": lambda path: torch.save(
        {"fingerprint": "mark", **TENSORS}, path, _use_new_zipfile_serialization=False
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_made_again_and_named(
    written: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], Any]
):
    written.unlink()
    write_cached(written, "mark", TENSORS)
    damage(written)
    assert read_cached(written, "mark", NAMES) is None
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("049: the cache's file is damaged")
    write_cached(written, "mark", TENSORS)
    assert torch.equal(read(written)["image"], TENSORS["image"])


def test_nothing_half_written_is_ever_under_the_files_name(written: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(_content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_cached(written, "new mark", {"image": torch.zeros(3)})
    monkeypatch.undo()
    assert torch.equal(read(written)["image"], TENSORS["image"])
    write_cached(written, "new mark", TENSORS)
    assert sorted(path.name for path in written.parent.iterdir()) == ["049.pt"]


def test_tensors_that_are_in_use_outlive_their_file(written: Path):
    found = read(written)
    write_cached(written, "mark", {"image": torch.zeros(5), "read_slice": torch.zeros(1)})
    assert torch.equal(found["image"], TENSORS["image"])
    written.unlink()
    assert torch.equal(found["image"], TENSORS["image"])
