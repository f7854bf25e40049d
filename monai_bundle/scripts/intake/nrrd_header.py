"""The text header of an NRRD file, and whether its data is whole: what pynrrd does not test."""

from __future__ import annotations

import bz2
import gzip
import math
from pathlib import Path

from scripts.intake.file_location import climbs_out
from scripts.intake.study import NotEvaluableError

_LONGEST_HEADER = 2**20
_TYPE_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(
        ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"), 4
    ),
    **dict.fromkeys(("longlong", "long long", "int64", "int64_t", "ulonglong", "uint64", "uint64_t", "double"), 8),
}
_PADDING_BYTES = 512


def check_nrrd(path: Path) -> tuple[dict[str, str], bool]:
    """Read the header of an NRRD file (``.nrrd``, ``.nhdr``) and test that its data is whole.

    Compressed data is read to its end, so that its checksum is tested; its length must be that of the header's sizes.

    Returns
    -------
    dict, bool
        Fields of the header by their names in lower case, and whether there is more data than it states.

    Raises
    ------
    NotEvaluableError
        ``"unreadable_file"`` for no NRRD; ``"detached_data"`` where the header names data outside its own folder.
    OSError, EOFError, ValueError, zlib.error
        If the data is damaged or cut off.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    if not start.startswith(b"NRRD"):
        raise NotEvaluableError("unreadable_file", name=path.name)
    ends = [(start.find(end), len(end)) for end in (b"\n\n", b"\r\n\r\n") if end in start]
    end, length = min(ends) if ends else (len(start), 0)
    fields = _fields(start[:end].decode("utf-8", errors="replace"))
    named = fields.get("data file", fields.get("datafile"))
    if named is None and ends:
        return fields, _check_data(fields, path, end + length)
    if named is None:
        raise NotEvaluableError("unreadable_file", name=path.name)
    if climbs_out(named) or named.upper().startswith("LIST") or "%" in named:
        raise NotEvaluableError("detached_data", name=path.name)
    data = path.parent / named
    if not data.is_file():
        raise NotEvaluableError("detached_data.missing", name=path.name, data=data.name)
    return fields, _check_data(fields, data, 0)


def _fields(text: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in text.splitlines()[1:] if ":" in line and not line.startswith("#"))
    return {name.strip().lower(): value.lstrip("=").strip() for name, value in pairs}


def _check_data(fields: dict[str, str], path: Path, offset: int) -> bool:
    """Test checksum and length of the data; return whether there is more than stated."""
    encoding, item = fields.get("encoding", "").lower(), _TYPE_BYTES.get(fields.get("type", "").lower())
    if item is None or int(fields.get("byte skip", 0)) or int(fields.get("line skip", 0)):
        return False
    stated = math.prod(int(size) for size in fields["sizes"].split()) * item
    with path.open("rb") as file:
        file.seek(offset)
        if encoding in ("gzip", "gz"):
            with gzip.open(file) as unpacked:
                found = len(unpacked.read(stated + _PADDING_BYTES + 1))
                # The checksum lies behind the last byte.
                unpacked.read(1)
        elif encoding in ("bzip2", "bz2"):
            found = len(bz2.decompress(file.read()))
        elif encoding == "raw":
            found = path.stat().st_size - offset
        else:
            return False
    if found < stated:
        raise EOFError("shorter than its header states")
    return found > stated + _PADDING_BYTES
