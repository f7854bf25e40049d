"""What the bundle prints: bytes to lines, lines to progress, lines to a bounded log. Standard library only."""

from __future__ import annotations

import logging
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

LONGEST_LINE = 4000
LOG_BYTES = 4 * 1024 * 1024
_TAIL_LINES = 400
_PROGRESS = re.compile(r"PROGRESS ([0-9]{1,9})/([0-9]{1,9}) (\S.{0,119})")
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Progress:
    """How far the run is.

    Attributes
    ----------
    done, total : int
        Steps done, and steps in all (at least 1).
    stage : str
        What the bundle is doing.
    """

    done: int
    total: int
    stage: str

    @property
    def fraction(self) -> float:
        """Fraction of the steps that are done, 0..1."""
        return self.done / self.total


def parse_progress(line: str) -> Progress | None:
    """Parse one line of standard output.

    Parameters
    ----------
    line : str
        ``PROGRESS <done>/<total> <stage>``, or anything else.

    Returns
    -------
    Progress or None
        None when the line is no progress, or contradicts itself (nothing to do, or more done than there is).
    """
    match = _PROGRESS.fullmatch(line)
    if match is None:
        return None
    done, total = int(match[1]), int(match[2])
    if total == 0 or done > total:
        return None
    return Progress(done, total, match[3].strip())


class LineSplitter:
    """Cut a stream of bytes into lines that can be shown, whatever the bytes are.

    A line is cut at 4000 bytes; bytes that are no UTF-8 and control characters are replaced; what a carriage return
    overwrites on a terminal (progress bars) is left out.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._cut = False

    def feed(self, chunk: bytes) -> list[str]:
        """Take some bytes; return the lines that they complete."""
        *complete, rest = chunk.split(b"\n")
        lines = []
        for part in complete:
            self._append(part)
            lines.append(self._take_line())
        self._append(rest)
        return lines

    def finish(self) -> list[str]:
        """Return the last line, if the stream ended without a line end."""
        return [self._take_line()] if self._pending else []

    def _append(self, part: bytes) -> None:
        if not part:
            return
        self._pending += part
        if len(self._pending) > LONGEST_LINE:
            # The return stays: whether it overwrites the line or ends it (Windows) is decided by the next bytes.
            carriage_return = b"\r" if part.endswith(b"\r") else b""
            shown = _shown(self._pending)
            self._cut = len(shown) > LONGEST_LINE
            self._pending = bytearray(shown[:LONGEST_LINE] + carriage_return)

    def _take_line(self) -> str:
        text = _ESCAPE_SEQUENCE.sub("", _shown(self._pending).decode("utf-8", errors="replace"))
        line = _CONTROL_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)
        if self._cut:
            line += " [cut]"
        self._pending.clear()
        self._cut = False
        return line


def _shown(line: bytes | bytearray) -> bytes:
    """Return what a terminal would still show of a line in which carriage returns overwrite what stood before."""
    return bytes(line).rstrip(b"\r").rpartition(b"\r")[2]


class BoundedLog:
    """A log file that keeps its beginning and its end, and never grows beyond about 4 MiB.

    Parameters
    ----------
    path : Path
        File to write; an earlier one is replaced. Where it cannot be written (disk full, ...), the run goes on without.
    """

    def __init__(self, path: Path) -> None:
        self._written = 0
        self._left_out = 0
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._file: TextIO | None = path.open("w", encoding="utf-8")

    def write(self, line: str) -> None:
        """Add one line; when the file is full, keep it for the end if it is among the last."""
        if self._written < LOG_BYTES // 2:
            self._write_now(line)
            self._written += len(line.encode("utf-8")) + 1
            return
        if len(self._tail) == _TAIL_LINES:
            self._left_out += 1
        self._tail.append(line)

    def close(self) -> None:
        """Write the kept end and close the file."""
        if self._left_out:
            self._write_now(f"[{self._left_out} lines left out]")
        while self._tail:
            self._write_now(self._tail.popleft())
        if self._file is not None:
            self._stop(None)

    def _write_now(self, line: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            self._stop(error)

    def _stop(self, error: OSError | None) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        except OSError as close_error:
            error = error or close_error
        if error is not None:
            logging.warning("run.log is incomplete: %s", error.strerror or error)
