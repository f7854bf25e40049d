"""Stored DICOM pixels to Hounsfield units, slice by slice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset
from scipy import ndimage

from scripts.intake.dicom_decoding import DecodedFile, decode
from scripts.intake.dicom_header import READING_ERRORS
from scripts.intake.file_location import FileLocation, FileOpener
from scripts.intake.slice_header import SliceHeader
from scripts.intake.stored_bits import within_bits_stored
from scripts.intake.study import AIR_HU, NotEvaluableError, QualityWarning

_WRAP_OFFSET = 1000
_HIGHEST_TWELVE_BIT_HU = 3071
_CERTAIN_PADDING_HU = -500
_AIR_AT_MOST_HU = -500
_CORNER = 8
_HIGHEST_HU = np.iinfo(np.int16).max


@dataclass(frozen=True)
class _Conversion:
    """How the stored values of one slice became Hounsfield units; ``encoding`` is slope, intercept, bits, sign."""

    encoding: tuple[float, float, int, bool]
    wrapped: bool
    inverted: bool
    unused_bits: bool


def read_voxels(headers: Sequence[SliceHeader]) -> tuple[NDArray[np.int16], tuple[QualityWarning, ...]]:
    """Read the pixels of a stack in the order given.

    Slope and intercept are each slice's own. Padding and everything below -1024 HU become air.

    Returns
    -------
    ndarray of int16, shape (slices, rows, columns); tuple of QualityWarning
        Hounsfield units, and what had to be set right or assumed: ``"wrapped_values"``, ``"inverted_values"``,
        ``"unused_bits"``, ``"mixed_encoding"``, ``"no_transfer_syntax"``, ``"excess_pixel_data"``.

    Raises
    ------
    NotEvaluableError
        ``"unreadable_pixel_data"``, ``"missing_decoder"``, ``"no_transfer_syntax"``, ``"no_hounsfield_units"`` or
        ``"no_permission"``; the message names the file.
    """
    voxels = np.empty((len(headers), headers[0].rows, headers[0].columns), dtype=np.int16)
    conversions: list[_Conversion] = []
    opened: tuple[FileLocation, DecodedFile] | None = None
    assumed = excessive = 0
    with FileOpener() as opener, config.disable_value_validation():
        for index, header in enumerate(headers):
            if opened is None or header.frame is None or opened[0] != header.location:
                opened = header.location, decode(header.location, opener)
                assumed += opened[1].syntax_assumed
                excessive += opened[1].excess
            decoded = opened[1]
            stored = _stored_slice(header, decoded.pixels, (voxels.shape[1], voxels.shape[2]))
            voxels[index], conversion = _convert(header, stored, decoded.dataset)
            conversions.append(conversion)
    warnings = _warnings(conversions)
    if assumed:
        warnings += (QualityWarning("no_transfer_syntax", slices=assumed),)
    if excessive:
        warnings += (QualityWarning("excess_pixel_data", files=excessive),)
    return voxels, warnings


def hounsfield_units(
    stored: NDArray[np.generic], dataset: Dataset, frame: int | None = None
) -> tuple[NDArray[np.int16], _Conversion]:
    """Convert one slice.

    RSNA 2019's rule for wrapped values: 12 bits stored, unsigned, intercept above -100 cannot hold air, so 1000 is
    added, what reaches 4096 has wrapped, and the intercept is -1000. Air's noise below -1000 HU would come out at 3072
    to 3095 HU, which no 12-bit scanner reaches; it counts as wrapped too.

    Photometric Interpretation MONOCHROME1 concerns display alone (PS3.3 C.7.6.3.1.2); only where its corners come out
    bright are the stored values themselves inverted.

    Parameters
    ----------
    stored : ndarray of int, shape (rows, columns)
        Pixels as decoded.
    dataset : Dataset
        Rescale Slope (0028,1053) and Intercept (0028,1052), Pixel Padding Value (0028,0120) and Range Limit
        (0028,0121), Bits Allocated, Bits Stored, Pixel Representation (0028,0100), (0028,0101), (0028,0103) and
        Photometric Interpretation (0028,0004) of the file.
    frame : int or None
        Frame of a multi-frame file.

    Returns
    -------
    ndarray of int16, shape (rows, columns); _Conversion
        Hounsfield units, and how they were computed.

    Raises
    ------
    NotEvaluableError
        ``"no_hounsfield_units"`` where the file holds no Rescale Slope and Intercept.
    ValueError, TypeError, BytesLengthException
        For attributes with several values, of another kind or not finite.
    """
    values = stored.astype(np.int32)
    slope, intercept = _rescale(dataset, frame)
    bits = int(dataset.BitsStored)
    signed = bool(dataset.PixelRepresentation)
    encoding = (slope, intercept, bits, signed)
    padding = _padding_mask(values, dataset, slope, intercept)
    values, unused_bits = within_bits_stored(values, padding, dataset, slope, intercept)
    wrapped = bits == 12 and not signed and intercept > -100
    if wrapped:
        values += _WRAP_OFFSET
        values[values > _HIGHEST_TWELVE_BIT_HU + _WRAP_OFFSET] -= 4096
        slope, intercept = 1.0, -float(_WRAP_OFFSET)
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1" and _is_inverted(
        values, bits, signed, slope, intercept
    )
    if inverted:
        values = _mirror(values, bits, signed)
    hounsfield = _rescaled(values, slope, intercept)
    if padding is not None:
        hounsfield[padding] = AIR_HU
    return hounsfield, _Conversion(encoding, wrapped, inverted, unused_bits)


def _rescaled(values: NDArray[np.int32], slope: float, intercept: float) -> NDArray[np.int16]:
    if slope == 1 and intercept == int(intercept) and abs(intercept) < _HIGHEST_HU:
        values += int(intercept)
        # In place: a new array of a slice costs more in fresh memory than the arithmetic.
        return np.clip(values, AIR_HU, _HIGHEST_HU, out=values).astype(np.int16)
    return np.rint(values * slope + intercept).clip(AIR_HU, _HIGHEST_HU).astype(np.int16)


def _stored_slice(header: SliceHeader, pixels: NDArray[np.generic], shape: tuple[int, int]) -> NDArray[np.generic]:
    """Take one slice out of a file's pixels; a frame that the header names must be there."""
    frames = pixels if header.frame is None else pixels.reshape(-1, *pixels.shape[-2:])
    if header.frame is not None and header.frame >= len(frames):
        raise NotEvaluableError("unreadable_pixel_data", name=header.location.name)
    stored = frames if header.frame is None else frames[header.frame]
    if stored.shape != shape:
        raise NotEvaluableError("unreadable_pixel_data", name=header.location.name)
    return stored


