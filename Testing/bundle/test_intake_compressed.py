"""Every transfer syntax that pydicom's plug-ins decode is read from files that an encoder of its own has written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gdcm
import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_files import Edit, Series, head_voxels, set_pixels, set_value, transcode, write_series
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import CTStudy, NotEvaluableError

SMALL = head_voxels(13, 32, 24, (6.0, 8.0))
Encoder = Callable[[NDArray[np.unsignedinteger]], bytes | bytearray]


def read_only_study(folder: Path) -> CTStudy:
    (source,) = find_studies(folder)
    return read_study(source)


def compressed(syntax: UID, encode: Encoder) -> Edit:
    """Return an edit that stores a slice's values plus 1024, unsigned, as an encoder compresses them."""

    def edit(index: int, dataset: Dataset) -> None:
        stored = (SMALL[index] + 1024).astype(np.uint16)
        set_pixels(dataset, stored)
        dataset.PixelData = encapsulate([bytes(encode(stored))])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = syntax

    return edit


def jpeg_lossless(values: NDArray[np.unsignedinteger], predictor: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(values, lossless=True, predictor=predictor, bitspersample=16))


@pytest.mark.parametrize(
    "syntax",
    [
        gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        gdcm.TransferSyntax.JPEGLSLossless,
        gdcm.TransferSyntax.JPEG2000Lossless,
        gdcm.TransferSyntax.RLELossless,
    ],
    ids=["JPEG Lossless", "JPEG-LS", "JPEG 2000", "RLE"],
)
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_series_that_gdcm_compressed_are_read_without_loss(tmp_path: Path, syntax: int, signed: bool):
    def unsigned(index: int, dataset: Dataset) -> None:
        if not signed:
            set_pixels(dataset, (SMALL[index] + 1024).astype(np.uint16))

    for path in write_series(tmp_path, Series(SMALL), unsigned):
        transcode(path, syntax)
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_only_study(tmp_path).voxels, SMALL)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGLossless, lambda values: imagecodecs.jpeg8_encode(values, lossless=True, predictor=4, bitspersample=16)),
        (
            JPEGLosslessSV1,
            lambda values: imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=16),
        ),
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (JPEG2000Lossless, lambda values: imagecodecs.jpeg2k_encode(values, codecformat="J2K", reversible=True)),
        (HTJ2KLossless, imagecodecs.htj2k_encode),
        (HTJ2KLosslessRPCL, lambda values: imagecodecs.htj2k_encode(values, tlm=True, resolutions=3)),
        (HTJ2K, lambda values: imagecodecs.htj2k_encode(values, reversible=True)),
    ],
    ids=lambda value: value.name if isinstance(value, UID) else "",
)
def test_series_of_other_encoders_are_read_without_loss(tmp_path: Path, syntax: UID, encode: Encoder):
    write_series(tmp_path, Series(SMALL), compressed(syntax, encode))
    study = read_only_study(tmp_path)
    np.testing.assert_array_equal(study.voxels, SMALL)
    assert study.warnings == ()


@pytest.mark.parametrize(
    ("syntax", "encode", "decode"),
    [
        (JPEGLSNearLossless, lambda values: imagecodecs.jpegls_encode(values, level=3), imagecodecs.jpegls_decode),
        (
            JPEG2000,
            lambda values: imagecodecs.jpeg2k_encode(values, level=60, codecformat="J2K", reversible=False),
            imagecodecs.jpeg2k_decode,
        ),
        (
            HTJ2K,
            lambda values: imagecodecs.htj2k_encode(values, level=0.001, reversible=False),
            imagecodecs.htj2k_decode,
        ),
    ],
    ids=lambda value: value.name if isinstance(value, UID) else "",
)
def test_lossy_series_are_read_as_their_encoder_decodes_them(tmp_path: Path, syntax: UID, encode: Encoder, decode):
    write_series(tmp_path, Series(SMALL), compressed(syntax, encode))
    values = np.stack([decode(encode((plane + 1024).astype(np.uint16))) for plane in SMALL])
    expected = (values.astype(int) - 1024).clip(-1024)
    assert not np.array_equal(expected, SMALL)
    assert np.abs(read_only_study(tmp_path).voxels - expected).max() <= 1


@pytest.mark.parametrize(
    ("stated", "warned"), [("syntax", True), ("01", True), ("00", False)], ids=["syntax", "attribute", "not at all"]
)
def test_a_series_that_was_compressed_with_loss_is_warned_of(tmp_path: Path, stated: str, warned: bool):
    if stated == "syntax":
        edit = compressed(JPEGLSNearLossless, imagecodecs.jpegls_encode)
    else:
        edit = set_value("LossyImageCompression", stated)
    write_series(tmp_path, Series(SMALL), edit)
    expected = "13 slices were compressed with loss: small or faint bleeds may have been altered"
    assert [str(warning) for warning in read_only_study(tmp_path).warnings] == [expected] * warned


def test_an_eight_bit_jpeg_series_is_read(tmp_path: Path):
    def edit(index: int, dataset: Dataset) -> None:
        values = ((SMALL[index] + 1024) // 10).clip(0, 255).astype(np.uint8)
        set_pixels(dataset, values)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.RescaleSlope = 8, 8, 7, 10
        dataset.PixelData = encapsulate([bytes(imagecodecs.jpeg8_encode(values, level=95))])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit

    write_series(tmp_path, Series(SMALL), edit)
    difference = np.abs(read_only_study(tmp_path).voxels - SMALL.clip(-1024, 1526))
    assert np.median(difference) <= 20


@pytest.mark.parametrize(
    "syntax",
    [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian],
    ids=lambda syntax: syntax.name,
)
def test_series_in_other_uncompressed_encodings_are_read(tmp_path: Path, syntax: UID):
    def edit(_: int, dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        if not syntax.is_little_endian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()

    write_series(tmp_path, Series(SMALL), edit)
    np.testing.assert_array_equal(read_only_study(tmp_path).voxels, SMALL)


@pytest.mark.parametrize(
    ("syntax", "package"),
    [
        (JPEGLosslessSV1, "python-gdcm"),
        (HTJ2KLossless, "pylibjpeg pylibjpeg-openjpeg"),
        (JPEGExtended12Bit, "pylibjpeg pylibjpeg-libjpeg"),
    ],
    ids=lambda value: value.name if isinstance(value, UID) else "",
)
def test_a_missing_decoder_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: UID, package: str
):
    write_series(tmp_path / "head", Series(SMALL), compressed(syntax, imagecodecs.htj2k_encode))
    # GDCM and Pillow remain for JPEG Extended: they decode 8 bits of it, not the 16 of these slices.
    if syntax != JPEGExtended12Bit:
        monkeypatch.setattr(get_decoder(syntax), "_available", {})
    with pytest.raises(
        NotEvaluableError, match=rf"2_000\.dcm: compressed as .*; install the package {package} or"
    ) as fault:
        read_only_study(tmp_path / "head")
    assert fault.value.code == "missing_decoder"
