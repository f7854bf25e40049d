"""Whether a file's pixel data has the size that its header states: more data than that means lost rows or frames.

Decoders take what the header asks for and drop the rest without an error: a wrong Rows or Number of Frames would cut
the image silently.
"""

from __future__ import annotations

import struct
from io import BytesIO
from itertools import pairwise
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, generate_frames, parse_basic_offsets
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes, RLELossless

from scripts.intake.study import NotEvaluableError

_JPEG_2000_START = b"\xff\x4f\xff\x51"
_JPEG_START = b"\xff\xd8\xff"
_NO_FRAME_HEADERS = (0xC4, 0xC8, 0xCC)
_JPEG_LS_FRAME = 0xF7


class CodestreamSize(NamedTuple):
    """What a compressed image states of itself."""

    columns: int
    rows: int
    bits: int


def has_excess(name: str, dataset: Dataset, syntax: UID) -> bool:
    """Compare pixel data with Rows, Columns, Samples per Pixel, Bits Allocated and Number of Frames.

    Parameters
    ----------
    name : str
        The file's, for the refusal.
    dataset : Dataset
        With Pixel Data (7FE0,0010) and what describes it.
    syntax : UID
        Its transfer syntax.

    Returns
    -------
    bool
        Whether there is more than the padding to an even length, but less than a row.

    Raises
    ------
    NotEvaluableError
        ``"unreadable_pixel_data"`` where a row or a frame more is stored than stated, where a compressed image has
        another size, or where frames are stored that nothing places.
    """
    frames = int(dataset.get("NumberOfFrames") or 1)
    placed = dataset.get("PerFrameFunctionalGroupsSequence")
    if frames > 1 and placed is None:
        raise NotEvaluableError("unreadable_pixel_data.frames", name=name, frames=frames)
    if placed is not None and frames > len(placed):
        raise NotEvaluableError("unreadable_pixel_data.longer", name=name)
    row = int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1) * int(dataset.BitsAllocated) / 8
    if syntax.is_encapsulated:
        excess = _compressed_excess(name, dataset, syntax, frames)
    else:
        expected = row * int(dataset.Rows) * frames
        excess = len(dataset.PixelData) - expected - expected % 2
    if excess >= row:
        raise NotEvaluableError("unreadable_pixel_data.longer", name=name)
    return excess > 0


def _compressed_excess(name: str, dataset: Dataset, syntax: UID, frames: int) -> float:
    """Bytes that the longest compressed frame decodes to beyond its image, where only decoding shows them."""
    excess = 0.0
    found = _frames(dataset, frames, syntax)
    if len(found) > frames:
        raise NotEvaluableError("unreadable_pixel_data.longer", name=name)
    for frame in found:
        if syntax == RLELossless:
            pixels = _run_length_excess(frame, int(dataset.Rows) * int(dataset.Columns))
            excess = max(excess, pixels * int(dataset.BitsAllocated) / 8)
        size = codestream_size(frame, syntax)
        if size and (size.columns, size.rows) != (dataset.Columns, dataset.Rows):
            raise NotEvaluableError("unreadable_pixel_data.size", name=name, columns=size.columns, rows=size.rows)
        if size and size.bits > int(dataset.BitsAllocated):
            raise NotEvaluableError("unreadable_pixel_data.bits", name=name, bits=size.bits)
    return excess


def _frames(dataset: Dataset, frames: int, syntax: UID) -> list[bytes]:
    """Compressed frames of a file; where one is stated, every fragment that begins anew counts as one."""
    offsets, lengths = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    extended = (offsets, lengths) if offsets and lengths else None
    if frames > 1 or extended:
        return list(generate_frames(dataset.PixelData, number_of_frames=frames, extended_offsets=extended))
    buffer = BytesIO(dataset.PixelData)
    parse_basic_offsets(buffer)
    first, *further = generate_fragments(buffer)
    # Run-length coded frames all begin with the same number of segments and the place of the first.
    starts = (first[:8],) if syntax == RLELossless else (_JPEG_START, _JPEG_2000_START)
    found = [[first]]
    for fragment in further:
        if fragment.startswith(starts):
            found.append([])
        found[-1].append(fragment)
    return [b"".join(fragments) for fragments in found]


def codestream_size(frame: bytes, syntax: UID) -> CodestreamSize | None:
    """Read the size that a compressed frame states; None where its syntax states none or it cannot be read.

    JPEG and JPEG-LS: the frame header (ITU-T T.81 B.2.2, T.87 C.2.2). JPEG 2000, High-Throughput included: the marker
    segment SIZ (ITU-T T.800 A.5.1).
    """
    try:
        if syntax in JPEG2000TransferSyntaxes:
            return _jpeg_2000_size(frame)
        if syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
            return _jpeg_size(frame)
    except (struct.error, IndexError):
        return None
    return None


def _jpeg_2000_size(frame: bytes) -> CodestreamSize | None:
    start = frame.find(_JPEG_2000_START)
    if start < 0:
        return None
    right, lower, left, upper = struct.unpack_from(">4I", frame, start + 8)
    return CodestreamSize(right - left, lower - upper, (frame[start + 42] & 0x7F) + 1)


def _jpeg_size(frame: bytes) -> CodestreamSize | None:
    position = frame.find(_JPEG_START) + 2
    while position >= 2:
        if frame[position] != 0xFF:
            return None
        marker = frame[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == _JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADERS):
            bits, rows, columns = struct.unpack_from(">BHH", frame, position + 4)
            # A size of 0 is stated later on, or by the decoder alone.
            return CodestreamSize(columns, rows, bits) if rows and columns else None
        position += 2 + struct.unpack_from(">H", frame, position + 2)[0]
    return None


def _run_length_excess(frame: bytes, pixels: int) -> int:
    """Pixels that a segment of a run-length coded frame (PS3.5 annex G) holds beyond those stated."""
    count = struct.unpack_from("<L", frame)[0]
    offsets = [*struct.unpack_from(f"<{min(count, 15)}L", frame, 4), len(frame)]
    segments = (frame[first:last] for first, last in pairwise(offsets))
    return max((_run_length(segment) - pixels for segment in segments), default=0)


def _run_length(segment: bytes) -> int:
    """Count the bytes that a segment decodes to."""
    total = position = 0
    last = len(segment)
    while position < last - 1:
        control = segment[position]
        if control < 128:
            total += min(control + 1, last - position - 1)
            position += control + 2
        elif control > 128:
            total += 257 - control
            position += 2
        else:
            position += 1
    return total
