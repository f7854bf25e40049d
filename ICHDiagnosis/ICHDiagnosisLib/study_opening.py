"""Opening a past result again: its CT is found or loaded, and the result is shown on it. No Qt.

Where a CT lies is known to the history of this computer, or to the triage that read it; a result folder does not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import slicer

from .history import History
from .messages import message
from .result.content import Result, ResultError
from .result.reader import read_result
from .scene import result_nodes
from .scene.show_result import check_fit, show_result
from .scene.study_volume import (
    LoadFromDatabase,
    StudyNotLoadedError,
    load_database_series,
    load_from_database,
    load_study_volume,
)
from .scene.volume_geometry import GeometryError, series_uid_of
from .scene.volume_input import FileDatabase


@dataclass(frozen=True)
class OpenedStudy:
    """A past result on the scene.

    Attributes
    ----------
    node : vtkMRMLScalarVolumeNode
        Its CT.
    result : Result
        What was found.
    folder : Path
        Where it lies.
    notices : tuple of str
        What the user should know.
    """

    node: slicer.vtkMRMLScalarVolumeNode
    result: Result
    folder: Path
    notices: tuple[str, ...] = ()


class StudyOpener:
    """Opens past results.

    Parameters
    ----------
    history : History
        Knows where CTs lie.
    database : FileDatabase or None
        Slicer's DICOM database.
    load : callable
        Loads a series of it.
    """

    def __init__(
        self, history: History, database: FileDatabase | None, load: LoadFromDatabase = load_from_database
    ) -> None:
        self._history = history
        self._database = database
        self._load = load

    def open(self, folder: Path, name: str, places: Sequence[Path] = (), studies: Path | None = None) -> OpenedStudy:
        """Show a result on its CT, which is loaded where it is not there.

        Parameters
        ----------
        folder : Path
            The result folder.
        name : str
            Of the volume, where the study is not DICOM.
        places : sequence of Path
            Where the CT may lie, beside what the history knows.
        studies : Path, optional
            Folder in which it may lie under the name that the result states.

        Raises
        ------
        ResultError
            If the result cannot be read.
        StudyNotLoadedError
            If the CT is not loaded and cannot be loaded.
        GeometryError
            If the result does not lie on it.
        HistoryError
            If the history cannot be read.
        """
        result = read_result(folder)
        under_its_name = () if studies is None else (studies / result.study.source_name, studies / name)
        found = [place for place in under_its_name if place.exists()]
        node = self.provide_volume(result, folder, name, (*places, *found))
        show_result(result, node)
        by_name = series_uid_of(node) is None and not self._was_loaded_here(node)
        return OpenedStudy(node, result, folder, (message("history.shown_by_name"),) if by_name else ())

    def provide_volume(
        self, result: Result, folder: Path, name: str, places: Sequence[Path] = ()
    ) -> slicer.vtkMRMLScalarVolumeNode:
        """Return the CT of a result: the loaded one, else load it. Parameters and errors as :meth:`open`."""
        node = loaded_volume(result, name)
        known = self._places(folder, places)
        if node is not None and (not known or _fits(result, node)):
            return node
        if result.study.series_uid is not None:
            node = load_database_series(result.study.series_uid, self._database, self._load)
            if node is not None:
                return _checked(result, node)
        failure = StudyNotLoadedError("open.unknown", study=name)
        for place in known:
            try:
                return self._from_place(place, result, name)
            except StudyNotLoadedError as error:
                failure = error
        raise failure

    def _from_place(self, place: Path, result: Result, name: str) -> slicer.vtkMRMLScalarVolumeNode:
        node = load_study_volume(place, result, name)
        node.SetAttribute(_LOADED_HERE, "1")
        return _checked(result, node)

    def _places(self, folder: Path, places: Sequence[Path]) -> tuple[Path, ...]:
        past = self._history.of_result(folder)
        recorded = () if past is None or past.ct_place is None else (past.ct_place,)
        return tuple(dict.fromkeys((*recorded, *places)))

    @staticmethod
    def _was_loaded_here(node: slicer.vtkMRMLScalarVolumeNode) -> bool:
        return bool(node.GetAttribute(_LOADED_HERE))


_LOADED_HERE = "ICHDiagnosis.LoadedWithResult"


def loaded_volume(result: Result, name: str) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the loaded volume that a result was made from: by its series UID, or, without one, by its name."""
    for node in head_ct_candidates():
        uid, read = series_uid_of(node), result.study.series_uid
        if uid == read if uid is not None and read is not None else node.GetName() == name:
            return node
    return None


def head_ct_candidates() -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Return the volumes of the scene that are no attribution maps of this module, in the order of the scene."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in nodes if not node.GetAttribute(result_nodes.ROLE) and not node.GetHideFromEditors()]


def _fits(result: Result, node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    try:
        check_fit(result, node)
    except (ResultError, GeometryError):
        return False
    return True


def _checked(result: Result, node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLScalarVolumeNode:
    """Return a volume that was just loaded, unless the result does not lie on it: then take it off again."""
    try:
        check_fit(result, node)
    except (ResultError, GeometryError):
        result_nodes.remove_node(node)
        raise
    return node
