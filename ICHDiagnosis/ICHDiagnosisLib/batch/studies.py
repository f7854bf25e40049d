"""What a batch works on: studies in a folder, or volumes of the scene; each knows whether it has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import slicer

from ..scene.dicom_series import ct_series
from ..scene.study_volume import place_of
from ..scene.volume_geometry import ijk_to_ras
from ..scene.volume_input import FileDatabase, VolumeNotWritableError, link_files, write_input

FILE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".zip", ".dcm")
_PREAMBLE = 128


class BatchStudy(Protocol):
    """One entry of a batch."""

    @property
    def name(self) -> str:
        """Its name in the table."""

    @property
    def volume_node(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume on the scene that its result belongs to, if there is one."""

    @property
    def place(self) -> Path | None:
        """File or folder that holds it; None where it has none."""

    def cache_key(self) -> str:
        """Return the key under which its results are kept: another one as soon as the study has changed."""

    def write(self, folder: Path) -> Path:
        """Put the study into an empty folder, or leave it where it lies; return the path that the bundle reads."""


@dataclass(frozen=True)
class StudyOnDisk:
    """A folder or file, read where it lies; the bundle may find several studies in it.

    Attributes
    ----------
    path : Path
        The folder or file.
    given_name : str
        Its name in the table; empty for that of the folder or file.
    series : str
        Series Instance UID (0020,000E) of the one series of a folder that is read; empty for the bundle's choice.
    """

    path: Path
    volume_node: None = None
    given_name: str = ""
    series: str = ""

    @property
    def name(self) -> str:
        """Name of the folder or file, where it was given no other."""
        return self.given_name or self.path.name

    @property
    def place(self) -> Path:
        """The folder or file."""
        return self.path

    def cache_key(self) -> str:
        """Return a digest of every file's place, size and time of change."""
        digest = hashlib.sha256(self.series.encode())
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        for file in files:
            if file.is_file():
                stat = file.stat()
                digest.update(
                    f"{file.relative_to(self.path)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(
                        errors="surrogateescape"
                    )
                )
        return digest.hexdigest()

    def write(self, folder: Path) -> Path:
        """Return the study's own place, for the bundle only reads it; one series of it is put into the folder."""
        if not self.series:
            return self.path
        files = next((series.files for series in ct_series(self.path) if series.uid == self.series), ())
        link_files(files, folder)
        return folder


@dataclass(frozen=True)
class LoadedVolume:
    """A volume of the scene."""

    node_id: str
    name: str
    database: FileDatabase | None
    use_original_files: bool

    @property
    def volume_node(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume, or None once it has been removed."""
        return slicer.mrmlScene.GetNodeByID(self.node_id)

    @property
    def place(self) -> Path | None:
        """Where the volume was loaded from."""
        node = self.volume_node
        return None if node is None else place_of(node)

    def cache_key(self) -> str:
        """Return a digest of the voxels and their geometry."""
        node = self._existing()
        digest = hashlib.sha256(slicer.util.arrayFromVolume(node).tobytes())
        digest.update(ijk_to_ras(node).tobytes())
        return digest.hexdigest()

    def write(self, folder: Path) -> Path:
        """Write the volume, or link its original files."""
        return write_input(self._existing(), folder, self.database, self.use_original_files)

    def _existing(self) -> slicer.vtkMRMLScalarVolumeNode:
        node = self.volume_node
        if node is None or node.GetImageData() is None:
            raise VolumeNotWritableError("volume.removed")
        return node


def studies_in_folder(folder: Path, output_folder: Path) -> tuple[StudyOnDisk, ...]:
    """Find the entries of a folder of studies.

    Parameters
    ----------
    folder : Path
        Folder whose sub-folders, volume files and zips are one entry each; a folder that holds DICOM files itself is
        one entry as a whole.
    output_folder : Path
        Where results go; left out when it lies in ``folder``, for maps are volumes too.

    Returns
    -------
    tuple of StudyOnDisk
        In the order of their names; empty where there is nothing.

    Raises
    ------
    OSError
        If the folder cannot be read.
    """
    children = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if any(path.is_file() and _is_dicom(path) for path in children):
        return (StudyOnDisk(folder),)
    results = output_folder.resolve()
    return tuple(
        StudyOnDisk(path)
        for path in children
        if (path.is_dir() or path.name.lower().endswith(FILE_SUFFIXES)) and path.resolve() != results
    )


def loaded_volumes(
    nodes: Sequence[slicer.vtkMRMLScalarVolumeNode], database: FileDatabase | None, use_original_files: bool
) -> tuple[LoadedVolume, ...]:
    """Turn volumes of the scene into entries of a batch."""
    return tuple(LoadedVolume(node.GetID(), node.GetName(), database, use_original_files) for node in nodes)


def _is_dicom(file: Path) -> bool:
    """Tell whether a file begins as DICOM PS3.10 section 7.1 requires, or is named so."""
    if file.name.lower().endswith(".dcm"):
        return True
    if file.name.lower().endswith(FILE_SUFFIXES):
        return False
    try:
        with file.open("rb") as stream:
            return stream.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError:
        return False
