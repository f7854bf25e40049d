"""The intake as a MONAI image reader, for ``LoadImaged`` in a bundle's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from numpy.typing import NDArray

from scripts.intake.discovery import StudySource, find_studies, read_study
from scripts.intake.quality import QualityLimits, check_quality
from scripts.intake.study import CTStudy, IntakeError, NotEvaluableError

STUDY_KEY = "study"
_COLUMN_ROW_SLICE_TO_SLICE_ROW_COLUMN = np.eye(4)[:, [2, 1, 0, 3]]


class CarriedStudy(str):
    """The study's name as text, with the study itself in :attr:`study`.

    MONAI admits only plain types as metadata, copies them with every transform and collates them into batches; text
    passes all three, and the study (which nobody can change) is handed on uncopied.
    """

    __slots__ = ("study",)
    study: CTStudy

    def __new__(cls, study: CTStudy) -> CarriedStudy:
        """Wrap a study."""
        carried = super().__new__(cls, study.provenance.source_name)
        carried.study = study
        return carried

    def __deepcopy__(self, memo: dict[int, Any]) -> CarriedStudy:
        """Return the same object: the study is immutable and large."""
        return self

    def __reduce__(self) -> tuple[type[CarriedStudy], tuple[CTStudy]]:
        """Pickle the study, for data loaders with workers."""
        return CarriedStudy, (self.study,)


class CTStudyReader(ImageReader):
    """Read a study through the intake and its quality gate.

    Use it alone: ``LoadImaged(keys="image", reader=CTStudyReader(), expanduser=False)``. ``expanduser=False`` lets a
    :class:`StudySource` through; MONAI would turn it into text otherwise.

    Nothing is opened in :meth:`read`: MONAI takes an error there as a reason to try its own readers, which would read
    what this one refuses.

    Parameters
    ----------
    limits : QualityLimits or mapping, optional
        Limits of the quality gate, or those fields of it that differ from its own.
    check : bool
        Whether the quality gate is asked; training data of known quality may pass without.
    """

    def __init__(self, limits: QualityLimits | Mapping[str, Any] | None = None, check: bool = True) -> None:
        super().__init__()
        self.limits = limits if isinstance(limits, QualityLimits) else QualityLimits(**(limits or {}))
        self.check = check

    def verify_suffix(self, filename: Sequence[Any] | PathLike[str] | str) -> bool:
        """Accept everything: what cannot be read is refused by name in :meth:`get_data`."""
        return True

    def read(self, data: Any, **kwargs: Any) -> StudySource | Path:  # noqa: ANN401 (MONAI's signature)
        """Remember what to read: a :class:`StudySource`, or the path of a folder or file that holds one study."""
        one = data[0] if isinstance(data, list | tuple) and len(data) == 1 else data
        if isinstance(one, StudySource):
            return one
        return Path(one)

    def get_data(self, img: StudySource | Path) -> tuple[NDArray[np.int16], dict[str, Any]]:
        """Read the voxels.

        Returns
        -------
        ndarray of int16, shape (slices, rows, columns)
            Hounsfield units.
        dict
            ``affine`` and ``original_affine`` (array index (slice, row, column, 1) to RAS in mm), ``spatial_shape``,
            ``space``, and the study itself under ``study`` (see :func:`study_of`).

        Raises
        ------
        IntakeError
            If there is no study, or more than one.
        NotEvaluableError
            If the study must not be read.
        """
        study = read_study(img if isinstance(img, StudySource) else _only_study(img), self.limits)
        if self.check:
            try:
                study = check_quality(study, self.limits)
            except NotEvaluableError as fault:
                fault.series_choice = study.provenance.series_choice
                raise
        affine = study.affine @ _COLUMN_ROW_SLICE_TO_SLICE_ROW_COLUMN
        metadata = {
            "affine": affine,
            "original_affine": affine.copy(),
            "spatial_shape": np.asarray(study.voxels.shape),
            "space": "RAS",
            STUDY_KEY: CarriedStudy(study),
        }
        return study.voxels.copy(), metadata


def study_of(image: Any) -> CTStudy:  # noqa: ANN401 (a MetaTensor, or the metadata of one)
    """Return the study that an image loaded by :class:`CTStudyReader` came from.

    Parameters
    ----------
    image : MetaTensor or dict
        The image, or its metadata.

    Raises
    ------
    KeyError
        If the image was loaded by another reader.
    """
    carried = getattr(image, "meta", image)[STUDY_KEY]
    if not isinstance(carried, CarriedStudy):
        raise KeyError(STUDY_KEY)
    return carried.study


def _only_study(path: Path) -> StudySource:
    sources = find_studies(path)
    if len(sources) > 1:
        raise IntakeError("several_studies", name=path.name, studies=len(sources))
    return sources[0]
