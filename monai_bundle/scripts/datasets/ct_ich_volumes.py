"""Scans of CT-ICH's NIfTI release (PhysioNet 1.3.1): one volume and one mask per patient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from scripts.datasets.mask_file import load_mask
from scripts.intake.study import CTStudy, NotEvaluableError
from scripts.intake.volume_file import read_nifti

_SLICE_AXIS = 2


@dataclass(frozen=True)
class VolumeFiles:
    """Volume and mask of one patient.

    Attributes
    ----------
    volume, mask_file : Path
        ``ct_scans/<nnn>.nii`` in HU, ``masks/<nnn>.nii``.
    numbers : tuple of int
        Numbers of the slices that the table describes and the volume holds; number k is the file's k-th slice.
    """

    volume: Path
    mask_file: Path
    numbers: tuple[int, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The volume, and the mask where there is one."""
        return (self.volume, self.mask_file) if self.mask_file.is_file() else (self.volume,)

    def read(self) -> CTStudy:
        """Read the slices that the table describes.

        Raises
        ------
        NotEvaluableError
            As :func:`read_nifti`; ``"bad_geometry"`` where the slices do not lie along the file's third axis, which
            the table counts along; ``"labels_do_not_fit"`` where the table describes none of the slices.
        """
        study = read_nifti(self.volume)
        if study.file_axes[2] != _SLICE_AXIS:
            raise NotEvaluableError("bad_geometry.slice_axis", name=self.volume.name, axis=study.file_axes[2] + 1)
        if not self.numbers:
            raise NotEvaluableError("labels_do_not_fit.no_slice", name=self.volume.name)
        return _only(study, np.array(self.numbers) - 1)

    def mask(self, study: CTStudy) -> NDArray[np.bool_] | None:
        """Read the mask of all haemorrhage; None where the release has no mask of the patient.

        Only the numbers of voxels are compared: volume and mask are one release's.

        Raises
        ------
        NotEvaluableError
            ``"bad_mask"`` if the mask cannot be read or has other voxels than the volume.
        """
        if not self.mask_file.is_file():
            return None
        inside, _ = load_mask(self.mask_file)
        by_slice = inside.transpose(2, 1, 0)
        last = max(self.numbers)
        if len(by_slice) < last or by_slice.shape[1:] != study.voxels.shape[1:]:
            raise NotEvaluableError("bad_mask.volume", name=self.mask_file.name)
        return np.ascontiguousarray(by_slice[np.array(self.numbers) - 1])


def find_volume(ct_ich: Path, patient: str, described: Iterable[int]) -> VolumeFiles | None:
    """Return the files of one patient, or None where the release has no volume of it.

    Parameters
    ----------
    ct_ich : Path
        Holds ``ct_scans`` and ``masks``.
    patient : str
        Three-digit number.
    described : iterable of int
        Slice numbers of the table; those beyond the volume's last slice are left out.
    """
    volume, mask_file = (_file(ct_ich / folder, patient) for folder in ("ct_scans", "masks"))
    if not volume.is_file():
        return None
    slices = _slices(volume)
    return VolumeFiles(volume, mask_file, tuple(k for k in sorted(described) if slices is None or 1 <= k <= slices))


def _file(folder: Path, patient: str) -> Path:
    packed = folder / f"{patient}.nii.gz"
    return packed if packed.is_file() else folder / f"{patient}.nii"


def _slices(volume: Path) -> int | None:
    """Read the number of slices from the header; None where it cannot be read, which reading the volume reports."""
    try:
        image = nib.load(volume)
    except (OSError, EOFError, ImageFileError):
        return None
    if not isinstance(image, nib.Nifti1Image) or len(image.shape) <= _SLICE_AXIS:
        return None
    return int(image.shape[_SLICE_AXIS])


def _only(study: CTStudy, index: NDArray[np.int64]) -> CTStudy:
    """Return some slices of a study; where they are not neighbours, the affine's step is their mean step."""
    if np.array_equal(index, np.arange(len(study.voxels))):
        return study
    affine = study.affine.copy()
    affine[:3, 3] += index[0] * affine[:3, 2]
    affine[:3, 2] *= (index[-1] - index[0]) / (len(index) - 1) if len(index) > 1 else 1
    return replace(study, voxels=study.voxels[index], affine=affine, positions_mm=study.positions_mm[index])