def _convert(
    header: SliceHeader, stored: NDArray[np.generic], dataset: Dataset
) -> tuple[NDArray[np.int16], _Conversion]:
    name = header.location.name
    try:
        return hounsfield_units(stored, dataset, header.frame)
    except NotEvaluableError as fault:
        raise fault.within(name) from None
    except READING_ERRORS:
        raise NotEvaluableError("unreadable_pixel_data.attributes", name=name) from None


def _rescale(dataset: Dataset, frame: int | None) -> tuple[float, float]:
    source: Dataset = dataset
    if frame is not None:
        per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
        groups = [*per_frame[frame : frame + 1], *(dataset.get("SharedFunctionalGroupsSequence") or [])]
        source = next(
            (
                group.PixelValueTransformationSequence[0]
                for group in groups
                if "PixelValueTransformationSequence" in group
            ),
            dataset,
        )
    slope, intercept = source.get("RescaleSlope"), source.get("RescaleIntercept")
    if slope is None or intercept is None or float(slope) == 0:
        raise NotEvaluableError("no_hounsfield_units")
    rescale = float(slope), float(intercept)
    if not all(map(math.isfinite, rescale)):
        raise ValueError("rescale slope and intercept must be finite")
    return rescale


def _padding_mask(
    values: NDArray[np.int32], dataset: Dataset, slope: float, intercept: float
) -> NDArray[np.bool_] | None:
    """Find padded voxels; a padding value that tissue can have counts only where it touches the image's border."""
    padding = dataset.get("PixelPaddingValue")
    if padding is None or padding == "":
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = [_as_stored(int(end), dataset) for end in (padding, padding if limit in (None, "") else limit)]
    padded = (values >= min(ends)) & (values <= max(ends))
    if max(ends) * slope + intercept <= _CERTAIN_PADDING_HU:
        return padded
    regions, _ = ndimage.label(padded)
    on_border = np.unique(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]]))
    return np.isin(regions, on_border[on_border > 0])


def _as_stored(padding: int, dataset: Dataset) -> int:
    """Read the padding value with the sign of the pixels; some writers give it the other value representation."""
    bits = int(dataset.BitsAllocated)
    unsigned = padding & ((1 << bits) - 1)
    return unsigned - (1 << bits) if dataset.PixelRepresentation and unsigned >> (bits - 1) else unsigned


def _is_inverted(values: NDArray[np.int32], bits: int, signed: bool, slope: float, intercept: float) -> bool:
    corners = np.concatenate([values[rows, columns].ravel() for rows in _CORNERS for columns in _CORNERS])
    as_stored = float(np.median(corners)) * slope + intercept
    turned = float(np.median(_mirror(corners, bits, signed))) * slope + intercept
    return as_stored > _AIR_AT_MOST_HU >= turned


_CORNERS = (slice(None, _CORNER), slice(-_CORNER, None))


def _mirror(values: NDArray[np.int32], bits: int, signed: bool) -> NDArray[np.int32]:
    return (-1 if signed else (1 << bits) - 1) - values


def _warnings(conversions: Sequence[_Conversion]) -> tuple[QualityWarning, ...]:
    warnings = []
    if wrapped := sum(conversion.wrapped for conversion in conversions):
        warnings.append(QualityWarning("wrapped_values", slices=wrapped))
    if inverted := sum(conversion.inverted for conversion in conversions):
        warnings.append(QualityWarning("inverted_values", slices=inverted))
    if unused := sum(conversion.unused_bits for conversion in conversions):
        warnings.append(QualityWarning("unused_bits", slices=unused))
    encodings = Counter(conversion.encoding for conversion in conversions)
    if len(encodings) > 1:
        slices = len(conversions) - encodings.most_common(1)[0][1]
        warnings.append(QualityWarning("mixed_encoding", slices=slices))
    return tuple(warnings)
