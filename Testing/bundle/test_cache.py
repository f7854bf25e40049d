"""The cache: computed once, computed again where an input changed or a file is damaged, safe from other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from scripts.cache import Cache, files_key, mapped_tensor, weights_key

torch.set_num_threads(1)

ARRAYS = {"image": np.arange(24, dtype=np.uint16).reshape(2, 3, 4), "slices": np.array([0, 0, 1])}
KEY = ["049", ("049.jpg", 7, 1), {"size": 32}]


def arrays() -> dict[str, Any]:
    return ARRAYS


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def result_file(folder: Path) -> Path:
    (found,) = folder.rglob("output.pkl")
    return found


@pytest.mark.parametrize("mapped", [False, True])
def test_a_result_is_computed_once_and_found_from_then_on(tmp_path: Path, mapped: bool):
    first, later = Cache(tmp_path), Cache(tmp_path)
    assert not first.holds("maps", KEY)
    assert same(first.get("maps", KEY, arrays, mapped), ARRAYS)
    assert later.holds("maps", KEY)
    assert same(later.get("maps", KEY, arrays, mapped), ARRAYS)
    assert (first.computed, later.computed) == (1, 0)


@pytest.mark.parametrize(
    "other", [["050", *KEY[1:]], [KEY[0], ("049.jpg", 8, 1), KEY[2]], [*KEY[:2], {"size": 48}], [*KEY, np.ones(2)]]
)
def test_another_input_or_setting_is_another_result(tmp_path: Path, other: list[Any]):
    cache = Cache(tmp_path)
    cache.get("maps", KEY, lambda: "first")
    assert cache.get("maps", other, lambda: "second") == "second"
    assert cache.get("maps", KEY, lambda: "third") == "first"
    assert cache.get("features", KEY, lambda: "another kind") == "another kind"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda content: content[:-20],
    "half": lambda content: content[: len(content) // 2],
    "garbage": lambda _: b"no result at all",
}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_computed_again_and_said_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes], mapped: bool
):
    cache = Cache(tmp_path)
    cache.get("maps", KEY, arrays)
    damaged = result_file(tmp_path)
    damaged.write_bytes(damage(damaged.read_bytes()))
    assert same(cache.get("maps", KEY, arrays, mapped), ARRAYS)
    assert same(cache.get("maps", KEY, arrays, mapped), ARRAYS)
    assert cache.computed == 2
    (message,) = caplog.messages
    assert message.startswith("cache of maps: a file is damaged and is computed again")
    assert "\n" not in message


def test_an_interrupted_computation_leaves_nothing_that_is_taken_for_a_result(tmp_path: Path):
    def interrupted() -> None:
        raise KeyboardInterrupt

    cache = Cache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cache.get("maps", KEY, interrupted)
    assert not cache.holds("maps", KEY)
    assert cache.get("maps", KEY, lambda: "whole") == "whole"


PROGRAM = """
import sys, time
import numpy as np
from scripts.cache import Cache
cache = Cache(sys.argv[1])
for number in range(20):
    found = cache.get("maps", number, lambda: (time.sleep(0.01), np.full(50_000, number))[1], mapped=True)
    assert (found == number).all() and len(found) == 50_000
"""


def test_two_processes_fill_one_cache_without_harm(tmp_path: Path):
    path = os.pathsep.join(sys.path)
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path)]
    children = [
        subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [(child.communicate()[1], child.returncode) for child in children] == [("", 0), ("", 0)]
    cache = Cache(tmp_path)
    assert all(np.array_equal(cache.get("maps", each, list), np.full(50_000, each)) for each in range(20))
    assert cache.computed == 0


def test_a_file_that_others_read_is_written_once_and_never_half(tmp_path: Path):
    cache = Cache(tmp_path)

    def interrupted(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.file("weights", KEY, ".pt", interrupted)
    path = cache.file("weights", KEY, ".pt", lambda path: path.write_bytes(b"whole"))
    assert cache.file("weights", KEY, ".pt", interrupted) == path
    assert path.suffix == ".pt"
    assert path.read_bytes() == b"whole"
    assert cache.file("weights", [*KEY, 1], ".pt", lambda path: path.write_bytes(b"other")) != path


def test_a_file_is_known_by_its_name_size_and_time(tmp_path: Path):
    paths = [tmp_path / name for name in ("b.nii", "a.nii")]
    for path in paths:
        path.write_bytes(b"voxels")
    before = files_key(paths)
    assert [name for name, *_ in before] == ["a.nii", "b.nii"]
    assert files_key(reversed(paths)) == before
    os.utime(paths[0], ns=(1, 1))
    touched = files_key(paths)
    assert touched != before
    paths[0].write_bytes(b"more voxels")
    os.utime(paths[0], ns=(1, 1))
    assert files_key(paths) not in (before, touched)


def test_weights_are_known_by_their_values_and_names():
    torch.manual_seed(0)
    network, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert weights_key(network) != weights_key(other)
    other.load_state_dict(network.state_dict())
    assert weights_key(network) == weights_key(other)
    assert weights_key(nn.Sequential(network)) != weights_key(network)


@pytest.mark.parametrize("mapped", [False, True])
def test_sixteen_bits_of_any_kind_come_back_as_the_tensor_that_they_were(tmp_path: Path, mapped: bool):
    tensor = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    cache = Cache(tmp_path)
    kept = cache.get("maps", KEY, lambda: [np.ones(7), tensor.clone().view(torch.uint16).numpy()], mapped)
    found = mapped_tensor(kept[1], torch.bfloat16)
    assert torch.equal(found, tensor)
    found[:] = 0
    again = Cache(tmp_path).get("maps", KEY, arrays, mapped)
    assert torch.equal(mapped_tensor(again[1], torch.bfloat16), tensor), "the file has changed with the tensor"


def test_mapped_tensors_keep_no_file_open_and_outlive_it(tmp_path: Path):
    cache = Cache(tmp_path)
    folder = Path("/proc/self/fd")
    before = len(list(folder.iterdir()))
    kept = [
        mapped_tensor(cache.get("maps", number, partial(np.full, 9, number, np.int64), True), torch.int64)
        for number in range(50)
    ]
    assert len(list(folder.iterdir())) < before + 10
    for path in tmp_path.rglob("output.pkl"):
        path.unlink()
    assert [int(tensor[0]) for tensor in kept] == list(range(50))


def test_what_one_process_computes_another_finds_in_every_folder(tmp_path: Path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        Cache(folder).get("numbers", [1], lambda: 2)
    script = "import sys; from scripts.cache import Cache\n"
    script += "for folder in sys.argv[1:]: print(Cache(folder).get('numbers', [1], lambda: 3))"
    bundle = Path(__file__).resolve().parents[2] / "monai_bundle"
    command = [sys.executable, "-c", script, *map(str, folders)]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "2"]
