"""Slices of CT-ICH's JPEG release: Hounsfield units from two windowed 8-bit images, and the masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scripts.intake.study import CTStudy, NotEvaluableError, Provenance

PLANE_MM = 0.45
"""In-plane spacing that is assumed: the release does not state it, and the network's image does not depend on it."""
SLICE_MM = 5.0

_BRAIN_WINDOW = (-20.0, 100.0)
_BONE_WINDOW = (-900.0, 2300.0)
_BONE_AGREES = (-120.0, 200.0)
"""HU in the bone image between which the brain image is believed: its window, and 100 HU for JPEG's error."""
_MASK_GREY = 127


@dataclass(frozen=True)
class ImageStack:
    """Images of one patient.

    Attributes
    ----------
    folder : Path
        Holds ``brain/<k>.jpg``, ``bone/<k>.jpg`` and, where a mask of the blood was drawn, ``brain/<k>_HGE_Seg.jpg``.
    numbers : tuple of int
        Numbers of the slices that have both images, from the lowest slice upwards.
    """

    folder: Path
    numbers: tuple[int, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All images of the slices, and the masks that there are."""
        images = [self.folder / window / f"{k}.jpg" for k in self.numbers for window in ("brain", "bone")]
        return (*images, *(path for path in map(self._mask_file, self.numbers) if path.is_file()))

    def read(self) -> CTStudy:
        """Rebuild Hounsfield units from the two images of each slice.

        The brain image (centre 40, width 120) is exact to half a unit inside its window; where it is at either end,
        or where the bone image contradicts it, the bone image (centre 700, width 3200) gives the value in steps of
        12.5 HU.

        Raises
        ------
        NotEvaluableError
            ``"missing_slice"`` or ``"mixed_sizes"``: an image cannot be read, or the sizes differ.
        """
        slices = [_read_slice(self.folder, number) for number in self.numbers]
        if len({image.shape for image in slices}) != 1:
            raise NotEvaluableError("mixed_sizes.slices").within(_place(self.folder))
        return CTStudy(
            voxels=np.stack(slices),
            affine=np.diag([-PLANE_MM, -PLANE_MM, SLICE_MM, 1.0]),
            positions_mm=np.arange(len(slices), dtype=np.float64) * SLICE_MM,
            provenance=Provenance(self.folder.name, "nifti", slice_thickness_mm=SLICE_MM),
        )

    def mask(self, study: CTStudy) -> NDArray[np.bool_]:
        """Read the masks of all haemorrhage; a slice without one is empty.

        Raises
        ------
        NotEvaluableError
            ``"bad_mask"``: a mask cannot be read or has another size than its slice.
        """
        mask = np.zeros(study.voxels.shape, dtype=bool)
        for index, number in enumerate(self.numbers):
            path = self._mask_file(number)
            if path.is_file():
                mask[index] = _read_mask(path, study.voxels.shape[1:])
        return mask

    def _mask_file(self, number: int) -> Path:
        return self.folder / "brain" / f"{number}_HGE_Seg.jpg"


def find_images(ct_ich: Path, patient: str, described: Iterable[int]) -> ImageStack | None:
    """Return the images of one patient, or None where the release has none of it.

    Parameters
    ----------
    ct_ich : Path
        Holds ``Patients_CT``.
    patient : str
        Three-digit number.
    described : iterable of int
        Slice numbers of the table; slices that lack one of their two images are left out.
    """
    folder = ct_ich / "Patients_CT" / patient
    if not folder.is_dir():
        return None
    return ImageStack(folder, tuple(number for number in sorted(described) if _has_images(folder, number)))


def _place(folder: Path) -> str:
    return f"CT-ICH patient {folder.name}"


def _has_images(folder: Path, number: int) -> bool:
    return all((folder / window / f"{number}.jpg").is_file() for window in ("brain", "bone"))


def _read_slice(folder: Path, number: int) -> NDArray[np.int16]:
    try:
        brain, bone = (_read_image(folder / window / f"{number}.jpg") for window in ("brain", "bone"))
    except OSError as error:
        refusal = NotEvaluableError("missing_slice", number=number, fault=error.strerror or "damaged")
        raise refusal.within(_place(folder)) from error
    if brain.shape != bone.shape:
        raise NotEvaluableError("mixed_sizes.windows", number=number).within(_place(folder))
    soft = _BRAIN_WINDOW[0] + brain * (_BRAIN_WINDOW[1] - _BRAIN_WINDOW[0]) / 255
    wide = _BONE_WINDOW[0] + bone * (_BONE_WINDOW[1] - _BONE_WINDOW[0]) / 255
    # JPEG noise blurs both ends of the brain window by a few grey values, and rings beside the skull far into it.
    inside = (brain > 3) & (brain < 252) & (wide > _BONE_AGREES[0]) & (wide < _BONE_AGREES[1])
    return np.round(np.where(inside, soft, wide)).astype(np.int16)


def _read_mask(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    place = _place(path.parent.parent)
    try:
        mask = _read_image(path) > _MASK_GREY
    except OSError as error:
        refusal = NotEvaluableError("bad_mask.unreadable", name=path.name, fault=error.strerror or "damaged")
        raise refusal.within(place) from error
    if mask.shape != shape:
        raise NotEvaluableError("bad_mask.size", name=path.name).within(place)
    return mask


def _read_image(path: Path) -> NDArray[np.float32]:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), dtype=np.float32)
