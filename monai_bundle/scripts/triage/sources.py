"""Where studies come from: a folder, a list of paths, or an archive; each becomes a task before any image is opened."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from scripts.intake.study_id import name_below, safe_name, unique_ids
from scripts.triage.tasks import Task, TriageError

ARCHIVE_SCHEMES = ("http://", "https://")
_VOLUMES = (".nii", ".nii.gz", ".nrrd", ".zip")
_OF_RESULTS = ("result.json", "worklist.json")
_PREAMBLE_BYTES = 128


def find_tasks(source: str, output: Path, depth: int = 1) -> list[Task]:
    """Return a task for every study of a source, each with a name of its own that does not depend on the others' order.

    Parameters
    ----------
    source : str
        A folder or file; a list of paths (``.csv``, ``.jsonl``), see :func:`listed_places`; or the address of a
        DICOMweb service.
    output : Path
        Folder of the results, left out where it lies in the source.
    depth : int
        How many folders below the source a study's own folder lies; see :func:`places_in_folder`.

    Raises
    ------
    TriageError
        If there is nothing, or it cannot be listed.
    """
    if source.startswith(ARCHIVE_SCHEMES):
        # Reading folders needs no client of archives.
        from scripts.triage.archive import archive_tasks  # noqa: PLC0415

        return archive_tasks(source)
    root = Path(source).resolve()
    try:
        if root.suffix.lower() in (".csv", ".jsonl"):
            names, places = listed_places(root)
        else:
            places = list(places_in_folder(root, output.resolve(), depth))
            names = [_stem(name_below(place, root, places)) for place in places]
    except OSError as error:
        raise TriageError("triage.no_source", source=root.name, fault=error.strerror or str(error)) from error
    if not places:
        raise TriageError("triage.empty_source", source=root.name)
    ids = unique_ids(names, [str(place) for place in places])
    return [Task(name, str(place)) for name, place in zip(ids, places, strict=True)]


def places_in_folder(root: Path, output: Path, depth: int) -> Iterator[Path]:
    """Yield the places of studies below a folder, in the order of their names.

    A folder with DICOM files directly in it is one place, as is a volume file or a zip at any level above ``depth``. A
    place may turn out to hold several studies, which then become tasks of their own.

    Parameters
    ----------
    root : Path
        The folder, or one file.
    output : Path
        Passed over with everything in it.
    depth : int
        At this many folders below ``root`` every folder is a place, whatever it holds.

    Raises
    ------
    OSError
        If a folder cannot be read.
    """
    if root.is_file():
        yield root
        return
    children = sorted(child for child in root.iterdir() if not child.name.startswith(".") and child != output)
    if depth == 0 or any(child.is_file() and _is_dicom(child) for child in children):
        yield root
        return
    for child in children:
        if child.is_dir():
            yield from places_in_folder(child, output, depth - 1)
        elif child.name.lower().endswith(_VOLUMES):
            yield child


def listed_places(file: Path) -> tuple[list[str], list[Path]]:
    """Read a list of studies; return their names and places.

    Parameters
    ----------
    file : Path
        CSV with a column ``path``, or a JSON object with ``path`` on every line; a relative path begins at the list's
        folder. Where there is a ``study_id``, it names the result folder in place of the path's last part.

    Raises
    ------
    TriageError
        If it is no such list.
    OSError
        If it cannot be read.
    """
    text = file.read_text(encoding="utf-8-sig")
    try:
        rows = _csv_rows(text) if file.suffix.lower() == ".csv" else _json_rows(text)
        entries = [(str(row["path"]), str(row.get("study_id") or "")) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise TriageError("triage.no_list", file=file.name) from error
    places = [file.parent / path for path, _ in entries]
    names = [study_id or _stem(place.name) for place, (_, study_id) in zip(places, entries, strict=True)]
    return names, places


def tasks_of_several(task: Task, studies: Sequence[str], taken: Iterable[str]) -> list[Task]:
    """Return a task for each study of a place that holds several.

    Parameters
    ----------
    task : Task
        Of the place.
    studies : sequence of str
        What tells them apart.
    taken : iterable of str
        Names of other tasks.
    """
    used = {name.casefold() for name in taken}
    wanted = [safe_name(f"{task.name}_{study}") for study in studies]
    wanted = [f"{name}-1" if name.casefold() in used else name for name in wanted]
    names = unique_ids(wanted, [f"{task.place}\0{study}" for study in studies])
    return [Task(name, task.place, study, task.state) for name, study in zip(names, studies, strict=True)]


def _csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines(), strict=True))


def _json_rows(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _stem(name: str) -> str:
    for suffix in (".nii.gz", *_VOLUMES, ".dcm"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def _is_dicom(file: Path) -> bool:
    """Tell whether a file begins as DICOM PS3.10 section 7.1 requires, or is named so."""
    if file.suffix.lower() == ".dcm":
        return True
    if file.name.lower().endswith(_VOLUMES) or file.name in _OF_RESULTS:
        return False
    with file.open("rb") as stream:
        return stream.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] == b"DICM"
