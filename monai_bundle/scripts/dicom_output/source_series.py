"""The original DICOM instances of a result: found, checked against it, and read without their pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage

from scripts.dicom_output.finished_result import FinishedResult
from scripts.dicom_output.request import DicomOutputError
from scripts.intake.dicom_header import READING_ERRORS
from scripts.intake.file_location import FileOpener
from scripts.intake.slice_geometry import mean_orientation, slice_normal
from scripts.intake.slice_header import SliceHeader

_SAME_POSITION_MM = 0.05
_REFERENCED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True)
class SourceSeries:
    """The images that a result was read from.

    Attributes
    ----------
    headers : tuple of SliceHeader
        One per slice of the result, in its order.
    instances : tuple of Dataset
        Header of the image of each slice, without pixels, text decoded; a multi-frame image is the same for all.
    """

    headers: tuple[SliceHeader, ...]
    instances: tuple[Dataset, ...]

    @property
    def first(self) -> Dataset:
        """The image of the first slice: patient and study are taken from it."""
        return self.instances[0]

    @property
    def is_multi_frame(self) -> bool:
        """Whether one image holds all slices."""
        return self.headers[0].frame is not None

    def frame_number(self, index: int) -> int | None:
        """Frame of a slice, counted from 1; None for a single-frame image."""
        frame = self.headers[index].frame
        return None if frame is None else frame + 1

    def in_stored_order(self, voxels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Bring slices, shape (slices, ...), into the order of a multi-frame image's frames; 0 in frames not read."""
        frames = [header.frame or 0 for header in self.headers]
        stored = np.zeros((int(self.first.NumberOfFrames), *voxels.shape[1:]), dtype=voxels.dtype)
        stored[frames] = voxels
        return stored


def find_source(result: FinishedResult, headers: Iterable[SliceHeader]) -> SourceSeries:
    """Find the image of every slice of a result.

    Parameters
    ----------
    result : FinishedResult
        States SOP Instance UID and position of each slice.
    headers : iterable of SliceHeader
        Images among which to look; others, and further copies, are passed over.

    Raises
    ------
    DicomOutputError
        If one is missing, lies elsewhere, has another size, or cannot be referred to.
    """
    found = _matching(result, headers)
    slices, rows, columns = result.shape
    if (found[0].rows, found[0].columns, len(found)) != (rows, columns, slices):
        raise DicomOutputError("other_series")
    source = SourceSeries(found, _read(found))
    _check_references(source)
    return source


def _matching(result: FinishedResult, headers: Iterable[SliceHeader]) -> tuple[SliceHeader, ...]:
    by_uid: dict[str, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        if header.position is not None and header.orientation is not None:
            by_uid[header.sop_instance_uid].append(header)
    entries = result.document["slices"]
    candidates = [by_uid.get(entry["sop_instance_uid"] or "", []) for entry in entries]
    missing = sum(not each for each in candidates)
    if missing:
        raise DicomOutputError("instances_missing", missing=missing, slices=len(entries))
    try:
        # The positions of the result lie along the mean normal of its own slices.
        normal = slice_normal(mean_orientation([each[0].orientation or () for each in candidates]))
    except ValueError as error:
        raise DicomOutputError("other_series") from error
    chosen = []
    for entry, images in zip(entries, candidates, strict=True):
        offsets = [abs(float(np.asarray(image.position) @ normal) - entry["position_mm"]) for image in images]
        if min(offsets) > _SAME_POSITION_MM:
            raise DicomOutputError("other_series")
        chosen.append(images[offsets.index(min(offsets))])
    return tuple(chosen)


def _read(headers: Sequence[SliceHeader]) -> tuple[Dataset, ...]:
    read: dict[object, Dataset] = {}
    with FileOpener() as opener:
        for header in headers:
            if header.location in read:
                continue
            try:
                with opener.open(header.location) as file:
                    dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
                # Names and texts as characters: the objects have a character set of their own.
                dataset.decode()
            except READING_ERRORS as error:
                raise DicomOutputError("unreadable_instance", name=header.location.name) from error
            dataset.SOPClassUID = dataset.get("SOPClassUID") or CTImageStorage
            dataset.SOPInstanceUID = header.sop_instance_uid
            read[header.location] = dataset
    return tuple(read[header.location] for header in headers)


def _check_references(source: SourceSeries) -> None:
    """Refuse what no object may refer to: invalid UIDs (PS3.5 section 9.1), several series or places."""
    for keyword in _REFERENCED:
        uids = {str(instance.get(keyword) or "") for instance in source.instances}
        invalid = sorted(uid for uid in uids if not UID(uid).is_valid)
        if invalid:
            raise DicomOutputError("invalid_uid", keyword=keyword)
        if len(uids) > 1 and (keyword != "SOPInstanceUID" or source.is_multi_frame):
            raise DicomOutputError("several", keyword=keyword)
