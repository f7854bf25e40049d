"""The stored pixels of one DICOM file: opened, decompressed, or refused with the package or attribute that it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import dictionary_description
from pydicom.dataset import FileDataset
from pydicom.pixels import get_decoder
from pydicom.tag import Tag
from pydicom.uid import (
    HTJ2K,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from scripts.intake.dicom_header import READING_ERRORS
from scripts.intake.file_location import FileLocation, FileOpener
from scripts.intake.pixel_data_length import has_excess
from scripts.intake.slice_header import SliceHeader
from scripts.intake.study import NotEvaluableError

_PIXEL_TAGS: list[Any] = [
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelData",
]
_REQUIRED = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation", "PixelData"),
)
_USUAL_PACKAGE = "python-gdcm"
_PACKAGES = {
    **dict.fromkeys((HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL), "pylibjpeg pylibjpeg-openjpeg"),
    JPEGExtended12Bit: "pylibjpeg pylibjpeg-libjpeg",
}
"""GDCM decodes no High-Throughput JPEG 2000, and of JPEG Extended 8 bits alone."""


class DecodedFile(NamedTuple):
    """A file's stored values and what converting needs of its header.

    Attributes
    ----------
    dataset : FileDataset
        What describes the pixels.
    pixels : ndarray of int, shape ([frames,] rows, columns)
        As decoded.
    syntax_assumed : bool
        Whether the file names no transfer syntax.
    excess : bool
        Whether it holds more pixel data than its header states; see :func:`has_excess`.
    """

    dataset: FileDataset
    pixels: NDArray[np.generic]
    syntax_assumed: bool
    excess: bool


def decode(location: FileLocation, opener: FileOpener) -> DecodedFile:
    """Open one file and decode its pixels.

    Raises
    ------
    NotEvaluableError
        ``"unreadable_pixel_data"``, ``"missing_decoder"``, ``"no_transfer_syntax"``, ``"no_permission"``.
    """
    try:
        with opener.open(location) as file:
            dataset = pydicom.dcmread(file, force=True, specific_tags=_PIXEL_TAGS)
        _check_required(location.name, dataset)
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if syntax:
            _check_decoder(location.name, syntax, dataset)
        else:
            dataset.file_meta.TransferSyntaxUID = _plain_syntax(location.name, dataset)
        excess = has_excess(location.name, dataset, dataset.file_meta.TransferSyntaxUID)
        # pydicom would cut values to Bits Stored from the lowest bit on, whatever High Bit says and whatever it loses.
        dataset.pixel_array_options(correct_unused_bits=False)
        return DecodedFile(dataset, dataset.pixel_array, not syntax, excess)
    except PermissionError:
        raise NotEvaluableError("no_permission", name=location.name) from None
    except READING_ERRORS:
        raise NotEvaluableError("unreadable_pixel_data", name=location.name) from None


def _check_required(name: str, dataset: FileDataset) -> None:
    for keyword in _REQUIRED:
        if dataset.get(keyword) in (None, ""):
            attribute = f"{dictionary_description(keyword)} {Tag(keyword)}"
            raise NotEvaluableError("unreadable_pixel_data.lacks", name=name, attribute=attribute)


def _plain_syntax(name: str, dataset: FileDataset) -> UID:
    """Return the uncompressed transfer syntax that a data set was written in, if its pixels have that length."""
    pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1)
    expected = pixels * int(dataset.get("NumberOfFrames") or 1) * int(dataset.BitsAllocated) // 8
    found = dataset["PixelData"]
    if found.is_undefined_length or len(found.value) not in (expected, expected + 1):
        raise NotEvaluableError("no_transfer_syntax", name=name)
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _check_decoder(name: str, syntax: UID, dataset: FileDataset) -> None:
    if not syntax.is_transfer_syntax or syntax.is_private:
        raise NotEvaluableError("missing_decoder.unknown", name=name, syntax=str(syntax))
    if not syntax.is_compressed:
        return
    try:
        plugins = get_decoder(syntax).available_plugins
    except NotImplementedError:
        raise NotEvaluableError("missing_decoder.unknown", name=name, syntax=syntax.name) from None
    if syntax == JPEGExtended12Bit and int(dataset.BitsStored) > 8:
        plugins = tuple(plugin for plugin in plugins if plugin == "pylibjpeg")
    if not plugins:
        package = _PACKAGES.get(syntax, _USUAL_PACKAGE)
        raise NotEvaluableError("missing_decoder", name=name, syntax=syntax.name, package=package)


def check_copies(copies: Sequence[tuple[SliceHeader, SliceHeader]]) -> None:
    """Compare slices with the copies that are not read.

    Raises
    ------
    NotEvaluableError
        ``"duplicate_positions"`` where two slices at one position differ.
    """
    with FileOpener() as opener:
        for kept, copy in copies:
            if not _equal(kept, copy, opener):
                first, second = sorted((kept.location.short_path, copy.location.short_path))
                if kept.location == copy.location:
                    first, second = f"{first} [{kept.frame}]", f"{second} [{copy.frame}]"
                one_instance = kept.sop_instance_uid == copy.sop_instance_uid and kept.frame is None
                raise NotEvaluableError(
                    "duplicate_positions.copies" if one_instance else "duplicate_positions", first=first, second=second
                )


def _equal(one: SliceHeader, other: SliceHeader, opener: FileOpener) -> bool:
    if one.frame is None and other.frame is None:
        with opener.open(one.location) as first, opener.open(other.location) as second:
            if first.read() == second.read():
                return True
    values = []
    for header in (one, other):
        dataset, pixels, *_ = decode(header.location, opener)
        frame = pixels if header.frame is None else pixels.reshape(-1, *pixels.shape[-2:])[header.frame]
        values.append((frame, dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")))
    (first_pixels, *first_rescale), (second_pixels, *second_rescale) = values
    return bool(np.array_equal(first_pixels, second_pixels)) and first_rescale == second_rescale
