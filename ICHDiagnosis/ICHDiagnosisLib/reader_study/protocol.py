"""What a reader study is made of: its cases, labels and sittings; kept in one file that never changes once it is made.

The design is that of Wang et al., Medical Physics 2022, section VI.B: every reader reads the same studies twice, first
alone and later with the network's result, in an order shuffled anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

from ..messages import MessageError, message

SCHEMA = "ich-reader-study/1"
FILE_NAME = "protocol.json"
ANY = "any"
SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
LABELS = (ANY, *SUBTYPES)
"""RSNA 2019's six labels, which the paper's readers ticked too."""
WASHOUT_WEEKS = 4
"""Default interval between the sittings; the paper waited one week from the start of the first."""


class ProtocolError(MessageError):
    """The reader study cannot be made or read; the message is one line for the user."""


class Sitting(Enum):
    """The paper's experiment 1 (radiologist only) and experiment 2 (radiologist + AI)."""

    WITHOUT_AI = "without_ai"
    WITH_AI = "with_ai"

    def label(self) -> str:
        """Return the text for the user."""
        return message("sitting.without_ai") if self is Sitting.WITHOUT_AI else message("sitting.with_ai")


def label_name(label: str) -> str:
    """Return the name of a label as readers and evaluation show it."""
    return {
        ANY: message("label.any"),
        "epidural": message("label.epidural"),
        "intraparenchymal": message("label.intraparenchymal"),
        "intraventricular": message("label.intraventricular"),
        "subarachnoid": message("label.subarachnoid"),
        "subdural": message("label.subdural"),
    }[label]


def with_any(labels: Iterable[str]) -> frozenset[str]:
    """Return labels with ``any`` where one of them is a subtype: each subtype is a haemorrhage."""
    found = frozenset(labels)
    return found | {ANY} if found else found


@dataclass(frozen=True)
class Case:
    """One study to be read.

    Attributes
    ----------
    identifier : str
        Its name in journals and tables: a number, for the name of a file may name a patient or the finding.
    path : Path
        Volume file, or DICOM folder.
    truth : frozenset of str or None
        Labels that are present by the reference standard; None where there is none.
    series : str
        Series Instance UID of what is read of a DICOM folder; empty where that holds one series.
    """

    identifier: str
    path: Path
    truth: frozenset[str] | None
    series: str = ""


@dataclass(frozen=True)
class Protocol:
    """A reader study: its cases, the wash-out in weeks, and the digest of its file, which every journal repeats."""

    cases: tuple[Case, ...]
    washout_weeks: int
    digest: str

    def case(self, identifier: str) -> Case:
        """Return one case.

        Raises
        ------
        KeyError
            If there is no such case.
        """
        for case in self.cases:
            if case.identifier == identifier:
                return case
        raise KeyError(identifier)


def new_seed() -> int:
    """Draw a seed that nobody can foresee; it is recorded with the order that it made."""
    return secrets.randbits(63)


def shuffled(identifiers: Sequence[str], seed: int) -> tuple[str, ...]:
    """Return the cases in the order of a sitting: the same seed gives the same order."""
    order = sorted(identifiers)
    random.Random(seed).shuffle(order)
    return tuple(order)


def create_protocol(
    folder: Path,
    paths: Sequence[Path],
    truth: Mapping[str, frozenset[str]] | None,
    washout_weeks: int = WASHOUT_WEEKS,
    series: Mapping[Path, str] | None = None,
) -> Protocol:
    """Make a reader study in a folder of its own.

    Parameters
    ----------
    folder : Path
        Of the reader study: protocol, journals and evaluation; made where it does not exist.
    paths : sequence of Path
        One volume file, or DICOM folder, per case.
    truth : mapping of str to frozenset of str, or None
        Labels by the name of the file or folder (:func:`ICHDiagnosisLib.reader_study.truth.read_truth`).
    washout_weeks : int
        Least interval between a reader's sittings, in weeks.
    series : mapping of Path to str, optional
        Series Instance UID of what is read of a folder with several series.

    Raises
    ------
    ProtocolError
        If there is one already, there are no cases, a case has no truth, or the folder cannot be written.
    """
    if (folder / FILE_NAME).exists():
        raise ProtocolError("protocol.exists", folder=folder.name)
    if not paths:
        raise ProtocolError("protocol.no_cases")
    if not 0 <= washout_weeks <= 52:
        raise ProtocolError("protocol.weeks", weeks=washout_weeks)
    cases = []
    for number, path in enumerate(sorted(paths), start=1):
        labels = None if truth is None else truth.get(path.name, truth.get(stem(path)))
        if truth is not None and labels is None:
            raise ProtocolError("truth.missing_case", name=path.name)
        case = {
            "id": f"{number:03d}",
            "path": _relative(path, folder),
            "truth": None if labels is None else sorted(with_any(labels)),
        }
        chosen = (series or {}).get(path)
        cases.append(case | ({"series": chosen} if chosen else {}))
    content = {
        "schema": SCHEMA,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "washout_weeks": washout_weeks,
        "cases": cases,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{FILE_NAME}"
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        temporary.replace(folder / FILE_NAME)
    except OSError as error:
        raise ProtocolError("protocol.not_written", error=error.strerror or error) from error
    return read_protocol(folder)


def read_protocol(folder: Path) -> Protocol:
    """Read the reader study of a folder.

    Raises
    ------
    ProtocolError
        If there is none, or it is damaged or of another version.
    """
    try:
        raw = (folder / FILE_NAME).read_bytes()
    except OSError as error:
        raise ProtocolError("protocol.none", folder=folder.name) from error
    try:
        content = json.loads(raw)
        if content["schema"] != SCHEMA:
            raise ProtocolError("protocol.other_schema", found=content["schema"])
        cases = tuple(_case(entry, folder) for entry in content["cases"])
        weeks = int(content["washout_weeks"])
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError("protocol.damaged", error=error) from error
    if not cases or len({case.identifier for case in cases}) != len(cases):
        raise ProtocolError("protocol.damaged", error=message("protocol.no_cases"))
    return Protocol(cases, weeks, hashlib.sha256(raw).hexdigest())


def stem(path: Path) -> str:
    """Return the name of a file or folder without the ending of a volume file."""
    for suffix in (".nii.gz", ".nii", ".nrrd", ".dcm"):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _case(entry: Mapping[str, Any], folder: Path) -> Case:
    truth = entry["truth"]
    labels = None if truth is None else frozenset(truth)
    if labels is not None and not labels <= set(LABELS):
        raise ValueError(f"unknown labels: {', '.join(sorted(labels - set(LABELS)))}")
    return Case(str(entry["id"]), (folder / entry["path"]).resolve(), labels, str(entry.get("series", "")))


def _relative(path: Path, folder: Path) -> str:
    """Return a path from the reader study's folder, so that both can be moved together."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        # Another drive of Windows.
        return path.resolve().as_posix()
